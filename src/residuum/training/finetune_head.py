"""The classifier on features of a frozen network: each picture goes through the network once, then epochs cost nothing.

Features are centred, brought to one scale and to a length near 1, which makes one learning rate fit every network; what
was done to them is put into the classifier's weights at the end.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from residuum.data.batches import EvalBatches
from residuum.data.order import Order
from residuum.evaluation.evaluate import logits_of
from residuum.nets.naming import classifier
from residuum.nets.network import Network
from residuum.tasks.classification import Criterion
from residuum.training.recipe import Recipe

LARGEST_BATCH = 256
"""Features of a step; smaller sets are one batch."""


@dataclass(frozen=True)
class Features:
    """What enters the classifier, float32 (N, D), and the classes, int64 (N,)."""

    values: Tensor
    labels: Tensor

    def scaled(self, mean: Tensor, scale: Tensor) -> Features:
        return Features((self.values - mean) / scale, self.labels)


@dataclass(frozen=True)
class HeadTraining:
    """What came of training the classifier alone; `epoch` is the one that was kept, the last or validation's best."""

    epochs: int
    epoch: int
    seconds: float
    train_loss: float
    val_loss: float | None
    val_wrong: int | None


def features_of(network: Network, batches: EvalBatches, progress: Callable[[int, int], None]) -> Features:
    """The input of the last layer for every picture, in evaluation mode and float32."""
    seen, values, labels = list[Tensor](), list[Tensor](), list[Tensor]()
    layer = network.get_submodule(classifier(network.plan).name)
    handle = layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].float().cpu()))
    try:
        for number, batch in enumerate(batches, start=1):
            logits_of(network, batch.inputs)
            values.append(seen.pop()[batch.mask])
            labels.append(batch.targets[batch.mask])
            progress(number, len(batches))
    finally:
        handle.remove()
    return Features(torch.cat(values).clone(), torch.cat(labels))


def scale_of(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (D,), and the deviation (D,) times sqrt(D): divided by it, features have length 1 on average."""
    deviation = values.std(0, correction=0)
    still = deviation <= 1e-6 * deviation.max().clamp(min=1e-12)
    return values.mean(0), torch.where(still, 1.0, deviation) * math.sqrt(values.shape[1])


def train_head(
    network: Network, train: Features, val: Features | None, recipe: Recipe, criterion: Criterion, order: Order
) -> HeadTraining:
    """Fit the network's classifier, in place, to features: SGD with momentum, its rate half a cosine to 0.

    With validation features the epoch of the lowest loss there is kept, else the last.
    """
    settings, batch_size = recipe.finetune, min(LARGEST_BATCH, len(train.labels))
    assert settings is not None
    layer = network.get_submodule(classifier(network.plan).name)
    assert isinstance(layer, nn.Linear)
    mean, scale = scale_of(train.values)
    if layer.bias is None:
        mean = torch.zeros_like(mean)  # nothing could make up for it
    x = train.scaled(mean, scale)
    held_out = None if val is None else val.scaled(mean, scale)
    start = layer.weight.detach().float().cpu()
    offset = torch.zeros(len(start)) if layer.bias is None else layer.bias.detach().float().cpu()
    weight = (start * scale).requires_grad_()
    bias = (offset + start @ mean).requires_grad_()
    optimizer = torch.optim.SGD(
        [{"params": [weight], "weight_decay": recipe.optimizer.weight_decay}, {"params": [bias]}],
        lr=settings.head_lr,
        momentum=0.9,
    )
    steps_per_epoch = -(-len(x.labels) // batch_size)
    steps = settings.head_epochs * steps_per_epoch
    began, step, total = time.perf_counter(), 0, 0.0
    best: tuple[float, int, Tensor, Tensor] | None = None
    for epoch in range(settings.head_epochs):
        total = 0.0
        for _ in range(steps_per_epoch):
            positions, _ = order.at(np.arange(step * batch_size, (step + 1) * batch_size))
            rows = torch.from_numpy(positions)
            for group in optimizer.param_groups:
                group["lr"] = settings.head_lr * (1 + math.cos(math.pi * (step + 0.5) / steps)) / 2
            loss = criterion(F.linear(x.values[rows], weight, bias), x.labels[rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            step, total = step + 1, total + loss.item() / steps_per_epoch
        if held_out is not None:
            found, _ = _judge(held_out, weight, bias)
            if best is None or found < best[0]:
                best = (found, epoch + 1, weight.detach().clone(), bias.detach().clone())
    seconds = time.perf_counter() - began
    kept = settings.head_epochs
    if best is not None:
        _, kept, weight, bias = best
    with torch.no_grad():
        layer.weight.copy_(weight / scale)
        if layer.bias is not None:
            layer.bias.copy_(bias - (weight / scale) @ mean)
    val_loss, wrong = (None, None) if held_out is None else _judge(held_out, weight, bias)
    return HeadTraining(settings.head_epochs, kept, seconds, total, val_loss, wrong)


def _judge(features: Features, weight: Tensor, bias: Tensor) -> tuple[float, int]:
    """Plain cross-entropy in nats, and how many are wrong."""
    with torch.no_grad():
        logits = F.linear(features.values, weight, bias)
        return float(F.cross_entropy(logits, features.labels)), int((logits.argmax(1) != features.labels).sum())

"""The optimizer of a recipe, with parameters grouped by the type of module they belong to."""

from __future__ import annotations

import torch
from torch import nn

from residuum.nets.ops import NORMS
from residuum.training.recipe import SGD


def make_optimizer(network: nn.Module, settings: SGD) -> torch.optim.SGD:
    """SGD over two groups: weights, and the scales, shifts and biases, which may be spared weight decay."""
    weights, others = [], []
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            (others if isinstance(module, NORMS) or name == "bias" else weights).append(parameter)
    spared = settings.weight_decay if settings.decay_norms_and_biases else 0.0
    groups = [{"params": weights}, {"params": others, "weight_decay": spared}]
    return torch.optim.SGD(
        [group for group in groups if group["params"]],
        lr=settings.lr,
        momentum=settings.momentum,
        nesterov=settings.nesterov,
        weight_decay=settings.weight_decay,
    )

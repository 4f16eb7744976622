"""Classification: logits and labels to a loss, and to errors that add up over batches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Mix:
    """Pictures that are two at once: `partners` int64 (N,) are the second labels, `shares` (N,) those of the first."""

    partners: Tensor
    shares: Tensor


@dataclass(frozen=True)
class Criterion:
    """What training makes small.

    label_smoothing   this share of each target is spread over all classes
    weights           (K,) how much a picture of each class counts; the mean is the weighted one
    focal_gamma       a picture's loss times (1 - p)^gamma, p being what its class was given (Lin et al. 2017, eq. 4)
    """

    label_smoothing: float = 0.0
    weights: Tensor | None = None
    focal_gamma: float = 0.0

    def __call__(self, logits: Tensor, targets: Tensor, mix: Mix | None = None) -> Tensor:
        """The mean loss in nats, in float32 at least; logits (N, K), targets int64 (N,)."""
        return self.total(logits, targets, mix) / self.count(targets, mix)

    def total(self, logits: Tensor, targets: Tensor, mix: Mix | None = None) -> Tensor:
        """The sum over pictures of loss times weight; the mean is this by `count`. Sums of parts add up."""
        logits = _precise(logits)
        if mix is None:
            return self._each(logits, targets).sum()
        return (mix.shares * self._each(logits, targets) + (1 - mix.shares) * self._each(logits, mix.partners)).sum()

    def count(self, targets: Tensor, mix: Mix | None = None) -> float:
        """The sum of the pictures' weights."""
        if self.weights is None:
            return float(len(targets))
        weights = self.weights.to(targets.device, torch.float64)  # exact, however the pictures are cut into parts
        if mix is None:
            return float(weights[targets].sum())
        return float((mix.shares * weights[targets] + (1 - mix.shares) * weights[mix.partners]).sum())

    def _each(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Each picture's loss (N,) times its weight."""
        each = F.cross_entropy(logits, targets, label_smoothing=self.label_smoothing, reduction="none")
        if self.focal_gamma:
            given = logits.log_softmax(1).gather(1, targets[:, None])[:, 0].exp()
            each = (1 - given).clamp(min=0) ** self.focal_gamma * each
        return each if self.weights is None else self.weights.to(each)[targets] * each


def balanced_weights(labels: np.ndarray, classes: int) -> Tensor:
    """n / (classes * pictures of the class): float32 (classes,), so that each class weighs the same in all."""
    counts = np.bincount(labels, minlength=classes)
    return torch.from_numpy((len(labels) / (classes * np.maximum(counts, 1))).astype(np.float32))


def loss(logits: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy in nats, computed in float32 at least; logits (N, K), targets int64 (N,)."""
    return F.cross_entropy(_precise(logits), targets, label_smoothing=label_smoothing)


def _precise(logits: Tensor) -> Tensor:
    """In float32 at least."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def wrong(logits: Tensor, targets: Tensor) -> Tensor:
    """How many of N pictures are not classified right, as a 0-dimensional tensor."""
    return (logits.argmax(1) != targets).sum()

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
        """The mean loss in nats, in float32; logits (N, K), targets int64 (N,)."""
        if mix is None and self.weights is None and not self.focal_gamma:
            return loss(logits, targets, self.label_smoothing)
        logits = logits.float()
        total, count = self._sums(logits, targets)
        if mix is not None:
            others, other_count = self._sums(logits, mix.partners)
            total = mix.shares * total + (1 - mix.shares) * others
            count = mix.shares * count + (1 - mix.shares) * other_count
        return total.sum() / count.sum()

    def _sums(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Each picture's loss (N,) times its weight, and the weight."""
        each = F.cross_entropy(logits, targets, label_smoothing=self.label_smoothing, reduction="none")
        if self.focal_gamma:
            given = logits.log_softmax(1).gather(1, targets[:, None])[:, 0].exp()
            each = (1 - given).clamp(min=0) ** self.focal_gamma * each
        weights = torch.ones_like(each) if self.weights is None else self.weights.to(each)[targets]
        return weights * each, weights


def balanced_weights(labels: np.ndarray, classes: int) -> Tensor:
    """n / (classes * pictures of the class): float32 (classes,), so that each class weighs the same in all."""
    counts = np.bincount(labels, minlength=classes)
    return torch.from_numpy((len(labels) / (classes * np.maximum(counts, 1))).astype(np.float32))


def loss(logits: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy in nats, computed in float32; logits (N, K), targets int64 (N,)."""
    return F.cross_entropy(logits.float(), targets, label_smoothing=label_smoothing)


def wrong(logits: Tensor, targets: Tensor) -> Tensor:
    """How many of N pictures are not classified right, as a 0-dimensional tensor."""
    return (logits.argmax(1) != targets).sum()

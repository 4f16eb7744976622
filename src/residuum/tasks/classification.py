"""Classification: logits and labels to a loss, and to errors that add up over batches."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def loss(logits: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy in nats, computed in float32; logits (N, K), targets int64 (N,)."""
    return F.cross_entropy(logits.float(), targets, label_smoothing=label_smoothing)


def wrong(logits: Tensor, targets: Tensor) -> Tensor:
    """How many of N pictures are not classified right, as a 0-dimensional tensor."""
    return (logits.argmax(1) != targets).sum()

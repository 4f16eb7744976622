"""Training in little memory: activations are kept at a few places of the network and computed again between them.

Chen, Xu, Zhang, Guestrin 2016, "Training deep nets with sublinear memory cost" (arXiv 1604.06174), section 4.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

KEPT_IN_A_BLOCK = 6
"""Activations that a residual block of two convolutions keeps for its gradients, for one that enters it."""


def frugally(units: Sequence[nn.Module], head: nn.Module, x: Tensor) -> Tensor:
    """The logits of x after `units`, one after the other, and the `head`.

    With segments of s of n units, n / s inputs and the activations of s units are in memory at once: least at
    s = sqrt(n / activations of a unit).
    """
    length = max(1, round(math.sqrt(len(units) / KEPT_IN_A_BLOCK)))
    for start in range(0, len(units), length):
        x = _again(nn.Sequential(*units[start : start + length]), x)
    return head(x)


def _again(segment: nn.Sequential, x: Tensor) -> Tensor:
    """The segment's output; its activations are computed a second time for the gradients."""

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _statistics_set_aside(segment)

    return checkpoint(segment, x, use_reentrant=False, context_fn=contexts)  # type: ignore[return-value]


@contextmanager
def _statistics_set_aside(segment: nn.Module) -> Iterator[None]:
    """Running statistics see each batch once, not again: copies of the buffers take what happens here."""
    kept = [
        (module, name, buffer) for module in segment.modules() for name, buffer in module.named_buffers(recurse=False)
    ]
    for module, name, buffer in kept:
        setattr(module, name, buffer.clone())
    try:
        yield
    finally:
        for module, name, buffer in kept:
            setattr(module, name, buffer)

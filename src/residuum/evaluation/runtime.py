"""A way to compute a network's logits; the ways there are, are in deploy/runtimes.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Runtime:
    """What computes logits; backend and precision are part of the protocol of every number it makes.

    logits    normalised float32 pictures (N, C, H, W) of the network's own size -> float32 (N, K), on the CPU
    """

    backend: str
    precision: str
    logits: Callable[[Tensor], Tensor]

    @property
    def name(self) -> str:
        return f"{self.backend} {self.precision}"

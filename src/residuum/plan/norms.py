"""Which norm stands where: most are the same everywhere; IBN (Pan et al. 2018, arXiv 1807.09441) is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from residuum.config import Part

if TYPE_CHECKING:
    from residuum.plan.builder import Place


class Norm(Part):
    """A norm from outside: subclass as a frozen dataclass and give `parameters(layer)` and `module(layer)`.

    `layer.outputs` is the number of channels, `layer.value` the epsilon. Override `at` where it differs by place.
    """

    def at(self, place: Place) -> Norm | str | None:
        """The norm at a place; None for none there."""
        return None if place.role == "sum" else self

    def parameters(self, layer: Any) -> int:
        """Learned numbers."""
        raise NotImplementedError

    def module(self, layer: Any) -> Any:
        """The torch module, (N, C, ...) to the same shape."""
        raise NotImplementedError


def _ibn_a(place: Place) -> str | None:
    """Instance norm for half of the channels after a branch's first convolution, in all stages but the last."""
    if place.role == "sum":
        return None
    early = place.role == "branch" and place.index < place.stages - 1
    return "half_instance" if early and place.number == 1 else "batch"


def _ibn_b(place: Place) -> str | None:
    """Instance norm after the stem, and after the sum that ends each of the first two stages."""
    if place.role == "sum":
        return "instance" if place.last_block and place.index < 2 else None
    return "instance" if place.role == "stem" else "batch"


PLACED: dict[str, Callable[[Place], str | None]] = {"ibn_a": _ibn_a, "ibn_b": _ibn_b}


def norm_at(norm: str | Part, place: Place, number: int | None) -> Norm | str | None:
    """The norm layer that an axis value asks for at a place, the `number`th of its chain."""
    if isinstance(norm, Norm):
        return norm.at(replace(place, number=number))
    if norm in PLACED:
        return PLACED[str(norm)](replace(place, number=number))
    return None if norm == "none" or place.role == "sum" else str(norm)

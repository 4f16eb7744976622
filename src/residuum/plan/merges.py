"""How branch and shortcut are joined."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from residuum.config import Part
from residuum.plan.builder import Builder, Place
from residuum.plan.nodes import Chain


class Merge(Part):
    """A merge: `kind` names the operation, which `residuum.nets.blocks` carries out."""

    kind: ClassVar[str] = "add"
    branches: ClassVar[int] = 1

    def value(self, place: Place) -> float:
        """The number the operation needs at a place."""
        return 0.0

    def gate(self, u: Builder, outputs: int, stride: tuple[int, ...]) -> Chain | None:
        """Layers of its own over the block's input."""
        return None

    def outputs(self, shortcut: int, branch: int) -> int:
        """Channels that leave it."""
        return branch


@dataclass(frozen=True)
class Add(Merge):
    """F(x) + S(x)."""


@dataclass(frozen=True)
class ScaledAdd(Merge):
    """scale * F(x) + S(x), one scale for each stage (Szegedy et al. 2016, arXiv 1602.07261, section 3.3)."""

    kind = "scaled"
    scales: tuple[float, ...]

    def value(self, place: Place) -> float:
        self.must(len(self.scales) == place.stages, f"use one scale in merge for each of {place.stages} stages")
        return self.scales[place.index]


@dataclass(frozen=True)
class Gate(Merge):
    """T(x) F(x) + (1 - T(x)) S(x), T = sigmoid(3x3 convolution) (Srivastava et al. 2015, arXiv 1505.00387, eq. 3).

    The gate's bias begins below zero (section 2.2), so that at first most of x passes.
    """

    kind = "gate"
    bias: float = -2.0

    def value(self, place: Place) -> float:
        return self.bias

    def gate(self, u: Builder, outputs: int, stride: tuple[int, ...]) -> Chain | None:
        gate = u.fork()
        kernel = u.place.stage.kernel if u.place.stage else 3
        gate.conv(outputs, kernel, stride, u.place.dilation(True), bias=True)
        gate.act(None, "sigmoid")
        return gate.chain("gate")


@dataclass(frozen=True)
class Concatenate(Merge):
    """[S(x), F(x)] (Huang et al. 2017, arXiv 1608.06993, eq. 2)."""

    kind = "concat"

    def outputs(self, shortcut: int, branch: int) -> int:
        return shortcut + branch


@dataclass(frozen=True)
class StochasticDepth(Merge):
    """b F(x) + S(x): in training b is 1 with probability p, else 0, for the whole batch; in use it is p.

    p falls linearly over the blocks from 1 to `last` (Huang et al. 2016, arXiv 1603.09382, eq. 2 to 5).
    """

    kind = "stochastic_depth"
    last: float = 0.5

    def __post_init__(self) -> None:
        self.must(0 < self.last <= 1, "use a probability above 0 and up to 1")

    def value(self, place: Place) -> float:
        return 1.0 - (place.order + 1) / place.blocks * (1.0 - self.last)


@dataclass(frozen=True)
class ShakeShake(Merge):
    """a F1(x) + (1 - a) F2(x) + S(x), a drawn for each picture, and another one for the gradient; in use 1/2
    (Gastaldi 2017, arXiv 1705.07485, eq. 2)."""

    kind = "shake_shake"
    branches = 2


MERGES: dict[str, Merge] = {
    "add": Add(),
    "gate": Gate(),
    "concat": Concatenate(),
    "stochastic_depth": StochasticDepth(),
    "shake_shake": ShakeShake(),
}


def merge_of(value: str | Part) -> Merge:
    """The merge of an axis value."""
    return value if isinstance(value, Merge) else MERGES[str(value)]

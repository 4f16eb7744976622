"""What a plan is made of: a tree of layers and the few ways in which layers are joined.

Pure values, no torch. The module, its cost, the printed table and the weight maps all read the same tree.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any, Literal, Protocol, runtime_checkable

from residuum.spec import AnySpec

Kind = Literal[
    "conv", "norm", "act", "maxpool", "avgpool", "blurpool", "stochasticpool", "globalpool", "adaptivepool",
    "channelpool", "channelconv", "zeropad", "shift", "dropout", "flatten", "linear",
]  # fmt: skip
PaddingPlan = tuple[int | tuple[int, int], ...]


@runtime_checkable
class Leaf(Protocol):
    """A norm or activation from outside: how many numbers it learns, and its module."""

    def parameters(self, layer: Layer) -> int:
        """Learned numbers."""
        ...

    def module(self, layer: Layer) -> Any:
        """The torch module."""
        ...


NORM_PARAMETERS = {"switchable": 6}
"""What some norms learn beyond a scale and a shift per channel: switchable norm weighs three means and variances."""


@dataclass(frozen=True)
class Layer:
    """One operation; every tuple has one value per spatial dimension.

    `variant` says which norm, activation or pool; `value` is the number it needs besides its shape: a norm's
    epsilon, a dropout's rate. Padding is a number for both sides, or a (before, after) pair.
    """

    name: str
    kind: Kind
    inputs: int
    outputs: int
    input_size: tuple[int, ...]
    output_size: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: PaddingPlan
    dilation: tuple[int, ...]
    groups: int = 1
    bias: bool = False
    variant: str | Leaf = ""
    value: float = 0.0

    @property
    def parameters(self) -> int:
        """Learned numbers (running statistics are not learned)."""
        if self.kind in ("conv", "linear"):
            return self.outputs * self.inputs // self.groups * prod(self.kernel) + self.bias * self.outputs
        if not isinstance(self.variant, str):
            return self.variant.parameters(self)
        if self.kind == "norm":
            return 2 * self.outputs + NORM_PARAMETERS.get(self.variant, 0)
        if self.kind == "channelconv":
            return prod(self.kernel)
        return self.outputs if (self.kind, self.variant) == ("act", "tlu") else 0

    @property
    def macs(self) -> int:
        """Multiply-adds for one input; as in the paper's Table 1, those of convolutions and the classifier."""
        if self.kind in ("conv", "linear"):
            return self.outputs * self.inputs // self.groups * prod(self.kernel) * prod(self.output_size)
        return self.outputs * prod(self.kernel) if self.kind == "channelconv" else 0


@dataclass(frozen=True)
class Chain:
    """Nodes one after the other; the empty chain passes its input on."""

    name: str
    nodes: tuple[Node, ...] = ()


@dataclass(frozen=True)
class Concat:
    """y = [f1(x), f2(x), ...] along the channels."""

    name: str
    branches: tuple[Chain, ...]


@dataclass(frozen=True)
class Cascade:
    """x split along the channels into n pieces (Gao et al. 2019, eq. 1): y_i = f_i(x_i + y_(i-1)), y_n = last(x_n).

    `first` leaves the sums out, as where the step changes the shape.
    """

    name: str
    width: int
    steps: tuple[Chain, ...]
    last: Chain
    first: bool


@dataclass(frozen=True)
class Scale:
    """y = x * f(x): attention, one factor per channel or per position."""

    name: str
    factor: Chain


@dataclass(frozen=True)
class Shrink:
    """y = sign(x) max(|x| - t, 0) with t = a * f(a), a = mean |x| of each channel (Zhao et al. 2020, eq. 5 to 8)."""

    name: str
    factor: Chain


@dataclass(frozen=True)
class Block:
    """y = after(merge(branch(u), shortcut(u))) with u = before(x); without a shortcut, y = after(branch(u)).

    Where only the branch sees the norm and activation of pre-activation, they stand in the branch and `before` is
    empty. `value` is the number a merge needs (a survival rate, a scale), `gate` its own layers over u.
    """

    name: str
    before: Chain
    branches: tuple[Chain, ...]
    shortcut: Chain | None
    merge: str
    after: Chain
    value: float = 0.0
    gate: Chain | None = None

    @property
    def branch(self) -> Chain:
        """The only branch, or the first."""
        return self.branches[0]


Node = Layer | Chain | Concat | Cascade | Scale | Shrink | Block


@dataclass(frozen=True)
class NetworkPlan:
    """stem -> stages -> head, ready to be built, counted, printed or mapped."""

    spec: AnySpec
    stem: Chain
    stages: tuple[Chain, ...]
    head: Chain

    @property
    def parts(self) -> tuple[Chain, ...]:
        return (self.stem, *self.stages, self.head)

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """Every layer under its full name, in the order of the forward pass (a block's branch, then its shortcut)."""
        return tuple(layer for part in self.parts for layer in flatten(part))

    @property
    def parameters(self) -> int:
        return sum(layer.parameters for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-adds for one input of the nominal size."""
        return sum(layer.macs for layer in self.layers)


def flatten(node: Node, prefix: str = "") -> Iterator[Layer]:
    """The layers below a node, named by their path."""
    path = prefix + node.name
    if isinstance(node, Layer):
        yield replace(node, name=path)
        return
    for child in children(node):
        yield from flatten(child, path + ".")


def children(node: Node) -> tuple[Node, ...]:
    """The nodes directly below a node, in the order of the forward pass."""
    if isinstance(node, Layer):
        return ()
    if isinstance(node, Chain):
        return node.nodes
    if isinstance(node, Concat):
        return node.branches
    if isinstance(node, Cascade):
        return (*node.steps, node.last)
    if isinstance(node, (Scale, Shrink)):
        return (node.factor,)
    every = (node.before, *node.branches, node.shortcut, node.gate, node.after)
    return tuple(chain for chain in every if chain is not None)

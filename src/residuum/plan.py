"""A spec lowered to layers with every integer settled: spec -> stem, stages of blocks, head.

Pure arithmetic, no torch. The module, its cost, the printed table and the weight maps all read this one plan.
A plan is a tree of four kinds of node: `Layer` (a leaf), `Chain` (one after the other), `Block` (branch and
shortcut, joined) and `Scale` (x times f(x), as attention does).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Literal

from residuum.errors import UserError
from residuum.spec import NetworkSpec, Size, Stage, check, each

Kind = Literal["conv", "norm", "act", "maxpool", "avgpool", "globalpool", "zeropad", "flatten", "linear"]
Padding = tuple[int | tuple[int, int], ...]


@dataclass(frozen=True)
class Layer:
    """One operation; every tuple has one value per spatial dimension.

    `variant` says which norm or activation. Padding is a number for both sides, or a (before, after) pair.
    """

    name: str
    kind: Kind
    inputs: int
    outputs: int
    input_size: tuple[int, ...]
    output_size: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: Padding
    dilation: tuple[int, ...]
    groups: int = 1
    bias: bool = False
    variant: str = ""

    @property
    def parameters(self) -> int:
        """Learned numbers (running statistics are not learned)."""
        if self.kind in ("conv", "linear"):
            return self.outputs * self.inputs // self.groups * prod(self.kernel) + self.bias * self.outputs
        return 2 * self.outputs if self.kind == "norm" and self.variant != "none" else 0

    @property
    def macs(self) -> int:
        """Multiply-adds for one input; as in the paper's Table 1, those of convolutions and the classifier."""
        if self.kind in ("conv", "linear"):
            return self.outputs * self.inputs // self.groups * prod(self.kernel) * prod(self.output_size)
        return 0


@dataclass(frozen=True)
class Chain:
    """Nodes one after the other; the empty chain passes its input on."""

    name: str
    nodes: tuple[Node, ...] = ()


@dataclass(frozen=True)
class Scale:
    """y = x * f(x): channel attention and its kin."""

    name: str
    factor: Chain


@dataclass(frozen=True)
class Block:
    """y = after(merge(branch(u), shortcut(u))) with u = before(x); without a shortcut, y = after(branch(u)).

    Where only the branch sees the norm and activation of pre-activation, they stand in the branch and
    `before` is empty.
    """

    name: str
    before: Chain
    branch: Chain
    shortcut: Chain | None
    merge: str
    after: Chain


Node = Layer | Chain | Scale | Block


@dataclass(frozen=True)
class NetworkPlan:
    """stem -> stages -> head, ready to be built, counted, printed or mapped."""

    spec: NetworkSpec
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


def children(node: Chain | Scale | Block) -> tuple[Node, ...]:
    """The nodes directly below a node, in the order of the forward pass."""
    if isinstance(node, Chain):
        return node.nodes
    if isinstance(node, Scale):
        return (node.factor,)
    return tuple(chain for chain in (node.before, node.branch, node.shortcut, node.after) if chain is not None)


def make_plan(spec: NetworkSpec) -> NetworkPlan:
    """Lower a spec; UserError when the spec is unsound or its input too small for its strides."""
    check(spec)
    stem = _Builder(spec, spec.channels, spec.input_size())
    for i, conv in enumerate(spec.stem.convs, start=1):
        stem.conv(conv.width, conv.kernel, conv.stride, number=i)
        if spec.order == "post" or i < len(spec.stem.convs):  # pre-activation blocks bring their own
            stem.norm(number=i)
            stem.act(number=i)
    if spec.stem.pool:
        stem.maxpool(3, 2)
    at = stem
    stages = []
    for number, stage in enumerate(spec.stages, start=1):
        at = _Builder(spec, at.channels, at.size)
        for index in range(stage.depth):
            _add_block(at, stage, index)
        stages.append(at.chain(f"stage{number}"))
    head = _Builder(spec, at.channels, at.size)
    if spec.order == "pre":
        head.norm()
        head.act()
    head.classifier(spec.classes)
    return NetworkPlan(spec, stem.chain("stem"), tuple(stages), head.chain("head"))


def _add_block(at: _Builder, stage: Stage, index: int) -> None:
    """One block y = merge(F(x), S(x)) of He et al. 2015, section 3.2, appended to the stage."""
    spec = at.spec
    stride = each(stage.stride, spec.ndim) if index == 0 else (1,) * spec.ndim
    outputs = spec.block_outputs(stage)
    changes = outputs != at.channels or max(stride) > 1
    projected = spec.shortcut == "C" or (changes and spec.shortcut in ("B", "D"))
    before = at.fork()
    if spec.order == "pre" and projected:
        # He et al. 2016, section 3: a projection takes the activated input too
        before.norm()
        before.act()
    branch = before.fork()
    _add_branch(branch, stage, stride, activated=bool(before.nodes))
    shortcut = None
    if spec.shortcut != "none":
        shortcut = before.fork()
        if projected:
            _add_projection(shortcut, outputs, stride)
        elif changes:
            shortcut.zeropad(outputs, stride)
    after = branch.fork()
    if spec.order == "post":
        after.act()
    at.append(
        Block(
            f"block{index + 1}",
            before.chain("before"),
            branch.chain("branch"),
            shortcut.chain("shortcut") if shortcut else None,
            spec.merge,
            after.chain("after"),
        ),
        branch.channels,
        branch.size,
    )


def _add_branch(branch: _Builder, stage: Stage, stride: tuple[int, ...], activated: bool) -> None:
    """F(x): 3x3, 3x3 (basic) or 1x1, 3x3, 1x1 (bottleneck), Fig. 5."""
    spec = branch.spec
    middle, outputs, ones = spec.middle_width(stage), spec.block_outputs(stage), (1,) * spec.ndim
    if spec.branch == "basic":
        convs = [(middle, 3, stride, spec.groups), (outputs, 3, ones, spec.groups)]
    else:
        first, second = (stride, ones) if spec.stride_in == "1x1" else (ones, stride)
        convs = [(middle, 1, first, 1), (middle, 3, second, spec.groups), (outputs, 1, ones, 1)]
    for number, (width, kernel, step, groups) in enumerate(convs, start=1):
        if spec.order == "pre" and not (number == 1 and activated):
            branch.norm(number=number)
            branch.act(number=number)
        branch.conv(width, kernel, step, stage.dilation, groups, number=number)
        if spec.order == "post":
            branch.norm(number=number)
            if number < len(convs):
                branch.act(number=number)
    if spec.attention == "se":
        branch.squeeze_excite(reduction=16)


def _add_projection(shortcut: _Builder, outputs: int, stride: tuple[int, ...]) -> None:
    """1x1 projection (eq. 2); D averages before it, so that no pixel is skipped."""
    if shortcut.spec.shortcut == "D" and max(stride) > 1:
        shortcut.avgpool(stride)
        stride = (1,) * shortcut.spec.ndim
    shortcut.conv(outputs, 1, stride)
    if shortcut.spec.order == "post":
        shortcut.norm()


class _Builder:
    """Appends layers and carries the channels and size that reach the next one."""

    def __init__(self, spec: NetworkSpec, channels: int, size: tuple[int, ...]) -> None:
        self.spec, self.channels, self.size = spec, channels, size
        self.nodes: list[Node] = []

    def fork(self) -> _Builder:
        return _Builder(self.spec, self.channels, self.size)

    def chain(self, name: str) -> Chain:
        return Chain(name, tuple(self.nodes))

    def append(self, node: Node, channels: int, size: tuple[int, ...]) -> None:
        self.nodes.append(node)
        self.channels, self.size = channels, size

    def conv(
        self,
        width: int,
        kernel: Size,
        stride: Size = 1,
        dilation: Size = 1,
        groups: int = 1,
        number: int | None = None,
    ) -> None:
        """Padding keeps the size at stride 1; without norms the convolution has the bias they would have."""
        k, s, d = (each(value, self.spec.ndim) for value in (kernel, stride, dilation))
        padding = tuple(dd * (kk - 1) // 2 for kk, dd in zip(k, d, strict=True))
        bias = self.spec.norm == "none"
        self._layer("conv", _numbered("conv", number), width, k, s, padding, dilation=d, groups=groups, bias=bias)

    def norm(self, number: int | None = None) -> None:
        if self.spec.norm != "none":
            per_channel = self.spec.norm == "instance" or (self.spec.norm == "group" and self.channels <= 32)
            if per_channel and prod(self.size) == 1:
                raise UserError(
                    f"size {self.spec.size} leaves norm {self.spec.norm} one value per channel, which it would make "
                    "zero; use a larger size, smaller strides, or norm batch"
                )
            self._layer("norm", _numbered("norm", number), self.channels, variant=self.spec.norm)

    def act(self, number: int | None = None) -> None:
        self._layer("act", _numbered("act", number), self.channels, variant=self.spec.activation)

    def maxpool(self, kernel: int, stride: int) -> None:
        k, s = each(kernel, self.spec.ndim), each(stride, self.spec.ndim)
        self._layer("maxpool", "pool", self.channels, k, s, tuple((kk - 1) // 2 for kk in k))

    def avgpool(self, stride: tuple[int, ...]) -> None:
        """A last, partial window counts too, so that odd sizes come out as a strided convolution leaves them."""
        if self.spec.ndim == 3 and any(n < s for n, s in zip(self.size, stride, strict=True)):
            raise UserError(  # torch's mean over volumes takes no window larger than its input
                f"size {self.spec.size} is too small for shortcut D in three dimensions: {self.size} is left where "
                f"it pools by {stride}; use a larger size, smaller strides, or shortcut B"
            )
        size = tuple(-(-n // s) for n, s in zip(self.size, stride, strict=True))
        self._layer("avgpool", "pool", self.channels, stride, stride, output_size=size)

    def zeropad(self, width: int, stride: tuple[int, ...]) -> None:
        """Shortcut A: every stride-th pixel, and zero channels half before and half after (section 3.3)."""
        self._layer("zeropad", "pad", width, stride=stride)

    def squeeze_excite(self, reduction: int) -> None:
        """SE (Hu et al. 2018, eq. 2-4): s = sigmoid(W2 relu(W1 mean(x))), y = s * x."""
        factor = self.fork()
        factor._layer("globalpool", "pool", factor.channels, output_size=(1,) * self.spec.ndim)
        ones, hidden = (1,) * self.spec.ndim, max(factor.channels // reduction, 1)
        for number, (width, act) in enumerate(((hidden, "relu"), (self.channels, "sigmoid")), start=1):
            factor._layer("conv", f"conv{number}", width, ones, ones, (0,) * self.spec.ndim, bias=True)
            factor._layer("act", f"act{number}", width, variant=act)
        self.append(Scale("attention", factor.chain("factor")), self.channels, self.size)

    def classifier(self, classes: int) -> None:
        self._layer("globalpool", "pool", self.channels, output_size=(1,) * self.spec.ndim)
        self._layer("flatten", "flatten", self.channels, output_size=())
        self._layer("linear", "fc", classes, kernel=(), output_size=(), bias=True)

    def _layer(
        self,
        kind: Kind,
        name: str,
        outputs: int,
        kernel: tuple[int, ...] | None = None,
        stride: tuple[int, ...] | None = None,
        padding: tuple[int, ...] | None = None,
        *,
        output_size: tuple[int, ...] | None = None,
        dilation: tuple[int, ...] | None = None,
        groups: int = 1,
        bias: bool = False,
        variant: str = "",
    ) -> None:
        ones, zeros = (1,) * len(self.size), (0,) * len(self.size)
        kernel = ones if kernel is None else kernel
        stride, padding, dilation = stride or ones, padding or zeros, dilation or ones
        if output_size is None:
            sizes = zip(self.size, kernel, stride, padding, dilation, strict=True)
            output_size = tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in sizes)
            if output_size and min(output_size) < 1:
                raise UserError(
                    f"size {self.spec.size} is too small for this network: nothing is left at {name} "
                    f"({kind}, kernel {kernel}, stride {stride}); use a larger size or smaller strides"
                )
        layer = Layer(
            name, kind, self.channels, outputs, self.size, output_size, kernel, stride, padding, dilation, groups,
            bias, variant,
        )  # fmt: skip
        self.append(layer, outputs, output_size)


def _numbered(name: str, number: int | None) -> str:
    return name if number is None else f"{name}{number}"

"""What F(x) is: the convolutions of a branch. Where norm and activation sit among them is the order's to say."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import gcd, prod
from typing import ClassVar

from residuum.config import Part
from residuum.plan.attentions import attention_of
from residuum.plan.builder import Builder, Place
from residuum.plan.nodes import Block, Cascade, Chain
from residuum.plan.orders import ORDERS
from residuum.spec import NetworkSpec, Size, Stage, each


@dataclass(frozen=True)
class ConvPlan:
    """One convolution of a branch; `pieces` above 1 splits it as Res2Net does."""

    width: int
    kernel: Size
    stride: Size = 1
    dilation: Size = 1
    groups: int = 1
    pieces: int = 1
    padding: Size | None = None


class Branch(Part):
    """A branch: subclass as a frozen dataclass and give `convs`, or override `lower` for what is no chain of them.

    `uses` names what it heeds of the axes groups and base_width and of a stage's dilation and kernel; the others
    must be left as they are.
    """

    uses: ClassVar[tuple[str, ...]] = ()

    def convs(self, spec: NetworkSpec, place: Place) -> tuple[ConvPlan, ...]:
        """The convolutions in their order; the stride is `place.stride`, the channels that come in `place.inputs`."""
        raise NotImplementedError

    def outputs(self, spec: NetworkSpec, stage: Stage, inputs: int) -> int:
        """Channels that leave it."""
        place = Place("branch", stage, inputs=inputs, stride=each(1, spec.ndim))
        return self.convs(spec, place)[-1].width

    def layers(self, spec: NetworkSpec) -> int:
        """Weighted layers, as depth is counted."""
        stage = Stage(1, 64)
        return len(self.convs(spec, Place("branch", stage, inputs=64, stride=each(1, spec.ndim))))

    def lower(self, at: Builder, spec: NetworkSpec, place: Place, activated: bool) -> None:
        """Append the branch; `activated`: its input has had the order's first norm and activation already."""
        order, convs = ORDERS[spec.order], self.convs(spec, place)
        norm, act = "norm" in order.first, "act" in order.first
        for number, conv in enumerate(convs, start=1):
            last = number == len(convs)
            if number == 1 and not activated:
                _norm_act(at, order.first, 1, 1)
            if last and number > 1:
                at.dropout(spec.dropout)
            between = order.last if last else ("norm", "act")
            if conv.pieces > 1:
                _cascade(at, spec, conv, between, number, place)
            else:
                convolve(at, spec, conv, number, place)
                _norm_act(at, between, number + norm, number + act)
        attention_of(spec.attention).lower(at)


def _norm_act(at: Builder, which: tuple[str, ...], norm: int | None = None, act: int | None = None) -> None:
    if "norm" in which:
        at.norm(norm)
    if "act" in which:
        at.act(act)


def convolve(at: Builder, spec: NetworkSpec, conv: ConvPlan, number: int | None, place: Place) -> None:
    """One convolution in the way the spec's `conv` axis has it: in full, or in two steps where it has a kernel."""
    for what, width in ("output", conv.width), ("input", at.channels):
        if conv.groups > 1 and width % conv.groups:
            up = -(-width // conv.groups) * conv.groups
            at.problems.append(
                f"cardinality {conv.groups} does not divide the {what} width {width} of a convolution in stage "
                f"{place.index + 1}; use {up}, or cardinality {gcd(width, conv.groups)}"
            )
            conv = replace(conv, groups=1)
    kernel, stride, dilation = (each(value, spec.ndim) for value in (conv.kernel, conv.stride, conv.dilation))
    way = spec.conv
    if prod(kernel) == 1 or (way == "separable" and conv.groups == at.channels):  # one tap, or depthwise already
        way = "full"
    elif way == "factorised" and (spec.ndim != 3 or conv.groups > 1):
        at.problems.append(
            f"conv factorised splits time from space: set ndim to 3 instead of {spec.ndim}"
            if spec.ndim != 3
            else "conv factorised is for convolutions in one group: set groups to 1, branch to basic, or conv to full"
        )
        way = "full"
    if way == "full":
        return at.conv(conv.width, kernel, stride, dilation, conv.groups, number, padding=conv.padding)
    two = at.fork()
    ones = (1,) * spec.ndim
    if way == "separable":  # Chollet 2017, arXiv 1610.02357: nothing between the two
        two.conv(two.channels, kernel, stride, dilation, two.channels, name="depthwise", padding=conv.padding)
        two.conv(conv.width, ones, ones, groups=conv.groups, name="pointwise")
    else:  # Tran et al. 2018, arXiv 1711.11248, section 3.5: as many parameters as the full convolution
        outputs = place.stage.width if place.stage else conv.width
        inputs = place.inputs or two.channels
        t, space = kernel[0], prod(kernel[1:])
        middle = max(t * space * inputs * outputs // (space * inputs + t * outputs), 1)
        in_space, in_time = None, None
        if conv.padding is not None:
            pad = each(conv.padding, spec.ndim)
            in_space, in_time = (0, *pad[1:]), (pad[0], 0, 0)
        flat, long = (1, *kernel[1:]), (kernel[0], 1, 1)
        two.conv(middle, flat, (1, *stride[1:]), (1, *dilation[1:]), name="space", padding=in_space)
        two.norm()
        two.act()
        two.conv(conv.width, long, (stride[0], 1, 1), (dilation[0], 1, 1), name="time", padding=in_time)
    name = "conv" if number is None else f"conv{number}"
    return at.append(two.chain(name), two.channels, two.size)


def _cascade(
    at: Builder, spec: NetworkSpec, conv: ConvPlan, between: tuple[str, ...], number: int, place: Place
) -> None:
    """Gao et al. 2019 (arXiv 1904.01169), Fig. 2b: all pieces but the last are convolved, each after the sum with
    the one before; where the block strides, sums are left out and the last piece is averaged."""
    width = conv.width // conv.pieces
    first = place.block == 0
    steps = []
    end = at
    for piece in range(1, conv.pieces):
        step = Builder(at.defaults, width, at.size, at.place, at.problems)
        convolve(step, spec, ConvPlan(width, conv.kernel, conv.stride, conv.dilation, conv.groups), None, place)
        _norm_act(step, between)
        steps.append(step.chain(f"piece{piece}"))
        end = step
    last = Builder(at.defaults, width, at.size, at.place, at.problems)
    if first:
        last.avgpool(3, conv.stride, 1, "include")
    at.meet(end.size, last.size)
    node = Cascade(f"conv{number}", width, tuple(steps), last.chain(f"piece{conv.pieces}"), first)
    at.append(node, conv.width, end.size)


@dataclass(frozen=True)
class Convs(Branch):
    """A chain of convolutions with these kernels and these multiples of the stage's width; the first one strides.

    A kernel of 0 stands for the stage's own (3 unless it says otherwise).
    """

    uses = ("groups", "dilation", "kernel")
    kernels: tuple[int, ...]
    widths: tuple[float, ...]

    def __post_init__(self) -> None:
        self.must(0 < len(self.kernels) == len(self.widths), "use as many widths as kernels, and at least one")
        self.must(min(self.kernels) >= 0 and min(self.widths) > 0, "use kernels of at least 0 and widths above 0")

    def outputs(self, spec: NetworkSpec, stage: Stage, inputs: int) -> int:
        return max(round(stage.width * self.widths[-1]), 1)

    def convs(self, spec: NetworkSpec, place: Place) -> tuple[ConvPlan, ...]:
        stage = _stage(place)
        ones = each(1, spec.ndim)
        found = []
        for i, (kernel, width) in enumerate(zip(self.kernels, self.widths, strict=True)):
            found.append(
                ConvPlan(
                    max(round(stage.width * width), 1),
                    kernel or stage.kernel,
                    place.stride if i == 0 else ones,
                    place.dilation(strided=i == 0),
                    spec.groups if kernel != 1 else 1,
                )
            )
        return tuple(found)


@dataclass(frozen=True)
class Bottleneck(Branch):
    """1x1, 3x3, 1x1 (He et al. 2015, Fig. 5); cardinality and width as in Xie et al. 2017 (arXiv 1611.05431).

    With `pieces` above 1 the 3x3 is Res2Net's: that many pieces of the middle width.
    """

    uses = ("groups", "base_width", "dilation", "kernel")
    pieces: int = 1

    def __post_init__(self) -> None:
        self.must(self.pieces >= 1, "use at least 1 piece")

    def convs(self, spec: NetworkSpec, place: Place) -> tuple[ConvPlan, ...]:
        stage = _stage(place)
        middle = stage.width * spec.base_width // 64 * spec.groups
        ones = each(1, spec.ndim)
        first, second = (place.stride, ones) if spec.stride_in == "1x1" else (ones, place.stride)
        expansion = spec.expansion if stage.expansion is None else stage.expansion
        middle = max(middle, 1) * self.pieces
        return (
            ConvPlan(middle, 1, first),
            ConvPlan(middle, stage.kernel, second, place.dilation(spec.stride_in == "3x3"), spec.groups, self.pieces),
            ConvPlan(stage.width * expansion, 1, ones),
        )

    def lower(self, at: Builder, spec: NetworkSpec, place: Place, activated: bool) -> None:
        stage = _stage(place)
        if stage.width * spec.base_width < 64:
            least = -(-64 // stage.width)
            at.problems.append(
                f"the middle width of stage {place.index + 1} is 0; use a base_width of at least {least}"
            )
        super().lower(at, spec, place, activated)


@dataclass(frozen=True)
class Inverted(Branch):
    """1x1 to `expansion` times the input, depthwise 3x3, 1x1 (Sandler et al. 2018, arXiv 1801.04381, section 3.3).

    With an expansion of 1 the first 1x1 is left out, as in MobileNetV2's first stage.
    """

    uses = ("dilation", "kernel")

    def convs(self, spec: NetworkSpec, place: Place) -> tuple[ConvPlan, ...]:
        stage = _stage(place)
        expansion = spec.expansion if stage.expansion is None else stage.expansion
        hidden, ones = place.inputs * expansion, each(1, spec.ndim)
        depthwise = ConvPlan(hidden, stage.kernel, place.stride, place.dilation(True), hidden)
        project = ConvPlan(stage.width, 1, ones)
        return (depthwise, project) if expansion == 1 else (ConvPlan(hidden, 1, ones), depthwise, project)

    def outputs(self, spec: NetworkSpec, stage: Stage, inputs: int) -> int:
        return stage.width


@dataclass(frozen=True)
class ResidualDense(Branch):
    """The residual dense block (Zhang et al. 2018, arXiv 1802.08797, section 3.2): `convs` 3x3 convolutions of
    `growth` channels, each over all before it, then a 1x1 that fuses them to the block's width."""

    uses = ("dilation", "kernel")
    count: int = 4
    growth: float = 0.5

    def __post_init__(self) -> None:
        self.must(self.count >= 1 and self.growth > 0, "use a count of at least 1 and a growth above 0")

    def convs(self, spec: NetworkSpec, place: Place) -> tuple[ConvPlan, ...]:
        stage, ones = _stage(place), each(1, spec.ndim)
        grown = ConvPlan(max(round(stage.width * self.growth), 1), stage.kernel, ones, place.dilation(True))
        return (*(grown,) * self.count, ConvPlan(stage.width, 1, place.stride))

    def lower(self, at: Builder, spec: NetworkSpec, place: Place, activated: bool) -> None:
        """Each convolution with norm and activation, so that what is handed on is ready for all that follow."""
        *grown, fuse = self.convs(spec, place)
        order = ORDERS[spec.order]
        if not activated:
            _norm_act(at, order.first)
        for number, conv in enumerate(grown, start=1):
            step = at.fork()
            convolve(step, spec, conv, None, place)
            _norm_act(step, ("norm", "act"))
            at.meet(at.size, step.size)
            both = at.channels + step.channels
            empty = Chain("")
            node = Block(f"dense{number}", Chain("before"), (step.chain("branch"),), Chain("shortcut"), "concat", empty)
            at.append(node, both, at.size)
        convolve(at, spec, fuse, None, place)
        _norm_act(at, order.last)
        attention_of(spec.attention).lower(at)


def _stage(place: Place) -> Stage:
    assert place.stage is not None
    return place.stage


BRANCHES: dict[str, Branch] = {
    "basic": Convs((0, 0), (1, 1)),
    "bottleneck": Bottleneck(),
    "inverted": Inverted(),
    "res2net": Bottleneck(pieces=4),
    "dark": Convs((1, 0), (0.5, 1)),
    "dense": Convs((1, 0), (4, 1)),
    "single": Convs((0,), (1,)),
    "residual_dense": ResidualDense(),
}


def branch_of(spec: NetworkSpec, stage: Stage) -> Branch:
    """The branch of a stage: its own, or the network's."""
    chosen = stage.branch or spec.branch
    if isinstance(chosen, Branch):
        return chosen
    return BRANCHES[str(chosen)]

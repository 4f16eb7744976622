"""A residual network as one frozen description: each field answers one question, and fields compose freely.

Nothing here imports torch and nothing computes a width: `residuum.plan` lowers a spec to layers once.
Sources: He et al. 2015 (arXiv 1512.03385); He et al. 2016 "Identity Mappings" (1603.05027) for `order`;
Xie et al. 2017 (1611.05431) for `groups`; Hu et al. 2018 (1709.01507) for `attention="se"`;
He, T. et al. 2019 (1812.01187) for shortcut D.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import gcd
from typing import Literal, get_args

from residuum.config import STRICT
from residuum.errors import UserError

Size = int | tuple[int, ...]
"""One value for every spatial dimension, or one value each."""

Branch = Literal["basic", "bottleneck"]
StrideIn = Literal["1x1", "3x3"]
Order = Literal["post", "pre"]
Shortcut = Literal["none", "A", "B", "C", "D"]
Merge = Literal["add"]
Norm = Literal["batch", "group", "instance", "none"]
Activation = Literal["relu", "leaky_relu", "elu", "silu", "gelu"]
Attention = Literal["none", "se"]


@dataclass(frozen=True)
class StemConv:
    """One convolution of the stem."""

    width: int
    kernel: Size
    stride: Size = 1
    __pydantic_config__ = STRICT


@dataclass(frozen=True)
class Stem:
    """How pixels enter: convolutions with norm and activation, then perhaps a 3x3/2 max-pool."""

    convs: tuple[StemConv, ...]
    pool: bool = False
    __pydantic_config__ = STRICT


@dataclass(frozen=True)
class Stage:
    """`depth` blocks of `width` channels; the first block has the stride, all have the dilation.

    The width is that of the 3x3 convolutions; a bottleneck puts out `expansion` times as many channels.
    """

    depth: int
    width: int
    stride: Size = 1
    dilation: Size = 1
    __pydantic_config__ = STRICT


IMAGENET_STEM = Stem((StemConv(64, 7, 2),), pool=True)
CIFAR_STEM = Stem((StemConv(16, 3, 1),))
DEEP_STEM = Stem((StemConv(32, 3, 2), StemConv(32, 3, 1), StemConv(64, 3, 1)), pool=True)


@dataclass(frozen=True)
class NetworkSpec:
    """What a network is. Change one axis with `dataclasses.replace(spec, groups=32)`.

    branch      F(x): two 3x3 convolutions, or 1x1, 3x3, 1x1 (Fig. 5)
    stride_in   which convolution of a bottleneck strides: the first 1x1 (the paper) or the 3x3 (torchvision)
    expansion   output channels of a bottleneck over its width
    order       activation after the addition (2015) or norm and activation before each convolution (2016)
    shortcut    none: the plain net; A: zero-padding; B: projection where shapes change; C: projection
                everywhere (section 4.1); D: average pooling, then projection, where shapes change
    merge       how branch and shortcut are joined
    groups, base_width   cardinality, and bottleneck width per 64 channels of stage width
    ndim        1, 2 or 3 spatial dimensions
    channels, size       of the nominal input
    classes     of the pooled classifier
    """

    stem: Stem
    stages: tuple[Stage, ...]
    branch: Branch = "basic"
    stride_in: StrideIn = "1x1"
    expansion: int = 4
    order: Order = "post"
    shortcut: Shortcut = "B"
    merge: Merge = "add"
    norm: Norm = "batch"
    activation: Activation = "relu"
    attention: Attention = "none"
    groups: int = 1
    base_width: int = 64
    ndim: int = 2
    channels: int = 3
    size: Size = 224
    classes: int = 1000
    __pydantic_config__ = STRICT

    def input_size(self) -> tuple[int, ...]:
        """The nominal input's size, one value per dimension."""
        return each(self.size, self.ndim)

    def block_outputs(self, stage: Stage) -> int:
        """Channels that leave every block of a stage."""
        return stage.width * (self.expansion if self.branch == "bottleneck" else 1)

    def middle_width(self, stage: Stage) -> int:
        """Channels of a branch's inner convolutions (Xie et al. 2017: width * base_width / 64 * groups)."""
        if self.branch == "basic":
            return stage.width
        return stage.width * self.base_width // 64 * self.groups


def each(value: Size, ndim: int) -> tuple[int, ...]:
    """One value per dimension."""
    return (value,) * ndim if isinstance(value, int) else tuple(value)


def problems(spec: NetworkSpec) -> list[str]:
    """Everything wrong with a spec, each with its field and a way out; empty when it can be built."""
    found: list[str] = []

    def positive(field: str, value: Size) -> None:
        values = value if isinstance(value, (tuple, list)) else (value,)
        if not values or not all(isinstance(v, int) and v >= 1 for v in values):
            found.append(f"{field} is {value!r}: use a whole number of at least 1")

    if spec.ndim not in (1, 2, 3):
        return [f"ndim is {spec.ndim!r}: use 1 (series), 2 (pictures) or 3 (volumes, clips)"]
    sizes = {"size": spec.size}
    for i, conv in enumerate(spec.stem.convs, start=1):
        sizes |= {
            f"kernel of stem convolution {i}": conv.kernel,
            f"stride of stem convolution {i}": conv.stride,
        }
        positive(f"width of stem convolution {i}", conv.width)
    for i, stage in enumerate(spec.stages, start=1):
        sizes |= {f"stride of stage {i}": stage.stride, f"dilation of stage {i}": stage.dilation}
        positive(f"depth of stage {i}", stage.depth)
        positive(f"width of stage {i}", stage.width)
    for field, value in sizes.items():
        positive(field, value)
        if isinstance(value, (tuple, list)) and len(value) != spec.ndim:
            found.append(f"{field} has {len(value)} values: give one, or {spec.ndim} (ndim)")
    for field in ("expansion", "groups", "base_width", "channels", "classes"):
        positive(field, getattr(spec, field))
    for field, choices in AXES.items():
        if getattr(spec, field) not in choices:
            found.append(f"{field} is {getattr(spec, field)!r}: choose from {', '.join(choices)}")
    if not spec.stem.convs:
        found.append("stem has no convolution: give at least one")
    if not spec.stages:
        found.append("stages is empty: give at least one")
    return found or _crossing_problems(spec)


def _crossing_problems(spec: NetworkSpec) -> list[str]:
    """Rules between axes; each axis is known to be sound by itself."""
    found: list[str] = []
    if spec.branch == "basic" and spec.base_width != 64:
        found.append("base_width is for bottlenecks: set branch to bottleneck, or change the stages' widths")
    inputs = spec.stem.convs[-1].width
    for i, stage in enumerate(spec.stages, start=1):
        middle = spec.middle_width(stage)
        if middle < 1:
            found.append(f"the middle width of stage {i} is 0; use a base_width of at least {-(-64 // stage.width)}")
        for name, width in ("middle", middle), ("input", inputs if spec.branch == "basic" else middle):
            if width % spec.groups:
                up = -(-width // spec.groups) * spec.groups
                found.append(
                    f"cardinality {spec.groups} does not divide the {name} width {width} of stage {i}; "
                    f"use {up}, or cardinality {gcd(width, spec.groups)}"
                )
        inputs = spec.block_outputs(stage)
    if spec.shortcut == "A":
        inputs = spec.stem.convs[-1].width
        for i, stage in enumerate(spec.stages, start=1):
            outputs = spec.block_outputs(stage)
            if outputs < inputs:
                found.append(f"shortcut A cannot pad {inputs} channels down to {outputs} in stage {i}; use shortcut B")
            inputs = outputs
    if spec.norm == "group":
        widths = {conv.width for conv in spec.stem.convs}
        widths |= {w for s in spec.stages for w in (spec.middle_width(s), spec.block_outputs(s))}
        if bad := sorted(w for w in widths if w and w % min(32, w)):
            found.append(f"norm group needs widths up to 32 or divisible by 32, not {bad}; change the widths")
    return found


def check(spec: NetworkSpec) -> NetworkSpec:
    """The spec itself, or one UserError that names everything wrong with it."""
    if found := problems(spec):
        raise UserError("this network cannot be built: " + "; ".join(found))
    return spec


def layers_of_depth(spec: NetworkSpec) -> int:
    """Weighted layers as the paper counts them: stem, branches and classifier, projections left out."""
    per_block = 2 if spec.branch == "basic" else 3
    return len(spec.stem.convs) + per_block * sum(stage.depth for stage in spec.stages) + 1


def with_depth(spec: NetworkSpec, depth: int) -> NetworkSpec:
    """The same network with `depth` weighted layers, spread evenly (6n+2 for the CIFAR nets, section 4.2)."""
    depths = {stage.depth for stage in spec.stages}
    if len(depths) > 1:
        raise UserError(
            f"depth {depth} cannot be set: the stages of this network differ in depth "
            f"({', '.join(str(stage.depth) for stage in spec.stages)}); choose a network of that depth by name"
        )
    fixed = len(spec.stem.convs) + 1
    step = (2 if spec.branch == "basic" else 3) * len(spec.stages)
    blocks, rest = divmod(depth - fixed, step)
    if rest or blocks < 1:
        low = max(blocks, 1) * step + fixed
        nearest = low if rest * 2 <= step or depth < low else low + step
        raise UserError(f"depth {depth} is not {step}n+{fixed}; the nearest is {nearest}")
    return replace(spec, stages=tuple(replace(stage, depth=blocks) for stage in spec.stages))


AXES: dict[str, tuple[str, ...]] = {
    "branch": get_args(Branch),
    "stride_in": get_args(StrideIn),
    "order": get_args(Order),
    "shortcut": get_args(Shortcut),
    "merge": get_args(Merge),
    "norm": get_args(Norm),
    "activation": get_args(Activation),
    "attention": get_args(Attention),
}
"""The named values of each axis that has names."""

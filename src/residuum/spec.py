"""A residual network as one frozen description: each field answers one question, and fields compose freely.

Nothing here imports torch and nothing computes a width: `residuum.plan` lowers a spec to layers once. A value of an
axis is a name, or a `Part`: an object that lowers itself, of this package or of a user's own.
Sources: He et al. 2015 (arXiv 1512.03385); He et al. 2016 "Identity Mappings" (1603.05027) for `order`; the other
values cite theirs where they are lowered, in `residuum.plan`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from residuum.config import STRICT, Axis, Part

Size = int | tuple[int, ...]
"""One value for every spatial dimension, or one value each."""

Branch = Literal["basic", "bottleneck", "inverted", "res2net", "dark", "dense", "single", "residual_dense"]
StrideIn = Literal["1x1", "3x3"]
Order = Literal["post", "pre", "relu_pre", "before_add", "linear"]
Conv = Literal["full", "separable", "factorised"]
Shortcut = Literal["none", "A", "B", "C", "D", "identity"]
Merge = Literal["add", "gate", "concat", "stochastic_depth", "shake_shake"]
Transition = Literal["stride", "conv", "dense"]
Norm = Literal["batch", "group", "instance", "switchable", "filter_response", "ibn_a", "ibn_b", "none"]
Activation = Literal["relu", "leaky_relu", "elu", "selu", "silu", "gelu", "hard_swish", "relu6", "tlu"]
Attention = Literal["none", "se", "cbam", "eca", "shrink_shared", "shrink_channel"]
Padding = Literal["symmetric", "same"]
Pool = Literal["none", "max", "average", "blur", "stochastic"]


@dataclass(frozen=True)
class StemConv:
    """One convolution of the stem or the head; without a padding it keeps the size at stride 1."""

    width: int
    kernel: Size
    stride: Size = 1
    padding: Size | None = None
    __pydantic_config__ = STRICT


@dataclass(frozen=True)
class Stem:
    """How pixels enter: convolutions with norm and activation, then perhaps a 3x3/2 pool.

    `activate` says whether the last convolution has its norm and activation too; None: where the blocks do not
    bring their own.
    """

    convs: tuple[StemConv, ...]
    pool: Pool = "none"
    activate: bool | None = None
    __pydantic_config__ = STRICT


@dataclass(frozen=True)
class Stage:
    """`depth` blocks of `width` channels; the first block has the stride, all have the dilation.

    The width is that of the 3x3 convolutions; a bottleneck puts out `expansion` times as many channels.
    first_dilation   of the first block's 3x3 convolution, where a stride was replaced by dilation
    kernel           of what is 3x3 elsewhere
    expansion, branch, order   of this stage where they differ from the network's
    """

    depth: int
    width: int
    stride: Size = 1
    dilation: Size = 1
    first_dilation: Size | None = None
    kernel: Size = 3
    expansion: int | None = None
    branch: Annotated[Branch | Part | None, Axis(*get_args(Branch), None)] = None
    order: Order | None = None
    __pydantic_config__ = STRICT


@dataclass(frozen=True)
class Head:
    """How the classifier is reached: further convolutions with norm and activation, pooling, dropout.

    `activate` says whether the last sum has its norm and activation first; None: where the blocks begin with theirs.
    """

    convs: tuple[StemConv, ...] = ()
    dropout: float = 0.0
    activate: bool | None = None
    __pydantic_config__ = STRICT


IMAGENET_STEM = Stem((StemConv(64, 7, 2),), pool="max")
CIFAR_STEM = Stem((StemConv(16, 3, 1),))
DEEP_STEM = Stem((StemConv(32, 3, 2), StemConv(32, 3, 1), StemConv(64, 3, 1)), pool="max")


@dataclass(frozen=True)
class NetworkSpec:
    """What a network is. Change one axis with `dataclasses.replace(spec, groups=32)`.

    branch      F(x): two 3x3 convolutions (basic), or 1x1, 3x3, 1x1 (bottleneck; Fig. 5), ...
    stride_in   which convolution of a bottleneck strides: the first 1x1 (the paper) or the 3x3 (torchvision)
    expansion   output channels of a bottleneck over its width
    conv        how a convolution with a kernel is carried out: in full, depthwise then pointwise, (2+1)D
    order       where norm and activation sit: post (2015), pre (2016), relu_pre (2016, Fig. 4d), before_add
                (Fig. 4c), linear (no activation after the sum)
    shortcut    none: the plain net; A: zero-padding; B: projection where shapes change; C: projection
                everywhere (section 4.1); D: average pooling, then projection, where shapes change;
                identity: only where shapes stay
    merge       how branch and shortcut are joined
    transition  what leads into a stage: its first block's stride, a convolution, or DenseNet's 1x1 and pooling
    groups, base_width   cardinality, and bottleneck width per 64 channels of stage width
    bias        whether convolutions followed by a norm have one all the same
    padding     alike on both sides, or as TensorFlow's "same": the odd pixel after
    eps         added to a variance by norms
    dropout     rate before the last convolution of a branch
    ndim        1, 2 or 3 spatial dimensions
    channels, size       of the nominal input
    classes     of the pooled classifier
    """

    stem: Annotated[Stem | Part, Axis(dataclass=Stem)]
    stages: tuple[Stage, ...]
    branch: Annotated[Branch | Part, Axis(*get_args(Branch))] = "basic"
    stride_in: StrideIn = "1x1"
    expansion: int = 4
    conv: Conv = "full"
    order: Order = "post"
    shortcut: Annotated[Shortcut | Part, Axis(*get_args(Shortcut))] = "B"
    merge: Annotated[Merge | Part, Axis(*get_args(Merge))] = "add"
    transition: Annotated[Transition | Part, Axis(*get_args(Transition))] = "stride"
    norm: Annotated[Norm | Part, Axis(*get_args(Norm))] = "batch"
    activation: Annotated[Activation | Part, Axis(*get_args(Activation))] = "relu"
    attention: Annotated[Attention | Part, Axis(*get_args(Attention))] = "none"
    groups: int = 1
    base_width: int = 64
    bias: bool = False
    padding: Padding = "symmetric"
    eps: float = 1e-5
    dropout: float = 0.0
    head: Head = Head()
    ndim: int = 2
    channels: int = 3
    size: Size = 224
    classes: int = 1000
    __pydantic_config__ = STRICT

    def input_size(self) -> tuple[int, ...]:
        """The nominal input's size, one value per dimension."""
        return each(self.size, self.ndim)


@dataclass(frozen=True)
class Written:
    """A network kept for comparison, whose plan is written down directly under this name (`residuum.plan.written`)."""

    network: str
    channels: int = 3
    size: Size = 224
    classes: int = 1000
    __pydantic_config__ = STRICT

    ndim = 2

    def input_size(self) -> tuple[int, ...]:
        """The nominal input's size, one value per dimension."""
        return each(self.size, 2)


AnySpec = NetworkSpec | Written


def each(value: Size, ndim: int) -> tuple[int, ...]:
    """One value per dimension."""
    return (value,) * ndim if isinstance(value, int) else tuple(value)


def field_problems(spec: AnySpec) -> list[str]:
    """What is wrong with the fields by themselves; rules between them are checked where they are lowered."""
    found: list[str] = []

    def positive(field: str, value: object) -> None:
        values = value if isinstance(value, (tuple, list)) else (value,)
        if not values or not all(isinstance(v, int) and v >= 1 for v in values):
            found.append(f"{field} is {value!r}: use a whole number of at least 1")

    def rate(field: str, value: object) -> None:
        if not isinstance(value, (int, float)) or not 0 <= value < 1:
            found.append(f"{field} is {value!r}: use a number from 0 to below 1")

    def padding(field: str, value: object) -> None:
        values = value if isinstance(value, (tuple, list)) else (value,) * spec.ndim
        if len(values) != spec.ndim or not all(isinstance(v, int) and v >= 0 for v in values):
            found.append(f"{field} is {value!r}: use a whole number of at least 0, or {spec.ndim} of them (ndim)")

    def named(field: str, value: object, choices: tuple[str, ...], parts: bool) -> None:
        if isinstance(value, type) and issubclass(value, Part):
            found.append(f"{field} is the class {value.__name__}: make a value of it, {value.__name__}()")
        elif value not in choices and not (parts and isinstance(value, Part)):
            found.append(f"{field} is {value!r}: choose from {', '.join(choices)}")

    if spec.ndim not in (1, 2, 3):
        return [f"ndim is {spec.ndim!r}: use 1 (series), 2 (pictures) or 3 (volumes, clips)"]
    sizes: dict[str, object] = {"size": spec.size}
    numbers = ["channels", "classes"]
    if isinstance(spec, NetworkSpec):
        numbers += ["expansion", "groups", "base_width"]
        stem = spec.stem.convs if isinstance(spec.stem, Stem) else ()
        for part, convs in ("stem", stem), ("head", spec.head.convs):
            for i, conv in enumerate(convs, start=1):
                sizes |= {
                    f"kernel of {part} convolution {i}": conv.kernel,
                    f"stride of {part} convolution {i}": conv.stride,
                }
                positive(f"width of {part} convolution {i}", conv.width)
                if conv.padding is not None:
                    padding(f"padding of {part} convolution {i}", conv.padding)
        for i, stage in enumerate(spec.stages, start=1):
            sizes |= {
                f"stride of stage {i}": stage.stride,
                f"dilation of stage {i}": stage.dilation,
                f"kernel of stage {i}": stage.kernel,
            }
            if stage.first_dilation is not None:
                sizes[f"first_dilation of stage {i}"] = stage.first_dilation
            positive(f"depth of stage {i}", stage.depth)
            positive(f"width of stage {i}", stage.width)
            if stage.expansion is not None:
                positive(f"expansion of stage {i}", stage.expansion)
            if stage.branch is not None:
                named(f"branch of stage {i}", stage.branch, AXES["branch"], True)
            if stage.order is not None:
                named(f"order of stage {i}", stage.order, AXES["order"], False)
        rate("dropout", spec.dropout)
        rate("dropout of the head", spec.head.dropout)
        if not isinstance(spec.eps, float) or not 0 < spec.eps < 1:
            found.append(f"eps is {spec.eps!r}: use a small positive number like 1e-5")
        for field, choices in AXES.items():
            named(field, getattr(spec, field), choices, field not in NAMES_ONLY)
        if not isinstance(spec.stem, (Stem, Part)):
            found.append(f"stem is {spec.stem!r}: use a Stem")
        if isinstance(spec.stem, Stem):
            if not stem:
                found.append("stem has no convolution: give at least one")
            if spec.stem.pool not in get_args(Pool):
                found.append(f"pool of the stem is {spec.stem.pool!r}: choose from {', '.join(get_args(Pool))}")
        if not spec.stages:
            found.append("stages is empty: give at least one")
    for field, value in sizes.items():
        positive(field, value)
        if isinstance(value, (tuple, list)) and len(value) != spec.ndim:
            found.append(f"{field} has {len(value)} values: give one, or {spec.ndim} (ndim)")
    for field in numbers:
        positive(field, getattr(spec, field))
    return found


AXES: dict[str, tuple[str, ...]] = {
    "branch": get_args(Branch),
    "stride_in": get_args(StrideIn),
    "conv": get_args(Conv),
    "order": get_args(Order),
    "shortcut": get_args(Shortcut),
    "merge": get_args(Merge),
    "transition": get_args(Transition),
    "norm": get_args(Norm),
    "activation": get_args(Activation),
    "attention": get_args(Attention),
    "padding": get_args(Padding),
}
"""The named values of each axis that has names."""
NAMES_ONLY = ("stride_in", "conv", "order", "padding")
"""Those of them that take no part."""

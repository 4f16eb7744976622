"""Appends layers to a chain and carries the channels and size that reach the next one."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from math import prod
from typing import Any

from residuum.config import Part
from residuum.errors import UserError
from residuum.plan.nodes import Chain, Concat, Kind, Layer, Leaf, Node, PaddingPlan
from residuum.plan.norms import norm_at
from residuum.spec import Size, Stage, each

Spatial = tuple[int, ...]

PER_CHANNEL = ("instance", "half_instance", "filter_response")
"""Norms over the positions of one channel of one picture: over a single position nothing is left of it."""


@dataclass(frozen=True)
class Place:
    """Where in a network something is lowered; what is counted is counted from 0.

    role           "stem", "transition", "branch", "shortcut", "sum" (after the merge) or "head"
    stage, index   the stage and its number, of `stages`
    block          the block's number in its stage
    order, blocks  the block's number in the whole network, and how many there are
    inputs         channels that enter the block
    stride         of the block
    number         of the norm in its chain, from 1
    """

    role: str = "stem"
    stage: Stage | None = None
    index: int = 0
    stages: int = 0
    block: int = 0
    order: int = 0
    blocks: int = 0
    inputs: int = 0
    stride: Spatial = ()
    number: int | None = None

    def of(self, role: str) -> Place:
        """The same place in another role; several times as fast as dataclasses.replace, and there are thousands."""
        return Place(
            role, self.stage, self.index, self.stages, self.block, self.order, self.blocks, self.inputs, self.stride
        )  # fmt: skip

    @property
    def last_block(self) -> bool:
        return self.stage is not None and self.block == self.stage.depth - 1

    def dilation(self, strided: bool) -> Size:
        """Of a convolution of the stage; what strides, or stands before what does, keeps the former one in block 0."""
        if self.stage is None:
            return 1
        first = self.stage.first_dilation if strided and self.block == 0 else None
        return self.stage.dilation if first is None else first

    @property
    def width(self) -> int:
        """Of the stage."""
        assert self.stage is not None
        return self.stage.width


@dataclass(frozen=True)
class Defaults:
    """What the axes of a spec say of every layer, whoever appends it."""

    ndim: int
    size: Size
    norm: str | Part = "batch"
    activation: str | Part = "relu"
    padding: str = "symmetric"
    bias: bool = False
    eps: float = 1e-5


@dataclass
class Builder:
    """One chain in the making. Problems between axes are collected, so that all can be told at once."""

    defaults: Defaults
    channels: int
    size: Spatial
    place: Place = field(default_factory=Place)
    problems: list[str] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)

    def fork(self, role: str | None = None) -> Builder:
        """An empty chain that begins where this one stands."""
        place = self.place if role is None else self.place.of(role)
        return Builder(self.defaults, self.channels, self.size, place, self.problems)

    def chain(self, name: str) -> Chain:
        """What was appended, as one node."""
        if len({node.name for node in self.nodes}) < len(self.nodes):
            names = [node.name for node in self.nodes]
            twice = next(each for each in names if names.count(each) > 1)
            raise UserError(f"two layers of a {name} are called {twice}: give them names or numbers of their own")
        return Chain(name, tuple(self.nodes))

    def append(self, node: Node, channels: int | None = None, size: Spatial | None = None) -> None:
        """Any node, and the channels and size that leave it where they are not those that enter."""
        self.nodes.append(node)
        self.channels = self.channels if channels is None else channels
        self.size = self.size if size is None else size

    def join(self, name: str, branches: list[Builder]) -> None:
        """The outputs of several branches side by side."""
        chains = tuple(branch.chain(f"branch{i}") for i, branch in enumerate(branches, start=1))
        for branch in branches:
            if branch.size != branches[0].size:
                raise UserError(
                    f"size {self.defaults.size} does not fit this network: branches of {self.size} end in "
                    f"{branches[0].size} and {branch.size}; use the network's own size"
                )
        self.append(Concat(name, chains), sum(b.channels for b in branches), branches[0].size)

    def conv(
        self,
        width: int,
        kernel: Size,
        stride: Size = 1,
        dilation: Size = 1,
        groups: int = 1,
        number: int | None = None,
        *,
        name: str = "conv",
        padding: Size | None = None,
        bias: bool | None = None,
    ) -> None:
        """Padding, unless given, keeps the size at stride 1; without norms the convolution has the bias of theirs."""
        k, s, d = (each(value, len(self.size)) for value in (kernel, stride, dilation))
        if padding is not None:
            pad: PaddingPlan = each(padding, len(self.size))
        elif self.defaults.padding == "same":
            pad = tuple(_same(*values) for values in zip(self.size, k, s, d, strict=True))
        else:
            pad = _symmetric(k, d)
        if bias is None:
            bias = self.defaults.bias or self.defaults.norm == "none"
        self.layer("conv", numbered(name, number), width, k, s, pad, dilation=d, groups=groups, bias=bias)

    def norm(self, number: int | None = None) -> None:
        """The norm that the axis has for this place, if any."""
        variant = norm_at(self.defaults.norm, self.place, number)
        if variant is None:
            return
        if isinstance(variant, str) and variant != "batch":
            per_channel = variant in PER_CHANNEL or (variant == "group" and self.channels <= 32)
            if per_channel and prod(self.size) == 1:
                raise UserError(
                    f"size {self.defaults.size} leaves norm {self.defaults.norm} one value per channel, which it "
                    "would make constant; use a larger size, smaller strides, or norm batch"
                )
            if variant == "group" and self.channels % min(32, self.channels):
                self.problems.append(
                    f"norm group needs widths up to 32 or divisible by 32, not {self.channels}; change the widths"
                )
            if variant == "half_instance" and self.channels < 2:
                self.problems.append("norm ibn_a splits channels in two and finds one; use wider stages, or norm batch")
        name = numbered("norm", number)
        self.layer("norm", name, self.channels, variant=variant, value=self.defaults.eps)

    def act(self, number: int | None = None, variant: str | Leaf | None = None) -> None:
        """The network's activation, or the one named."""
        chosen: Any = self.defaults.activation if variant is None else variant
        self.layer("act", numbered("act", number), self.channels, variant=chosen)

    def pool(self, kind: str, kernel: int, stride: int, name: str = "pool") -> None:
        """A pooling of the stem: none, max, average, blur (Zhang 2019: max, then blurred striding), stochastic."""
        if kind == "max":
            self.maxpool(kernel, stride, name=name)
        elif kind == "average":
            self.avgpool(kernel, stride, (kernel - 1) // 2, "exclude", name=name)
        elif kind == "blur":
            self.maxpool(kernel, 1, name=name)
            k, s = each(3, len(self.size)), each(stride, len(self.size))
            self.layer("blurpool", "blur", self.channels, k, s, each(1, len(self.size)))
        elif kind == "stochastic":
            k, s = each(kernel, len(self.size)), each(stride, len(self.size))
            self.layer("stochasticpool", name, self.channels, k, s, each((kernel - 1) // 2, len(self.size)))

    def maxpool(
        self, kernel: Size, stride: Size, padding: Size | None = None, *, ceil: bool = False, name: str = "pool"
    ) -> None:
        """Padded to keep the size at stride 1 unless told; `ceil`: a last, partial window counts too."""
        k, s = each(kernel, len(self.size)), each(stride, len(self.size))
        p = tuple((kk - 1) // 2 for kk in k) if padding is None else each(padding, len(self.size))
        if not ceil:
            return self.layer("maxpool", name, self.channels, k, s, p)
        size = tuple(_ceil(*values) for values in zip(self.size, k, s, p, strict=True))
        return self.layer("maxpool", name, self.channels, k, s, p, output_size=size, variant="ceil")

    def avgpool(self, kernel: Size, stride: Size, padding: Size, variant: str, name: str = "pool") -> None:
        """`variant`: "exclude" or "include" the padding in the mean, or "ceil": a last, partial window counts too.

        "ceil" gives odd sizes the output that a strided convolution leaves them.
        """
        k, s, p = (each(value, len(self.size)) for value in (kernel, stride, padding))
        if len(self.size) == 3 and any(n < kk for n, kk in zip(self.size, k, strict=True)):
            raise UserError(  # torch's mean over volumes takes no window larger than its input
                f"size {self.defaults.size} is too small for a mean over {k} in three dimensions, since {self.size} is "
                "left there; use a larger size, smaller strides, or other values for the axes that pool"
            )
        if variant != "ceil":
            return self.layer("avgpool", name, self.channels, k, s, p, variant=variant)
        size = tuple(-(-n // ss) for n, ss in zip(self.size, s, strict=True))
        return self.layer("avgpool", name, self.channels, k, s, p, output_size=size, variant=variant)

    def meet(self, *sizes: Spatial) -> None:
        """Collects a problem where paths that are to be joined end in maps of different sizes."""
        if len(set(sizes)) > 1:
            found = " and ".join(str(size) for size in dict.fromkeys(sizes))
            self.problems.append(
                f"the paths of a block in stage {self.place.index + 1} end in maps of {found}; use odd kernels, or set "
                "padding to same"
            )

    def global_pool(self, variant: str = "mean", name: str = "pool") -> None:
        """To one value per channel (mean, sum), or two, stacked along the first dimension (mean_max)."""
        ndim = len(self.size)
        size = (2, *(1,) * (ndim - 1)) if variant == "mean_max" else (1,) * ndim
        self.layer("globalpool", name, self.channels, output_size=size, variant=variant)

    def pointwise(self, width: int, number: int | None = None, bias: bool = True, name: str = "conv") -> None:
        """A 1x1 convolution with a bias of its own, as attention uses for its small networks."""
        ndim = len(self.size)
        self.layer("conv", numbered(name, number), width, (1,) * ndim, (1,) * ndim, (0,) * ndim, bias=bias)

    def conv_norm_act(self, name: str, width: int, kernel: Size, stride: Size = 1, padding: Size | None = None) -> None:
        """A convolution with its norm and activation, as a chain of this name."""
        unit = self.fork()
        unit.conv(width, kernel, stride, padding=padding)
        unit.norm()
        unit.act()
        self.append(unit.chain(name), unit.channels, unit.size)

    def dropout(self, rate: float, name: str = "dropout") -> None:
        """Nothing where the rate is 0."""
        if rate:
            self.layer("dropout", name, self.channels, value=rate)

    def classifier(self, classes: int, dropout: float = 0.0) -> None:
        """Mean over all positions, then the linear classifier."""
        self.global_pool()
        self.flatten()
        self.dropout(dropout)
        self.linear(classes, "fc")

    def flatten(self) -> None:
        """All positions of all channels in one row."""
        self.layer("flatten", "flatten", self.channels * prod(self.size), output_size=())

    def linear(self, width: int, name: str) -> None:
        """A fully connected layer with bias, over what was flattened."""
        self.layer("linear", name, width, kernel=(), output_size=(), bias=True)

    def layer(
        self,
        kind: Kind,
        name: str,
        outputs: int,
        kernel: Spatial | None = None,
        stride: Spatial | None = None,
        padding: PaddingPlan | None = None,
        *,
        output_size: Spatial | None = None,
        dilation: Spatial | None = None,
        groups: int = 1,
        bias: bool = False,
        variant: Any = "",
        value: float = 0.0,
    ) -> None:
        """A layer of any kind; its output size follows from its kernel unless given."""
        if output_size is None and kernel is None and stride is None:
            output_size = self.size
        ones, zeros = (1,) * len(self.size), (0,) * len(self.size)
        kernel = ones if kernel is None else kernel
        stride, padding, dilation = stride or ones, padding or zeros, dilation or ones
        if output_size is None:
            output_size = _after(self.size, kernel, stride, padding, dilation)
        if output_size and min(output_size) < 1:
            raise UserError(
                f"size {self.defaults.size} is too small for this network: nothing is left at {name} "
                f"({kind}, kernel {kernel}, stride {stride}); use a larger size or smaller strides"
            )
        node = Layer(
            name, kind, self.channels, outputs, self.size, output_size, kernel, stride, padding, dilation, groups,
            bias, variant, value,
        )  # fmt: skip
        self.append(node, outputs, output_size)


def numbered(name: str, number: int | None) -> str:
    return name if number is None else f"{name}{number}"


@lru_cache(1024)  # a network has few different layers, and perhaps a thousand of each
def _after(size: Spatial, kernel: Spatial, stride: Spatial, padding: PaddingPlan, dilation: Spatial) -> Spatial:
    """The size of the output."""
    sizes = zip(size, kernel, stride, padding, dilation, strict=True)
    return tuple((n + _both(p) - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in sizes)


@lru_cache(1024)
def _symmetric(kernel: Spatial, dilation: Spatial) -> Spatial:
    return tuple(d * (k - 1) // 2 for k, d in zip(kernel, dilation, strict=True))


def _both(padding: int | tuple[int, int]) -> int:
    return 2 * padding if isinstance(padding, int) else sum(padding)


def _same(size: int, kernel: int, stride: int, dilation: int) -> int | tuple[int, int]:
    """TensorFlow's "same": an output of ceil(size / stride), the odd pixel of padding after."""
    total = max((-(-size // stride) - 1) * stride + dilation * (kernel - 1) + 1 - size, 0)
    return total // 2 if total % 2 == 0 else (total // 2, total - total // 2)


def _ceil(size: int, kernel: int, stride: int, padding: int) -> int:
    """Windows that begin inside the input or its left padding, as torch counts them."""
    count = -(-(size + 2 * padding - kernel) // stride) + 1
    return count - ((count - 1) * stride >= size + padding)

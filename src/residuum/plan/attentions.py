"""What stands at the end of a branch and weighs its channels or positions."""

from __future__ import annotations

from dataclasses import dataclass
from math import log2

from residuum.config import Part
from residuum.plan.builder import Builder
from residuum.plan.nodes import Scale, Shrink


class Attention(Part):
    """An attention: subclass as a frozen dataclass and give `lower`, which appends to the end of a branch."""

    def lower(self, at: Builder) -> None:
        """Append what weighs the channels or positions; the shape stays."""
        raise NotImplementedError


@dataclass(frozen=True)
class NoAttention(Attention):
    """Nothing."""

    def lower(self, at: Builder) -> None:
        return None


@dataclass(frozen=True)
class SqueezeExcite(Attention):
    """SE (Hu et al. 2018, arXiv 1709.01507, eq. 2 to 4): y = x * sigmoid(W2 relu(W1 mean(x))).

    The hidden width is the nearest multiple of `divisor` to channels / reduction, as in published weights.
    """

    reduction: int = 16
    divisor: int = 8

    def __post_init__(self) -> None:
        self.must(min(self.reduction, self.divisor) >= 1, "use a reduction and a divisor of at least 1")

    def lower(self, at: Builder) -> None:
        factor = at.fork()
        factor.global_pool()
        factor.pointwise(max(self.divisor, round_to(at.channels / self.reduction, self.divisor)), 1)
        factor.act(1, "relu")
        factor.pointwise(at.channels, 2)
        factor.act(2, "sigmoid")
        at.append(Scale("attention", factor.chain("factor")), at.channels, at.size)


@dataclass(frozen=True)
class CBAM(Attention):
    """CBAM (Woo et al. 2018, arXiv 1807.06521, eq. 2 and 3): channels, then positions.

    Mc = sigmoid(W1 relu(W0 mean(x)) + W1 relu(W0 max(x))); Ms = sigmoid(f7x7([mean over channels; max])). W0 and W1
    have biases, as the paper's parameter counts have (Table 4).
    """

    reduction: int = 16
    kernel: int = 7

    def __post_init__(self) -> None:
        self.must(self.reduction >= 1, "use a reduction of at least 1")
        self.must(self.kernel >= 1 and self.kernel % 2 == 1, "use an odd kernel")

    def lower(self, at: Builder) -> None:
        factor = at.fork()
        factor.global_pool("mean_max")  # both means through the same small network: two positions of one map
        factor.pointwise(max(at.channels // self.reduction, 1), 1)
        factor.act(1, "relu")
        factor.pointwise(at.channels, 2)
        factor.global_pool("sum", "sum")
        factor.act(2, "sigmoid")
        at.append(Scale("attention", factor.chain("factor")), at.channels, at.size)
        where = at.fork()
        where.layer("channelpool", "pool", 2, variant="mean_max")
        where.conv(1, self.kernel, bias=False)
        where.act(None, "sigmoid")
        at.append(Scale("position", where.chain("factor")), at.channels, at.size)


@dataclass(frozen=True)
class EfficientChannel(Attention):
    """ECA (Wang et al. 2020, arXiv 1910.03151, eq. 9 and 12): y = x * sigmoid(conv over the channels of mean(x)).

    The kernel grows with the logarithm of the channels: |log2(C)/gamma + b/gamma|, to the next odd number, at least 3.
    """

    gamma: int = 2
    b: int = 1

    def __post_init__(self) -> None:
        self.must(self.gamma >= 1, "use a gamma of at least 1")

    def lower(self, at: Builder) -> None:
        t = int(abs(log2(at.channels) + self.b) / self.gamma)
        kernel = max(t if t % 2 else t + 1, 3)
        factor = at.fork()
        factor.global_pool()
        size = factor.size
        factor.layer("channelconv", "conv", at.channels, (kernel,), output_size=size)
        factor.act(None, "sigmoid")
        at.append(Scale("attention", factor.chain("factor")), at.channels, at.size)


@dataclass(frozen=True)
class Shrinkage(Attention):
    """Soft thresholds learned from the map (Zhao et al. 2020, deep residual shrinkage networks, section III-B).

    t = a * sigmoid(W2 relu(norm(W1 a))), a = mean |x| of each channel; `shared`: one threshold for all channels,
    from the mean of a.
    """

    shared: bool = False

    def lower(self, at: Builder) -> None:
        factor = at.fork("shortcut")
        factor.size = (1,) * len(at.size)
        factor.pointwise(at.channels, 1)
        if at.defaults.norm != "none":
            factor.layer("norm", "norm", at.channels, variant="batch", value=at.defaults.eps)
        factor.act(1, "relu")
        factor.pointwise(1 if self.shared else at.channels, 2)
        factor.act(2, "sigmoid")
        at.append(Shrink("attention", factor.chain("factor")), at.channels, at.size)


def round_to(value: float, divisor: int) -> int:
    """The nearest multiple, halves up."""
    return int(value + divisor / 2) // divisor * divisor


ATTENTIONS: dict[str, Attention] = {
    "none": NoAttention(),
    "se": SqueezeExcite(),
    "cbam": CBAM(),
    "eca": EfficientChannel(),
    "shrink_shared": Shrinkage(shared=True),
    "shrink_channel": Shrinkage(),
}


def attention_of(value: str | Part) -> Attention:
    """The attention of an axis value."""
    return value if isinstance(value, Attention) else ATTENTIONS[str(value)]

"""What leads into a stage: the stride of its first block (He et al. 2015), or layers of its own."""

from __future__ import annotations

from dataclasses import dataclass

from residuum.config import Part
from residuum.plan.builder import Builder
from residuum.spec import Stage


class Transition(Part):
    """A transition: subclass as a frozen dataclass and give `lower`."""

    def lower(self, at: Builder, stage: Stage, stride: tuple[int, ...]) -> tuple[int, ...]:
        """Append what comes before the stage's blocks; returns the stride that is left to the first of them."""
        raise NotImplementedError


@dataclass(frozen=True)
class InBlock(Transition):
    """Nothing: the first block strides."""

    def lower(self, at: Builder, stage: Stage, stride: tuple[int, ...]) -> tuple[int, ...]:
        return stride


@dataclass(frozen=True)
class ConvTransition(Transition):
    """A 3x3 convolution with norm and activation to the stage's width, which strides (Redmon and Farhadi 2018,
    arXiv 1804.02767, Table 1), or comes after a 2x2 max-pool that does (Srivastava et al. 2015); nothing where
    neither size nor width changes."""

    pooled: bool = False

    def lower(self, at: Builder, stage: Stage, stride: tuple[int, ...]) -> tuple[int, ...]:
        ones = (1,) * len(stride)
        if max(stride) == 1 and stage.width == at.channels and stage.first_dilation is None:
            return stride
        if self.pooled and max(stride) > 1:
            at.maxpool(stride, stride, 0)
            stride = ones
        at.conv(stage.width, 3, stride, at.place.dilation(True))
        at.norm()
        at.act()
        return ones


@dataclass(frozen=True)
class DenseTransition(Transition):
    """Norm, activation, 1x1 to `compression` times the channels, average pooling, where the stage strides
    (Huang et al. 2017, arXiv 1608.06993, section 3)."""

    compression: float = 0.5

    def __post_init__(self) -> None:
        self.must(0 < self.compression <= 1, "use a compression above 0 and up to 1")

    def lower(self, at: Builder, stage: Stage, stride: tuple[int, ...]) -> tuple[int, ...]:
        if max(stride) > 1 or stage.first_dilation is not None:  # or strode, until dilation took its place
            at.norm()
            at.act()
            at.conv(max(int(at.channels * self.compression), 1), 1)
        if max(stride) > 1:
            at.avgpool(stride, stride, 0, "exclude")
        return (1,) * len(stride)


TRANSITIONS: dict[str, Transition] = {
    "stride": InBlock(),
    "conv": ConvTransition(),
    "dense": DenseTransition(),
}


def transition_of(value: str | Part) -> Transition:
    """The transition of an axis value."""
    return value if isinstance(value, Transition) else TRANSITIONS[str(value)]

"""How x reaches the shape of F(x): He et al. 2015 (arXiv 1512.03385), section 3.3 and 4.1."""

from __future__ import annotations

from dataclasses import dataclass

from residuum.config import Part
from residuum.plan.builder import Builder
from residuum.plan.orders import ORDERS


class Shortcut(Part):
    """A shortcut: subclass as a frozen dataclass; `changes` says whether the block changes channels or size."""

    def connects(self, changes: bool) -> bool:
        """Whether there is one at all."""
        return True

    def projects(self, changes: bool) -> bool:
        """Whether it has weights, so that in pre-activation it takes the activated input (2016, section 3)."""
        return False

    def lower(self, at: Builder, outputs: int, stride: tuple[int, ...], changes: bool, order: str) -> None:
        """Append it; nothing for the identity."""


@dataclass(frozen=True)
class NoShortcut(Shortcut):
    """The plain net."""

    def connects(self, changes: bool) -> bool:
        return False


@dataclass(frozen=True)
class Identity(Shortcut):
    """x itself, where the shapes stay; no shortcut elsewhere (Sandler et al. 2018)."""

    def connects(self, changes: bool) -> bool:
        return not changes


@dataclass(frozen=True)
class ZeroPad(Shortcut):
    """Option A: every stride-th pixel, and zero channels half before and half after."""

    def lower(self, at: Builder, outputs: int, stride: tuple[int, ...], changes: bool, order: str) -> None:
        if outputs < at.channels:
            at.problems.append(
                f"shortcut A cannot pad {at.channels} channels down to {outputs} in stage {at.place.index + 1}; "
                "use shortcut B"
            )
        elif changes:
            at.layer("zeropad", "pad", outputs, stride=stride)


@dataclass(frozen=True)
class Projection(Shortcut):
    """1x1 projection (eq. 2), where shapes change or everywhere; `pooled`: averages first, so that no pixel is
    skipped (T. He et al. 2019, arXiv 1812.01187, ResNet-D); `norm`: followed by one."""

    everywhere: bool = False
    pooled: bool = False
    norm: bool = True

    def projects(self, changes: bool) -> bool:
        return changes or self.everywhere

    def lower(self, at: Builder, outputs: int, stride: tuple[int, ...], changes: bool, order: str) -> None:
        if not self.projects(changes):
            return
        if self.pooled and max(stride) > 1:
            at.avgpool(stride, stride, 0, "ceil")
            stride = (1,) * len(stride)
        at.conv(outputs, 1, stride)
        if self.norm and "norm" in ORDERS[order].last:
            at.norm()


@dataclass(frozen=True)
class TwoPaths(Shortcut):
    """ReLU, then two strided 1x1 projections of half the width, one shifted by a pixel, side by side, and norm
    (Gastaldi 2017, arXiv 1705.07485, section 2.1), where shapes change."""

    def projects(self, changes: bool) -> bool:
        return changes

    def lower(self, at: Builder, outputs: int, stride: tuple[int, ...], changes: bool, order: str) -> None:
        if not changes:
            return
        if outputs < 2:
            at.problems.append(f"two paths cannot share one channel in stage {at.place.index + 1}; use shortcut B")
            return
        if any(step > 1 and size == 1 for step, size in zip(stride, at.size, strict=True)):
            at.problems.append(
                f"two paths of a map of {at.size} leave nothing to the second in stage {at.place.index + 1}; use "
                "a larger size, smaller strides, or shortcut B"
            )
        at.act()
        first, second = at.fork(), at.fork()
        first.conv(outputs // 2, 1, stride)
        if max(stride) > 1:
            by_one = tuple((-1, 1) if step > 1 else 0 for step in stride)
            second.layer("shift", "shift", second.channels, padding=by_one)
        second.conv(outputs - outputs // 2, 1, stride)
        at.join("paths", [first, second])
        at.norm()


SHORTCUTS: dict[str, Shortcut] = {
    "none": NoShortcut(),
    "identity": Identity(),
    "A": ZeroPad(),
    "B": Projection(),
    "C": Projection(everywhere=True),
    "D": Projection(pooled=True),
}


def shortcut_of(value: str | Part) -> Shortcut:
    """The shortcut of an axis value."""
    return value if isinstance(value, Shortcut) else SHORTCUTS[str(value)]

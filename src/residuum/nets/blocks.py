"""Residual blocks, y = after(merge(F(u), S(u))) with u = before(x), and the other ways in which chains are joined.

He et al. 2015, section 3.2 (eq. 1 and 2): before is nothing, merge is the sum, after is the activation.
He et al. 2016, eq. 3 to 5: before is norm and activation where the shortcut projects, after is nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from residuum.nets.merges import MERGES
from residuum.plan import Block, Cascade, Chain, Concat, Node, Scale, Shrink

Make = Callable[[Node], nn.Module]


class Residual(nn.Module):
    """y = after(merge(branch(u), shortcut(u))), u = before(x)."""

    def __init__(self, plan: Block, shortcut: Chain, make: Make) -> None:
        super().__init__()
        self.before = make(plan.before)
        self.branch = make(plan.branch)
        self.shortcut = make(shortcut)
        self.merge = MERGES[plan.merge](plan.value)
        self.after = make(plan.after)

    def forward(self, x: Tensor) -> Tensor:
        u = self.before(x)
        return self.after(self.merge(self.branch(u), self.shortcut(u)))


class TwoBranches(nn.Module):
    """y = after(merge(branch1(u), branch2(u), shortcut(u))), u = before(x)."""

    def __init__(self, plan: Block, shortcut: Chain, make: Make) -> None:
        super().__init__()
        self.before = make(plan.before)
        self.branch1, self.branch2 = (make(branch) for branch in plan.branches)
        self.shortcut = make(shortcut)
        self.merge = MERGES[plan.merge](plan.value)
        self.after = make(plan.after)

    def forward(self, x: Tensor) -> Tensor:
        u = self.before(x)
        return self.after(self.merge(self.branch1(u), self.branch2(u), self.shortcut(u)))


class Gated(nn.Module):
    """y = after(T F(u) + (1 - T) S(u)), T = gate(u), u = before(x) (Srivastava et al. 2015, eq. 3)."""

    def __init__(self, plan: Block, shortcut: Chain, gate: Chain, make: Make) -> None:
        super().__init__()
        self.before = make(plan.before)
        self.branch = make(plan.branch)
        self.shortcut = make(shortcut)
        self.gate = make(gate)
        self.after = make(plan.after)
        self.bias = plan.value
        "Where the gate's bias begins."

    def forward(self, x: Tensor) -> Tensor:
        u = self.before(x)
        return self.after(torch.lerp(self.shortcut(u), self.branch(u), self.gate(u)))


class Plain(nn.Module):
    """y = after(branch(before(x))): the plain net's stretch of layers that a shortcut would span."""

    def __init__(self, plan: Block, make: Make) -> None:
        super().__init__()
        self.before = make(plan.before)
        self.branch = make(plan.branch)
        self.after = make(plan.after)

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.branch(self.before(x)))


class ScaleBy(nn.Module):
    """y = x * f(x), f giving one factor per channel (or position)."""

    def __init__(self, plan: Scale, make: Make) -> None:
        super().__init__()
        self.factor = make(plan.factor)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor(x)


class SoftThreshold(nn.Module):
    """y = sign(x) max(|x| - t, 0), t = a * f(a), a = mean |x| of each channel.

    Zhao et al. 2020, eq. 5 to 8. Where f gives one factor for all channels, t has the mean of a instead of a.
    As x less what of it lies within +-t, for which training keeps one map instead of four.
    """

    def __init__(self, plan: Shrink, make: Make) -> None:
        super().__init__()
        self.factor = make(plan.factor)

    def forward(self, x: Tensor) -> Tensor:
        a = x.abs().mean(tuple(range(2, x.ndim)), keepdim=True)
        factor = self.factor(a)
        threshold = factor * (a if factor.shape[1] == a.shape[1] else a.mean(1, keepdim=True))
        return x - x.clamp(-threshold, threshold)


class SideBySide(nn.Module):
    """y = [f1(x), f2(x), ...]."""

    def __init__(self, plan: Concat, make: Make) -> None:
        super().__init__()
        for branch in plan.branches:
            self.add_module(branch.name, make(branch))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.children()], 1)


class Pieces(nn.Module):
    """Channels split into pieces; each but the last is convolved after the sum with the one before (Gao et al. 2019).

    Where the step changes the shape (`first`), the sums are left out.
    """

    def __init__(self, plan: Cascade, make: Make) -> None:
        super().__init__()
        self.width, self.first, self.count = plan.width, plan.first, len(plan.steps)
        for chain in (*plan.steps, plan.last):
            self.add_module(chain.name, make(chain))

    def forward(self, x: Tensor) -> Tensor:
        *pieces, last = x.split(self.width, 1)
        *steps, end = self.children()
        found: list[Tensor] = []
        for piece, step in zip(pieces, steps, strict=True):
            found.append(step(piece if self.first or not found else piece + found[-1]))
        return torch.cat([*found, end(last)], 1)


def block(plan: Block, make: Make) -> nn.Module:
    """The module of a block plan."""
    if plan.shortcut is None:
        return Plain(plan, make)
    if plan.gate is not None:
        return Gated(plan, plan.shortcut, plan.gate, make)
    return (Residual if len(plan.branches) == 1 else TwoBranches)(plan, plan.shortcut, make)

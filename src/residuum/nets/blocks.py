"""Residual blocks, y = after(merge(F(u), S(u))) with u = before(x).

He et al. 2015, section 3.2 (eq. 1 and 2): before is nothing, merge is the sum, after is the activation.
He et al. 2016, eq. 3 to 5: before is norm and activation where the shortcut projects, after is nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from residuum.plan import Block, Chain, Node, Scale

Make = Callable[[Node], nn.Module]


class Residual(nn.Module):
    """y = after(merge(branch(u), shortcut(u))), u = before(x)."""

    def __init__(self, plan: Block, shortcut: Chain, make: Make) -> None:
        super().__init__()
        self.before = make(plan.before)
        self.branch = make(plan.branch)
        self.shortcut = make(shortcut)
        self.merge = MERGES[plan.merge]()
        self.after = make(plan.after)

    def forward(self, x: Tensor) -> Tensor:
        u = self.before(x)
        return self.after(self.merge(self.branch(u), self.shortcut(u)))


class Plain(nn.Module):
    """y = after(branch(before(x))): the plain net's stretch of layers that a shortcut would span."""

    def __init__(self, plan: Block, make: Make) -> None:
        super().__init__()
        self.before = make(plan.before)
        self.branch = make(plan.branch)
        self.after = make(plan.after)

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.branch(self.before(x)))


class Add(nn.Module):
    """F(x) + S(x)."""

    def forward(self, branch: Tensor, shortcut: Tensor) -> Tensor:
        return branch + shortcut


class ScaleBy(nn.Module):
    """y = x * f(x), f giving one factor per channel (or position)."""

    def __init__(self, plan: Scale, make: Make) -> None:
        super().__init__()
        self.factor = make(plan.factor)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor(x)


MERGES: dict[str, Callable[[], nn.Module]] = {"add": Add}


def block(plan: Block, make: Make) -> nn.Module:
    """The module of a block plan."""
    return Plain(plan, make) if plan.shortcut is None else Residual(plan, plan.shortcut, make)

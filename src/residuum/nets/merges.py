"""How branch and shortcut are joined; each takes the number that the plan has for it, and most need none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class Add(nn.Module):
    """F(x) + S(x)."""

    def __init__(self, value: float) -> None:
        super().__init__()

    def forward(self, branch: Tensor, shortcut: Tensor) -> Tensor:
        return branch + shortcut


class ScaledAdd(nn.Module):
    """scale * F(x) + S(x)."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.scale = value

    def forward(self, branch: Tensor, shortcut: Tensor) -> Tensor:
        return branch * self.scale + shortcut


class Concatenate(nn.Module):
    """[S(x), F(x)]."""

    def __init__(self, value: float) -> None:
        super().__init__()

    def forward(self, branch: Tensor, shortcut: Tensor) -> Tensor:
        return torch.cat((shortcut, branch), 1)


class StochasticDepth(nn.Module):
    """b F(x) + S(x), b = 1 with the probability of survival for the whole batch; in use b is that probability.

    Huang et al. 2016 (arXiv 1603.09382), eq. 2 and 5. Draws come from torch's global generator.
    """

    def __init__(self, value: float) -> None:
        super().__init__()
        self.survival = value

    def forward(self, branch: Tensor, shortcut: Tensor) -> Tensor:
        if not self.training:
            return branch * self.survival + shortcut
        survives = torch.rand((), device=branch.device) < self.survival
        return branch * survives.to(branch.dtype) + shortcut


class ShakeShake(nn.Module):
    """a F1(x) + (1 - a) F2(x) + S(x): a uniform for each picture, another one in the gradient, 1/2 in use.

    Gastaldi 2017 (arXiv 1705.07485), eq. 2, "Shake-Shake-Image". Draws come from torch's global generator.
    """

    def __init__(self, value: float) -> None:
        super().__init__()

    def forward(self, first: Tensor, second: Tensor, shortcut: Tensor) -> Tensor:
        if self.training:
            return _Shake.apply(first, second) + shortcut
        return (first + second) / 2 + shortcut


class _Shake(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, first: Tensor, second: Tensor) -> Tensor:
        return torch.lerp(second, first, _per_picture(first))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        (gradient,) = gradients
        weight = _per_picture(gradient)
        return gradient * weight, gradient * (1 - weight)


def _per_picture(x: Tensor) -> Tensor:
    return torch.rand((len(x), *(1,) * (x.ndim - 1)), dtype=x.dtype, device=x.device)


MERGES: dict[str, Callable[[float], nn.Module]] = {
    "add": Add,
    "scaled": ScaledAdd,
    "concat": Concatenate,
    "stochastic_depth": StochasticDepth,
    "shake_shake": ShakeShake,
}

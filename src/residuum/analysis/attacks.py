"""Attacks: the worst small change of the pixels, by the sign of the gradient (captum).

FGSM: x + eps sign(grad) (Goodfellow et al. 2015, arXiv 1412.6572); PGD: several smaller steps from x, each kept within
eps of it (Madry et al. 2018, arXiv 1706.06083). eps is a distance in the largest norm, pixels being in 0..1.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from residuum.errors import UserError

STRENGTHS = (1 / 255, 2 / 255, 4 / 255, 8 / 255)
"""eps of the four severities."""
STEPS = 10
"""Steps of PGD, each of a quarter of eps."""

Attack = Callable[[Tensor, Tensor, float], Tensor]
"""(pixels (N, C, H, W) in 0..1, true classes (N,), eps) -> the attacked pixels."""


class OnPixels(nn.Module):
    """A network that takes pixels in 0..1: (x - mean) / std, then the logits."""

    def __init__(self, network: nn.Module, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.network, self.mean, self.std = network, mean, std

    def forward(self, x: Tensor) -> Tensor:
        return self.network((x - self.mean) / self.std)


def attacks(network: OnPixels) -> dict[str, Attack]:
    """The attacks on a network; UserError where captum is not installed."""
    try:
        from captum.robust import FGSM, PGD
    except ImportError:
        raise UserError('attacks need the library captum: install it with `pip install "residuum[explain]"`') from None
    loss = nn.CrossEntropyLoss(reduction="none")
    fgsm, pgd = FGSM(network, loss, 0.0, 1.0), PGD(network, loss, 0.0, 1.0)

    def one_step(x: Tensor, labels: Tensor, eps: float) -> Tensor:
        return torch.as_tensor(fgsm.perturb(x.requires_grad_(), eps, labels)).detach()

    def many_steps(x: Tensor, labels: Tensor, eps: float) -> Tensor:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # captum says at each step that it asks for gradients
            return torch.as_tensor(pgd.perturb(x, eps, eps / 4, STEPS, labels)).detach()

    return {"fgsm": one_step, "pgd": many_steps}

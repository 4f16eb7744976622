"""The optimizer of a recipe, with parameters grouped by the type of module they belong to."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from residuum.nets.ops import NORMS
from residuum.training.recipe import SGD


def make_optimizer(network: nn.Module, settings: SGD, rates: Mapping[str, float] | None = None) -> torch.optim.SGD:
    """SGD over groups of two kinds: weights, and the scales, shifts and biases, which may be spared weight decay.

    `rates` has the parts of the network that learn, by name, and what their learning rate is multiplied with (a group's
    "factor"); without it all learn alike.
    """
    parts = [(network, 1.0)] if rates is None else [(network.get_submodule(part), f) for part, f in rates.items()]
    spared = settings.weight_decay if settings.decay_norms_and_biases else 0.0
    groups = []
    for part, factor in parts:
        weights, others = _split(part)
        groups += [
            {"params": weights, "factor": factor},
            {"params": others, "weight_decay": spared, "factor": factor},
        ]
    return torch.optim.SGD(
        [group for group in groups if group["params"]],
        lr=settings.lr,
        momentum=settings.momentum,
        nesterov=settings.nesterov,
        weight_decay=settings.weight_decay,
    )


def _split(part: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Weights, and everything else."""
    weights, others = list[nn.Parameter](), list[nn.Parameter]()
    for module in part.modules():
        for name, parameter in module.named_parameters(recurse=False):
            (others if isinstance(module, NORMS) or name == "bias" else weights).append(parameter)
    return weights, others

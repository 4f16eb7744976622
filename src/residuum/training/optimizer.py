"""The optimizer of a recipe, with parameters grouped by the type of module they belong to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from residuum.errors import UserError
from residuum.nets.ops import NORMS
from residuum.training.muon import MuonSGD, hidden_convolutions
from residuum.training.recipe import SGD, Muon


def make_optimizer(
    network: nn.Module,
    settings: SGD,
    rates: Mapping[str, float] | None = None,
    muon: Muon | None = None,
    precision: torch.dtype = torch.float32,
) -> torch.optim.Optimizer:
    """SGD over groups of two kinds: weights, and the scales, shifts and biases, which may be spared weight decay.

    With `muon`, hidden convolutions are groups of a third kind; its products are in bfloat16 where that is the
    `precision` of the network's. `rates` has the parts of the network that learn, by name, and what their learning rate
    is multiplied with; without it all learn alike. A group's "factor" is its rate's share of `settings.lr`. UserError
    where there is nothing for Muon in the whole network.
    """
    parts = [(network, 1.0)] if rates is None else [(network.get_submodule(part), f) for part, f in rates.items()]
    hidden = hidden_convolutions(network) if muon else {}
    if muon and not hidden:
        raise UserError(
            "muon is for convolutions without a bias, beside norms, and this network has none but the first; choose "
            "another network, or leave it out: --set muon=null"
        )
    spared = settings.weight_decay if settings.decay_norms_and_biases else 0.0
    groups = list[dict[str, Any]]()
    for part, factor in parts:
        weights, others = _split(part)
        groups += [
            {"params": [weight for weight in weights if weight not in hidden], "factor": factor},
            {"params": others, "weight_decay": spared, "factor": factor},
        ]
        if muon:
            turned = {"factor": factor * muon.lr / settings.lr, "momentum": muon.momentum}
            groups += [
                {"params": [weight for weight in weights if hidden.get(weight) == count], "matrices": count} | turned
                for count in sorted(set(hidden.values()))
            ]
    groups = [group for group in groups if group["params"]]
    defaults: dict[str, Any] = {
        "lr": settings.lr, "momentum": settings.momentum, "nesterov": settings.nesterov,
        "weight_decay": settings.weight_decay,
    }  # fmt: skip
    if muon is None:
        return torch.optim.SGD(groups, **defaults)
    products = torch.bfloat16 if precision == torch.bfloat16 else torch.float32
    return MuonSGD(groups, muon.iterations, products, **defaults)


def _split(part: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Weights, and everything else."""
    weights, others = list[nn.Parameter](), list[nn.Parameter]()
    for module in part.modules():
        for name, parameter in module.named_parameters(recurse=False):
            (others if isinstance(module, NORMS) or name == "bias" else weights).append(parameter)
    return weights, others

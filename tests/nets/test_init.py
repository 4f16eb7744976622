"""Initial weights: He et al. 2015 (1502.01852), equal for a plain net and its residual twin."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from residuum.catalog import spec
from residuum.nets.network import Network, make_network
from residuum.nets.ops import NORMS
from residuum.plan import make_plan
from residuum.spec import NetworkSpec, Stage, Stem, StemConv

SMALL = NetworkSpec(Stem((StemConv(8, 3),)), (Stage(2, 8), Stage(2, 16, 2)), size=8, classes=3)


def seeded(spec: NetworkSpec, seed: int = 5) -> Network:
    return make_network(make_plan(spec), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("axes", [{}, {"order": "pre"}, {"attention": "se"}, {"ndim": 3}, {"branch": "bottleneck"}])
def test_plain_and_option_a_start_from_the_same_weights(axes: dict[str, Any]) -> None:
    plain = seeded(replace(SMALL, shortcut="none", **axes)).state_dict()
    residual = seeded(replace(SMALL, shortcut="A", **axes)).state_dict()
    assert plain.keys() == residual.keys()
    assert all(torch.equal(plain[key], residual[key]) for key in plain)


def test_weights_depend_on_the_generator_and_on_nothing_else() -> None:
    torch.manual_seed(1)
    first = seeded(SMALL).state_dict()
    state = torch.get_rng_state()
    again = seeded(SMALL).state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[key], again[key]) for key in first)
    other = seeded(SMALL, seed=6).state_dict()
    assert not torch.equal(first["stem.conv1.weight"], other["stem.conv1.weight"])


def test_without_a_generator_the_global_seed_decides() -> None:
    plan = make_plan(SMALL)
    torch.manual_seed(3)
    first = make_network(plan).state_dict()
    torch.manual_seed(3)
    assert all(torch.equal(value, first[key]) for key, value in make_network(plan).state_dict().items())


@pytest.mark.parametrize("axes", [{}, {"groups": 4, "base_width": 16}])
def test_convolutions_have_hes_spread(axes: dict[str, Any]) -> None:
    network = seeded(spec("resnet50", **axes))
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            outputs_seen = module.out_channels // module.groups * math.prod(module.kernel_size)
            weights = module.weight.detach()
            error_of_spread = 1 / math.sqrt(2 * weights.numel())
            assert float(weights.std()) * math.sqrt(outputs_seen / 2) == pytest.approx(1, abs=6 * error_of_spread)
            error_of_mean = math.sqrt(2 / outputs_seen / weights.numel())
            assert float(weights.mean()) == pytest.approx(0, abs=6 * error_of_mean)


@pytest.mark.parametrize("norm", ["batch", "group", "instance", "none"])
def test_norms_start_as_identity_and_biases_at_zero(norm: str) -> None:
    network = seeded(replace(SMALL, norm=norm, attention="se"))
    for name, module in network.named_modules():
        if isinstance(module, NORMS):
            assert module.weight is not None
            assert torch.equal(module.weight, torch.ones_like(module.weight)), name
        bias = getattr(module, "bias", None)
        if isinstance(bias, torch.Tensor):
            assert torch.equal(bias, torch.zeros_like(bias)), name
    buffers = dict(network.named_buffers())
    assert all(float(b.abs().max()) == 0 for name, b in buffers.items() if name.endswith(("mean", "tracked")))
    assert all(float((b - 1).abs().max()) == 0 for name, b in buffers.items() if name.endswith("var"))

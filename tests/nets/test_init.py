"""Initial weights: He et al. 2015 (1502.01852), equal for a plain net and its residual twin."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from residuum.catalog import spec
from residuum.nets.init import initialise
from residuum.nets.merges import StochasticDepth
from residuum.nets.network import Network, make_network
from residuum.nets.ops import NORMS
from residuum.plan import Block, flatten, make_plan
from residuum.plan.merges import ScaledAdd
from residuum.spec import AXES, NetworkSpec, Stage, Stem, StemConv

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


@pytest.mark.parametrize("norm", AXES["norm"])
def test_norms_start_as_identity_and_biases_at_zero(norm: str) -> None:
    network = seeded(replace(SMALL, norm=norm, attention="se"))
    for name, module in network.named_modules():
        weight = getattr(module, "weight", None)
        if isinstance(module, NORMS) and isinstance(weight, torch.Tensor):
            assert torch.equal(weight, torch.ones_like(weight)), name
        bias = getattr(module, "bias", None)
        if isinstance(bias, torch.Tensor):
            assert torch.equal(bias, torch.zeros_like(bias)), name
    buffers = dict(network.named_buffers())
    assert all(float(b.abs().max()) == 0 for name, b in buffers.items() if name.endswith(("mean", "tracked")))
    assert all(float((b - 1).abs().max()) == 0 for name, b in buffers.items() if name.endswith("var"))


FIXUP = replace(SMALL, norm="none", stages=(Stage(3, 8), Stage(2, 16, 2)))

BEGIN_AT_ZERO: dict[str, dict[str, Any]] = {
    "post": {},
    "pre": {"order": "pre"},
    "relu before": {"order": "relu_pre"},
    "linear": {"order": "linear"},
    "bottleneck": {"branch": "bottleneck"},
    "inverted": {"branch": "inverted"},
    "res2net": {"branch": "res2net"},
    "single": {"branch": "single"},
    "residual dense": {"branch": "residual_dense"},
    "separable": {"conv": "separable"},
    "factorised": {"conv": "factorised", "ndim": 3},
    "squeeze and excitation": {"attention": "se"},
    "cbam": {"attention": "cbam"},
    "thresholds": {"activation": "tlu"},
    "stochastic depth": {"merge": "stochastic_depth"},
    "shake-shake": {"merge": "shake_shake"},
    "scaled": {"merge": ScaledAdd((0.1, 0.2))},
}


@pytest.mark.parametrize("axes", BEGIN_AT_ZERO.values(), ids=BEGIN_AT_ZERO)
def test_without_norms_every_branch_begins_at_zero(axes: dict[str, Any]) -> None:
    """Zhang, H. et al. 2019, section 3, rule 1: at first a network is its shortcuts."""
    network = seeded(replace(FIXUP, **axes)).eval()
    x = torch.randn(2, 3, *network.plan.spec.input_size())
    with torch.no_grad():
        for stage in network.plan.stages:
            for node in stage.nodes:
                assert isinstance(node, Block)
                u = torch.randn(2, node_input(node), *(4,) * network.plan.spec.ndim)
                for branch in node.branches:
                    assert not network.get_submodule(f"{stage.name}.{node.name}.{branch.name}")(u).any()
        assert network(x).isfinite().all()


def node_input(node: Block) -> int:
    return next(flatten(node)).inputs


@pytest.mark.parametrize(("branch", "convs"), [("basic", 2), ("bottleneck", 3)])
def test_the_other_convolutions_of_a_branch_are_scaled_by_the_depth(branch: str, convs: int) -> None:
    """L^(-1 / (2m - 2)) for m convolutions in each of L branches (rule 2)."""
    with_norm, without = (seeded(replace(FIXUP, branch=branch, norm=norm)) for norm in ("batch", "none"))
    blocks = 5
    for stage, block in ((1, 1), (1, 3), (2, 2)):
        for number in range(1, convs):
            name = f"stage{stage}.block{block}.branch.conv{number}.weight"
            usual, scaled = (network.state_dict()[name] for network in (with_norm, without))
            torch.testing.assert_close(scaled, usual * blocks ** (-1 / (2 * convs - 2)))
    outside = ("stem.conv1.weight", "stage2.block1.shortcut.conv.weight", "head.fc.weight")
    assert all(torch.equal(with_norm.state_dict()[name], without.state_dict()[name]) for name in outside)


NOT_BORN_DEAD: dict[str, dict[str, Any]] = BEGIN_AT_ZERO | {
    "before the sum": {"order": "before_add"},
    "soft thresholds": {"attention": "shrink_channel"},
    "concatenation": {"merge": "concat", "transition": "dense"},
    "highway": {"merge": "gate", "branch": "single", "order": "before_add"},
    "plain": {"shortcut": "none"},
}


@pytest.mark.parametrize("axes", NOT_BORN_DEAD.values(), ids=NOT_BORN_DEAD)
def test_no_branch_is_born_dead(axes: dict[str, Any]) -> None:
    """However it begins, the first step moves the last convolution of every branch."""
    network = seeded(replace(FIXUP, **axes)).train()
    for module in network.modules():
        if isinstance(module, StochasticDepth):
            module.eval()
    network(torch.randn(4, 3, *network.plan.spec.input_size())).square().sum().backward()
    for stage in network.plan.stages:
        for node in stage.nodes:
            if not isinstance(node, Block):
                continue
            for branch in node.branches:
                path = f"{stage.name}.{node.name}.{branch.name}"
                convs = [n for n, p in network.named_parameters() if n.startswith(path) and p.ndim > 2]
                last = [name for name in convs if ".factor." not in name][-1]
                gradient = network.get_parameter(last).grad
                assert gradient is not None
                assert gradient.any(), last


def test_a_concatenated_branch_begins_as_any_convolution() -> None:
    """Nothing is summed, so nothing grows; zeros would hand zeros on."""
    network = seeded(replace(FIXUP, merge="concat", transition="dense"))
    for name, parameter in network.named_parameters():
        assert parameter.ndim == 1 or parameter.any(), name


@pytest.mark.parametrize("name", ["residual_dense9", "resnet50_fixup", "highway19"])
def test_networks_without_norm_begin_at_a_sane_scale(name: str) -> None:
    network = seeded(spec(name, size=32)).eval()
    with torch.no_grad():
        logits = network(torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1)))
    assert 1e-3 < float(logits.std()) < 100


def test_no_parameter_keeps_what_was_in_memory() -> None:
    """Every axis value: built twice in dirtied memory from one seed, every tensor is the same."""
    for axis, values in AXES.items():
        for value in values:
            needs = {"concat": {"transition": "dense"}, "factorised": {"ndim": 3}}.get(value, {})
            small = replace(SMALL, **{axis: value} | needs)
            states = []
            for fill in (1.0, float("nan")):
                network = make_network(make_plan(small), device="meta").to_empty(device="cpu")
                with torch.no_grad():
                    for tensor in network.state_dict().values():
                        tensor.fill_(fill if tensor.is_floating_point() else 7)
                initialise(network, torch.Generator().manual_seed(5))
                states.append(network.state_dict())
            for key, tensor in states[0].items():
                assert torch.equal(tensor, states[1][key]), (axis, value, key)

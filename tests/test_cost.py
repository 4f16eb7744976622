"""Activation memory against what torch really saves; receptive fields against real gradients."""

from __future__ import annotations

import json
from dataclasses import replace
from math import prod
from typing import Any, get_args

import pytest
import torch
from torch import nn

from residuum.catalog import CATALOG, spec
from residuum.cost import activation_bytes, describe, receptive_field
from residuum.nets.network import Network, make_network
from residuum.nets.ops import NORMS
from residuum.plan import make_plan
from residuum.plan.merges import ScaledAdd
from residuum.plan.shortcuts import TwoPaths
from residuum.plan.transitions import ConvTransition
from residuum.spec import AXES, DEEP_STEM, IMAGENET_STEM, Head, NetworkSpec, Pool, Stage, Stem, StemConv

SMALL = NetworkSpec(Stem((StemConv(8, 3),)), (Stage(2, 8), Stage(2, 16, 2)), size=12, classes=5)

NEEDS: dict[tuple[str, str], dict[str, Any]] = {
    ("merge", "concat"): {"transition": "dense"},
    ("conv", "factorised"): {"ndim": 3, "size": (5, 6, 7)},
    ("branch", "res2net"): {"base_width": 32},
    ("branch", "bottleneck"): {"base_width": 32},
}

KEPT: dict[str, dict[str, Any]] = {
    **{
        f"{axis} {value}": {axis: value} | NEEDS.get((axis, value), {})
        for axis, values in AXES.items()
        for value in values
    },
    **{f"attention {value}, pre": {"attention": value, "order": "pre"} for value in AXES["attention"]},
    **{f"branch {value}, pre": {"branch": value, "order": "pre"} | NEEDS.get(("branch", value), {})
       for value in AXES["branch"]},
    **{f"stem pool {pool}": {"stem": Stem((StemConv(8, 3),), pool=pool)} for pool in get_args(Pool)},
    "pre, stride in the 3x3": {"branch": "bottleneck", "order": "pre", "stride_in": "3x3"},
    "option D, odd sizes": {"shortcut": "D", "size": 13},
    "pre, option A": {"order": "pre", "shortcut": "A"},
    "silu, pre": {"activation": "silu", "order": "pre"},
    "imagenet stem": {"stem": IMAGENET_STEM, "size": 24},
    "deep stem, grouped": {"stem": DEEP_STEM, "size": 16, "groups": 4},
    "series": {"ndim": 1, "stem": IMAGENET_STEM, "size": 64},
    "volumes": {"ndim": 3, "stem": IMAGENET_STEM, "size": 12, "channels": 1},
    "gate, option A": {"merge": "gate", "shortcut": "A"},
    "two paths": {"shortcut": TwoPaths(), "merge": "shake_shake", "order": "relu_pre"},
    "scaled sum": {"merge": ScaledAdd((0.1, 0.2))},
    "pooled transition": {"transition": ConvTransition(pooled=True)},
    "dropout, head": {"dropout": 0.2, "head": Head((StemConv(8, 1),), 0.3)},
    "same, odd": {"padding": "same", "size": 13, "stem": IMAGENET_STEM},
}  # fmt: skip


def saved_bytes(network: Network, x: torch.Tensor) -> int:
    """Bytes autograd keeps: each storage once, without weights, and without the statistics that norms keep."""
    weights = {t.untyped_storage().data_ptr() for t in (*network.parameters(), *network.buffers())}
    kept: dict[int, int] = {}
    normalising: list[int] = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        of_a_map = not normalising or storage.nbytes() >= normalising[0] / 3  # or of half of its channels
        if storage.data_ptr() not in weights and of_a_map:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    def enter(module: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        normalising.append(args[0].untyped_storage().nbytes())

    for module in network.modules():
        if isinstance(module, NORMS):
            module.register_forward_pre_hook(enter)
            module.register_forward_hook(lambda *_: normalising.clear())
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        logits = network(x)
    assert logits.requires_grad
    return sum(kept.values())


@pytest.mark.parametrize("axes", KEPT.values(), ids=KEPT)
def test_activation_bytes_are_what_torch_keeps(axes: dict[str, Any]) -> None:
    plan = make_plan(replace(SMALL, **axes))
    kept = saved_bytes(make_network(plan), torch.randn(2, plan.spec.channels, *plan.spec.input_size()))
    found = activation_bytes(plan, batch_size=2)
    # attention keeps some of its few numbers a channel twice, and a draw is a number of its own
    few = 4 * 2 * 3 * sum(layer.outputs for layer in plan.layers if ".factor." in layer.name)
    draws = (
        4 * sum(layer.name.endswith("after.act") for layer in plan.layers) * (axes.get("merge") == "stochastic_depth")
    )
    assert found <= kept <= found + few + draws
    assert few + draws < found / 20


def test_activation_bytes_follow_the_precision() -> None:
    plan = make_plan(replace(SMALL, stem=IMAGENET_STEM, size=24))
    kept = saved_bytes(make_network(plan).double(), torch.randn(3, 3, 24, 24, dtype=torch.float64))
    assert activation_bytes(plan, batch_size=3, bytes_per_element=8) == kept


@pytest.mark.parametrize("name", ["resnet20", "plain20", "resnet18"])
def test_activation_bytes_of_networks_of_the_catalogue(name: str) -> None:
    plan = make_plan(spec(name, size=64))
    kept = saved_bytes(make_network(plan), torch.randn(2, 3, 64, 64))
    assert activation_bytes(plan, batch_size=2) == kept


def test_the_1202_layer_net_keeps_what_was_measured() -> None:
    kept = activation_bytes(make_plan(spec("resnet1202")), batch_size=128)
    assert kept / 1e9 == pytest.approx(11.8, abs=0.05)


def test_resnet20_trains_at_the_published_arithmetic() -> None:
    """Forward, gradient of the input and of the weights: three times two operations a multiply-add."""
    assert 6 * make_plan(spec("resnet20")).macs / 1e9 == pytest.approx(0.243, abs=5e-4)


FIELDS = {
    "basic": {},
    "dilated": {"stages": (Stage(1, 8, 1, 2), Stage(1, 16, 2, (3, 1)))},
    "bottleneck, stride in the 1x1": {"branch": "bottleneck"},
    "bottleneck, stride in the 3x3": {"branch": "bottleneck", "stride_in": "3x3"},
    "pooled projection": {"shortcut": "D"},
    "option A, pre": {"shortcut": "A", "order": "pre"},
    "plain": {"shortcut": "none"},
    "imagenet stem": {"stem": IMAGENET_STEM},
    "deep stem": {"stem": DEEP_STEM, "stages": (Stage(1, 8), Stage(1, 8, (2, 1)))},
    "series": {"ndim": 1, "stem": IMAGENET_STEM},
    **{f"branch {value}": {"branch": value, "base_width": 64} for value in AXES["branch"]},
    "res2net, stride in the 3x3": {"branch": "res2net", "stride_in": "3x3", "stages": (Stage(2, 8, 2), Stage(2, 8, 2))},
    **{f"stem pool {pool}": {"stem": Stem((StemConv(8, 3),), pool=pool)} for pool in get_args(Pool)},
    "highway": {"merge": "gate", "branch": "single"},
    "a projection that sees more than the branch": {"shortcut": "D", "stages": (Stage(2, 8, 4, kernel=1),)},
    "dense": {"merge": "concat", "transition": "dense"},
    "transition": {"transition": ConvTransition(pooled=True)},
    "separable": {"conv": "separable"},
    "kernel per dimension": {"stages": (Stage(1, 8, kernel=(1, 5)), Stage(1, 8, 2, kernel=(3, 1)))},
    "dilated in place of strides": {"stages": (Stage(1, 8, 2), Stage(2, 8, 1, 2, 1))},
}


@pytest.mark.parametrize("axes", FIELDS.values(), ids=FIELDS)
def test_the_receptive_field_is_the_support_of_the_gradient(axes: dict[str, Any]) -> None:
    """With positive weights on positive input every path counts, and none cancels another."""
    plan = make_plan(replace(SMALL, **{"stages": (Stage(1, 8), Stage(1, 8, 2)), "norm": "none", "size": 129} | axes))
    network = make_network(plan).double().eval()
    for parameter in network.parameters():
        nn.init.constant_(parameter, 0.5)
    for layer in plan.layers:
        if layer.kind == "maxpool":  # the gradient of a maximum reaches one pixel of its window
            pool = {1: nn.AvgPool1d, 2: nn.AvgPool2d}[plan.spec.ndim]
            network.set_submodule(layer.name, pool(layer.kernel, layer.stride, layer.padding))
    x = torch.ones(1, 3, *plan.spec.input_size(), dtype=torch.float64, requires_grad=True)
    last = network.features(x)[plan.stages[-1].name]
    last[(0, slice(None), *(n // 2 for n in last.shape[2:]))].sum().backward()
    assert x.grad is not None
    seen = x.grad[0, 0].nonzero()
    extent = seen.amax(0) - seen.amin(0) + 1
    assert max(extent) < 129
    assert tuple(extent.tolist()) == receptive_field(plan)


def test_the_description_adds_up() -> None:
    plan = make_plan(spec("resnet50"))
    found = describe(plan, "resnet50", batch_size=4)
    assert found["parameters"] == sum(row["parameters"] for row in found["layers"]) == 25_557_032
    assert found["macs"] == sum(row["macs"] for row in found["layers"])
    assert found["input"] == [3, 224, 224]
    assert found["activation_bytes"] == 4 * activation_bytes(plan)
    for row in found["layers"]:
        if row["kind"] == "conv":
            weights = row["out"] * row["in"] // row["groups"] * prod(row["kernel"])
            assert row["macs"] == weights * prod(row["output"])


@pytest.mark.parametrize("name", CATALOG)
def test_every_network_of_the_catalogue_can_be_described(name: str) -> None:
    plan = make_plan(CATALOG[name].spec)
    found = describe(plan, name)
    assert found["activation_bytes"] > 4 * prod(found["input"])
    assert all(field > 1 for field in found["receptive_field"])
    assert json.loads(json.dumps(found)) == found

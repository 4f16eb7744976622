"""Activation memory against what torch really saves; receptive fields against real gradients."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import pytest
import torch
from torch import nn

from residuum.catalog import spec
from residuum.cost import activation_bytes, describe, receptive_field
from residuum.nets.network import Network, make_network
from residuum.nets.ops import NORMS
from residuum.plan import make_plan
from residuum.spec import DEEP_STEM, IMAGENET_STEM, NetworkSpec, Stage, Stem, StemConv

SMALL = NetworkSpec(Stem((StemConv(8, 3),)), (Stage(2, 8), Stage(2, 16, 2)), size=12, classes=5)

KEPT = {
    "post": {},
    "pre": {"order": "pre"},
    "option A": {"shortcut": "A"},
    "option C": {"shortcut": "C"},
    "option D, odd sizes": {"shortcut": "D", "size": 13},
    "plain": {"shortcut": "none"},
    "pre, option A": {"order": "pre", "shortcut": "A"},
    "bottleneck": {"branch": "bottleneck"},
    "pre, bottleneck, stride in the 3x3": {"branch": "bottleneck", "order": "pre", "stride_in": "3x3"},
    "squeeze and excitation": {"attention": "se"},
    "pre, squeeze and excitation": {"attention": "se", "order": "pre"},
    "leaky relu": {"activation": "leaky_relu"},
    "elu": {"activation": "elu"},
    "silu, pre": {"activation": "silu", "order": "pre"},
    "gelu": {"activation": "gelu"},
    "no norm": {"norm": "none"},
    "instance norm": {"norm": "instance"},
    "group norm": {"norm": "group"},
    "imagenet stem": {"stem": IMAGENET_STEM, "size": 24},
    "deep stem, grouped": {"stem": DEEP_STEM, "size": 16, "groups": 4},
    "series": {"ndim": 1, "stem": IMAGENET_STEM, "size": 64},
    "volumes": {"ndim": 3, "stem": IMAGENET_STEM, "size": 12, "channels": 1},
}


def saved_bytes(network: Network, x: torch.Tensor) -> int:
    """Bytes autograd keeps: each storage once, without weights, and without what norms keep beside their input."""
    weights = {t.untyped_storage().data_ptr() for t in (*network.parameters(), *network.buffers())}
    kept: dict[int, int] = {}
    normalising: list[int] = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights and normalising in ([], [storage.data_ptr()]):
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    def enter(module: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        normalising.append(args[0].untyped_storage().data_ptr())

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
    assert activation_bytes(plan, batch_size=2) == kept


def test_activation_bytes_follow_the_precision() -> None:
    plan = make_plan(replace(SMALL, stem=IMAGENET_STEM, size=24))
    kept = saved_bytes(make_network(plan).double(), torch.randn(3, 3, 24, 24, dtype=torch.float64))
    assert activation_bytes(plan, batch_size=3, bytes_per_element=8) == kept


@pytest.mark.parametrize("name", ["resnet20", "plain20", "resnet18"])
def test_activation_bytes_of_networks_of_the_catalogue(name: str) -> None:
    plan = make_plan(spec(name, size=32))
    kept = saved_bytes(make_network(plan), torch.randn(2, 3, 32, 32))
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
}


@pytest.mark.parametrize("axes", FIELDS.values(), ids=FIELDS)
def test_the_receptive_field_is_the_support_of_the_gradient(axes: dict[str, Any]) -> None:
    """With positive weights on positive input every path counts, and none cancels another."""
    plan = make_plan(replace(SMALL, **{"stages": (Stage(1, 8), Stage(1, 8, 2)), "norm": "none", "size": 129} | axes))
    network = make_network(plan).double()
    for parameter in network.parameters():
        nn.init.constant_(parameter, 0.5)
    for layer in plan.layers:
        if layer.kind == "maxpool":  # the gradient of a maximum reaches one pixel of its window
            pool = {1: nn.AvgPool1d, 2: nn.AvgPool2d}[plan.spec.ndim]
            network.set_submodule(layer.name, pool(layer.kernel, layer.stride, layer.padding))
    x = torch.ones(1, 3, *plan.spec.input_size(), dtype=torch.float64, requires_grad=True)
    last = network.features(x)[plan.stages[-1].name]
    last[(0, 0, *(n // 2 for n in last.shape[2:]))].backward()
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

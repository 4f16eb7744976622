"""The same weights give the same logits and stage features as torchvision's networks, in float64."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from peers import import_torchvision
from residuum.catalog import spec
from residuum.nets.network import Network, make_network
from residuum.nets.weights import SCHEMES, load_weights
from residuum.plan import make_plan

pytestmark = pytest.mark.peer

PAIRS = {
    "resnet18": ("resnet18", {}),
    "resnet50": ("resnet50", {"stride_in": "3x3"}),
    "resnext50_32x4d": ("resnet50", {"stride_in": "3x3", "groups": 32, "base_width": 4}),
}


def lively(network: nn.Module) -> nn.Module:
    """Random weights, scales, shifts and statistics, so that no part can hide behind an identity."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith("running_var") or (name.endswith("weight") and tensor.ndim == 1):
                tensor.uniform_(0.5, 1.5, generator=generator)
            elif tensor.ndim == 1:
                tensor.normal_(0, 0.2, generator=generator)
    return network


def twins(name: str) -> tuple[nn.Module, Network]:
    theirs = lively(getattr(import_torchvision().models, name)(weights=None).double().eval())
    ours_name, axes = PAIRS[name]
    plan = make_plan(spec(ours_name, **axes))
    network = make_network(plan).double().eval()
    scheme = load_weights(network, plan, theirs.state_dict(), "torchvision")
    assert scheme.name == "torchvision"
    return theirs, network


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).abs().max() / theirs.abs().max())


@pytest.mark.parametrize("name", PAIRS)
def test_logits_and_stage_features_agree(name: str) -> None:
    theirs, ours = twins(name)
    found: dict[str, Tensor] = {}

    def keep(stage: str, _module: nn.Module, _args: object, output: Tensor) -> None:
        found[stage] = output

    for stage, module in (("stem", "maxpool"), *((f"stage{i}", f"layer{i}") for i in range(1, 5))):
        theirs.get_submodule(module).register_forward_hook(partial(keep, stage))
    for size in ((64, 64), (33, 47)):
        x = torch.randn(1, 3, *size, dtype=torch.float64)
        with torch.no_grad():
            logits, features = theirs(x), ours.features(x)
            assert relative_error(ours(x), logits) < 1e-12
        assert features.keys() == found.keys()
        for stage in found:
            assert relative_error(features[stage], found[stage]) < 1e-12, stage


def test_gradients_agree_in_training() -> None:
    theirs, ours = twins("resnet18")
    x = torch.randn(3, 3, 33, 33, dtype=torch.float64)
    for network in (theirs, ours):
        network.train()(x).square().mean().backward()
    (names,) = (scheme.rename(ours.plan) for scheme in SCHEMES if scheme.name == "torchvision")
    for name, parameter in ours.named_parameters():
        layer, _, leaf = name.rpartition(".")
        same = theirs.get_parameter(f"{names[layer]}.{leaf}")
        assert parameter.grad is not None
        assert same.grad is not None
        assert relative_error(parameter.grad, same.grad) < 1e-9, name


def test_the_stride_in_the_1x1_is_not_torchvisions_resnet50() -> None:
    theirs = lively(import_torchvision().models.resnet50(weights=None).double().eval())
    plan = make_plan(spec("resnet50"))
    ours = make_network(plan).double().eval()
    load_weights(ours, plan, theirs.state_dict(), "torchvision")
    x = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        assert relative_error(ours(x), theirs(x)) > 1e-3


@pytest.mark.parametrize("name", PAIRS)
def test_parameters_are_as_many(name: str) -> None:
    ours, axes = PAIRS[name]
    with torch.device("meta"):
        theirs = getattr(import_torchvision().models, name)(weights=None)
    assert make_plan(spec(ours, **axes)).parameters == sum(p.numel() for p in theirs.parameters())

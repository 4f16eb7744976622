"""What must hold for every network that can be described, whatever its axes."""

from __future__ import annotations

import json
from copy import deepcopy
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from residuum.config import to_dict
from residuum.nets.merges import ShakeShake, StochasticDepth
from residuum.nets.network import Network, make_network
from residuum.nets.ops import NORMS
from residuum.nets.pools import StochasticPool
from residuum.plan import Chain, Layer, NetworkPlan, Node, children, flatten, make_plan, read_spec
from residuum.spec import NetworkSpec, Stage, Stem, StemConv

STEMS = {
    "cifar": Stem((StemConv(8, 3),)),
    "imagenet": Stem((StemConv(8, 7, 2),), pool="max"),
    "deep": Stem((StemConv(4, 3, 2), StemConv(4, 3), StemConv(8, 3)), pool="max"),
}
"""The three stems of the package with fewer channels (the shapes of kernels and strides are theirs)."""

BASE = NetworkSpec(STEMS["cifar"], (Stage(1, 8), Stage(1, 16, 2)), size=(9, 10), classes=3)

BATCH = 3

RANDOM = (nn.Dropout, StochasticDepth, ShakeShake, StochasticPool)
"""Modules that draw in training."""


def pictures(plan: NetworkPlan, device: str = "cpu", dtype: torch.dtype = torch.float64) -> Tensor:
    generator = None if device == "meta" else torch.Generator().manual_seed(1)
    size = (BATCH, plan.spec.channels, *plan.spec.input_size())
    return torch.randn(size, generator=generator, device=device, dtype=dtype)


def lively_network(plan: NetworkPlan) -> Network:
    """Scales, shifts and biases away from 0 and 1, and no branch that begins at zero: no gradient is zero by chance."""
    generator = torch.Generator().manual_seed(2)
    network = make_network(plan, generator=generator).double()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.ndim == 1:
                parameter.uniform_(0.5, 1.5, generator=generator)
            elif ".factor." in name:  # so that the few hidden units of attention live
                parameter.abs_().mul_(0.01)
            elif not parameter.any():
                parameter.normal_(0, 0.1, generator=generator)
    return network


def in_evaluation(network: nn.Module, *types: type[nn.Module]) -> None:
    """Puts modules of these types, and what is in them, into evaluation mode."""
    for module in network.modules():
        if isinstance(module, types):
            module.eval()


def costs_are_as_planned(plan: NetworkPlan) -> None:
    network = make_network(plan, device="meta")
    assert sum(p.numel() for p in network.parameters()) == plan.parameters
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(pictures(plan, "meta", torch.float32))
    assert counter.get_total_flops() == 2 * BATCH * plan.macs


def shapes_are_as_planned(plan: NetworkPlan, network: Network) -> None:
    found: dict[str, tuple[int, ...]] = {}

    def keep(name: str) -> Any:
        def hook(_module: nn.Module, _args: object, output: Tensor) -> None:
            found[name] = tuple(output.shape)

        return hook

    handles = [network.get_submodule(x.name).register_forward_hook(keep(x.name)) for x in plan.layers]
    with torch.no_grad():
        logits = network.eval()(pictures(plan))
    for handle in handles:
        handle.remove()
    assert found == {layer.name: (BATCH, layer.outputs, *layer.output_size) for layer in plan.layers}
    assert logits.shape == (BATCH, plan.spec.classes)
    assert logits.isfinite().all()


def leaky(network: Network) -> Network:
    """A copy whose activations let something through everywhere: that none of few units lives is no broken path."""
    copied = deepcopy(network)
    for name, module in network.named_modules():
        if isinstance(module, (nn.ReLU, nn.ReLU6, nn.Hardswish)):
            copied.set_submodule(name, nn.LeakyReLU(0.1))
    return copied


def gradient_reaches_every_parameter(plan: NetworkPlan, network: Network, *, few_units: bool = False) -> None:
    network = (leaky(network) if few_units else network).train()
    in_evaluation(network, nn.Dropout, StochasticDepth)  # what they drop gets none
    logits = network(pictures(plan))
    weights = torch.randn(logits.shape, dtype=logits.dtype, generator=torch.Generator().manual_seed(3))
    (logits * weights).sum().backward()
    excused = subtracted_again(plan)
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        if parameter.ndim > 1 or not few_units:  # a far norm may take a bias away, a threshold may lie below all
            assert name in excused or parameter.grad.any(), name


def subtracted_again(plan: NetworkPlan) -> set[str]:
    """Biases whose shift the norm that follows takes away: without an influence in training, they get no gradient."""
    found: set[str] = set()

    def look(node: Node, path: str) -> None:
        if isinstance(node, Chain):
            for child, following in pairwise(node.nodes):
                if isinstance(following, Layer) and following.kind == "norm":  # of a conv, or of two that are one
                    layers = flatten(child, path)
                    found.update(f"{layer.name}.bias" for layer in layers if layer.kind == "conv")
        for child in children(node):
            look(child, f"{path}{child.name}.")

    for part in plan.parts:
        look(part, f"{part.name}.")
    return found


def state_round_trips(plan: NetworkPlan, network: Network) -> None:
    other = make_network(plan).double().eval()
    other.load_state_dict(network.state_dict())
    x = pictures(plan)
    with torch.no_grad():
        assert torch.equal(other(x), network.eval()(x))


def evaluation_is_deterministic_and_keeps_the_state(plan: NetworkPlan, network: Network) -> None:
    before = {key: value.clone() for key, value in network.state_dict().items()}
    x = pictures(plan)
    with torch.no_grad():
        first, again = network.eval()(x), network(x)
        one_by_one = torch.cat([network(picture[None]) for picture in x])
    assert torch.equal(first, again)
    torch.testing.assert_close(one_by_one, first, rtol=1e-9, atol=1e-9)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def training_differs_from_evaluation_only_in_norms_and_draws(plan: NetworkPlan, network: Network) -> None:
    x = pictures(plan)
    with torch.no_grad():
        expected = network.eval()(x)
        network.train()
        in_evaluation(network, *NORMS, *RANDOM)
        torch.testing.assert_close(network(x), expected, rtol=0, atol=0)


def spec_round_trips(spec: NetworkSpec) -> None:
    again = read_spec(json.loads(json.dumps(to_dict(spec))), "spec")
    assert again == spec
    assert hash(again) == hash(spec)


def everything_holds(spec: NetworkSpec, *, few_units: bool = False) -> None:
    spec_round_trips(spec)
    plan = make_plan(spec)
    costs_are_as_planned(plan)
    network = lively_network(plan)
    shapes_are_as_planned(plan, network)
    gradient_reaches_every_parameter(plan, network, few_units=few_units)
    state_round_trips(plan, network)
    evaluation_is_deterministic_and_keeps_the_state(plan, network)
    training_differs_from_evaluation_only_in_norms_and_draws(plan, network)

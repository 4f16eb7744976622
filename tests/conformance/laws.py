"""What must hold for every network that can be described, whatever its axes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from residuum.nets.network import Network, make_network
from residuum.plan import NetworkPlan, make_plan
from residuum.spec import NetworkSpec, Stage, Stem, StemConv

STEMS = {
    "cifar": Stem((StemConv(8, 3),)),
    "imagenet": Stem((StemConv(8, 7, 2),), pool=True),
    "deep": Stem((StemConv(4, 3, 2), StemConv(4, 3), StemConv(8, 3)), pool=True),
}
"""The three stems of the package with fewer channels (the shapes of kernels and strides are theirs)."""

BASE = NetworkSpec(STEMS["cifar"], (Stage(1, 8), Stage(2, 16, 2)), size=(9, 10), classes=3)

BATCH = 3


def pictures(plan: NetworkPlan, device: str = "cpu", dtype: torch.dtype = torch.float64) -> Tensor:
    generator = None if device == "meta" else torch.Generator().manual_seed(1)
    size = (BATCH, plan.spec.channels, *plan.spec.input_size())
    return torch.randn(size, generator=generator, device=device, dtype=dtype)


def lively_network(plan: NetworkPlan) -> Network:
    """Scales, shifts and biases away from 0 and 1, so that no gradient is zero by construction."""
    generator = torch.Generator().manual_seed(2)
    network = make_network(plan, generator=generator).double()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.ndim == 1:
                parameter.uniform_(0.5, 1.5, generator=generator)
            elif ".factor." in name:  # so that the biases keep its few hidden units alive
                parameter.mul_(0.01)
    return network


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


def gradient_reaches_every_parameter(plan: NetworkPlan, network: Network) -> None:
    network.train()
    logits = network(pictures(plan))
    weights = torch.randn(logits.shape, dtype=logits.dtype, generator=torch.Generator().manual_seed(3))
    (logits * weights).sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


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


def everything_holds(spec: NetworkSpec) -> None:
    plan = make_plan(spec)
    costs_are_as_planned(plan)
    network = lively_network(plan)
    shapes_are_as_planned(plan, network)
    gradient_reaches_every_parameter(plan, network)
    state_round_trips(plan, network)
    evaluation_is_deterministic_and_keeps_the_state(plan, network)

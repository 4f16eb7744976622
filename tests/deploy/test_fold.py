"""Folding changes no answer, in any family, and leaves no batch norm that follows a convolution."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import nn

from residuum.catalog import CATALOG
from residuum.deploy.fold import folded
from residuum.nets.network import make_network
from residuum.plan import Chain, Layer, NetworkPlan, Node, children, make_plan
from residuum.spec import NetworkSpec, Written
from samples import lively

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
SKIPPED = {"alexnet", "vgg16", "vgg19", "vgg16_bn", "vgg19_bn"}
"""Too large to be quick, whatever the picture's size."""


def small(name: str) -> NetworkPlan:
    """A network of the catalogue with shallow, narrow stages, fed small pictures."""
    spec = CATALOG[name].spec
    if isinstance(spec, Written):
        return make_plan(replace(spec, size=64, classes=7))
    part = 4 if min(stage.width for stage in spec.stages) >= 64 else 1
    stages = tuple(replace(stage, depth=min(stage.depth, 2), width=stage.width // part) for stage in spec.stages)
    size = {1: 512, 2: 80, 3: (4, 32, 32)}[spec.ndim]
    return make_plan(replace(spec, size=size, classes=7, stages=stages))


def one_of_each_family() -> list[str]:
    found: dict[str, str] = {}
    for entry in CATALOG.values():
        depth = len(entry.spec.stages) if isinstance(entry.spec, NetworkSpec) else 1
        if entry.name not in SKIPPED and depth:
            found.setdefault(entry.family, entry.name)
    return [*found.values()]


def followers(node: Node, path: str = "") -> list[str]:
    """Names of the batch norms that come right after a convolution in a chain of the plan."""
    found: list[str] = []
    if isinstance(node, Chain):
        for first, second in pairwise(node.nodes):
            if isinstance(first, Layer) and isinstance(second, Layer) and (first.kind, second.kind) == ("conv", "norm"):
                found += [f"{path}{second.name}"] * (second.variant == "batch")
    for child in children(node):
        found += followers(child, f"{path}{child.name}.")
    return found


@pytest.mark.parametrize("name", one_of_each_family())
def test_folding_changes_no_answer(name: str) -> None:
    plan = small(name)
    network = lively(make_network(plan)).double().eval()
    x = torch.randn(2, plan.spec.channels, *plan.spec.input_size(), dtype=torch.float64)
    result = folded(network)
    with torch.no_grad():
        expected, found = network(x), result(x)
    assert (found - expected).abs().max() <= 1e-10 * expected.abs().max()
    after_convolutions = [name for part in plan.parts for name in followers(part, f"{part.name}.")]
    assert not [name for name in after_convolutions if isinstance(result.get_submodule(name), BATCH_NORMS)]
    assert all(isinstance(network.get_submodule(name), BATCH_NORMS) for name in after_convolutions), "a copy is folded"


def test_what_only_looks_like_a_convolution_or_batch_norm_stays() -> None:
    class Standardised(nn.Conv2d):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return self._conv_forward(input, self.weight / self.weight.std(), self.bias)

    own = nn.Sequential(Standardised(3, 4, 3), nn.BatchNorm2d(4))
    unfixed = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False))
    for network in (own, unfixed):
        lively(network).eval()
        x = torch.randn(2, 3, 8, 8)
        with torch.no_grad():
            torch.testing.assert_close(folded(network)(x), network(x), rtol=0, atol=0)


def test_a_float32_network_is_rounded_once() -> None:
    network = lively(nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16))).eval()
    exact = folded(network.double())[0].weight
    rounded = folded(network.float())[0].weight
    assert torch.equal(rounded, exact.float())

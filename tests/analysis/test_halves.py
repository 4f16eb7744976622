"""Where networks are cut: read off the plan for every network, and true of the modules."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from residuum import catalog
from residuum.analysis.halves import after_last_map, before_classifier, grid, halves, parts
from residuum.nets.naming import classifier
from residuum.nets.network import make_network
from residuum.plan import Layer, NetworkPlan, Node, flatten, make_plan
from samples import lively

POOLS = ("maxpool", "avgpool", "blurpool", "stochasticpool", "globalpool", "adaptivepool")


def planar() -> Iterator[tuple[str, NetworkPlan]]:
    """Every network of the catalogue that takes pictures."""
    for name in catalog.CATALOG:
        plan = make_plan(catalog.spec(name))
        if plan.spec.ndim == 2:
            yield name, plan


def layers(nodes: list[tuple[str, Node]]) -> list[Layer]:
    return [layer for _, node in nodes for layer in flatten(node)]


def test_the_last_map_of_every_network_is_the_last_before_places_are_lost() -> None:
    for name, plan in planar():
        cut = after_last_map(plan)
        before, after = layers(parts(plan)[:cut]), layers(parts(plan)[cut:])
        assert before[-1].kind not in POOLS, name
        assert min(before[-1].output_size) > 1, name
        assert not [layer for layer in after if layer.kind == "conv"], name  # nothing looks at places again
        assert after[0].kind in (*POOLS, "dropout"), name


def test_features_are_what_enters_the_classifier_of_every_network() -> None:
    for name, plan in planar():
        cut = before_classifier(plan)
        path, node = parts(plan)[cut]
        assert isinstance(node, Layer), name
        assert (path, node.outputs) == (classifier(plan).name, plan.spec.classes), name


SMALL: list[tuple[str, dict[str, Any]]] = [
    ("resnet20", {"depth": 8, "size": 16}),
    ("preact_resnet20", {"depth": 8, "size": 16}),
    ("densenet40_12", {"size": 16}),
    ("mlperf_tiny_resnet8", {"size": 32}),
    ("squeezenet1_1", {"size": 64, "classes": 5}),
]


@pytest.mark.parametrize(("name", "axes"), SMALL, ids=[name for name, _ in SMALL])
def test_the_halves_make_the_whole(name: str, axes: dict[str, Any]) -> None:
    network = make_network(make_plan(catalog.spec(name, **axes))).eval()
    lively(network)
    x = torch.randn(2, 3, *network.plan.spec.input_size(), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for cut in (after_last_map(network.plan), before_classifier(network.plan)):
            before, after = halves(network, cut)
            assert torch.equal(after(before(x)), network(x))


@pytest.mark.parametrize(
    ("name", "axes"),
    [
        ("resnet20", {"depth": 8, "size": 64}),
        ("mlperf_tiny_resnet8", {"size": 64}),
        ("densenet40_12", {"depth": 16, "size": 128}),
        ("squeezenet1_1", {"size": 320, "classes": 5}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_cell_lies_at_the_centre_of_what_it_sees(name: str, axes: dict[str, Any]) -> None:
    """The pixels that a cell in the middle of the map depends on reach equally far to both sides of its place."""
    generator = torch.Generator().manual_seed(0)
    network = make_network(make_plan(catalog.spec(name, **axes)), generator=generator).double().eval()
    cut = after_last_map(network.plan)
    cells = grid(network.plan, cut)
    side = network.plan.spec.input_size()[0]
    x = torch.rand(2, 3, side, side, dtype=torch.float64, generator=generator).requires_grad_()
    maps = halves(network, cut)[0](x)
    cell = maps.shape[2] // 2
    (slopes,) = torch.autograd.grad(maps[:, :, cell, cell].sum(), x)
    touched = slopes.abs().sum((0, 1)) > 0
    for axis in (0, 1):
        seen = torch.nonzero(touched.any(1 - axis)).flatten()
        assert 0 < seen[0] < seen[-1] < side - 1  # the picture's border cuts nothing off
        assert float(seen[0] + seen[-1]) / 2 == cells.start[axis] + cells.step[axis] * cell

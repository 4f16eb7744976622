"""Networks as modules: what the plan says is what torch has and does."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from time import process_time

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from residuum.catalog import CATALOG, spec
from residuum.nets.network import make_network
from residuum.nets.norms import Norm
from residuum.plan import make_plan
from residuum.spec import NetworkSpec, Stage, Stem, StemConv

SMALL = NetworkSpec(Stem((StemConv(8, 3),)), (Stage(2, 8), Stage(2, 16, 2)), size=8, classes=3)
GOLDEN = Path(__file__).parent.parent / "golden" / "networks.csv"


def golden_rows() -> list[tuple[str, int, int]]:
    with GOLDEN.open(newline="") as file:
        return [(row["name"], int(row["parameters"]), int(row["macs"])) for row in csv.DictReader(file)]


@pytest.mark.parametrize(("name", "parameters", "macs"), golden_rows(), ids=lambda value: str(value))
def test_the_real_module_costs_what_the_golden_table_says(name: str, parameters: int, macs: int) -> None:
    spec = CATALOG[name].spec
    network = make_network(make_plan(spec), device="meta").eval()
    assert sum(p.numel() for p in network.parameters()) == parameters
    x = torch.empty(1, spec.channels, *spec.input_size(), device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(x)
    assert counter.get_total_flops() == 2 * macs


@pytest.mark.parametrize("name", CATALOG)
def test_modules_are_called_as_layers_are(name: str) -> None:
    plan = make_plan(CATALOG[name].spec)
    network = make_network(plan, device="meta")
    modules = dict(network.named_modules())
    leaves = [modules[layer.name] for layer in plan.layers]
    assert len({id(leaf) for leaf in leaves}) == len(plan.layers)
    assert not any(True for leaf in leaves for _ in leaf.children() if not isinstance(leaf, Norm))
    for layer, leaf in zip(plan.layers, leaves, strict=True):
        assert sum(p.numel() for p in leaf.parameters()) == layer.parameters, layer.name
    assert sum(layer.parameters for layer in plan.layers) == sum(p.numel() for p in network.parameters())


def test_logits_are_the_head_of_the_last_feature() -> None:
    network = make_network(make_plan(SMALL)).eval()
    x = torch.randn(2, 3, 8, 8)
    features = network.features(x)
    assert list(features) == ["stem", "stage1", "stage2"]
    assert [tuple(f.shape) for f in features.values()] == [(2, 8, 8, 8), (2, 8, 8, 8), (2, 16, 4, 4)]
    torch.testing.assert_close(network.head(features["stage2"]), network(x), rtol=0, atol=0)


@pytest.mark.parametrize("size", [(5, 5), (8, 8), (9, 14), (1, 1), (64, 3)])
def test_any_input_size_gives_logits(size: tuple[int, int]) -> None:
    network = make_network(make_plan(replace(SMALL, shortcut="D"))).eval()
    assert network(torch.randn(2, 3, *size)).shape == (2, 3)


def test_on_meta_nothing_is_allocated() -> None:
    network = make_network(make_plan(SMALL), device="meta")
    assert all(tensor.is_meta for tensor in network.state_dict().values())


def test_building_the_deepest_network_takes_seconds() -> None:
    start = process_time()
    make_network(make_plan(spec("resnet1202")))
    assert process_time() - start < 10  # measured about 1.6 s on a busy core; the bound only catches a blow-up

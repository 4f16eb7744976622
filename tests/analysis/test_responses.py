"""Responses and gradients are what they are called, read at the right place of the plan."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

import residuum
from residuum import catalog
from residuum.analysis.gradients import GradientWatch, gradient_norms
from residuum.analysis.responses import layer_responses, weighted_layers
from residuum.plan import make_plan


@pytest.mark.parametrize(
    ("name", "convolutions"),
    [("resnet20", 19), ("plain20", 19), ("resnet50", 49), ("preact_resnet164", 163), ("resnet110", 109)],
)
def test_every_weighted_layer_but_shortcuts_and_classifier_is_there(name: str, convolutions: int) -> None:
    places = weighted_layers(make_plan(catalog.spec(name)))
    assert len(places) == convolutions
    assert not [conv for conv, _ in places if "shortcut" in conv]


def test_a_projection_does_not_add_a_response() -> None:
    a, c = (weighted_layers(make_plan(catalog.spec("resnet20", shortcut=kind))) for kind in ("A", "C"))
    assert a == c


def test_a_response_is_read_after_the_norm_and_before_the_non_linearity() -> None:
    network = residuum.build("resnet20", 10, depth=8)
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 2.0)
            nn.init.normal_(module.bias)
    x = torch.randn(6, 3, 32, 32)
    network.eval()
    with torch.no_grad():
        first = network.get_submodule("stem.norm1")(network.get_submodule("stem.conv1")(x))
    responses = layer_responses(network, [x[:4], x[4:]])
    assert responses[0].layer == "stem.conv1"
    assert responses[0].std == pytest.approx(float(first.std(correction=0)), rel=1e-5)
    assert float(first.min()) < 0, "a rectified response would have no negative values"


def test_without_norm_and_before_a_norm_the_convolution_itself_answers() -> None:
    places = dict(weighted_layers(make_plan(catalog.spec("resnet20", norm="none"))))
    assert all(conv == read for conv, read in places.items())
    pre = weighted_layers(make_plan(catalog.spec("resnet20", order="pre")))
    last_of_block = [read for conv, read in pre if conv.endswith("block1.branch.conv2")]
    assert all(read.endswith("conv2") for read in last_of_block)


def test_gradient_norms_are_those_of_autograd() -> None:
    network = residuum.build("plain20", 10, depth=8)
    loss = network(torch.randn(4, 3, 32, 32)).square().sum()
    weights = {name: network.get_submodule(name).weight for name, _ in weighted_layers(network.plan)}
    expected = torch.autograd.grad(loss, list(weights.values()), retain_graph=True)
    loss.backward()
    found = gradient_norms(network)
    assert [g.layer for g in found] == list(weights)
    for gradient, tensor in zip(found, expected, strict=True):
        assert gradient.norm == pytest.approx(float(tensor.norm()), rel=1e-5)


def test_a_watch_forgets_what_is_done_again(tmp_path: Path) -> None:
    network = residuum.build("plain20", 10, depth=8)
    network(torch.randn(2, 3, 32, 32)).sum().backward()
    watch = GradientWatch(tmp_path / "norms.jsonl", {1, 3, 4})
    for step in (1, 2, 3):
        watch.after_backward(step, network, 1.0, 50.0)
    watch.rewind(2)
    watch.after_backward(3, network, 2.0, 50.0)
    watch.after_backward(4, network, 3.0, 50.0)
    assert [(row["step"], row["loss"]) for row in watch.rows()] == [(1, 1.0), (3, 2.0), (4, 3.0)]
    assert json.loads(watch.file.read_text().splitlines()[0])["norms"].keys() == {
        g.layer for g in gradient_norms(network)
    }

"""A network made fully convolutional gives its own logits at its own size, and at others those of each window."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from peers import lively
from residuum import catalog
from residuum.catalog import CATALOG
from residuum.errors import UserError
from residuum.evaluation.sized import Sized
from residuum.nets.network import Network, make_network
from residuum.plan import Layer, make_plan
from residuum.plan.convolutional import fully_convolutional
from residuum.spec import AnySpec, NetworkSpec, Stage, Stem, StemConv, Written

SMALL = {1: 256, 2: 64, 3: (4, 32, 32)}
FAMILIES = {entry.family: entry for entry in reversed(CATALOG.values())}
"""The first network of each family."""


def small(spec: AnySpec) -> AnySpec:
    """Few blocks and few pixels, where the network can be so small."""
    if isinstance(spec, Written):
        return replace(spec, classes=7)
    stages = tuple(replace(stage, depth=min(stage.depth, 2)) for stage in spec.stages)
    size = 75 if "Inception" in type(spec.stem).__name__ else SMALL[spec.ndim]
    return replace(spec, stages=stages, classes=7, size=32 if isinstance(spec.size, int) and spec.size <= 32 else size)


def built(spec: AnySpec) -> Network:
    network = make_network(make_plan(spec), device="meta")
    lively(network)
    return network.eval()


def pictures(spec: AnySpec, size: tuple[int, ...], count: int = 2) -> Tensor:
    return torch.randn(count, spec.channels, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def by_windows(network: Network, x: Tensor) -> Tensor:
    """Logits at every position: the head's own pool and classifier on each window of the map, in a loop."""
    layers = [node for node in network.plan.head.nodes if isinstance(node, Layer)]
    pool = next(layer for layer in layers if layer.kind in ("globalpool", "adaptivepool"))
    names = list(dict(network.head.named_children()))
    cut = names.index(pool.name)
    parts = list(network.head.children())
    for part in (network.stem, *(network.get_submodule(s.name) for s in network.plan.stages), *parts[:cut]):
        x = part(x)
    h, w = pool.input_size
    rows = [
        torch.stack([nn.Sequential(*parts[cut:])(x[:, :, i : i + h, j : j + w]) for j in range(x.shape[3] - w + 1)], -1)
        for i in range(x.shape[2] - h + 1)
    ]
    return torch.stack(rows, 2)


@pytest.mark.parametrize("family", FAMILIES)
@torch.inference_mode()
def test_logits_at_the_training_size_are_the_networks(family: str) -> None:
    network = built(small(FAMILIES[family].spec))
    plan = network.plan
    dense = fully_convolutional(plan)
    assert dense.parameters == plan.parameters
    assert [layer.name for layer in dense.layers] == [la.name for la in plan.layers if la.kind != "flatten"]
    x = pictures(plan.spec, plan.spec.input_size())
    expected = network(x)
    found = Sized(network, dense=True).at(plan.spec.input_size())(x)
    assert found.shape == (*expected.shape, *(1,) * plan.spec.ndim)
    assert (found.flatten(1) - expected).abs().max() <= 1e-12 * expected.abs().max()


@pytest.mark.parametrize(
    "name", ["resnet20", "resnetv2_50", "densenet121", "squeezenet1_1", "googlenet", "mobilenet_v2"]
)
@torch.inference_mode()
def test_each_position_is_the_head_on_its_window(name: str) -> None:
    spec = small(CATALOG[name].spec)
    network = built(replace(spec, size=64) if isinstance(spec, Written) else spec)
    h, w = network.plan.spec.input_size()
    x = pictures(network.plan.spec, (h + 45, w + 71))
    expected = by_windows(network, x)
    found = Sized(network, dense=True).at((h + 45, w + 71))(x)
    assert min(expected.shape[2:]) > 1
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-12 * expected.abs().max()
    layers = fully_convolutional(network.plan, (h + 45, w + 71)).layers
    assert layers[-1].output_size == found.shape[2:]  # the plan knows


@torch.inference_mode()
def test_fully_connected_layers_slide_too() -> None:
    network = built(catalog.spec("alexnet", classes=5)).float()
    x = pictures(network.plan.spec, (224, 265), 1).float()
    expected = by_windows(network, x)
    found = Sized(network, dense=True).at((224, 265))(x)
    assert found.shape == expected.shape == (1, 5, 1, 2)
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()


@torch.inference_mode()
def test_without_padding_it_is_the_network_slid_over_the_picture() -> None:
    """Every 4 pixels a window of 15 x 19, as a loop of crops."""
    stages = (Stage(2, 8, kernel=1), Stage(2, 12, 2, kernel=1))
    network = built(NetworkSpec(Stem((StemConv(6, 3, 2, padding=0),)), stages, size=(15, 19), classes=4))
    x = pictures(network.plan.spec, (15 + 4 * 3, 19 + 4 * 2 + 1))
    dense = Sized(network, dense=True).at((27, 28))(x)
    assert dense.shape == (2, 4, 4, 3)
    for i in range(4):
        for j in range(3):
            window = network(x[:, :, 4 * i : 4 * i + 15, 4 * j : 4 * j + 19])
            assert (dense[:, :, i, j] - window).abs().max() <= 1e-12 * window.abs().max()


@torch.inference_mode()
def test_padding_of_the_size_is_taken() -> None:
    """ "same" pads 37 pixels otherwise than 32: each size has a network of its own, weights shared."""
    network = built(catalog.spec("mlperf_tiny_resnet8"))
    sized = Sized(network, dense=True)
    assert sized.at((32, 32)) is not sized.at((37, 37))
    assert sized.at((32, 32)) is sized.at((64, 96))
    again = built(catalog.spec("mlperf_tiny_resnet8", size=37))
    again.load_state_dict(network.state_dict())
    x = pictures(network.plan.spec, (37, 37))
    again.head.pool = nn.AvgPool2d(8, 1)  # type: ignore[assignment]
    again.head.flatten, again.head.fc = nn.Identity(), nn.Identity()  # type: ignore[assignment]
    expected = nn.functional.conv2d(again(x), network.head.fc.weight[:, :, None, None], network.head.fc.bias)  # type: ignore[union-attr]
    assert (sized.at((37, 37))(x) - expected).abs().max() <= 1e-12 * expected.abs().max()
    sizes = [sized.at((h, w)) for h, w in ((37, 37), (45, 53))]
    assert (
        sizes[0].get_parameter("stem.conv1.weight").data_ptr() == network.get_parameter("stem.conv1.weight").data_ptr()
    )


def test_too_few_pixels_and_heads_that_cannot_slide_are_refused() -> None:
    plan = make_plan(catalog.spec("resnet50"))
    for size in ((192, 500), (31, 31), (1, 1)):
        with pytest.raises(UserError, match=rf"{size[0]}x{size[1]} pixels are too few .* 7x7 .* at least 193$"):
            fully_convolutional(plan, size)
    assert fully_convolutional(plan, (193, 500)).layers[-1].output_size == (1, 10)
    with pytest.raises(UserError, match="7x7 into 6x6 unequal cells"):
        fully_convolutional(make_plan(catalog.spec("alexnet", size=256)))

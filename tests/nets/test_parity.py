"""Every network of the catalogue that names a reference is that network.

The reference's weights, loaded as `residuum import` loads them, give the same logits and the same stem and stage
features in float64; with 1000 classes it has as many parameters.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from peers import lively, reference, relative_error
from residuum.catalog import CATALOG, Entry
from residuum.nets.network import Network, make_network
from residuum.nets.weights import load_weights
from residuum.plan import make_plan
from residuum.spec import NetworkSpec

pytestmark = pytest.mark.peer

PEERS = [name for name, entry in CATALOG.items() if entry.reference.startswith(("torchvision ", "timm "))]

SEQUENCES = {
    "alexnet": (2, 5, 12),
    "vgg16": (None, 4, 9, 16, 23, 30),
    "vgg16_bn": (None, 6, 13, 23, 33, 43),
    "vgg19": (None, 4, 9, 18, 27, 36),
    "vgg19_bn": (None, 6, 13, 26, 39, 52),
    "squeezenet1_0": (1, 5, 10, 12),
    "squeezenet1_1": (1, 4, 7, 12),
}
"""The places in torchvision's `features` that end the stem and each stage (None: our stem is empty)."""


def ends(entry: Entry, scheme: str) -> list[str]:
    """The reference's modules that end the stem and each stage ("": there is none)."""
    stages = len(entry.spec.stages) if isinstance(entry.spec, NetworkSpec) else 0
    match scheme:
        case "torchvision":
            return ["maxpool", *(f"layer{i + 1}" for i in range(stages))]
        case "torchvision video":
            return ["stem", *(f"layer{i + 1}" for i in range(stages))]
        case "timm ResNetV2" | "timm DarkNet":
            return ["stem", *(f"stages.{i}" for i in range(stages))]
        case "torchvision DenseNet":
            return ["features.pool0", *(f"features.denseblock{i + 1}" for i in range(stages))]
        case "torchvision MobileNetV2":
            return [f"features.{i}" for i in (0, 1, 3, 6, 10, 13, 16, 17)]
        case "torchvision GoogLeNet":
            return ["conv3", "inception3b", "inception4e", "inception5b"]
        case "torchvision sequence":
            return ["" if i is None else f"features.{i}" for i in SEQUENCES[entry.name]]
        case "timm Xception":
            return ["act2", "block1", "block2", "block3", "block11", "block12"]
        case "timm Inception-ResNet":
            return ["mixed_5b", "repeat", "repeat_1", "repeat_2", "block8"]
    raise AssertionError(scheme)


def sizes(entry: Entry, scheme: str) -> list[tuple[int, ...]]:
    """One even and one odd input, as small as the network takes them."""
    if scheme in ("timm Xception", "timm Inception-ResNet"):
        return [(96, 96), (97, 131)]
    if entry.spec.ndim == 3:
        return [(8, 32, 32), (5, 33, 47)]
    return [(64, 64), (65, 97)]


def theirs_and_ours(entry: Entry) -> tuple[nn.Module, Network, str]:
    """The reference with random weights, our network with the same, and the names they were recognised by."""
    theirs = lively(reference(entry, num_classes=7))
    plan = make_plan(replace(entry.spec, classes=7))
    ours = make_network(plan, device="meta").double().eval().to_empty(device="cpu")
    scheme = load_weights(ours, plan, theirs.state_dict(), entry.reference)
    return theirs, ours, scheme.name


@pytest.mark.parametrize("name", PEERS)
def test_logits_and_stage_features_are_the_references(name: str) -> None:
    entry = CATALOG[name]
    theirs, ours, scheme = theirs_and_ours(entry)
    found: dict[str, Tensor] = {}

    def keep(stage: str, _module: nn.Module, _args: object, output: Tensor) -> None:
        found[stage] = output.clone()  # what comes next may work in place

    stages = ["stem", *(stage.name for stage in ours.plan.stages)]
    hooked = {stage: end for stage, end in zip(stages, ends(entry, scheme), strict=True) if end}
    for stage, end in hooked.items():
        theirs.get_submodule(end).register_forward_hook(partial(keep, stage))
    for size in sizes(entry, scheme):
        x = torch.randn(2, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            logits, features = theirs(x), ours.features(x)
            assert relative_error(ours.head(features[stages[-1]]), logits) < 1e-12, size
        assert found.keys() == hooked.keys()
        for stage, output in found.items():
            assert relative_error(features[stage], output) < 1e-12, (stage, size)


@pytest.mark.parametrize("name", PEERS)
def test_parameters_are_as_many(name: str) -> None:
    entry = CATALOG[name]
    theirs = sum(p.numel() for p in reference(entry).parameters())
    assert make_plan(entry.spec).parameters == theirs

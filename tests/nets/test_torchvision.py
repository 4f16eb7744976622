"""What test_parity.py leaves open: torchvision's gradients, its stride, its auxiliary classifiers, its older files."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from peers import lively, reference, relative_error
from residuum.catalog import CATALOG, spec
from residuum.errors import UserError
from residuum.nets.naming import SCHEMES
from residuum.nets.network import Network, make_network
from residuum.nets.weights import load_weights
from residuum.plan import make_plan
from residuum.spec import AnySpec

pytestmark = pytest.mark.peer


def ours_with(weights: dict[str, Tensor], described: AnySpec) -> tuple[Network, str]:
    """Our network with foreign weights, in float64, and the names they were recognised by."""
    plan = make_plan(described)
    network = make_network(plan).double().eval()
    return network, load_weights(network, plan, weights, "torchvision").name


def agree(ours: nn.Module, theirs: nn.Module, size: int) -> bool:
    x = torch.randn(1, 3, size, size, dtype=torch.float64)
    with torch.no_grad():
        return relative_error(ours(x), theirs(x)) < 1e-12


@pytest.mark.parametrize("name", ["resnet18", "seresnet18", "mobilenet_v2"])
def test_gradients_agree_in_training(name: str) -> None:
    theirs = lively(reference(CATALOG[name], num_classes=7))
    ours, used = ours_with(theirs.state_dict(), replace(CATALOG[name].spec, classes=7))
    x = torch.randn(3, 3, 33, 33, dtype=torch.float64)
    for network in (theirs, ours):
        for module in network.train().modules():
            if isinstance(module, nn.Dropout):
                module.eval()
        network(x).square().mean().backward()
    (names,) = (scheme.rename(ours.plan) for scheme in SCHEMES if scheme.name == used)
    for parameter_name, parameter in ours.named_parameters():
        layer, _, leaf = parameter_name.rpartition(".")
        same = theirs.get_parameter(f"{names[layer]}.{leaf}")
        assert parameter.grad is not None
        assert same.grad is not None
        assert relative_error(parameter.grad, same.grad) < 1e-9, parameter_name


def test_the_stride_in_the_1x1_is_not_torchvisions_resnet50() -> None:
    theirs = lively(reference(CATALOG["resnet50_v1_5"], num_classes=7))
    ours, _ = ours_with(theirs.state_dict(), spec("resnet50", classes=7))
    assert not agree(ours, theirs, 32)
    ours, _ = ours_with(theirs.state_dict(), spec("resnet50", classes=7, stride_in="3x3"))
    assert agree(ours, theirs, 32)


def test_auxiliary_classifiers_are_left_out() -> None:
    theirs = lively(reference(CATALOG["googlenet"], num_classes=7, aux_logits=True))
    assert any(key.startswith("aux2.") for key in theirs.state_dict())
    ours, used = ours_with(theirs.state_dict(), spec("googlenet", classes=7))
    assert used == "torchvision GoogLeNet"
    assert agree(ours, theirs, 64)
    with pytest.raises(UserError, match=r"aux3\.fc\.weight \(7, 8\)"):
        ours_with(theirs.state_dict() | {"aux3.fc.weight": torch.zeros(7, 8)}, spec("googlenet", classes=7))


def test_densenets_published_before_2018_have_other_names() -> None:
    theirs = lively(reference(CATALOG["densenet121"], num_classes=7))
    layer = re.compile(r"(denselayer\d+\.(?:norm|conv))([12])")  # as torchvision's own loader has it, backwards
    old = {layer.sub(r"\1.\2", key): value for key, value in theirs.state_dict().items()}
    assert "features.denseblock4.denselayer16.norm.2.running_var" in old
    ours, used = ours_with(old, spec("densenet121", classes=7))
    assert used == "torchvision DenseNet, old"
    assert agree(ours, theirs, 64)

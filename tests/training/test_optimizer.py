"""Parameters are grouped by the type of module they belong to, each exactly once."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from residuum import catalog
from residuum.nets.network import make_network
from residuum.plan import make_plan
from residuum.training.optimizer import make_optimizer
from residuum.training.recipe import SGD

NETS = {
    "cifar": ("resnet20", {"depth": 8}),
    "projections": ("resnet18", {"shortcut": "B"}),
    "bottleneck": ("resnet50", {"norm": "group"}),
    "no norm": ("resnet20", {"depth": 8, "norm": "none"}),
    "instance": ("resnet20", {"depth": 8, "norm": "instance"}),
    "switchable": ("resnet20", {"depth": 8, "norm": "switchable"}),
    "filter response and thresholds": ("resnet20", {"depth": 8, "norm": "filter_response", "activation": "tlu"}),
    "half of the channels each": ("resnet20", {"depth": 8, "norm": "ibn_a"}),
    "gates": ("highway19", {}),
    "shake-shake": ("shake_shake26_2x32d", {}),
    "channels' neighbours": ("resnet18", {"attention": "eca"}),
    "squeeze and excitation": ("resnet18", {"attention": "se"}),
    "sound": ("resnet20", {"depth": 8, "ndim": 1}),
    "volumes": ("resnet20", {"depth": 8, "ndim": 3}),
}


@pytest.mark.parametrize("name", NETS)
def test_every_parameter_exactly_once(name: str) -> None:
    model, axes = NETS[name]
    with torch.device("meta"):
        network = make_network(make_plan(catalog.spec(model, **axes)), device="meta")
    optimizer = make_optimizer(network, SGD(decay_norms_and_biases=False))
    found = [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]
    assert sorted(found) == sorted(id(parameter) for parameter in network.parameters())


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("decay_all", [True, False])
def test_decay_is_spared_for_norms_and_biases_when_asked(name: str, decay_all: bool) -> None:
    model, axes = NETS[name]
    network = make_network(make_plan(catalog.spec(model, **axes)), device="meta")
    optimizer = make_optimizer(network, SGD(weight_decay=0.01, decay_norms_and_biases=decay_all))
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    for module in network.modules():
        for leaf, parameter in module.named_parameters(recurse=False):
            weighs = isinstance(module, (nn.modules.conv._ConvNd, nn.Linear)) and leaf == "weight"
            assert decay[id(parameter)] == (0.01 if weighs or decay_all else 0.0)


def test_settings_arrive() -> None:
    network = make_network(make_plan(catalog.spec("resnet20", depth=8)))
    for nesterov in (False, True):
        optimizer = make_optimizer(network, SGD(lr=0.3, momentum=0.8, nesterov=nesterov, weight_decay=0.02))
        for group in optimizer.param_groups:
            assert (group["lr"], group["momentum"], group["nesterov"]) == (0.3, 0.8, nesterov)

"""Networks kept for comparison, written directly as plans: name -> the function that lowers a `Written` spec."""

from __future__ import annotations

from collections.abc import Callable

from residuum.plan.nodes import NetworkPlan
from residuum.plan.written.alexnet import alexnet
from residuum.plan.written.googlenet import googlenet
from residuum.plan.written.squeezenet import squeezenet1_0, squeezenet1_0_bypass, squeezenet1_1
from residuum.plan.written.vgg import vgg16, vgg16_bn, vgg19, vgg19_bn
from residuum.spec import Written

NETWORKS: dict[str, Callable[[Written], NetworkPlan]] = {
    "alexnet": alexnet,
    "vgg16": vgg16,
    "vgg16_bn": vgg16_bn,
    "vgg19": vgg19,
    "vgg19_bn": vgg19_bn,
    "googlenet": googlenet,
    "squeezenet1_0": squeezenet1_0,
    "squeezenet1_1": squeezenet1_1,
    "squeezenet1_0_bypass": squeezenet1_0_bypass,
}

"""A plan as a torch module: stem, stages, head; logits, and named stage features on request."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from residuum.nets.blocks import Pieces, ScaleBy, SideBySide, SoftThreshold, block
from residuum.nets.init import initialise
from residuum.nets.layers import FACTORIES
from residuum.nets.memory import frugally
from residuum.plan import Block, Cascade, Chain, Concat, Layer, NetworkPlan, Node, Scale


def make_module(node: Node) -> nn.Module:
    """The module of any node of a plan; names in the module are the names in the plan."""
    if isinstance(node, Layer):
        return FACTORIES[node.kind](node)
    if isinstance(node, Chain):
        return nn.Sequential(OrderedDict((child.name, make_module(child)) for child in node.nodes))
    if isinstance(node, Block):
        return block(node, make_module)
    if isinstance(node, Scale):
        return ScaleBy(node, make_module)
    if isinstance(node, Concat):
        return SideBySide(node, make_module)
    if isinstance(node, Cascade):
        return Pieces(node, make_module)
    return SoftThreshold(node, make_module)


class Network(nn.Module):
    """Pictures (N, channels, *size) to logits (N, classes).

    The input may have any size its strides leave something of; batch norm in training needs more than one value
    per channel.
    """

    def __init__(self, plan: NetworkPlan) -> None:
        super().__init__()
        self.plan = plan
        self.stem = make_module(plan.stem)
        for stage in plan.stages:  # under the plan's names, so that weights and layers are called alike
            self.add_module(stage.name, make_module(stage))
        self.head = make_module(plan.head)
        self.frugal = False
        """Training keeps activations between blocks alone, and computes those within them again."""

    def forward(self, x: Tensor) -> Tensor:
        if self.frugal and self.training and torch.is_grad_enabled():
            return frugally((self.stem, *self._units()), self.head, x)
        x = self.stem(x)
        for stage in self.plan.stages:
            x = self.get_submodule(stage.name)(x)
        return self.head(x)

    def _units(self) -> Iterator[nn.Module]:
        """What can be cut apart between stem and head: the blocks of every stage."""
        for stage in self.plan.stages:
            module = self.get_submodule(stage.name)
            yield from module if isinstance(module, nn.Sequential) else (module,)

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """What leaves the stem and each stage: {"stem": ..., "stage1": ..., ...}, each (N, C, *size)."""
        found = {"stem": self.stem(x)}
        x = found["stem"]
        for stage in self.plan.stages:
            x = found[stage.name] = self.get_submodule(stage.name)(x)
        return found


def steps(chain: nn.Sequential) -> Iterator[tuple[nn.Module, str, nn.Module]]:
    """(parent, name, module) of what is done one after the other, through chains inside chains."""
    for name, module in chain.named_children():
        if type(module) is nn.Sequential:
            yield from steps(module)
        else:
            yield chain, name, module


def make_network(
    plan: NetworkPlan, *, device: torch.device | str = "cpu", generator: torch.Generator | None = None
) -> Network:
    """Build and initialise a network; on "meta" nothing is allocated or initialised.

    With a (CPU) generator the weights depend on nothing else, so that paired experiments start alike.
    """
    with torch.device("meta"):
        network = Network(plan)
    if torch.device(device).type == "meta":
        return network
    network.to_empty(device="cpu")
    initialise(network, generator)
    return network.to(device)

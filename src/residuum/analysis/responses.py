"""Layer responses: how strongly each convolution of a network answers (He et al. 2015, section 4.2, Fig. 7).

A layer's response is its output after batch norm and before the non-linearity or the addition; its strength is the
standard deviation over all pictures, positions and channels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from residuum.nets.network import Network
from residuum.plan import Block, Chain, Layer, NetworkPlan, Node, children


@dataclass(frozen=True)
class Response:
    """A layer by its place in the plan, and the standard deviation of its response."""

    layer: str
    std: float


def weighted_layers(plan: NetworkPlan) -> list[tuple[str, str]]:
    """(convolution, where its response is read) of every convolution that is not on a shortcut, in forward order.

    The response is read after the norm that follows, where there is one.
    """
    return [pair for part in plan.parts for pair in _walk(part, "")]


def _walk(node: Node, prefix: str) -> Iterator[tuple[str, str]]:
    path = prefix + node.name
    if isinstance(node, Chain):
        for at, child in enumerate(node.nodes):
            if isinstance(child, Layer):
                if child.kind == "conv":
                    after = node.nodes[at + 1] if at + 1 < len(node.nodes) else None
                    normed = isinstance(after, Layer) and after.kind == "norm"
                    yield f"{path}.{child.name}", f"{path}.{after.name if normed and after else child.name}"
            else:
                yield from _walk(child, path + ".")
    elif not isinstance(node, Layer):
        on_shortcut = (node.shortcut, node.gate) if isinstance(node, Block) else ()
        for child in children(node):
            if not any(child is each for each in on_shortcut):
                yield from _walk(child, path + ".")


def layer_responses(network: Network, batches: Iterable[Tensor]) -> list[Response]:
    """The responses over batches of inputs (N, C, *size), in evaluation mode, in the order of the forward pass."""
    places = weighted_layers(network.plan)
    sums = {read: [0, 0.0, 0.0] for _, read in places}
    hooks = [network.get_submodule(read).register_forward_hook(_adder(sums[read])) for _, read in places]
    network.eval()
    try:
        with torch.inference_mode():
            for inputs in batches:
                network(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return [Response(conv, _std(*sums[read])) for conv, read in places]


def _adder(total: list[float]):
    def add(module: nn.Module, inputs: object, output: Tensor) -> None:
        values = output.double()
        total[0] += values.numel()
        total[1] += float(values.sum())
        total[2] += float(values.square().sum())

    return add


def _std(count: float, total: float, squares: float) -> float:
    mean = total / count
    return math.sqrt(max(squares / count - mean * mean, 0.0))

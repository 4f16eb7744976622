"""Where a network is cut to be looked into: at the last map of its convolutions, and before its classifier.

Both places are read off the plan. The two halves of a network share its modules, so `after(before(x))` is `network(x)`.
"""

from __future__ import annotations

from torch import nn

from residuum.analysis.geometry import Grid
from residuum.nets.naming import classifier
from residuum.nets.network import Network
from residuum.plan import Block, Cascade, Chain, Concat, Layer, NetworkPlan, Node

COARSENS = ("maxpool", "avgpool", "blurpool", "stochasticpool", "globalpool", "adaptivepool")
ENDS_MAPS = ("globalpool", "adaptivepool", "flatten", "linear")
"""Kinds of layers after which, in a head, a place on the map is no place on the picture any more."""


def halves(network: Network, cut: int) -> tuple[nn.Sequential, nn.Sequential]:
    """The network before and from its part number `cut` on (as `parts` counts them)."""
    modules = [network.get_submodule(name) for name, _ in parts(network.plan)]
    return nn.Sequential(*modules[:cut]), nn.Sequential(*modules[cut:])


def parts(plan: NetworkPlan) -> list[tuple[str, Node]]:
    """The blocks and layers that follow one another from the pixels to the logits, by their full names."""
    return [(f"{chain.name}.{node.name}", node) for chain in plan.parts for node in chain.nodes]


def after_last_map(plan: NetworkPlan) -> int:
    """The number of the first part behind the last convolutional map, in `parts`.

    That map is what the head pools: the last stage's output, with the norm, activation or convolution the head may
    begin with. Where a pool with a window ends the last stage (AlexNet, VGG), it is the map before that pool.
    """
    nodes = [node for _, node in parts(plan)]
    head = len(nodes) - len(plan.head.nodes)
    cut = next(i for i in range(head, len(nodes)) if _is(nodes[i], ENDS_MAPS))
    while cut > 1 and _is(nodes[cut - 1], (*COARSENS, "dropout")):
        cut -= 1
    return cut


def before_classifier(plan: NetworkPlan) -> int:
    """The number of the classifier in `parts`: what enters it are the features."""
    name = classifier(plan).name
    return next(i for i, (path, _) in enumerate(parts(plan)) if path == name)


def grid(plan: NetworkPlan, cut: int) -> Grid:
    """Where the cells of the map that enters part `cut` lie on the input: at the centre of what each sees.

    A 3 x 3 convolution of stride 2 with padding 1 gives start 0 and step 2. Of paths side by side the first is
    followed: they have the same strides.
    """
    ndim = plan.spec.ndim
    start, step = [0.0] * ndim, [1] * ndim

    def follow(node: Node) -> None:
        if isinstance(node, Layer):
            for d in range(ndim if node.kernel else 0):
                padding = node.padding[d]
                before = padding if isinstance(padding, int) else padding[0]
                start[d] += step[d] * (node.dilation[d] * (node.kernel[d] - 1) / 2 - before)
                step[d] *= node.stride[d]
        elif isinstance(node, Chain):
            for child in node.nodes:
                follow(child)
        elif isinstance(node, Block):
            for chain in (node.before, node.branch, node.after):
                follow(chain)
        elif isinstance(node, Concat):
            follow(node.branches[0])
        elif isinstance(node, Cascade):
            follow(node.steps[0])
        # Scale and Shrink keep places: what they multiply by has its own

    for _, node in parts(plan)[:cut]:
        follow(node)
    return Grid(tuple(start), tuple(step))


def _is(node: Node, kinds: tuple[str, ...]) -> bool:
    return isinstance(node, Layer) and node.kind in kinds

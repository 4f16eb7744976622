"""A classifier's plan made fully convolutional: logits at every position, for pictures of any size and shape.

The global pool becomes an average pool of the map at the network's own size, at stride 1, and each linear layer behind
it a convolution with the same weights (Sermanet et al. 2014, arXiv 1312.6229, section 3.5; Simonyan and Zisserman 2015,
section 3.2), the form in which He et al. 2015 (section 3.4) had their best results. At the network's own size there is
one position, with the logits of the network itself.
"""

from __future__ import annotations

from dataclasses import replace

from residuum.errors import UserError
from residuum.plan.builder import Builder, Defaults
from residuum.plan.lowering import make_plan
from residuum.plan.nodes import Layer, NetworkPlan

POINTWISE = ("act", "dropout")
"""Layers that may stand between linear ones, for they treat every position alike."""


def fully_convolutional(plan: NetworkPlan, size: tuple[int, ...] | None = None) -> NetworkPlan:
    """The plan over inputs of `size` (by default the network's own): (N, channels, *size) to (N, classes, *positions).

    Layers keep their names, and weights their values in their order. UserError where the map at `size` is smaller
    than the pool, or the head is none that can slide.
    """
    dense = _slide(plan, plan)
    if size is None:
        return dense
    try:
        return _slide(plan, make_plan(replace(plan.spec, size=size)))
    except UserError:
        least = _least(plan)
        if min(size) >= least:
            raise
        raise UserError(
            f"{_times(size)} pixels are too few for this network: the pool of {_times(_pool(plan).input_size)} "
            f"positions with which it ends needs sides of at least {least}"
        ) from None


def _pool(plan: NetworkPlan) -> Layer:
    """The pool over positions of a head, its last."""
    for node in reversed(plan.head.nodes):
        if isinstance(node, Layer) and node.kind in ("globalpool", "adaptivepool") and node.variant in ("mean", ""):
            return node
    raise UserError("this network cannot be made fully convolutional: its head takes no mean over positions")


def _slide(own: NetworkPlan, there: NetworkPlan) -> NetworkPlan:
    """`there`, the network at some size, with a head that has the pool of the network's own size."""
    pool, found = _pool(own), _pool(there)
    grid, cell = pool.output_size, tuple(n // cells for n, cells in zip(pool.input_size, pool.output_size, strict=True))
    if any(n % cells for n, cells in zip(pool.input_size, pool.output_size, strict=True)):
        raise UserError(
            f"this network cannot be made fully convolutional: its pool divides a map of {_times(pool.input_size)} "
            f"into {_times(grid)} unequal cells; use an input size whose map divides evenly"
        )
    cut = own.head.nodes.index(pool)
    before = list(there.head.nodes[:cut])
    at = Builder(Defaults(there.spec.ndim, there.spec.size), pool.inputs, found.input_size, nodes=before)
    ones = (1,) * len(cell)
    at.layer("avgpool", pool.name, pool.outputs, cell, ones, variant="include")
    for node in own.head.nodes[cut + 1 :]:
        if not isinstance(node, Layer) or node.kind not in ("flatten", "linear", *POINTWISE):
            raise UserError(f"this network cannot be made fully convolutional: {node.name} stands behind its pool")
        if node.kind == "linear":  # over the cells, which lie as far apart as they are large
            at.layer("conv", node.name, node.outputs, grid, ones, dilation=cell, bias=node.bias)
            grid = cell = ones
        elif node.kind in POINTWISE:
            at.layer(node.kind, node.name, at.channels, variant=node.variant, value=node.value)
    return replace(there, head=at.chain(own.head.name))


def _least(plan: NetworkPlan) -> int:
    """The smallest side of a square picture whose map holds the pool; the network's own size is sure to."""
    low, high = 0, max(plan.spec.input_size())
    while high - low > 1:
        middle = (low + high) // 2
        try:
            _slide(plan, make_plan(replace(plan.spec, size=middle)))
            high = middle
        except UserError:
            low = middle
    return high


def _times(size: tuple[int, ...]) -> str:
    return "x".join(map(str, size))

"""A layer's way through the plan, step by step, which other libraries' names are made from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from residuum.plan import Block, Layer, NetworkPlan, Node, children
from residuum.spec import StrideIn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""The statistics that most published weights expect."""
HALF = (0.5, 0.5, 0.5)
"""Mean and deviation of the others: values from -1 to 1."""


@dataclass(frozen=True)
class Scheme:
    """A library's names for a family of networks: `rename(plan)` gives {our layer: their module}, as far as it has one.

    stride_in   where this library's bottlenecks stride, whatever the spec says
    mean, std   what its published weights of this family expect of the input
    auxiliary   how the names of classifiers begin that serve training only
    """

    name: str
    rename: Callable[[NetworkPlan], dict[str, str]]
    stride_in: StrideIn | None = None
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    auxiliary: tuple[str, ...] = ()


@dataclass(frozen=True)
class Step:
    """One name on the way to a layer: "block2" is the word "block" and the number 2 (0 for none).

    It is the `index`-th, from 0, `of` so many nodes in its chain.
    """

    word: str
    number: int
    index: int
    of: int


Path = tuple[Step, ...]


def rename(plan: NetworkPlan, name: Callable[[Layer, Path], str | None]) -> dict[str, str]:
    """{our layer: theirs} for every layer with weights that `name` has a name for."""
    paths = (path for i, part in enumerate(plan.parts) for path in _paths(part, i, len(plan.parts)))
    layers = zip(plan.layers, paths, strict=True)
    named = ((layer.name, name(layer, path)) for layer, path in layers if layer.parameters)
    return {ours: theirs for ours, theirs in named if theirs}


def _paths(node: Node, index: int, of: int) -> Iterator[Path]:
    """The paths of the layers below a node, in the order of `plan.layers`."""
    word = node.name.rstrip("0123456789")
    step = Step(word, int(node.name[len(word) :] or 0), index, of)
    inside = children(node)
    if isinstance(node, Layer):
        yield (step,)
    for i, child in enumerate(inside):
        for path in _paths(child, i, len(inside)):
            yield (step, *path)


def classifier(plan: NetworkPlan) -> Layer:
    """The layer that puts out the classes: the last that multiplies."""
    return next(layer for layer in reversed(plan.layers) if layer.kind in ("conv", "linear"))


def stem_convs(plan: NetworkPlan) -> int:
    """How many convolutions the stem has."""
    return sum(layer.kind == "conv" for layer in plan.layers if layer.name.startswith("stem."))


def blocks_before(plan: NetworkPlan) -> dict[int, int]:
    """Stage, from 1, to the number of blocks in all stages before it; the last key, one too many, has them all."""
    counts = {1: 0}
    for stage in plan.stages:
        counts[len(counts) + 1] = counts[len(counts)] + sum(isinstance(node, Block) for node in stage.nodes)
    return counts


BN = {"conv": "conv", "norm": "bn"}
"""What most call a convolution and the norm after it."""


def in_inception(branch: list[Step], first: int) -> str | None:
    """branch1.0.conv, or branch1.conv where it is its branch's only one; the first branch is `first`."""
    match branch:
        case [Step("branch", i), Step("conv", _, index, of), Step("conv" | "norm" as word)] if i:
            place = f".{index}" if of > 1 else ""
            return f"branch{i - 1 + first}{place}.{BN[word]}"
    return None

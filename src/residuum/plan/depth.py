"""Other members of a family: another depth or width, or strides replaced by dilation."""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate
from math import prod
from operator import mul
from typing import TypeVar

from residuum.errors import UserError
from residuum.plan.branches import branch_of
from residuum.plan.lowering import make_plan
from residuum.plan.nodes import Node, flatten
from residuum.plan.transitions import InBlock, transition_of
from residuum.spec import AnySpec, NetworkSpec, Size, Stage, Stem, StemConv, Written, each

DEEPEST = 20_000
"""The deepest network of the literature has 10,000 layers (Xiao et al. 2018, arXiv 1806.05393)."""

Scaled = TypeVar("Scaled", Stage, StemConv)


def layers_of_depth(spec: AnySpec) -> int:
    """Weighted layers as the papers count them: stem, transitions, branches, head and classifier, no projections."""
    if isinstance(spec, Written):
        return _weighted(make_plan(spec).parts)
    blocks = sum(stage.depth * branch_of(spec, stage).layers(spec) for stage in spec.stages)
    return _fixed(spec) + blocks


def _weighted(nodes: tuple[Node, ...]) -> int:
    return sum(layer.kind in ("conv", "linear") for node in nodes for layer in flatten(node))


def _fixed(spec: NetworkSpec) -> int:
    """Layers outside of blocks."""
    stem = len(spec.stem.convs) if isinstance(spec.stem, Stem) else 1
    return stem + _transitions(spec) + len(spec.head.convs) + 1


def _transitions(spec: NetworkSpec) -> int:
    if isinstance(transition_of(spec.transition), InBlock):
        return 0
    shallow = make_plan(replace(spec, stages=tuple(replace(stage, depth=1) for stage in spec.stages)))
    return _weighted(tuple(node for stage in shallow.stages for node in stage.nodes if node.name == "transition"))


def with_depth(spec: AnySpec, depth: int) -> NetworkSpec:
    """The same network with `depth` weighted layers, spread evenly (6n+2 for the CIFAR nets, section 4.2)."""
    if not isinstance(spec, NetworkSpec):
        raise UserError(f"depth {depth} cannot be set: {spec.network} has one depth; choose another network")
    depths = {stage.depth for stage in spec.stages}
    if len(depths) > 1:
        raise UserError(
            f"depth {depth} cannot be set: the stages of this network differ in depth "
            f"({', '.join(str(stage.depth) for stage in spec.stages)}); choose a network of that depth by name"
        )
    if depth > DEEPEST:
        raise UserError(f"depth {depth} is more than the {DEEPEST:,} layers that are built; give a smaller one")
    fixed = _fixed(spec)
    step = sum(branch_of(spec, stage).layers(spec) for stage in spec.stages)
    blocks, rest = divmod(depth - fixed, step)
    if rest or blocks < 1:
        low = max(blocks, 1) * step + fixed
        nearest = low if rest * 2 <= step or depth < low else low + step
        raise UserError(f"depth {depth} is not {step}n+{fixed}; the nearest is {nearest}")
    return replace(spec, stages=tuple(replace(stage, depth=blocks) for stage in spec.stages))


def with_width(spec: AnySpec, factor: float) -> NetworkSpec:
    """The same network with `factor` times the channels in its stem and in every stage, rounded."""
    if not isinstance(spec, NetworkSpec) or not isinstance(spec.stem, Stem):
        raise UserError(f"width {factor:g} cannot be set for this network; choose a residual one")
    if not 0 < factor <= 100:
        raise UserError(f"width {factor:g} must be more than 0 and at most 100: it multiplies the channels")

    def scaled(part: Scaled) -> Scaled:
        return replace(part, width=max(1, round(part.width * factor)))

    stem = replace(spec.stem, convs=tuple(map(scaled, spec.stem.convs)))
    return replace(spec, stem=stem, stages=tuple(map(scaled, spec.stages)))


def dilated(spec: AnySpec, output_stride: int) -> NetworkSpec:
    """The same network whose last map is only `output_stride` times smaller: later strides give way to dilation.

    The weights keep their meaning (Yu and Koltun 2016, arXiv 1511.07122): what strode, and what stands before it in
    its block, still has the dilation before it, as in torchvision's replace_stride_with_dilation.
    """
    if not isinstance(spec, NetworkSpec) or not isinstance(spec.stem, Stem):
        raise UserError(f"output_stride {output_stride} cannot be set for this network; choose a residual one")
    stride = prod(max(each(conv.stride, spec.ndim)) for conv in spec.stem.convs)
    stride *= 1 if spec.stem.pool == "none" else 2
    strides = list(accumulate((max(each(stage.stride, spec.ndim)) for stage in spec.stages), mul, initial=stride))
    if output_stride not in strides:
        choices = ", ".join(str(s) for s in dict.fromkeys(strides))
        raise UserError(f"output_stride {output_stride} cannot be reached by this network; choose from {choices}")
    spread = each(1, spec.ndim)
    stages: list[Stage] = []
    for stage in spec.stages:
        step, dilation = each(stage.stride, spec.ndim), each(stage.dilation, spec.ndim)
        first = dilation if stage.first_dilation is None else each(stage.first_dilation, spec.ndim)
        first = tuple(map(mul, first, spread))
        if stride * max(step) > output_stride:
            spread = tuple(map(mul, spread, step))
            stage = replace(stage, stride=1)
        else:
            stride *= max(step)
        dilation = tuple(map(mul, dilation, spread))
        kept = None if first == dilation else _short(first)
        stages.append(replace(stage, dilation=_short(dilation), first_dilation=kept))
    return replace(spec, stages=tuple(stages))


def _short(values: tuple[int, ...]) -> Size:
    return values[0] if len(set(values)) == 1 else values

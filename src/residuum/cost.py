"""What a plan costs beyond parameters and multiply-adds: activation memory, receptive field, the printed table."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

from residuum.config import to_dict
from residuum.plan import Block, Cascade, Chain, Concat, Layer, NetworkPlan, Node, Scale, Shrink

KEEPS_OUTPUT = ("relu", "sigmoid")
"""Activations whose gradient is computed from their output; the others keep their input."""

KEEPS_INPUT = (
    "conv", "norm", "act", "maxpool", "avgpool", "blurpool", "stochasticpool", "channelpool", "channelconv", "linear",
)  # fmt: skip
"""Kinds of layers whose gradient is computed from their input."""

WINDOWED = ("conv", "maxpool", "avgpool", "blurpool", "stochasticpool", "zeropad")
"""Kinds of layers that see a window of their input (`adaptivepool` and `globalpool` see all of it)."""


@dataclass
class _Tensor:
    elements: int
    kept: bool = False
    indices: int = 0  # elements of 8 bytes kept beside it (a max-pool's arg-max)


def activation_bytes(plan: NetworkPlan, batch_size: int = 1, bytes_per_element: int = 4) -> int:
    """Bytes that training keeps from the forward for the backward pass, each tensor once, weights excluded.

    A convolution, a norm, a max-pool and the classifier keep their input, a ReLU its output, dropout its mask; sums,
    averages and shortcut A keep nothing. A few numbers a channel are left out as negligible: the statistics of norms,
    and what attention computes from them.
    """
    first = plan.layers[0]
    tensors: list[_Tensor] = [_Tensor(first.inputs * prod(first.input_size))]
    at = tensors[0]
    for part in plan.parts:
        at = _walk(part, at, tensors)
    kept = sum(t.elements * bytes_per_element for t in tensors if t.kept) + sum(8 * t.indices for t in tensors)
    return batch_size * kept


def _walk(node: Node, at: _Tensor, tensors: list[_Tensor]) -> _Tensor:
    if isinstance(node, Chain):
        for child in node.nodes:
            at = _walk(child, at, tensors)
        return at
    if isinstance(node, Scale):
        factor = _walk(node.factor, at, tensors)
        at.kept = factor.kept = True  # the product needs both for its gradient
        return _new(at.elements, tensors)
    if isinstance(node, Shrink):
        factor = _walk(node.factor, _Tensor(0), tensors)
        at.kept = factor.kept = True
        return _new(at.elements, tensors)
    if isinstance(node, Concat):
        return _new(sum(_walk(branch, at, tensors).elements for branch in node.branches), tensors)
    if isinstance(node, Cascade):
        return _cascade(node, at, tensors)
    if isinstance(node, Block):
        return _block(node, at, tensors)
    if node.kind == "flatten":
        return at
    if node.kind == "conv" and any(isinstance(p, tuple) for p in node.padding):
        at = _padded(node, tensors)
    output = _new(node.outputs * prod(node.output_size), tensors)
    keeps_output = node.kind == "act" and node.variant in KEEPS_OUTPUT
    if keeps_output:
        output.kept = True
    elif node.kind in KEEPS_INPUT:
        at.kept = True
    if node.kind in ("maxpool", "stochasticpool"):
        output.indices = output.elements
    beside = {
        "dropout": output.elements,
        "stochasticpool": output.elements * prod(node.kernel),  # its windows
        "blurpool": node.inputs * (_grown(node, 2) + _grown(node, 1)),  # with the border, and its first mean
        "channelpool": prod(node.output_size),  # the maxima
    }
    if node.kind in beside:
        _new(beside[node.kind], tensors).kept = True
    return output


def _padded(node: Layer, tensors: list[_Tensor]) -> _Tensor:
    """What a convolution sees where the padding is put on first."""
    sides = (2 * p if isinstance(p, int) else sum(p) for p in node.padding)
    return _new(node.inputs * prod(n + side for n, side in zip(node.input_size, sides, strict=True)), tensors)


def _grown(node: Layer, by: int) -> int:
    return prod(n + by for n in node.input_size)


def _cascade(node: Cascade, at: _Tensor, tensors: list[_Tensor]) -> _Tensor:
    pieces = len(node.steps) + 1
    total, before = 0, None
    for step in node.steps:
        piece = at if node.first or before is None else _new(at.elements // pieces, tensors)
        before = _walk(step, piece, tensors)
        total += before.elements
    return _new(total + _walk(node.last, _Tensor(at.elements // pieces), tensors).elements, tensors)


def _block(node: Block, at: _Tensor, tensors: list[_Tensor]) -> _Tensor:
    at = _walk(node.before, at, tensors)
    branches = [_walk(branch, at, tensors) for branch in node.branches]
    joined = branches[0]
    if node.shortcut is not None:
        shortcut = _walk(node.shortcut, at, tensors)
        if node.gate is not None:
            gate = _walk(node.gate, at, tensors)
            gate.kept = joined.kept = shortcut.kept = True  # the gate's gradient needs both, theirs the gate
        elements = joined.elements + (shortcut.elements if node.merge == "concat" else 0)
        joined = _new(elements, tensors)
    return _walk(node.after, joined, tensors)


def _new(elements: int, tensors: list[_Tensor]) -> _Tensor:
    tensors.append(_Tensor(elements))
    return tensors[-1]


def receptive_field(plan: NetworkPlan) -> tuple[int, ...]:
    """Pixels, per dimension, that one position of the last feature map sees (before global pooling)."""
    ndim = plan.spec.ndim
    field, jump = [1] * ndim, [1] * ndim

    def see(node: Node) -> None:
        if isinstance(node, Layer):
            if node.kind in WINDOWED:
                for i in range(ndim):
                    field[i] += (node.kernel[i] - 1) * node.dilation[i] * jump[i]
                    jump[i] *= node.stride[i]
        elif isinstance(node, Chain):
            for child in node.nodes:
                see(child)
        elif isinstance(node, Block):
            see(node.before)
            widest(tuple(chain for chain in (*node.branches, node.shortcut, node.gate) if chain is not None))
            see(node.after)
        elif isinstance(node, Concat):
            widest(node.branches)
        elif isinstance(node, Cascade):
            if node.first:  # every piece by itself
                widest((*node.steps, node.last))
            else:
                for step in node.steps:
                    see(step)

    def widest(branches: tuple[Chain, ...]) -> None:
        """In each dimension; all stride alike."""
        begun = field[:], jump[:]
        ends = []
        for branch in branches:
            field[:], jump[:] = begun
            see(branch)
            ends.append(field[:])
        field[:] = [max(sizes) for sizes in zip(*ends, strict=True)]

    for part in plan.parts[:-1]:
        see(part)
    return tuple(field)


def layer_rows(plan: NetworkPlan) -> list[dict[str, Any]]:
    """The plan as rows, one value per dimension, for tables and JSON."""
    return [
        {
            "name": layer.name,
            "kind": layer.kind,
            "in": layer.inputs,
            "out": layer.outputs,
            "kernel": list(layer.kernel),
            "stride": list(layer.stride),
            "padding": [list(p) if isinstance(p, tuple) else p for p in layer.padding],
            "groups": layer.groups,
            "output": list(layer.output_size),
            "parameters": layer.parameters,
            "macs": layer.macs,
        }
        for layer in plan.layers
    ]


def totals(plan: NetworkPlan, name: str, batch_size: int = 1) -> dict[str, Any]:
    """Name, cost and input of a network; `activation_bytes` are float32 at the batch size."""
    return {
        "name": name,
        "parameters": plan.parameters,
        "macs": plan.macs,
        "input": [plan.spec.channels, *plan.spec.input_size()],
        "activation_bytes": activation_bytes(plan, batch_size),
        "batch_size": batch_size,
        "receptive_field": list(receptive_field(plan)),
    }


def describe(plan: NetworkPlan, name: str, batch_size: int = 1) -> dict[str, Any]:
    """All of `residuum models NAME --json`."""
    return {**totals(plan, name, batch_size), "layers": layer_rows(plan), "spec": to_dict(plan.spec)}

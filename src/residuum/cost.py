"""What a plan costs beyond parameters and multiply-adds: activation memory, receptive field, the printed table."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

from residuum.config import to_dict
from residuum.plan import Block, Chain, Layer, NetworkPlan, Node, Scale

KEEPS_OUTPUT = ("relu", "sigmoid")
"""Activations whose gradient is computed from their output; the others keep their input."""


@dataclass
class _Tensor:
    elements: int
    kept: bool = False
    indices: int = 0  # elements of 8 bytes kept beside it (a max-pool's arg-max)


def activation_bytes(plan: NetworkPlan, batch_size: int = 1, bytes_per_element: int = 4) -> int:
    """Bytes that training keeps from the forward for the backward pass, each tensor once, weights excluded.

    A convolution, a norm, a max-pool and the classifier keep their input, a ReLU its output; sums, averages
    and shortcut A keep nothing. Norm statistics (two numbers a channel) are left out as negligible.
    """
    first = plan.stem.nodes[0]
    assert isinstance(first, Layer)
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
    if isinstance(node, Block):
        at = _walk(node.before, at, tensors)
        joined = _walk(node.branch, at, tensors)
        if node.shortcut is not None:
            _walk(node.shortcut, at, tensors)
            joined = _new(joined.elements, tensors)
        return _walk(node.after, joined, tensors)
    if node.kind == "flatten":
        return at
    output = _new(node.outputs * prod(node.output_size), tensors)
    keeps_output = node.kind == "act" and node.variant in KEEPS_OUTPUT
    if keeps_output:
        output.kept = True
    elif node.kind in ("conv", "norm", "act", "maxpool", "avgpool", "linear"):
        at.kept = True
    if node.kind == "maxpool":
        output.indices = output.elements
    return output


def _new(elements: int, tensors: list[_Tensor]) -> _Tensor:
    tensors.append(_Tensor(elements))
    return tensors[-1]


def receptive_field(plan: NetworkPlan) -> tuple[int, ...]:
    """Pixels, per dimension, that one position of the last feature map sees (before global pooling)."""
    ndim = plan.spec.ndim
    field, jump = [1] * ndim, [1] * ndim

    def see(node: Node) -> None:
        if isinstance(node, Layer):
            if node.kind in ("conv", "maxpool", "avgpool", "zeropad"):
                for i in range(ndim):
                    field[i] += (node.kernel[i] - 1) * node.dilation[i] * jump[i]
                    jump[i] *= node.stride[i]
        elif isinstance(node, Chain):
            for child in node.nodes:
                see(child)
        elif isinstance(node, Block):
            # a branch sees at least what its shortcut sees, and both stride alike
            for chain in (node.before, node.branch, node.after):
                see(chain)

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

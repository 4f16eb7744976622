"""Layer plans to modules: one factory for each kind of layer, one for each activation."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from residuum.nets import ops
from residuum.plan import Kind, Layer

# A module of its own for every use: reuse breaks hooks and guided backpropagation.
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "sigmoid": nn.Sigmoid,
}


def _activation(layer: Layer) -> nn.Module:
    return ACTIVATIONS[layer.variant]()


def _linear(layer: Layer) -> nn.Module:
    return nn.Linear(layer.inputs, layer.outputs, bias=layer.bias)


def _flatten(layer: Layer) -> nn.Module:
    return nn.Flatten()


FACTORIES: dict[Kind, Callable[[Layer], nn.Module]] = {
    "conv": ops.conv,
    "norm": ops.norm,
    "act": _activation,
    "maxpool": ops.maxpool,
    "avgpool": ops.avgpool,
    "globalpool": ops.GlobalPool,
    "zeropad": ops.ZeroPadShortcut,
    "flatten": _flatten,
    "linear": _linear,
}

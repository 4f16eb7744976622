"""Layer plans to modules: one factory for each kind of layer, one for each activation."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from residuum.nets import ops, pools
from residuum.nets.norms import ThresholdedLinear
from residuum.plan import Kind, Layer

# A module of its own for every use: reuse breaks hooks and guided backpropagation.
ACTIVATIONS: dict[str, Callable[[Layer], nn.Module]] = {
    "relu": lambda layer: nn.ReLU(),
    "leaky_relu": lambda layer: nn.LeakyReLU(),
    "elu": lambda layer: nn.ELU(),
    "selu": lambda layer: nn.SELU(),
    "silu": lambda layer: nn.SiLU(),
    "gelu": lambda layer: nn.GELU(),
    "hard_swish": lambda layer: nn.Hardswish(),
    "relu6": lambda layer: nn.ReLU6(),
    "tlu": lambda layer: ThresholdedLinear(layer.outputs),
    "sigmoid": lambda layer: nn.Sigmoid(),
}


def _activation(layer: Layer) -> nn.Module:
    if isinstance(layer.variant, str):
        return ACTIVATIONS[layer.variant](layer)
    return ops.from_outside(layer, layer.variant)


def _linear(layer: Layer) -> nn.Module:
    return nn.Linear(layer.inputs, layer.outputs, bias=layer.bias)


def _flatten(layer: Layer) -> nn.Module:
    return nn.Flatten()


def _dropout(layer: Layer) -> nn.Module:
    return nn.Dropout(layer.value)


FACTORIES: dict[Kind, Callable[[Layer], nn.Module]] = {
    "conv": ops.conv,
    "norm": ops.norm,
    "act": _activation,
    "maxpool": ops.maxpool,
    "avgpool": ops.avgpool,
    "blurpool": pools.BlurPool,
    "stochasticpool": pools.StochasticPool,
    "globalpool": pools.GlobalPool,
    "adaptivepool": ops.adaptivepool,
    "channelpool": pools.ChannelPool,
    "channelconv": pools.ChannelConv,
    "zeropad": pools.ZeroPadShortcut,
    "shift": pools.Shift,
    "dropout": _dropout,
    "flatten": _flatten,
    "linear": _linear,
}

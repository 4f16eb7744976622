"""The only file that knows torch's 1D, 2D and 3D modules: a layer plan to the module of its dimension."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from residuum.errors import UserError
from residuum.nets.norms import FilterResponse, HalfInstance, Norm, Switchable
from residuum.plan import Layer, Leaf

_CONV: tuple[type[nn.Module], ...] = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_MAX_POOL: tuple[type[nn.Module], ...] = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
_AVG_POOL: tuple[type[nn.Module], ...] = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
_ADAPTIVE_POOL: tuple[type[nn.Module], ...] = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)
_BATCH_NORM: tuple[type[nn.Module], ...] = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_INSTANCE_NORM: tuple[type[nn.Module], ...] = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)

NORMS = (*_BATCH_NORM, *_INSTANCE_NORM, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm, Norm)
"""Module types of normalisation, for grouping parameters by type."""


def _for_ndim(types: tuple[type[nn.Module], ...], layer: Layer) -> Any:
    return types[len(layer.input_size) - 1]


def conv(layer: Layer) -> nn.Module:
    """A convolution; where the padding differs before and after, it is put on first."""
    kind = _for_ndim(_CONV, layer)
    even = all(isinstance(p, int) for p in layer.padding)
    module = kind(
        layer.inputs, layer.outputs, layer.kernel, layer.stride, layer.padding if even else 0, layer.dilation,
        layer.groups, layer.bias,
    )  # fmt: skip
    if not even:
        sides = [(p, p) if isinstance(p, int) else p for p in layer.padding]
        module.register_forward_pre_hook(_PadFirst(tuple(side for p in reversed(sides) for side in p)))
    return module


class _PadFirst:
    """Zeros around the input of a module."""

    def __init__(self, pad: tuple[int, ...]) -> None:
        self.pad = pad

    def __call__(self, module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor]:
        return (F.pad(args[0], self.pad),)


def norm(layer: Layer) -> nn.Module:
    """batch; instance and group with learned scale and shift (32 groups, or one per channel below 32); ..."""
    variant, channels, eps = layer.variant, layer.outputs, layer.value
    if not isinstance(variant, str):
        module = from_outside(layer, variant)
        if not isinstance(module, NORMS):
            raise UserError(
                f"norm {type(variant).__name__} makes a {type(module).__name__}, which cannot be told from other "
                "layers: derive it from residuum.nets.norms.Norm"
            )
        return module
    if variant == "batch":
        return _for_ndim(_BATCH_NORM, layer)(channels, eps=eps)
    if variant == "instance":
        return _for_ndim(_INSTANCE_NORM, layer)(channels, eps=eps, affine=True)
    if variant == "half_instance":
        half = channels // 2
        instance = _for_ndim(_INSTANCE_NORM, layer)(half, eps=eps, affine=True)
        return HalfInstance(instance, _for_ndim(_BATCH_NORM, layer)(channels - half, eps=eps), half)
    if variant == "switchable":
        return Switchable(channels, eps)
    if variant == "filter_response":
        return FilterResponse(channels, eps)
    return nn.GroupNorm(min(32, channels), channels, eps=eps)


def from_outside(layer: Layer, part: Leaf) -> nn.Module:
    """The module of a user's part; UserError where it would be miscounted or keep what was in memory for weights."""
    module, name = part.module(layer), type(part).__name__
    learned = sum(parameter.numel() for parameter in module.parameters())
    if learned != layer.parameters:
        raise UserError(f"{name}.parameters(layer) is {layer.parameters} where its module learns {learned}")
    for child in module.modules():
        own = [*child.parameters(recurse=False), *child.buffers(recurse=False)]
        if own and not hasattr(child, "reset_parameters"):
            raise UserError(
                f"the {type(child).__name__} of {name} has weights or buffers and nothing that sets them: give it a "
                "method reset_parameters()"
            )
    return module


def maxpool(layer: Layer) -> nn.Module:
    return _for_ndim(_MAX_POOL, layer)(
        layer.kernel, layer.stride, layer.padding, ceil_mode=layer.variant == "ceil"
    )  # fmt: skip


def avgpool(layer: Layer) -> nn.Module:
    """A last, partial window counts where the variant is "ceil"; padding counts where it is "include"."""
    return _for_ndim(_AVG_POOL, layer)(
        layer.kernel, layer.stride, layer.padding, layer.variant == "ceil", layer.variant == "include"
    )


def subsample(x: Tensor, stride: tuple[int, ...]) -> Tensor:
    """Every stride-th position of x (N, C, *size).

    For pictures it is a mean over one position, whose gradient, unlike that of a slice, keeps the memory format: adding
    two formats costs more than a convolution. torch's mean over volumes is not for half precision.
    """
    if x.ndim == 4:
        return F.avg_pool2d(x, 1, stride)
    return x[(slice(None), slice(None), *(slice(None, None, step) for step in stride))]


def adaptivepool(layer: Layer) -> nn.Module:
    """Mean over the cells of a grid of the planned size."""
    return _for_ndim(_ADAPTIVE_POOL, layer)(layer.output_size)


def dense_format(x: Tensor) -> torch.memory_format:
    """The memory format in which convolutions of this input's dimension run fastest on a CPU and a GPU."""
    return {4: torch.channels_last, 5: torch.channels_last_3d}.get(x.ndim, torch.contiguous_format)

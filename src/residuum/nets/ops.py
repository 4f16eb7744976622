"""The only file that knows 1D, 2D and 3D: a layer plan to the torch module of its dimension."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from residuum.plan import Layer

_CONV: tuple[type[nn.Module], ...] = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_MAX_POOL: tuple[type[nn.Module], ...] = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
_AVG_POOL: tuple[type[nn.Module], ...] = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
_BATCH_NORM: tuple[type[nn.Module], ...] = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_INSTANCE_NORM: tuple[type[nn.Module], ...] = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)

NORMS = (*_BATCH_NORM, *_INSTANCE_NORM, nn.GroupNorm)
"""Module types of normalisation, for grouping parameters by type."""


def _for_ndim(types: tuple[type[nn.Module], ...], layer: Layer) -> Any:
    return types[len(layer.input_size) - 1]


def conv(layer: Layer) -> nn.Module:
    return _for_ndim(_CONV, layer)(
        layer.inputs, layer.outputs, layer.kernel, layer.stride, layer.padding, layer.dilation, layer.groups,
        layer.bias,
    )  # fmt: skip


def norm(layer: Layer) -> nn.Module:
    """batch; instance and group with learned scale and shift (32 groups, or one per channel below 32)."""
    if layer.variant == "batch":
        return _for_ndim(_BATCH_NORM, layer)(layer.outputs)
    if layer.variant == "instance":
        return _for_ndim(_INSTANCE_NORM, layer)(layer.outputs, affine=True)
    return nn.GroupNorm(min(32, layer.outputs), layer.outputs)


def maxpool(layer: Layer) -> nn.Module:
    return _for_ndim(_MAX_POOL, layer)(layer.kernel, layer.stride, layer.padding)


def avgpool(layer: Layer) -> nn.Module:
    return _for_ndim(_AVG_POOL, layer)(layer.kernel, layer.stride, ceil_mode=True)


class GlobalPool(nn.Module):
    """Mean over all positions, (N, C, ...) to (N, C, 1, ...)."""

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self.dims = tuple(range(2, 2 + len(layer.input_size)))

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(self.dims, keepdim=True)


class ZeroPadShortcut(nn.Module):
    """Shortcut A: S(x) = x at every stride-th position, between zero channels (He et al. 2015, section 3.3).

    Half of the new channels stand before and half after, as in the published CIFAR weights.
    """

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        new = layer.outputs - layer.inputs
        self.positions = (slice(None), slice(None), *(slice(None, None, s) for s in layer.stride))
        self.pad = (0, 0) * len(layer.stride) + (new // 2, new - new // 2)

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[self.positions], self.pad)


def dense_format(x: Tensor) -> torch.memory_format:
    """The memory format in which convolutions of this input's dimension run fastest on a CPU and a GPU."""
    return {4: torch.channels_last, 5: torch.channels_last_3d}.get(x.ndim, torch.contiguous_format)

"""Batch norm of training in bfloat16, the addition of a shortcut and ReLU as one operation.

Ioffe and Szegedy 2015 (arXiv 1502.03167), algorithm 1. In float32 nothing was won by it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from residuum.kernels.build import kernels


def normalises(norm: nn.BatchNorm2d, x: Tensor, shortcut: Tensor | None = None) -> bool:
    """Whether `normalise` does what these modules do with such an input: in training, in bfloat16, channels last."""
    return (
        norm.training
        and norm.running_mean is not None
        and norm.momentum is not None
        and norm.affine
        and norm.num_features == x.shape[1]
        and norm.weight.dtype == norm.bias.dtype == norm.running_mean.dtype == torch.float32
        and x.device.type == "cpu"
        and x.dtype == torch.bfloat16
        and x.numel() > x.shape[1]
        and x.is_contiguous(memory_format=torch.channels_last)
        and (
            shortcut is None
            or (shortcut.dtype == x.dtype and shortcut.shape == x.shape and shortcut.device == x.device)
        )
        and kernels() is not None
    )


def normalise(norm: nn.BatchNorm2d, x: Tensor, shortcut: Tensor | None, relu: bool) -> Tensor:
    """act(norm(x) + shortcut) for x (N, C, H, W), act ReLU or nothing; the running statistics follow.

    Rounded once, where the operations one by one are rounded after each.
    """
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    assert norm.momentum is not None
    norm.num_batches_tracked.add_(1)
    running = (norm.running_mean, norm.running_var, float(norm.momentum))
    return _Normalise.apply(x, shortcut, norm.weight, norm.bias, running, float(norm.eps), relu)


class _Normalise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, shortcut: Tensor | None, scale: Tensor, shift: Tensor,
        running: tuple[Tensor, Tensor, float], eps: float, relu: bool,
    ) -> Tensor:  # fmt: skip
        if shortcut is not None:
            shortcut = shortcut.contiguous(memory_format=torch.channels_last)
        y = torch.empty_like(x, memory_format=torch.channels_last)
        mean, inverse = torch.empty_like(scale), torch.empty_like(scale)
        _call("forward", x, x, shortcut, scale, shift, *running, eps, y, mean, inverse, relu=relu)
        ctx.save_for_backward(x, y if relu else None, scale, mean, inverse)
        ctx.relu, ctx.joined = relu, shortcut is not None
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, y, scale, mean, inverse = ctx.saved_tensors
        dy = gradients[0].contiguous(memory_format=torch.channels_last)
        dx = torch.empty_like(x, memory_format=torch.channels_last)
        joined = torch.empty_like(dx) if ctx.joined and ctx.relu else None
        dscale, dshift = torch.empty_like(scale), torch.empty_like(scale)
        _call("backward", x, dy, y, x, scale, mean, inverse, dx, joined, dscale, dshift, relu=ctx.relu)
        return dx, joined if ctx.relu else (dy if ctx.joined else None), dscale, dshift, None, None, None


def _call(what: str, x: Tensor, *arguments: Tensor | float | None, relu: bool) -> None:
    found = kernels()
    assert found is not None
    channels = x.shape[1]
    found.call(f"norm_{what}", *arguments, x.numel() // channels, channels, relu, torch.get_num_threads())

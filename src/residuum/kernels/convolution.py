"""A 3x3 convolution in bfloat16 whose weights' gradient is ours, in float32, and the rest torch's."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from residuum.kernels.build import kernels

MOST_WEIGHTS = 128 * 128
"""Input times output channels up to which the sums of all weights stay in the cache while pictures pass by."""
MOST_THREADS = 16
"""Every thread has sums of its own, which one adds up."""
SMALLEST_SIDE = 8
"""Rows shorter than this leave too little to do between one picture and the next."""


def convolves(conv: nn.Conv2d) -> bool:
    """Whether `convolve` may stand for a convolution: 3x3, stride 1, padding 1, some 16s of channels, no bias.

    Where the processor has tiles for bfloat16 (AMX), torch's own gradient is the faster one.
    """
    found = kernels()
    return (
        found is not None
        and found.weight_gradient
        and not torch.cpu._is_amx_tile_supported()
        and conv.bias is None
        and conv.padding_mode == "zeros"
        and (conv.kernel_size, conv.stride, conv.dilation, conv.groups) == ((3, 3), (1, 1), (1, 1), 1)
        and conv.padding == (1, 1)
        and conv.in_channels % 16 == conv.out_channels % 16 == 0
        and conv.in_channels * conv.out_channels <= MOST_WEIGHTS
    )


def convolve(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """The convolution of x (N, C, H, W) in bfloat16, on a processor, channels last; for anything else torch's own."""
    weight = conv.weight
    ours = (
        weight.requires_grad
        and torch.is_grad_enabled()
        and x.device.type == "cpu"
        and x.dtype == torch.bfloat16
        and torch.is_autocast_enabled("cpu")
        and x.is_contiguous(memory_format=torch.channels_last)
        and len(x) > 0
        and min(x.shape[2:]) >= SMALLEST_SIDE
    )
    return _Convolve.apply(x, weight) if ours else conv(x)


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        rounded = weight.to(torch.bfloat16)
        ctx.save_for_backward(x, rounded)
        ctx.dtype = weight.dtype
        return F.conv2d(x, rounded, padding=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor]:  # type: ignore[override]
        x, weight = ctx.saved_tensors
        dy = gradients[0].contiguous(memory_format=torch.channels_last)
        dx = None
        if ctx.needs_input_grad[0]:
            dx = torch.ops.aten.convolution_backward(
                dy, x, weight, None, (1, 1), (1, 1), (1, 1), False, (0, 0), 1, (True, False, False)
            )[0]
        return dx, weight_gradient(x, dy).to(ctx.dtype)


def weight_gradient(x: Tensor, dy: Tensor) -> Tensor:
    """Sums over all pixels of x (N, I, H, W) times dy (N, O, H, W), both bfloat16, for 3x3 taps: (O, I, 3, 3)."""
    found = kernels()
    assert found is not None
    n, inputs, height, width = x.shape
    outputs = dy.shape[1]
    result = torch.empty((outputs, inputs, 3, 3), memory_format=torch.channels_last)
    threads = min(torch.get_num_threads(), n, MOST_THREADS)
    found.call("weight_gradient", x, dy, result, n, height, width, inputs, outputs, threads)
    return result

"""Pooling and channel operations beyond torch's own, for any number of dimensions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from residuum.nets.ops import subsample
from residuum.plan import Layer


class GlobalPool(nn.Module):
    """All positions of a channel to one value: (N, C, ...) to (N, C, 1, ...); mean_max: both, (N, C, 2, 1, ...)."""

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self.dims = tuple(range(2, 2 + len(layer.input_size)))
        self.variant = layer.variant

    def forward(self, x: Tensor) -> Tensor:
        if self.variant == "sum":
            return x.sum(self.dims, keepdim=True)
        mean = x.mean(self.dims, keepdim=True)
        return mean if self.variant == "mean" else torch.cat((mean, x.amax(self.dims, keepdim=True)), 2)


class ChannelPool(nn.Module):
    """Mean and maximum over the channels: (N, C, ...) to (N, 2, ...) (Woo et al. 2018, section 3)."""

    def __init__(self, layer: Layer) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((x.mean(1, keepdim=True), x.amax(1, keepdim=True)), 1)


class ChannelConv(nn.Conv1d):
    """One small kernel slid over the channels of (N, C, 1, ...), zeros outside (Wang et al. 2020, eq. 7)."""

    def __init__(self, layer: Layer) -> None:
        super().__init__(1, 1, layer.kernel[0], padding=layer.kernel[0] // 2, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.flatten(1).unsqueeze(1)).view(input.shape)


class BlurPool(nn.Module):
    """Binomial [1 2 1]/4 along each dimension, then every stride-th position (Zhang 2019, arXiv 1904.11486).

    As two means over two neighbours; the border is repeated outside.
    """

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self.ndim = len(layer.input_size)
        self.stride = layer.stride
        self.mean = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[self.ndim - 1]

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (1, 1) * self.ndim, mode="replicate")
        return self.mean(self.mean(x, 2, 1), 2, self.stride)


class StochasticPool(nn.Module):
    """One value of each window, drawn in proportion to the values; in use their mean weighted so.

    Zeiler and Fergus 2013 (arXiv 1301.3557), eq. 2 to 6; for values of at least 0, others count as 0.
    """

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self.kernel, self.stride = layer.kernel, layer.stride
        pads = [p for p in layer.padding if isinstance(p, int)]  # a pool pads alike on both sides
        self.pad = tuple(side for p in reversed(pads) for side in (p, p))

    def forward(self, x: Tensor) -> Tensor:
        windows = F.pad(x.clamp_min(0), self.pad)
        for dim, (kernel, stride) in enumerate(zip(self.kernel, self.stride, strict=True), start=2):
            windows = windows.unfold(dim, kernel, stride)
        values = windows.flatten(x.ndim)
        if not self.training:
            total = values.sum(-1)
            return values.square().sum(-1) / total.clamp_min(torch.finfo(x.dtype).tiny)
        reached = values.detach().cumsum(-1)
        drawn = torch.rand(reached.shape[:-1], dtype=x.dtype, device=x.device).unsqueeze(-1) * reached[..., -1:]
        chosen = (reached <= drawn).sum(-1, keepdim=True).clamp_max(values.shape[-1] - 1)
        return values.gather(-1, chosen).squeeze(-1)


class ZeroPadShortcut(nn.Module):
    """Shortcut A: S(x) = x at every stride-th position, between zero channels (He et al. 2015, section 3.3).

    Half of the new channels stand before and half after, as in the published CIFAR weights.
    """

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        new = layer.outputs - layer.inputs
        self.stride = layer.stride
        self.pad = (0, 0) * len(layer.stride) + (new // 2, new - new // 2)

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(subsample(x, self.stride), self.pad)


class Shift(nn.Module):
    """x moved by one position along each strided dimension: the first is dropped, a zero comes last (shake-shake)."""

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        sides = [(p, p) if isinstance(p, int) else p for p in reversed(layer.padding)]
        self.pad = tuple(side for pair in sides for side in pair)

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x, self.pad)

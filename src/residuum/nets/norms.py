"""Normalisation beyond torch's own. All of them are `Norm` for grouping parameters by type."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Norm(nn.Module):
    """Base of our norms: optimizers that spare norms from weight decay know it."""

    def reset_parameters(self) -> None:
        """Scale 1, shift 0."""
        raise NotImplementedError


class HalfInstance(Norm):
    """Instance norm over the first half of the channels, batch norm over the rest (Pan et al. 2018, IBN-a)."""

    def __init__(self, instance: nn.Module, batch: nn.Module, half: int) -> None:
        super().__init__()
        self.instance, self.batch, self.split_at = instance, batch, half

    def forward(self, x: Tensor) -> Tensor:
        first, second = x.split([self.split_at, x.shape[1] - self.split_at], 1)
        return torch.cat((self.instance(first.contiguous()), self.batch(second.contiguous())), 1)

    def reset_parameters(self) -> None:
        """Those of the two norms are reset by themselves."""


class Switchable(Norm):
    """A softmax-weighted mean of instance, layer and batch statistics (Luo et al. 2019, arXiv 1806.10779, eq. 3 to 5).

    In use the batch's statistics are running means.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, eps: float, momentum: float = 0.1) -> None:
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.mean_weight, self.var_weight = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(2)
        mean, var = flat.mean(2), flat.var(2, correction=0)
        # a variance over several maps is the mean of theirs and the variance of their means, without cancellation
        layer_mean = mean.mean(1, keepdim=True)
        layer_var = var.mean(1, keepdim=True) + mean.var(1, correction=0, keepdim=True)
        if self.training:
            batch_mean = mean.mean(0)
            batch_var = var.mean(0) + mean.var(0, correction=0)
            with torch.no_grad():
                self.running_mean.lerp_(batch_mean.to(self.running_mean.dtype), self.momentum)
                self.running_var.lerp_(batch_var.to(self.running_var.dtype), self.momentum)
        else:
            batch_mean, batch_var = self.running_mean, self.running_var
        m, v = self.mean_weight.softmax(0), self.var_weight.softmax(0)
        mean = m[0] * mean + m[1] * layer_mean + m[2] * batch_mean
        var = v[0] * var + v[1] * layer_var + v[2] * batch_var
        scale = self.weight * (var + self.eps).rsqrt()
        shape = (*mean.shape, *(1,) * (x.ndim - 2))
        return x * scale.view(shape) + (self.bias - mean * scale).view(shape)

    def reset_parameters(self) -> None:
        nn.init.ones_(self.weight)
        nn.init.zeros_(self.bias)
        nn.init.ones_(self.mean_weight)
        nn.init.ones_(self.var_weight)
        self.running_mean.zero_()
        self.running_var.fill_(1)


class FilterResponse(Norm):
    """x / sqrt(mean of x^2 + eps), scaled and shifted (Singh and Krishnan 2020, arXiv 1911.09737, eq. 2 and 3).

    To be followed by the thresholded activation "tlu".
    """

    def __init__(self, channels: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        scale = x.square().mean(tuple(range(2, x.ndim)), keepdim=True).add(self.eps).rsqrt()
        shape = (1, -1, *(1,) * (x.ndim - 2))
        return x * (scale * self.weight.view(shape)) + self.bias.view(shape)

    def reset_parameters(self) -> None:
        nn.init.ones_(self.weight)
        nn.init.zeros_(self.bias)


class ThresholdedLinear(Norm):
    """max(x, t), t learned for each channel, 0 at first (Singh and Krishnan 2020, eq. 4)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.threshold = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return torch.maximum(x, self.threshold.view(1, -1, *(1,) * (x.ndim - 2)))

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.threshold)

"""Batch norms taken over by the convolutions before them: fewer passes over memory, the same function.

In use, batch norm is g (x - m) / sqrt(v + eps) + b for each channel, so a convolution with weights g W / sqrt(v + eps)
and bias b - g m / sqrt(v + eps) does both (Jacob et al. 2018, arXiv 1712.05877, section 3.2).
"""

from __future__ import annotations

from copy import deepcopy
from itertools import pairwise
from typing import Any

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from residuum.nets.network import steps

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
"""Exactly these types: what derives from them may do something else."""


def folded(network: nn.Module) -> nn.Module:
    """A copy in evaluation mode where each convolution has taken over the batch norm that directly follows it.

    Names stay; where a batch norm was, there is an identity. Those that follow something else stay as they are.
    Computed in float64, so that a float32 network is rounded once.
    """
    copy = deepcopy(network).eval().requires_grad_(False)
    for chain in copy.modules():
        if type(chain) is nn.Sequential:
            for (_, _, first), (parent, name, second) in pairwise(list(steps(chain))):
                if type(first) in CONVOLUTIONS and type(second) in BATCH_NORMS and second.running_mean is not None:
                    _take_over(first, second)
                    setattr(parent, name, nn.Identity())
    return copy


def _take_over(conv: Any, norm: Any) -> None:
    fused = fuse_conv_bn_eval(deepcopy(conv).double(), deepcopy(norm).double())
    dtype = conv.weight.dtype
    for name, value in (("weight", fused.weight), ("bias", fused.bias)):
        setattr(conv, name, nn.Parameter(value.detach().to(dtype), requires_grad=False))

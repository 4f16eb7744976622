"""Initial weights: He et al. 2015 "Delving Deep into Rectifiers" (1502.01852), section 2.2, by module type."""

from __future__ import annotations

import math

import torch
from torch import nn

from residuum.nets.ops import NORMS


def initialise(network: nn.Module, generator: torch.Generator | None = None) -> None:
    """Convolutions N(0, 2 / (k^d * outputs)) (the backward form, eq. 14), norms 1 and 0, biases 0.

    The classifier is uniform in +-1/sqrt(inputs). Draws follow the order of modules, so a plain net and its
    option-A twin of the same plan get the same numbers.
    """
    for module in network.modules():
        if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
            fan_out = module.out_channels * math.prod(module.kernel_size) // module.groups
            with torch.no_grad():
                module.weight.normal_(0.0, math.sqrt(2.0 / fan_out), generator=generator)
        elif isinstance(module, nn.Linear):
            bound = 1 / math.sqrt(module.in_features)
            with torch.no_grad():
                module.weight.uniform_(-bound, bound, generator=generator)
        elif isinstance(module, NORMS):
            module.reset_parameters()
            continue
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)

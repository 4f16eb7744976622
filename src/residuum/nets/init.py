"""Initial weights, by module type: He et al. 2015 "Delving Deep into Rectifiers" (1502.01852), section 2.2."""

from __future__ import annotations

import math

import torch
from torch import nn

from residuum.nets.blocks import Gated, Residual, ScaleBy, SoftThreshold, TwoBranches
from residuum.nets.merges import Concatenate
from residuum.nets.norms import ThresholdedLinear
from residuum.nets.ops import NORMS

CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def initialise(network: nn.Module, generator: torch.Generator | None = None) -> None:
    """Convolutions N(0, 2 / (k^d * outputs)) (the backward form, eq. 14), norms 1 and 0, biases 0.

    The classifier is uniform in +-1/sqrt(inputs). Draws follow the order of modules, so a plain net and its
    option-A twin of the same plan get the same numbers. A gate's bias begins where its plan says; residual branches
    without any norm begin as Fixup has it. Modules from outside begin as their reset_parameters() has it.
    """
    for module in network.modules():
        if isinstance(module, CONVS):
            fan_out = module.out_channels * math.prod(module.kernel_size) // module.groups
            with torch.no_grad():
                module.weight.normal_(0.0, math.sqrt(2.0 / fan_out), generator=generator)
        elif isinstance(module, nn.Linear):
            bound = 1 / math.sqrt(module.in_features)
            with torch.no_grad():
                module.weight.uniform_(-bound, bound, generator=generator)
        elif reset := getattr(module, "reset_parameters", None):  # norms, and modules from outside
            reset()
            continue
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    for module in network.modules():
        if isinstance(module, Gated):
            for part in module.gate.modules():
                if isinstance(part, CONVS) and part.bias is not None:
                    nn.init.constant_(part.bias, module.bias)
    _fixup(network)


def _fixup(network: nn.Module) -> None:
    """Without norms the sum of L branches would grow without bound: each branch begins at zero.

    Zhang, H. et al. 2019 (arXiv 1901.09321), section 3: of m convolutions the last is zero, the others are scaled by
    L^(-1/(2m-2)).
    """
    blocks = [branches for module in network.modules() if (branches := _branches(module))]
    for *others, last in (_convs(branch) for branches in blocks for branch in branches):
        with torch.no_grad():
            last.weight.zero_()
            for conv in others:
                conv.weight.mul_(len(blocks) ** (-1 / (2 * len(others))))


def _branches(block: nn.Module) -> list[nn.Module]:
    """What a block adds up without any norm, and may begin at zero."""
    if not isinstance(block, (Residual, TwoBranches)) or isinstance(block.merge, Concatenate):
        return []
    branches = [block.branch] if isinstance(block, Residual) else [block.branch1, block.branch2]
    return [branch for branch in branches if not _has_norm(branch) and isinstance(_end(branch), CONVS)]


def _has_norm(branch: nn.Module) -> bool:
    return any(isinstance(module, NORMS) and not isinstance(module, ThresholdedLinear) for module in branch.modules())


def _end(branch: nn.Module) -> nn.Module:
    """What acts last, but for factors: behind zeros an activation or a soft threshold would let no gradient through."""
    last = [child for child in branch.children() if not isinstance(child, ScaleBy)][-1:]
    return _end(last[0]) if last and isinstance(last[0], nn.Sequential) else (last or [branch])[0]


def _convs(branch: nn.Module) -> list[nn.Conv1d | nn.Conv2d | nn.Conv3d]:
    """Its convolutions in their order, without those of attention."""
    if isinstance(branch, CONVS):
        return [branch]
    inside = (child for child in branch.children() if not isinstance(child, (ScaleBy, SoftThreshold)))
    return [conv for child in inside for conv in _convs(child)]

"""Muon: a weight moves along its momentum made orthogonal (Jordan et al. 2024, kellerjordan.github.io/posts/muon).

A convolution's weight is a matrix W of outputs times (inputs * kernel). With the gradient G and momentum mu

    M <- mu M + G,   U S V^T = G + mu M,   W <- W - lr |W| U V^T / |U V^T|,   W <- |W before| W / |W|

so that a step moves W by `lr` of its length |W| (Frobenius; by less where G has not full rank) and leaves the length as
it is: the norm that follows the convolution divides it out anyway, and a weight that grew would turn ever more slowly.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.sgd import sgd

from residuum.nets.init import CONVS

QUINTIC = (3.4445, -4.7750, 2.0315)
"""a, b, c of X <- a X + (b X X^T + c (X X^T)^2) X, which takes singular values from 0..1 to about 0.7..1.2 (Jordan)."""
SMALLEST = 1e-7
"""A matrix shorter than this is not stretched to length 1, as nothing cannot be."""


def orthogonalise(matrices: Tensor, iterations: int, precision: torch.dtype) -> Tensor:
    """The orthogonal factor U V^T of each matrix U S V^T, nearly: (n, rows, columns) to the same, in `precision`.

    Five Newton-Schulz iterations bring singular values of at least 0.2 % of the matrix's length to between about 0.7
    and 1.2; zero stays zero.
    """
    rows, columns = matrices.shape[1:]
    wide = matrices.mT if rows > columns else matrices
    lengths = torch.linalg.matrix_norm(wide, keepdim=True).clamp(min=SMALLEST)
    x = torch.div(wide, lengths, out=torch.empty_like(wide, dtype=precision))
    # several small matrices are faster as a batch than one by one, and a single one is faster without a batch
    x = x.squeeze(0)
    other = torch.empty_like(x)
    a, b, c = QUINTIC
    for _ in range(iterations):
        gram = x @ x.mT
        factor = (gram @ gram).mul_(c).add_(gram, alpha=b)
        factor.diagonal(dim1=-2, dim2=-1).add_(a)
        x, other = torch.matmul(factor, x, out=other), x
    x = x.view(wide.shape)
    return x.mT if rows > columns else x


def hidden_convolutions(network: nn.Module) -> dict[Tensor, int]:
    """The weights that Muon is for, and how many matrices each of them is.

    They are those of convolutions between the first one and the classifier, without a bias: one that has it stands
    beside no norm that could make up for a length that is held. The weight of a grouped convolution is a matrix of
    blocks on the diagonal; its orthogonal factor is that of each block. Where a block is a single row or column, as in
    depthwise convolutions, there is nothing to be orthogonal to, and SGD has it.
    """
    weighted = [module for module in network.modules() if isinstance(module, (*CONVS, nn.Linear))]
    found: dict[Tensor, int] = {}
    for module in weighted[1:-1]:
        if isinstance(module, CONVS) and module.bias is None:
            rows, columns = module.out_channels // module.groups, module.weight[0].numel()
            if min(rows, columns) > 1:
                found[module.weight] = module.groups
    return found


class MuonSGD(torch.optim.Optimizer):
    """Muon for the groups of parameters that say how many "matrices" each of them is, and SGD for the others.

    `defaults` are SGD's lr, momentum, nesterov and weight_decay. Muon has no use for the latter two: its momentum is
    Nesterov's, and a length that is held does not decay. `precision` is that of its products.
    """

    # torch.optim.Muon takes matrices alone, one after the other, in bfloat16 on every machine, and does not hold their
    # lengths; two optimizers in the place of one would need their own steps, scalers and checkpoints throughout

    def __init__(
        self, groups: Iterable[Mapping[str, Any]], iterations: int, precision: torch.dtype, **defaults: Any
    ) -> None:
        super().__init__([dict(group) for group in groups], {"matrices": 0, **defaults})
        self._iterations, self._precision = iterations, precision

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move the parameters that have a gradient."""
        for group in self.param_groups:
            moving = [parameter for parameter in group["params"] if parameter.grad is not None]
            if group["matrices"]:
                for alike in _by_shape(moving):
                    self._turn(alike, group)
            elif moving:
                self._descend(moving, group)

    def _descend(self, parameters: list[Tensor], group: Mapping[str, Any]) -> None:
        buffers = [self.state[parameter].get("momentum_buffer") for parameter in parameters]
        sgd(
            parameters, [_gradient(parameter) for parameter in parameters], buffers, lr=group["lr"],
            momentum=group["momentum"], nesterov=group["nesterov"], weight_decay=group["weight_decay"], dampening=0.0,
            maximize=False,
        )  # fmt: skip
        for parameter, buffer in zip(parameters, buffers, strict=True):
            if buffer is not None:
                self.state[parameter]["momentum_buffer"] = buffer

    def _turn(self, weights: Sequence[Tensor], group: Mapping[str, Any]) -> None:
        """Weights of one shape, orthogonalised together."""
        laid = [_in_memory_order(weight, weight) for weight in weights]
        directions = laid[0].new_empty((len(laid), *laid[0].shape))
        for weight, direction in zip(weights, directions, strict=True):
            gradient, state = _in_memory_order(_gradient(weight), weight), self.state[weight]
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = torch.zeros_like(gradient)
            momentum = state["momentum_buffer"]
            torch.add(gradient, momentum, alpha=group["momentum"], out=momentum)
            torch.add(gradient, momentum, alpha=group["momentum"], out=direction)
        matrices = directions.view(len(laid) * group["matrices"], len(laid[0]) // group["matrices"], -1)
        turns = orthogonalise(matrices, self._iterations, self._precision).reshape(directions.shape)
        step = group["lr"] / math.sqrt(group["matrices"] * min(matrices.shape[1:]))
        for weight, turn in zip(laid, turns, strict=True):
            length = torch.linalg.vector_norm(weight)
            weight.addcmul_(turn, step * length, value=-1)
            weight.mul_(length / torch.linalg.vector_norm(weight).clamp(min=torch.finfo(weight.dtype).tiny))


def _gradient(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


def _in_memory_order(values: Tensor, weight: Tensor) -> Tensor:
    """A weight or its gradient with the inputs last where they lie so in memory: the columns' order does not matter."""
    return values if weight.is_contiguous() else values.movedim(1, -1)


def _by_shape(weights: Iterable[Tensor]) -> Iterable[list[Tensor]]:
    shapes: dict[torch.Size, list[Tensor]] = {}
    for weight in weights:
        shapes.setdefault(weight.shape, []).append(weight)
    return shapes.values()

"""3x3 convolutions, each with batch norm, perhaps a shortcut, and ReLU, as one operation of fewer passes over memory.

For training in bfloat16 on processors with tiles (AMX). x[i] = conv[i](a[i]), a[i+1] = relu(norm[i](x[i]) + joined).
The x are kept for the way back, and those a where a shortcut starts or ends; all else is computed again in the cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from residuum.kernels.build import Kernels, kernels
from residuum.kernels.normalise import normalises

LARGEST = 2**16
"""Numbers of a picture between two convolutions up to which the pictures that are worked on stay in the cache."""
MOST_CHANNELS = 256
"""Channels up to which the sums of all weights nearly do."""
FEW_CHANNELS, FEW_POSITIONS = 64, 64
"""One of the two must be few: with more, torch's convolutions are as fast or faster (measured)."""
SHORTCUT = -1


@dataclass(frozen=True)
class Link:
    """A convolution, its norm and its activation.

    `joined` is the number of the activation that is added between the two, 0 being the chain's input and SHORTCUT what
    comes in beside it. No activation is added twice.
    """

    conv: nn.Conv2d
    norm: nn.BatchNorm2d
    act: nn.ReLU
    joined: int | None


def links(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> bool:
    """Whether a convolution and a norm may be part of a chain: 3x3, stride 1, padding 1, as many channels out as in."""
    found = kernels()
    return (
        found is not None
        and found.chain
        and conv.bias is None
        and conv.padding_mode == "zeros"
        and (conv.kernel_size, conv.stride, conv.dilation, conv.groups) == ((3, 3), (1, 1), (1, 1), 1)
        and conv.padding == (1, 1)
        and conv.in_channels == conv.out_channels == norm.num_features <= MOST_CHANNELS
        and (conv.in_channels == 16 or conv.in_channels % 32 == 0)
    )


def chains(links: Sequence[Link], x: Tensor, shortcut: Tensor | None = None) -> bool:
    """Whether `chain` does what these modules do with such an input: in training, in bfloat16, channels last."""
    found = kernels()
    return (
        found is not None
        and found.chain
        and torch.is_grad_enabled()
        and torch.is_autocast_enabled("cpu")
        and x.shape[1:].numel() <= LARGEST
        and (x.shape[1] <= FEW_CHANNELS or x.shape[2:].numel() <= FEW_POSITIONS)
        and all(normalises(link.norm, x, shortcut) for link in links)
        and all(each.requires_grad for link in links for each in (*link.conv.parameters(), *link.norm.parameters()))
        and all(link.conv.weight.dtype == torch.float32 for link in links)
    )


def chain(links: Sequence[Link], x: Tensor, shortcut: Tensor | None = None) -> Tensor:
    """What leaves the last of the links for x and shortcut (N, C, H, W); the running statistics follow.

    The rounding is that of bfloat16 wherever a convolution's input or output or a gradient of one would be written.
    """
    for link in links:
        assert link.norm.num_batches_tracked is not None
        link.norm.num_batches_tracked.add_(1)
    weights = (each for link in links for each in (link.conv.weight, link.norm.weight, link.norm.bias))
    return _Chain.apply(x, shortcut, tuple(links), *weights)


class _Chain(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, shortcut: Tensor | None, links: tuple[Link, ...], *weights: Tensor
    ) -> Tensor:  # fmt: skip
        found, sizes = _found(), _sizes(x)
        # those where a shortcut starts are needed again, and those where one ended cannot be had from x alone
        written = {link.joined for link in links} | {n + 1 for n, link in enumerate(links) if link.joined is not None}
        activations: dict[int, Tensor] = {0: x}
        if shortcut is not None:
            activations[SHORTCUT] = shortcut.contiguous(memory_format=torch.channels_last)
        outputs, statistics = list[Tensor](), list[tuple[Tensor, ...]]()
        before: tuple[Tensor | None, ...] = (x, None, None, None)
        for number, link in enumerate(links):
            norm = link.norm
            assert norm.momentum is not None
            if number and number in written:
                activations[number] = torch.empty_like(x)
            output, settled = torch.empty_like(x), tuple(torch.empty_like(norm.weight) for _ in range(4))
            found.call(
                "chain_forward", *before, activations.get(number) if number else None, _taps(link.conv.weight), output,
                norm.weight, norm.bias, norm.running_mean, norm.running_var, float(norm.momentum), float(norm.eps),
                *settled, *sizes,
            )  # fmt: skip
            outputs.append(output)
            statistics.append(settled)
            before = (output, *settled[2:], None if link.joined is None else activations[link.joined])
        y, channels = torch.empty_like(x), x.shape[1]
        found.call("chain_leave", *before, y, x.numel() // channels, channels, sizes[-1])
        activations.pop(SHORTCUT, None)
        ctx.links, ctx.written = links, list(activations)
        ctx.save_for_backward(
            y, *activations.values(), *outputs, *(each for four in statistics for each in four), *weights
        )
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        links, count = ctx.links, len(ctx.links)
        y, *saved = ctx.saved_tensors
        activations = dict(zip(ctx.written, saved, strict=False))
        outputs = saved[len(activations) :][:count]
        numbers = saved[len(activations) + count :]
        statistics = [numbers[4 * i : 4 * i + 4] for i in range(count)]
        weights = [numbers[4 * count + 3 * i : 4 * count + 3 * i + 3] for i in range(count)]
        found, sizes = _found(), _sizes(y)
        dy = gradients[0].contiguous(memory_format=torch.channels_last)
        found_gradients: list[tuple[Tensor, ...]] = [_empty(link) for link in links]
        # the gradients of the norms' outputs; where a shortcut ended they are needed again where it started
        at_norm, at_start = torch.empty_like(y), dict[int, Tensor]()
        factors = y.new_empty(3 * y.shape[1], dtype=torch.float32)
        found.call(
            "chain_enter_back", dy, y, outputs[-1], at_norm, weights[-1][1], *statistics[-1][:2],
            *found_gradients[-1][1:], factors, *sizes,
        )  # fmt: skip
        for number in reversed(range(count)):
            if links[number].joined is not None:
                at_start[links[number].joined] = at_norm
            below, given = number - 1, activations.get(number)
            reading = (given, None, None) if given is not None else (outputs[below], *statistics[below][2:])
            further, more = torch.empty_like(y), torch.empty_like(factors)
            norm = (
                (weights[below][1], *statistics[below][:2], *found_gradients[below][1:], more)
                if number
                else (None,) * 6
            )
            found.call(
                "chain_backward", at_norm, outputs[number], factors, *reading, _taps(weights[number][0]),
                found_gradients[number][0], at_start.pop(number, None), outputs[below] if number else None, further,
                *norm, *sizes,
            )  # fmt: skip
            at_norm, factors = further, more
        return at_norm, at_start.get(SHORTCUT), None, *(each for three in found_gradients for each in three)


def _empty(link: Link) -> tuple[Tensor, Tensor, Tensor]:
    """Room for the gradients of a convolution's weights and a norm's scale and shift."""
    weight, scale = link.conv.weight, link.norm.weight
    return torch.empty_like(weight, memory_format=torch.channels_last), torch.empty_like(scale), torch.empty_like(scale)


def _taps(weight: Tensor) -> Tensor:
    """(outputs, inputs, 3, 3), in memory (outputs, 3, 3, inputs)."""
    return weight.detach().contiguous(memory_format=torch.channels_last)


def _sizes(x: Tensor) -> tuple[int, ...]:
    n, channels, height, width = x.shape
    return n, height, width, channels, torch.get_num_threads()


def _found() -> Kernels:
    found = kernels()
    assert found is not None
    return found

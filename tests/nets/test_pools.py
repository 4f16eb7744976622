"""Poolings of the stem against their equations."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
import torch
from equations import SMALL
from torch import Tensor, nn

from residuum.nets.network import make_network
from residuum.plan import make_plan
from residuum.spec import Stem, StemConv


def pool(kind: str, size: int = 9, ndim: int = 2) -> nn.Module:
    """The stem's pooling: windows of 3, stride 2, one position of padding."""
    stem = Stem((StemConv(1, 3),), pool=kind)  # type: ignore[arg-type]
    network = make_network(make_plan(replace(SMALL, stem=stem, size=size, ndim=ndim)))
    convs = {"conv1", "norm1", "act1"}
    return nn.Sequential(*(module for name, module in network.stem.named_children() if name not in convs))


def windows(x: Tensor, i: int, j: int) -> Tensor:
    """The pixels that there are of the window at an output position."""
    return x[..., max(2 * i - 1, 0) : 2 * i + 2, max(2 * j - 1, 0) : 2 * j + 2].flatten(2)


@pytest.mark.parametrize("kind", ["max", "average"])
@pytest.mark.parametrize("size", [8, 9])
def test_maximum_and_mean_are_those_of_the_pixels_that_there_are(kind: str, size: int) -> None:
    x = torch.randn(2, 1, size, size) - 3
    y = pool(kind, size)(x)
    for i, j in product(range(y.shape[2]), range(y.shape[3])):
        window = windows(x, i, j)
        expected = window.amax(-1) if kind == "max" else window.mean(-1)
        torch.testing.assert_close(y[:, :, i, j], expected)


@pytest.mark.parametrize("size", [8, 9])
def test_blurred_pooling(size: int) -> None:
    """A maximum at every pixel, [1 2 1]/4 along each dimension, then every second pixel (Zhang 2019, section 3.2)."""
    x = torch.randn(2, 1, size, size)
    y = pool("blur", size)(x)
    dense = nn.functional.max_pool2d(x, 3, 1, 1)
    assert y.shape[2:] == (-(-size // 2), -(-size // 2))

    def at(i: int) -> int:
        return min(max(i, 0), size - 1)  # the border goes on

    for i, j in product(range(y.shape[2]), range(y.shape[3])):
        expected = sum(
            (2 - abs(a)) * (2 - abs(b)) / 16 * dense[:, :, at(2 * i + a), at(2 * j + b)]
            for a, b in product((-1, 0, 1), repeat=2)
        )
        torch.testing.assert_close(y[:, :, i, j], expected)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_blurred_pooling_keeps_what_is_constant(ndim: int) -> None:
    x = torch.full((1, 1, *(9,) * ndim), 3.0)
    torch.testing.assert_close(pool("blur", ndim=ndim)(x), torch.full((1, 1, *(5,) * ndim), 3.0))


def test_stochastic_pooling_in_use_is_the_mean_weighted_by_the_values() -> None:
    """y = sum p_i a_i, p_i = a_i / sum a (Zeiler and Fergus 2013, eq. 2 and 6)."""
    x = torch.rand(2, 1, 9, 9, dtype=torch.float64)
    x[1, :, :3, :3] = 0
    y = pool("stochastic").eval()(x)
    for i, j in product(range(5), repeat=2):
        window = windows(x, i, j)
        total = window.sum(-1)
        expected = torch.where(total > 0, (window**2).sum(-1) / total.clamp_min(1e-9), 0)
        torch.testing.assert_close(y[:, :, i, j], expected)


def test_stochastic_pooling_in_training_draws_a_value_in_proportion_to_it() -> None:
    """Zeiler and Fergus 2013, eq. 3; what is not above zero is drawn nowhere but among its like."""
    torch.manual_seed(0)
    values = torch.tensor([[0.0, 1.0, 2.0], [3.0, -4.0, 0.0], [0.0, 4.0, 0.0]])
    x = torch.zeros(4000, 1, 3, 3)
    x[:, 0] = values
    module = pool("stochastic", 3).train()
    y = module(x)[:, 0, 0, 0]  # the window at the corner: 0, 1, 3, -4
    assert set(y.tolist()) == {1.0, 3.0}
    assert float((y == 3).float().mean()) == pytest.approx(0.75, abs=4 * (0.75 * 0.25 / 4000) ** 0.5)
    assert not module(-x.abs()).any()


def test_stochastic_pooling_hands_the_gradient_to_what_was_drawn() -> None:
    torch.manual_seed(0)
    x = torch.rand(8, 1, 9, 9, requires_grad=True)
    y = pool("stochastic").train()(x)
    y.sum().backward()
    assert x.grad is not None
    assert float(x.grad.sum()) == y.numel()
    assert float((x * x.grad).sum().detach()) == pytest.approx(float(y.sum().detach()), rel=1e-5)

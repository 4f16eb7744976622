"""Chains of convolutions, norms and shortcuts as one operation, against the same arithmetic in float64."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F
from test_kernels import HALF_STEP, pictures
from torch import Tensor, nn

from residuum.kernels import SHORTCUT, Link, chain, chains, kernels, links

found = kernels()
pytestmark = pytest.mark.skipif(not (found and found.chain), reason="needs a C compiler and a processor with AMX tiles")
SHAPES = [
    (2, 16, 32, 32),
    (5, 32, 16, 16),
    (9, 64, 8, 8),
    (3, 16, 5, 7),
    (7, 64, 3, 1),
    (2, 128, 4, 9),
    (3, 32, 20, 28),
    (65, 16, 4, 4),
    (18, 256, 4, 4),
]
"""Among them: groups of pictures with one left over, rows that fill no tile, a last tile beyond the last row."""
JOINED = {
    "residual": (None, 0, None, 2),
    "plain": (None, None, None),
    "one": (None,),
    "long": (None, None, 0, None, 3),
    "entered": (SHORTCUT, None, 1),
    "joined and not started": (None, 0, None),
}


def links_of(channels: int, joined: Sequence[int | None]) -> list[Link]:
    torch.manual_seed(channels)
    made = []
    for start in joined:
        conv, norm = nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        nn.init.kaiming_normal_(conv.weight)
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias)
        made.append(Link(conv.to(memory_format=torch.channels_last), norm, nn.ReLU(), start))
    return made


class Rounded(torch.autograd.Function):
    """A number to bfloat16 and back, its gradient too: where the chain rounds."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.bfloat16().to(x.dtype)

    @staticmethod
    def backward(ctx: object, *gradients: Tensor) -> Tensor:
        return gradients[0].bfloat16().to(gradients[0].dtype)


def in_float64(
    made: Sequence[Link], x: Tensor, shortcut: Tensor | None = None
) -> tuple[Tensor, dict[str, Tensor], list[Tensor]]:
    """Output, running statistics and parameters of the equations in float64, rounded where the chain rounds."""
    activations, statistics, parameters = [x], {}, []
    for number, link in enumerate(made):
        weight, scale, shift = (
            each.detach().double().requires_grad_() for each in (link.conv.weight, link.norm.weight, link.norm.bias)
        )
        # straight through: the gradient of the weights is not rounded
        used = weight + (weight.bfloat16().double() - weight).detach()
        out = Rounded.apply(F.conv2d(activations[-1], used, padding=1))
        mean, var = torch.zeros_like(scale), torch.ones_like(scale)
        after = F.batch_norm(out, mean, var, scale, shift, True, 0.1, link.norm.eps)
        if link.joined is not None:
            after = after + (shortcut if link.joined == SHORTCUT else activations[link.joined])
        activations.append(Rounded.apply(after).relu())
        statistics |= {f"mean{number}": mean, f"var{number}": var}
        parameters += [weight, scale, shift]
    return activations[-1], statistics, parameters


def apart(ours: Tensor, exact: Tensor) -> float:
    return float((ours.double() - exact).norm() / (exact.norm() + 1e-12))


@pytest.mark.parametrize("kind", JOINED)
@pytest.mark.parametrize("shape", SHAPES)
def test_chain_is_the_equations(shape: tuple[int, ...], kind: str) -> None:
    made = links_of(shape[1], JOINED[kind])
    x, dy = pictures(*shape).requires_grad_(), pictures(*shape, seed=1)
    shortcut = pictures(*shape, seed=2).requires_grad_() if SHORTCUT in JOINED[kind] else None
    with torch.autocast("cpu", torch.bfloat16):
        assert chains(made, x, shortcut)
        y = chain(made, x, shortcut)
    y.backward(dy)
    exact_x = x.detach().double().requires_grad_()
    exact_shortcut = None if shortcut is None else shortcut.detach().double().requires_grad_()
    exact, statistics, parameters = in_float64(made, exact_x, exact_shortcut)
    exact.backward(dy.double())
    if shortcut is not None:
        assert apart(shortcut.grad, exact_shortcut.grad) < 0.02 * len(made)
    ours = [each for link in made for each in (link.conv.weight, link.norm.weight, link.norm.bias)]
    assert apart(y.detach(), exact.detach()) < HALF_STEP
    for number, link in enumerate(made):
        assert apart(link.norm.running_mean, statistics[f"mean{number}"]) < HALF_STEP
        assert apart(link.norm.running_var, statistics[f"var{number}"]) < HALF_STEP
        assert link.norm.num_batches_tracked == 1
    # rounding moves a few numbers across zero, whose gradients then count or not: that is all that may differ
    few = 0.02 * len(made)
    assert apart(x.grad, exact_x.grad) < few
    for mine, truth in zip(ours, parameters, strict=True):
        assert apart(mine.grad, truth.grad) < few


@pytest.mark.parametrize("shape", [(6, 32, 8, 8), (2, 16, 32, 32), (3, 16, 5, 7), (3, 64, 9, 4), (2, 128, 3, 5)])
@pytest.mark.parametrize("joined", [(None,), (0,)])
def test_a_gradient_is_exact_where_no_number_is_near_zero(
    joined: tuple[int | None], shape: tuple[int, int, int, int]
) -> None:
    """With scales small and shifts large nothing is cut off, and every sum is checked to the rounding of its terms."""
    (link,) = made = links_of(shape[1], joined)
    with torch.no_grad():
        link.norm.bias.fill_(20.0)
    x, dy = pictures(*shape).requires_grad_(), pictures(*shape, seed=1)
    with torch.autocast("cpu", torch.bfloat16):
        y = chain(made, x)
    y.backward(dy)
    exact_x = x.detach().double().requires_grad_()
    exact, _, (weight, scale, shift) = in_float64(made, exact_x)
    exact.backward(dy.double())
    assert apart(link.norm.bias.grad, shift.grad) < 1e-5
    assert apart(link.norm.weight.grad, scale.grad) < 1e-4
    assert apart(link.conv.weight.grad, weight.grad) < HALF_STEP
    assert apart(x.grad, exact_x.grad) < HALF_STEP


def test_threads_change_sums_of_weights_alone() -> None:
    results, before = [], torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            made, x = links_of(16, (None, 0)), pictures(7, 16, 8, 8).requires_grad_()
            with torch.autocast("cpu", torch.bfloat16):
                y = chain(made, x)
            y.backward(pictures(7, 16, 8, 8, seed=1))
            norms = [
                each for link in made for each in (link.norm.weight.grad, link.norm.bias.grad, link.norm.running_var)
            ]
            results.append(([y, x.grad, *norms], [link.conv.weight.grad for link in made]))
    finally:
        torch.set_num_threads(before)
    (same, sums), *others = results
    for other_same, other_sums in others:
        assert all(torch.equal(a, b) for a, b in zip(same, other_same, strict=True))
        assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in zip(sums, other_sums, strict=True))


def test_whole_numbers_are_settings_too() -> None:
    """A momentum of 1 is not 1.0 to C."""
    (link,) = made = links_of(16, (None,))
    link.norm.momentum = 1
    with torch.autocast("cpu", torch.bfloat16):
        y = chain(made, pictures(2, 16, 4, 4))
    assert y.isfinite().all()
    assert link.norm.running_var.ne(1.0).all(), "the batch's alone"


def test_what_is_not_a_number_stays_so() -> None:
    made, x = links_of(16, (None, 0)), pictures(3, 16, 8, 8)
    x[1, 3, 2, 2] = float("nan")
    with torch.autocast("cpu", torch.bfloat16):
        assert chain(made, x).isnan().any()


def test_what_it_does_not_do() -> None:
    (link,) = made = links_of(32, (None,))
    x = pictures(2, 32, 8, 8)

    def does(x: Tensor) -> bool:
        with torch.autocast("cpu", torch.bfloat16):
            return chains(made, x)

    assert does(x)
    assert not chains(made, x), "without autocast"
    assert not does(x.float())
    assert not does(x.contiguous())
    assert not does(pictures(1, 32, 80, 80)), "too large for the cache"
    wide = links_of(128, (None,))
    with torch.autocast("cpu", torch.bfloat16):
        assert chains(wide, pictures(2, 128, 8, 8))
        assert not chains(wide, pictures(2, 128, 9, 8)), "torch's is as fast"
    with torch.no_grad():
        assert not does(x)
    link.conv.weight.requires_grad_(False)
    assert not does(x), "frozen weights"
    link.conv.weight.requires_grad_()
    link.norm.eval()
    assert not does(x), "frozen statistics"
    for conv in (
        nn.Conv2d(32, 32, 3, padding=1), nn.Conv2d(32, 32, 1, bias=False), nn.Conv2d(32, 32, 3, 2, 1, bias=False),
        nn.Conv2d(32, 32, 3, padding=1, groups=2, bias=False), nn.Conv2d(64, 32, 3, padding=1, bias=False),
        nn.Conv2d(32, 32, 3, bias=False),
    ):  # fmt: skip
        assert not links(conv, nn.BatchNorm2d(32)), conv
    wider = nn.Conv2d(512, 512, 3, padding=1, bias=False)
    assert not links(wider, nn.BatchNorm2d(512)), "sums of so many weights leave the cache"

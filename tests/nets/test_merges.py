"""How branch and shortcut are joined, against the papers' equations, in training and in use."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from equations import SMALL, Equation, lively, picture
from torch import Tensor, nn

from residuum.nets.merges import ShakeShake, StochasticDepth
from residuum.nets.network import make_network
from residuum.nets.ops import NORMS
from residuum.plan import make_plan
from residuum.plan.merges import Gate, ScaledAdd
from residuum.plan.shortcuts import TwoPaths
from residuum.plan.transitions import ConvTransition
from residuum.spec import Stage


def in_training(module: nn.Module) -> nn.Module:
    """In training mode but for its norms, so that their statistics stay what the equations read."""
    module.train()
    for norm in module.modules():
        if isinstance(norm, NORMS):
            norm.eval()
    return module


def test_highway() -> None:
    """y = T F(x) + (1 - T) x, T = sigmoid(W x + b) (Srivastava et al. 2015, arXiv 1505.00387, eq. 3)."""
    network = lively(replace(SMALL, merge="gate", branch="single", order="before_add", norm="none"))
    e, x = Equation(network, "stage1.block1"), picture()
    gate = torch.sigmoid(e.conv(x, "gate.conv"))
    e.check(x, gate * F.relu(e.conv(x, "branch.conv1")) + (1 - gate) * x)


@pytest.mark.parametrize("bias", [-2.0, -1.0, 3.0])
def test_a_gate_begins_at_its_bias(bias: float) -> None:
    """Below zero most of x passes at first (section 2.2)."""
    network = make_network(make_plan(replace(SMALL, merge=Gate(bias))))
    gate = network.get_submodule("stage1.block1.gate")
    x = torch.zeros(1, 8, 8, 8)
    torch.testing.assert_close(gate(x), torch.full_like(x, 1 / (1 + math.exp(-bias))))


def test_a_gate_of_a_block_that_strides_strides() -> None:
    e, x = Equation(lively(replace(SMALL, merge="gate", norm="none", shortcut="A")), "stage2.block1"), picture()
    gate = torch.sigmoid(e.conv(x, "gate.conv", 2))
    branch = e.conv(F.relu(e.conv(x, "branch.conv1", 2)), "branch.conv2")
    shortcut = F.pad(x[..., ::2, ::2], (0, 0, 0, 0, 4, 4))
    e.check(x, F.relu(gate * branch + (1 - gate) * shortcut))


def test_scaled_sum() -> None:
    """y = relu(x + a F(x)), a for each stage (Szegedy et al. 2016, Fig. 20)."""
    network, x = lively(replace(SMALL, merge=ScaledAdd((0.1, 0.3)))), picture()
    e = Equation(network, "stage1.block1")
    e.check(x, F.relu(x + 0.1 * e.branch(x)))
    e, x = Equation(network, "stage2.block2"), picture(16)
    e.check(x, F.relu(x + 0.3 * e.branch(x)))


@pytest.mark.parametrize("shortcut", ["identity", "A", "B"])
def test_a_dense_block_hands_everything_on(shortcut: str) -> None:
    """y = [x, F(x)]; x_l = H_l([x_0, ..., x_(l-1)]) (Huang et al. 2017, eq. 2)."""
    spec = replace(SMALL, merge="concat", branch="single", order="pre", shortcut=shortcut, stages=(Stage(3, 4),))
    network, x = lively(spec), picture()
    maps = [x]
    for number in (1, 2, 3):
        e = Equation(network, f"stage1.block{number}")
        together = torch.cat(maps, 1)
        maps.append(e.conv(F.relu(e.norm(together, "branch.norm1")), "branch.conv1"))
        e.check(together, torch.cat(maps, 1))
    assert torch.cat(maps, 1).shape[1] == 8 + 3 * 4


def test_a_dense_transition_halves_channels_and_size() -> None:
    """bn relu 1x1, then the mean of 2x2 (Huang et al. 2017, section 3)."""
    spec = replace(SMALL, merge="concat", branch="single", order="pre", transition="dense",
                   stages=(Stage(1, 4), Stage(1, 4, 2)))  # fmt: skip
    e, x = Equation(lively(spec), "stage2.transition"), picture(12)
    u = e.conv(F.relu(e.norm(x, "norm")), "conv")
    assert u.shape[1] == 6
    e.check(x, (u[..., ::2, ::2] + u[..., 1::2, ::2] + u[..., ::2, 1::2] + u[..., 1::2, 1::2]) / 4)


@pytest.mark.parametrize("pooled", [False, True])
def test_a_transition_by_convolution(pooled: bool) -> None:
    """Strided (DarkNet-53), or after a max-pool (Highway-19)."""
    e, x = Equation(lively(replace(SMALL, transition=ConvTransition(pooled))), "stage2.transition"), picture()
    conv = e.conv(F.max_pool2d(x, 2), "conv") if pooled else e.conv(x, "conv", 2)
    e.check(x, F.relu(e.norm(conv, "norm")))


def test_stochastic_depth_in_use_is_the_expectation_of_training() -> None:
    """y = relu(p F(x) + x) in use, relu(F(x) + x) or relu(x) in training (Huang, G. et al. 2016, eq. 2 and 5)."""
    network, x = lively(replace(SMALL, merge="stochastic_depth")), picture()
    for block, survival in (("stage1.block1", 0.875), ("stage1.block2", 0.75), ("stage2.block2", 0.5)):
        e, x = Equation(network, block), picture(16 if block.startswith("stage2") else 8)
        e.check(x, F.relu(survival * e.branch(x) + x))
        alive, dead = F.relu(e.branch(x) + x), F.relu(x)
        torch.manual_seed(0)
        module = in_training(e.module())
        count = 400
        survived = 0
        with torch.no_grad():
            for _ in range(count):
                y = module(x)
                is_alive = torch.allclose(y, alive, rtol=1e-12)
                assert is_alive or torch.equal(y, dead)
                survived += is_alive
        assert survived / count == pytest.approx(survival, abs=4 * math.sqrt(survival * (1 - survival) / count))


def test_a_branch_that_was_dropped_learns_nothing() -> None:
    merge = StochasticDepth(0.5).train()
    torch.manual_seed(0)
    seen = set()
    for _ in range(20):
        branch, shortcut = (torch.randn(2, 3, requires_grad=True) for _ in range(2))
        y = merge(branch, shortcut)
        y.sum().backward()
        assert branch.grad is not None
        assert shortcut.grad is not None
        assert torch.equal(shortcut.grad, torch.ones(2, 3))
        survived = not torch.equal(y, shortcut)
        assert torch.equal(branch.grad, torch.full((2, 3), float(survived)))
        seen.add(survived)
    assert seen == {True, False}


def paths(e: Equation, x: Tensor) -> Tensor:
    """ReLU, every second pixel and its lower right neighbours, 1x1 each, side by side, norm (Gastaldi 2017)."""
    u = F.relu(x)
    first = e.conv(u[..., ::2, ::2], "shortcut.paths.branch1.conv")
    second = e.conv(F.pad(u, (0, 1, 0, 1))[..., 1::2, 1::2], "shortcut.paths.branch2.conv")
    return e.norm(torch.cat([first, second], 1), "shortcut.norm")


@pytest.mark.parametrize("size", [8, 7])
def test_shake_shake_in_use_is_the_mean_of_two_branches(size: int) -> None:
    """y = x + (F1(x) + F2(x)) / 2, each branch relu conv bn relu conv bn (Gastaldi 2017, section 2.1)."""
    network = lively(replace(SMALL, merge="shake_shake", order="relu_pre", shortcut=TwoPaths(), size=size))
    e, x = Equation(network, "stage1.block2"), picture(8, size)
    branches = [e.branch(F.relu(x), name=f"branch{i}") for i in (1, 2)]
    e.check(x, x + sum(branches) / 2)
    e = Equation(network, "stage2.block1")
    branches = [e.branch(F.relu(x), 2, f"branch{i}") for i in (1, 2)]
    e.check(x, paths(e, x) + sum(branches) / 2)


def test_shake_shake_mixes_by_a_number_for_each_picture_and_another_one_for_the_gradient() -> None:
    """y = x + a F1 + (1 - a) F2; dF1 = b dy, dF2 = (1 - b) dy, a and b uniform and independent (eq. 2)."""
    merge = ShakeShake(0.0).train()
    torch.manual_seed(0)
    count = 2000
    first, second = torch.ones(count, 2, 3, requires_grad=True), torch.zeros(count, 2, 3, requires_grad=True)
    shortcut = torch.zeros(count, 2, 3, requires_grad=True)
    y = merge(first, second, shortcut)
    a = y[:, 0, 0].detach()
    assert torch.equal(y, a.view(-1, 1, 1).expand_as(y))
    y.sum().backward()
    assert first.grad is not None
    assert second.grad is not None
    assert shortcut.grad is not None
    b = first.grad[:, 0, 0]
    assert torch.equal(first.grad, b.view(-1, 1, 1).expand_as(y))
    torch.testing.assert_close(second.grad, 1 - first.grad)
    assert torch.equal(shortcut.grad, torch.ones_like(y))
    for drawn in (a, b):
        assert 0 <= drawn.min() < 0.01
        assert 0.99 < drawn.max() <= 1
        assert float(drawn.mean()) == pytest.approx(0.5, abs=4 * math.sqrt(1 / 12 / count))
        assert float(drawn.var()) == pytest.approx(1 / 12, abs=0.006)
    assert abs(float(torch.corrcoef(torch.stack([a, b]))[0, 1])) < 4 / math.sqrt(count)


def test_shake_shake_in_training_is_a_mixture() -> None:
    network, x = lively(replace(SMALL, merge="shake_shake", order="relu_pre")), picture()
    e = Equation(network, "stage1.block1")
    one, two = (e.branch(F.relu(x), name=f"branch{i}") for i in (1, 2))
    with torch.no_grad():
        mixed = in_training(e.module())(x) - x
        weights = ((mixed - two) / (one - two)).flatten(1)
    torch.testing.assert_close(weights, weights[:, :1].expand_as(weights), rtol=1e-6, atol=1e-6)
    assert len(set(weights[:, 0].tolist())) == len(x)


def test_residual_dense_block() -> None:
    """Each convolution sees all before it; a 1x1 fuses; then the sum (Zhang, Y. et al. 2018, eq. 2 to 5)."""
    network = lively(replace(SMALL, branch="residual_dense", norm="none", order="linear"))
    e, x = Equation(network, "stage1.block1"), picture()
    maps = [x]
    for number in (1, 2, 3, 4):
        maps.append(F.relu(e.conv(torch.cat(maps, 1), f"branch.dense{number}.branch.conv")))
        assert maps[-1].shape[1] == 4
    e.check(x, x + e.conv(torch.cat(maps, 1), "branch.conv"))


@pytest.mark.parametrize(("block", "stride", "first"), [("stage1.block2", 1, False), ("stage1.block1", 1, True),
                                                        ("stage2.block1", 2, True)])  # fmt: skip
def test_res2net_cascade(block: str, stride: int, first: bool) -> None:
    """Gao et al. 2019, eq. 1: y_i = K_i(x_i + y_(i-1)), the last piece as it is; in a first block its mean, no sums."""
    network = lively(replace(SMALL, branch="res2net", base_width=32, stride_in="3x3"))
    e = Equation(network, block)
    x = picture(e.weights("branch.conv1")["weight"].shape[1])
    pieces = F.relu(e.norm(e.conv(x, "branch.conv1"), "branch.norm1")).chunk(4, 1)
    found: list[Tensor] = []
    for i, piece in enumerate(pieces[:3]):
        into = piece if first or i == 0 else piece + found[-1]
        name = f"branch.conv2.piece{i + 1}"
        found.append(F.relu(e.norm(e.conv(into, f"{name}.conv", stride), f"{name}.norm")))
    last = F.avg_pool2d(pieces[3], 3, stride, 1, count_include_pad=True) if first else pieces[3]
    branch = e.norm(e.conv(torch.cat([*found, last], 1), "branch.conv3"), "branch.norm3")
    shortcut = e.norm(e.conv(x, "shortcut.conv", stride), "shortcut.norm") if first else x
    e.check(x, F.relu(branch + shortcut))

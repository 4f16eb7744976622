"""Blocks against their equations, written out with plain torch functions."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from equations import SMALL, Equation, lively, picture
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from residuum.nets.network import make_network
from residuum.nets.pools import ZeroPadShortcut
from residuum.plan import Block, make_plan
from residuum.spec import AXES, Stage, Stem, StemConv


def test_equation_1_identity_shortcut() -> None:
    """y = relu(F(x) + x), F = bn conv relu bn conv (He et al. 2015, eq. 1)."""
    e, x = Equation(lively(SMALL), "stage1.block1"), picture()
    u = F.relu(e.norm(e.conv(x, "branch.conv1"), "branch.norm1"))
    e.check(x, F.relu(e.norm(e.conv(u, "branch.conv2"), "branch.norm2") + x))


def test_equation_2_projection_shortcut() -> None:
    """y = relu(F(x) + W x), strided (eq. 2)."""
    e, x = Equation(lively(SMALL), "stage2.block1"), picture()
    u = F.relu(e.norm(e.conv(x, "branch.conv1", 2), "branch.norm1"))
    branch = e.norm(e.conv(u, "branch.conv2"), "branch.norm2")
    e.check(x, F.relu(branch + e.norm(e.conv(x, "shortcut.conv", 2), "shortcut.norm")))


def test_plain_stretch() -> None:
    e, x = Equation(lively(replace(SMALL, shortcut="none")), "stage1.block1"), picture()
    u = F.relu(e.norm(e.conv(x, "branch.conv1"), "branch.norm1"))
    e.check(x, F.relu(e.norm(e.conv(u, "branch.conv2"), "branch.norm2")))


@pytest.mark.parametrize("stride_in", ["1x1", "3x3"])
def test_bottleneck(stride_in: str) -> None:
    """1x1, 3x3, 1x1 (Fig. 5, right)."""
    e = Equation(lively(replace(SMALL, branch="bottleneck", stride_in=stride_in)), "stage2.block1")
    x, (first, second) = picture(32), (2, 1) if stride_in == "1x1" else (1, 2)
    u = F.relu(e.norm(e.conv(x, "branch.conv1", first), "branch.norm1"))
    u = F.relu(e.norm(e.conv(u, "branch.conv2", second), "branch.norm2"))
    branch = e.norm(e.conv(u, "branch.conv3"), "branch.norm3")
    e.check(x, F.relu(branch + e.norm(e.conv(x, "shortcut.conv", 2), "shortcut.norm")))


def test_pre_activation_identity() -> None:
    """x + W2 relu(bn(W1 relu(bn x))): nothing on the way of x (He et al. 2016, eq. 4 and 5)."""
    e, x = Equation(lively(replace(SMALL, order="pre")), "stage1.block1"), picture()
    u = e.conv(F.relu(e.norm(x, "branch.norm1")), "branch.conv1")
    e.check(x, x + e.conv(F.relu(e.norm(u, "branch.norm2")), "branch.conv2"))


def test_pre_activation_projection_takes_the_activated_input() -> None:
    e, x = Equation(lively(replace(SMALL, order="pre")), "stage2.block1"), picture()
    u = F.relu(e.norm(x, "before.norm"))
    branch = e.conv(F.relu(e.norm(e.conv(u, "branch.conv1", 2), "branch.norm2")), "branch.conv2")
    e.check(x, branch + e.conv(u, "shortcut.conv", 2))


def test_pre_activation_option_a_takes_what_came_in() -> None:
    network, x = lively(replace(SMALL, order="pre", shortcut="A")), picture()
    e = Equation(network, "stage2.block1")
    u = e.conv(F.relu(e.norm(x, "branch.norm1")), "branch.conv1", 2)
    branch = e.conv(F.relu(e.norm(u, "branch.norm2")), "branch.conv2")
    e.check(x, branch + F.pad(x[..., ::2, ::2], (0, 0, 0, 0, 4, 4)))


@pytest.mark.parametrize("size", [8, 7])
def test_pooled_projection(size: int) -> None:
    """He, T. et al. 2019: the mean of each 2x2 window (of what there is of it at the edge), then 1x1."""
    e, x = Equation(lively(replace(SMALL, shortcut="D")), "stage2.block1"), picture()[..., :size, :size]
    u = F.relu(e.norm(e.conv(x, "branch.conv1", 2), "branch.norm1"))
    branch = e.norm(e.conv(u, "branch.conv2"), "branch.norm2")
    windows = [[x[..., i : i + 2, j : j + 2].mean((-2, -1)) for j in range(0, size, 2)] for i in range(0, size, 2)]
    pooled = torch.stack([torch.stack(row, -1) for row in windows], -2)
    e.check(x, F.relu(branch + e.norm(e.conv(pooled, "shortcut.conv"), "shortcut.norm")))


def test_full_pre_activation_by_relu_alone() -> None:
    """y = x + bn W2 relu(bn(W1 relu x)) (He et al. 2016, Fig. 4d): the first ReLU has no norm."""
    e, x = Equation(lively(replace(SMALL, order="relu_pre")), "stage1.block1"), picture()
    u = F.relu(e.norm(e.conv(F.relu(x), "branch.conv1"), "branch.norm1"))
    e.check(x, x + e.norm(e.conv(u, "branch.conv2"), "branch.norm2"))


def test_relu_before_the_sum() -> None:
    """y = x + relu(F(x)) (He et al. 2016, Fig. 4c): what is added is never negative."""
    e, x = Equation(lively(replace(SMALL, order="before_add")), "stage1.block1"), picture()
    e.check(x, x + F.relu(e.branch(x)))


def test_a_linear_sum() -> None:
    """y = x + F(x) (Sandler et al. 2018, section 3.2)."""
    e, x = Equation(lively(replace(SMALL, order="linear")), "stage1.block1"), picture()
    e.check(x, x + e.branch(x))


@pytest.mark.parametrize(("block", "stride"), [("stage1.block2", 1), ("stage2.block1", 2)])
def test_inverted_residual(block: str, stride: int) -> None:
    """1x1 up, depthwise, 1x1 down; a shortcut only where the shapes stay (Sandler et al. 2018, Fig. 4d)."""
    spec = replace(SMALL, branch="inverted", expansion=3, order="linear", shortcut="identity", activation="relu6")
    e, x = Equation(lively(spec), block), picture()
    u = F.relu6(e.norm(e.conv(x, "branch.conv1"), "branch.norm1"))
    u = F.relu6(e.norm(e.conv(u, "branch.conv2", stride, groups=24), "branch.norm2"))
    branch = e.norm(e.conv(u, "branch.conv3"), "branch.norm3")
    e.check(x, branch if stride == 2 else x + branch)


def test_darknet_block() -> None:
    """1x1 to half the width, 3x3 back, both activated, then the sum (Redmon and Farhadi 2018, Table 1)."""
    e = Equation(lively(replace(SMALL, branch="dark", order="before_add", activation="leaky_relu")), "stage1.block1")
    x = picture()
    u = F.leaky_relu(e.norm(e.conv(x, "branch.conv1"), "branch.norm1"))
    assert u.shape[1] == 4
    e.check(x, x + F.leaky_relu(e.norm(e.conv(u, "branch.conv2"), "branch.norm2")))


def test_separable_convolutions() -> None:
    """Depthwise, then pointwise, nothing between (Chollet 2017, section 3.1)."""
    e, x = Equation(lively(replace(SMALL, conv="separable")), "stage1.block1"), picture()

    def separable(x: Tensor, name: str) -> Tensor:
        return e.conv(e.conv(x, f"{name}.depthwise", groups=8), f"{name}.pointwise")

    u = F.relu(e.norm(separable(x, "branch.conv1"), "branch.norm1"))
    e.check(x, F.relu(x + e.norm(separable(u, "branch.conv2"), "branch.norm2")))


def test_factorised_convolutions() -> None:
    """Over space with norm and activation, then over time (Tran et al. 2018, Fig. 1e)."""
    network = lively(replace(SMALL, conv="factorised", ndim=3, size=(4, 6, 6)))
    e = Equation(network, "stage2.block1")
    x = torch.randn(2, 8, 4, 6, 6, dtype=torch.float64)

    def norm(x: Tensor, name: str) -> Tensor:
        weights = e.weights(name)
        return F.batch_norm(x, weights["running_mean"], weights["running_var"], weights["weight"], weights["bias"])

    def factorised(x: Tensor, name: str, stride: int) -> Tensor:
        space, time = (e.weights(f"{name}.{step}")["weight"] for step in ("space", "time"))
        assert (space.shape[2:], time.shape[2:]) == ((1, 3, 3), (3, 1, 1))
        u = F.conv3d(x, space, stride=(1, stride, stride), padding=(0, 1, 1))
        return F.conv3d(F.relu(norm(u, f"{name}.norm")), time, stride=(stride, 1, 1), padding=(1, 0, 0))

    u = F.relu(norm(factorised(x, "branch.conv1", 2), "branch.norm1"))
    branch = norm(factorised(u, "branch.conv2", 1), "branch.norm2")
    shortcut = norm(F.conv3d(x, e.weights("shortcut.conv")["weight"], stride=2), "shortcut.norm")
    e.check(x, F.relu(branch + shortcut))


@given(
    size=st.integers(3, 12), kernel=st.integers(1, 5), stride=st.integers(1, 3), dilation=st.integers(1, 2),
)  # fmt: skip
def test_the_same_padding_is_zeros_before_and_after(size: int, kernel: int, stride: int, dilation: int) -> None:
    """Position i of the output is at i * stride - before, before = floor(total / 2) (TensorFlow, "SAME")."""
    stages = (Stage(1, 2, stride, dilation, kernel=kernel),)
    spec = replace(SMALL, ndim=1, padding="same", shortcut="none", channels=1, size=size, stages=stages)
    conv = lively(replace(spec, stem=Stem((StemConv(1, 1),)))).get_submodule("stage1.block1.branch.conv1")
    x = torch.randn(1, 1, size, dtype=torch.float64)
    outputs = -(-size // stride)
    total = max((outputs - 1) * stride + dilation * (kernel - 1) + 1 - size, 0)
    expected = torch.zeros(outputs, dtype=torch.float64)
    weight = next(conv.parameters())[0, 0]
    for i in range(outputs):
        for k in range(kernel):
            at = i * stride - total // 2 + k * dilation
            if 0 <= at < size:
                expected[i] += weight[k] * x[0, 0, at]
    torch.testing.assert_close(conv(x)[0, 0], expected)


def leaky_relu(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.01 * x)


def elu(x: Tensor) -> Tensor:
    """Clevert et al. 2016, eq. 1."""
    return torch.where(x > 0, x, x.exp() - 1)


def selu(x: Tensor) -> Tensor:
    """Klambauer et al. 2017, eq. 2."""
    return 1.0507009873554805 * torch.where(x > 0, x, 1.6732632423543772 * (x.exp() - 1))


def gelu(x: Tensor) -> Tensor:
    """x times the normal distribution function (Hendrycks and Gimpel 2016)."""
    return x * (1 + torch.erf(x / 2**0.5)) / 2


def hard_swish(x: Tensor) -> Tensor:
    """Howard et al. 2019, section 5.2."""
    return x * (x + 3).clamp(0, 6) / 6


ACTIVATIONS = {
    "relu": lambda x: x.clamp_min(0),
    "relu6": lambda x: x.clamp(0, 6),
    "leaky_relu": leaky_relu,
    "elu": elu,
    "selu": selu,
    "silu": lambda x: x * torch.sigmoid(x),
    "gelu": gelu,
    "hard_swish": hard_swish,
}


def test_every_activation_has_its_equation() -> None:
    """But for the one that learns, which is in test_norms.py."""
    assert ACTIVATIONS.keys() == set(AXES["activation"]) - {"tlu"}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name: str) -> None:
    network, x = lively(replace(SMALL, activation=name)), 4 * picture()
    for layer in network.plan.layers:
        if layer.kind == "act":
            found = network.get_submodule(layer.name)(x.clone())
            torch.testing.assert_close(found, ACTIVATIONS[name](x), rtol=1e-12, atol=1e-12)


@given(
    channels=st.integers(1, 6), extra=st.integers(0, 7), stride=st.integers(1, 3), height=st.integers(1, 9),
    width=st.integers(1, 9),
)  # fmt: skip
def test_option_a_is_every_other_pixel_between_zero_channels(
    channels: int, extra: int, stride: int, height: int, width: int
) -> None:
    stages = (Stage(1, channels), Stage(1, channels + extra, stride))
    stem = Stem((StemConv(channels, 3),))
    plan = make_plan(replace(SMALL, stem=stem, stages=stages, shortcut="A", size=(height, width)))
    node = plan.stages[1].nodes[0]
    assert isinstance(node, Block)
    assert node.shortcut is not None
    x = torch.randn(2, channels, height, width)
    if extra == 0 and stride == 1:
        assert node.shortcut.nodes == ()
        return
    y = make_network(plan).get_submodule("stage2.block1.shortcut")(x)
    kept, before = x[..., ::stride, ::stride], extra // 2
    assert y.shape == (2, channels + extra, *kept.shape[2:])
    assert torch.equal(y[:, before : before + channels], kept)
    assert not y[:, :before].any()
    assert not y[:, before + channels :].any()


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_option_a_keeps_the_precision(ndim: int) -> None:
    network = make_network(make_plan(replace(SMALL, shortcut="A", ndim=ndim)))
    (pad,) = (module for module in network.modules() if isinstance(module, ZeroPadShortcut))
    x = torch.rand(2, 8, *(4,) * ndim)
    with torch.autocast("cpu", torch.bfloat16):
        assert pad(x.bfloat16()).dtype == torch.bfloat16
    assert pad(x.half()).dtype == torch.float16


def test_option_a_learns_nothing() -> None:
    network = make_network(make_plan(replace(SMALL, shortcut="A")))
    (pad,) = (module for module in network.modules() if isinstance(module, ZeroPadShortcut))
    assert not [*pad.parameters(), *pad.buffers()]


@pytest.mark.parametrize("branch", ["basic", "bottleneck"])
@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("norm", ["batch", "group", "instance"])
def test_a_branch_that_gives_zero_passes_what_is_not_negative(branch: str, ndim: int, norm: str) -> None:
    network = make_network(make_plan(replace(SMALL, branch=branch, ndim=ndim, norm=norm)))
    last = {"basic": "norm2", "bottleneck": "norm3"}[branch]
    outputs = {"basic": 16, "bottleneck": 64}[branch]
    nn.init.zeros_(network.get_submodule(f"stage2.block2.branch.{last}").weight)  # type: ignore[arg-type]
    x = torch.rand(2, outputs, *(4,) * ndim)
    assert torch.equal(network.get_submodule("stage2.block2")(x), x)


def test_a_pre_activation_identity_block_passes_anything_when_its_branch_gives_zero() -> None:
    network = make_network(make_plan(replace(SMALL, order="pre")))
    nn.init.zeros_(network.get_submodule("stage2.block2.branch.conv2").weight)  # type: ignore[arg-type]
    x = torch.randn(2, 16, 4, 4)
    assert x.min() < 0
    assert torch.equal(network.get_submodule("stage2.block2")(x), x)

"""Blocks against their equations, written out with plain torch functions."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from residuum.nets.network import Network, make_network
from residuum.nets.ops import ZeroPadShortcut
from residuum.plan import Block, make_plan
from residuum.spec import AXES, NetworkSpec, Stage, Stem, StemConv

SMALL = NetworkSpec(Stem((StemConv(8, 3),)), (Stage(2, 8), Stage(2, 16, 2)), size=8, classes=3)


def lively(spec: NetworkSpec) -> Network:
    """A network in eval mode in which every weight and every running statistic matters."""
    network = make_network(make_plan(spec)).double().eval()
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2.0)
            elif tensor.ndim == 1:
                tensor.normal_(0.5, 0.5)
    return network


class Equation:
    """conv, norm and so on of one block by their names, as functions."""

    def __init__(self, network: Network, block: str) -> None:
        self.network, self.block = network, block

    def conv(self, x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = self.network.get_submodule(f"{self.block}.{name}").weight
        assert isinstance(weight, Tensor)
        return F.conv2d(x, weight, stride=stride, padding=(weight.shape[-1] - 1) // 2)

    def norm(self, x: Tensor, name: str) -> Tensor:
        norm = self.network.get_submodule(f"{self.block}.{name}")
        assert isinstance(norm, nn.BatchNorm2d)
        return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias)

    def check(self, x: Tensor, y: Tensor) -> None:
        torch.testing.assert_close(self.network.get_submodule(self.block)(x), y, rtol=1e-12, atol=1e-12)


def picture(channels: int = 8) -> Tensor:
    return torch.randn(2, channels, 8, 8, dtype=torch.float64)


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


def test_squeeze_and_excitation() -> None:
    """y = relu(x + s F(x)), s = sigmoid(W2 relu(W1 mean F(x))) (Hu et al. 2018, eq. 2 to 4)."""
    network, x = lively(replace(SMALL, attention="se")), picture()
    e = Equation(network, "stage1.block1")
    u = F.relu(e.norm(e.conv(x, "branch.conv1"), "branch.norm1"))
    branch = e.norm(e.conv(u, "branch.conv2"), "branch.norm2")
    squeeze, excite = (network.get_submodule(f"{e.block}.branch.attention.factor.conv{i}") for i in (1, 2))
    assert isinstance(squeeze, nn.Conv2d)
    assert squeeze.out_channels == 1  # 8 channels over a reduction of 16, at least one
    scale = torch.sigmoid(excite(F.relu(squeeze(branch.mean((-2, -1), keepdim=True)))))
    e.check(x, F.relu(branch * scale + x))


ACTIVATIONS = {"relu": F.relu, "leaky_relu": F.leaky_relu, "elu": F.elu, "silu": F.silu, "gelu": F.gelu}


def test_every_activation_has_its_equation() -> None:
    assert ACTIVATIONS.keys() == set(AXES["activation"])


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name: str) -> None:
    network, x = lively(replace(SMALL, activation=name)), picture()
    for layer in network.plan.layers:
        if layer.kind == "act":
            assert torch.equal(network.get_submodule(layer.name)(x), ACTIVATIONS[name](x))


@pytest.mark.parametrize("width", [8, 64])
def test_norms_without_a_batch(width: int) -> None:
    """Per picture: each channel for itself (instance), or 32 groups of them, one channel each below 32 (group)."""
    wide = replace(SMALL, stages=(Stage(1, width),))
    x = torch.randn(2, width, 8, 8, dtype=torch.float64)
    for norm in ("instance", "group"):
        module = lively(replace(wide, norm=norm)).get_submodule("stage1.block1.branch.norm1")
        weight, bias = (p.view(1, -1, 1, 1) for p in module.parameters())
        groups = width if norm == "instance" else min(32, width)
        grouped = x.reshape(2, groups, -1)
        mean, var = grouped.mean(-1, keepdim=True), grouped.var(-1, keepdim=True, correction=0)
        expected = ((grouped - mean) / (var + 1e-5).sqrt()).view_as(x) * weight + bias
        torch.testing.assert_close(module(x), expected, rtol=1e-10, atol=1e-10)


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

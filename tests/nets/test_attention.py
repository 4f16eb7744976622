"""Attention at the end of a branch, against the papers' equations."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from equations import SMALL, Equation, lively, picture
from torch import Tensor

from residuum.spec import Stage


def block_with(attention: str, width: int = 8) -> tuple[Equation, Tensor]:
    """A block y = relu(x + attention(F(x))) and an input."""
    stem = replace(SMALL.stem.convs[0], width=width)  # type: ignore[union-attr]
    spec = replace(SMALL, attention=attention, stem=replace(SMALL.stem, convs=(stem,)), stages=(Stage(1, width),))
    return Equation(lively(spec), "stage1.block1"), picture(width)


def test_squeeze_and_excitation() -> None:
    """s = sigmoid(W2 relu(W1 mean u)), y = s u (Hu et al. 2018, eq. 2 to 4)."""
    e, x = block_with("se")
    u = e.branch(x)
    squeezed = F.relu(e.conv(u.mean((-2, -1), keepdim=True), "branch.attention.factor.conv1"))
    scale = torch.sigmoid(e.conv(squeezed, "branch.attention.factor.conv2"))
    e.check(x, F.relu(x + scale * u))


def test_cbam() -> None:
    """Woo et al. 2018, eq. 2 and 3: v = sigmoid(MLP(mean u) + MLP(max u)) u, y = sigmoid(f7x7([mean v; max v])) v."""
    e, x = block_with("cbam", 32)
    u = e.branch(x)

    def mlp(values: Tensor) -> Tensor:
        return e.conv(F.relu(e.conv(values, "branch.attention.factor.conv1")), "branch.attention.factor.conv2")

    means, maxima = u.mean((-2, -1), keepdim=True), u.amax((-2, -1), keepdim=True)
    v = u * torch.sigmoid(mlp(means) + mlp(maxima))
    assert e.weights("branch.attention.factor.conv1")["weight"].shape[0] == 2
    where = torch.cat([v.mean(1, keepdim=True), v.amax(1, keepdim=True)], 1)
    weight = e.weights("branch.position.factor.conv")["weight"]
    assert weight.shape == (1, 2, 7, 7)
    e.check(x, F.relu(x + v * torch.sigmoid(F.conv2d(where, weight, padding=3))))


def test_efficient_channel_attention() -> None:
    """s_c = sigmoid(sum of w_k mean u_(c+k)), zeros beyond the first and the last channel (Wang et al. 2020, eq. 7)."""
    e, x = block_with("eca", 64)
    u = e.branch(x)
    weight = e.weights("branch.attention.factor.conv")["weight"].flatten()
    means = F.pad(u.mean((-2, -1)), (1, 1))
    scale = torch.sigmoid(sum(w * means[:, k : k + 64] for k, w in enumerate(weight)))  # type: ignore[arg-type]
    assert len(weight) == 3
    e.check(x, F.relu(x + scale[..., None, None] * u))


@pytest.mark.parametrize("shared", [True, False])
def test_shrinkage(shared: bool) -> None:
    """y = sign(u) max(|u| - t, 0), t = sigmoid(z) mean |u| (Zhao et al. 2020, eq. 3 and 5 to 8)."""
    e, x = block_with("shrink_shared" if shared else "shrink_channel")
    u = e.branch(x)
    a = u.abs().mean((-2, -1), keepdim=True)
    factor = "branch.attention.factor"
    hidden = F.relu(e.norm(e.conv(a, f"{factor}.conv1"), f"{factor}.norm"))
    z = e.conv(hidden, f"{factor}.conv2")
    assert z.shape == (2, 1 if shared else 8, 1, 1)
    t = torch.sigmoid(z) * (a.mean(1, keepdim=True) if shared else a)
    soft = torch.where(u > t, u - t, torch.where(u < -t, u + t, torch.zeros_like(u)))
    assert 0 < (soft == 0).sum() < soft.numel()
    e.check(x, F.relu(x + soft))


@pytest.mark.parametrize("attention", ["se", "cbam", "eca", "shrink_shared", "shrink_channel"])
@pytest.mark.parametrize("order", ["pre", "post"])
def test_attention_weighs_the_branch_and_never_the_shortcut(attention: str, order: str) -> None:
    """A branch that gives zero stays zero under any attention."""
    network = lively(replace(SMALL, attention=attention, order=order))
    e, x = Equation(network, "stage1.block1"), picture().abs()
    with torch.no_grad():
        for parameter in e.module({"pre": "branch.conv2", "post": "branch.norm2"}[order]).parameters():
            parameter.zero_()
        if order == "post":
            e.module("branch.norm2").running_mean.zero_()  # type: ignore[union-attr, operator]
    e.check(x, x)

"""Normalisation against the papers' equations: in training from the batch, in use from running statistics."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from equations import SMALL, lively, picture
from torch import Tensor, nn

from residuum.nets.network import make_network
from residuum.nets.norms import FilterResponse, HalfInstance, Switchable, ThresholdedLinear
from residuum.nets.ops import NORMS
from residuum.plan import make_plan
from residuum.spec import AXES, Stage

EPS = 1e-5


def statistics(x: Tensor, dims: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    mean = x.mean(dims, keepdim=True)
    return mean, ((x - mean) ** 2).mean(dims, keepdim=True)


def first_norm(norm: str, width: int = 8, eps: float = EPS) -> nn.Module:
    """The norm after a block's first convolution; scales and shifts are not 1 and 0."""
    spec = replace(SMALL, norm=norm, eps=eps, stages=(Stage(1, width), Stage(1, width)))
    return lively(spec).get_submodule("stage1.block1.branch.norm1")


def column(values: Tensor) -> Tensor:
    return values.view(1, -1, 1, 1)


@pytest.mark.parametrize("width", [8, 64])
def test_norms_without_a_batch(width: int) -> None:
    """Per picture: each channel for itself (instance), or 32 groups of them, one channel each below 32 (group)."""
    x = picture(width)
    for norm in ("instance", "group"):
        module = first_norm(norm, width)
        weight, bias = (column(p) for p in module.parameters())
        groups = width if norm == "instance" else min(32, width)
        grouped = x.reshape(2, groups, -1)
        mean, var = statistics(grouped, (2,))
        expected = ((grouped - mean) / (var + EPS).sqrt()).view_as(x) * weight + bias
        torch.testing.assert_close(module(x), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("norm", [n for n in AXES["norm"] if n not in ("none", "ibn_b")])
def test_the_epsilon_is_that_of_the_spec(norm: str) -> None:
    """Of a constant picture only it is left beside what norms subtract."""
    modules = [m for m in first_norm(norm, eps=0.125).modules() if hasattr(m, "eps")]
    assert {m.eps for m in modules} == {0.125}


def test_ibn_a_is_instance_norm_for_half_of_the_channels() -> None:
    """Pan et al. 2018, Fig. 3b: the first half by instance norm, the rest by batch norm."""
    module, x = first_norm("ibn_a"), picture()
    assert isinstance(module, HalfInstance)
    mean, var = statistics(x[:, :4], (2, 3))
    first = (x[:, :4] - mean) / (var + EPS).sqrt() * column(module.instance.weight) + column(module.instance.bias)  # type: ignore[arg-type]
    stored = [column(getattr(module.batch, name)) for name in ("running_mean", "running_var", "weight", "bias")]
    second = (x[:, 4:] - stored[0]) / (stored[1] + EPS).sqrt() * stored[2] + stored[3]
    torch.testing.assert_close(module(x), torch.cat([first, second], 1), rtol=1e-10, atol=1e-10)


def test_ibn_b_is_instance_norm_of_the_sum() -> None:
    """Pan et al. 2018, Fig. 3c: y = relu(IN(F(x) + x))."""
    network, x = lively(replace(SMALL, norm="ibn_b", stages=(Stage(1, 8), Stage(1, 8)))), picture()
    block = network.get_submodule("stage1.block1")
    total = block.get_submodule("branch")(x) + x
    mean, var = statistics(total, (2, 3))
    norm = block.get_submodule("after.norm")
    expected = (total - mean) / (var + EPS).sqrt() * column(norm.weight) + column(norm.bias)  # type: ignore[arg-type]
    torch.testing.assert_close(block(x), expected.clamp_min(0), rtol=1e-10, atol=1e-10)


def switched(module: Switchable, x: Tensor, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Luo et al. 2019, eq. 3 to 5: the weighted statistics of instance, layer and batch."""
    mean_weights = module.mean_weight.exp() / module.mean_weight.exp().sum()
    var_weights = module.var_weight.exp() / module.var_weight.exp().sum()
    kinds = [statistics(x, (2, 3)), statistics(x, (1, 2, 3)), batch]
    mean = sum(w * m for w, (m, _) in zip(mean_weights, kinds, strict=True))
    var = sum(w * v for w, (_, v) in zip(var_weights, kinds, strict=True))
    return (x - mean) / (var + EPS).sqrt() * column(module.weight) + column(module.bias)  # type: ignore[operator]


def test_switchable_norm_in_training_uses_the_batch_and_remembers_it() -> None:
    module, x = first_norm("switchable"), 2 * picture(batch=4) + 1
    assert isinstance(module, Switchable)
    before = module.running_mean.clone(), module.running_var.clone()
    of_batch = statistics(x, (0, 2, 3))
    torch.testing.assert_close(module.train()(x), switched(module, x, of_batch), rtol=1e-10, atol=1e-10)
    for running, old, new in zip((module.running_mean, module.running_var), before, of_batch, strict=True):
        torch.testing.assert_close(running, 0.9 * old + 0.1 * new.flatten())


def test_switchable_norm_in_use_takes_the_running_statistics() -> None:
    module, x = first_norm("switchable"), picture()
    assert isinstance(module, Switchable)
    stored = column(module.running_mean), column(module.running_var)
    torch.testing.assert_close(module.eval()(x), switched(module, x, stored), rtol=1e-10, atol=1e-10)


def test_switchable_norm_begins_as_the_plain_mean_of_the_three() -> None:
    module = Switchable(8, EPS)
    torch.testing.assert_close(module.mean_weight.softmax(0), torch.full((3,), 1 / 3))
    torch.testing.assert_close(module.var_weight.softmax(0), torch.full((3,), 1 / 3))


def test_switchable_norm_bears_pictures_far_from_zero() -> None:
    """In float32 a mean of squares less a square of means would be negative there."""
    x = 1000 + torch.randn(4, 8, 16, 16, generator=torch.Generator().manual_seed(0))
    y = Switchable(8, EPS).train()(x).detach()
    assert y.isfinite().all()
    assert float(y.std()) == pytest.approx(1, abs=0.05)


def test_filter_response_norm_and_its_activation() -> None:
    """y = max(g x / sqrt(mean x^2 + eps) + b, t) (Singh and Krishnan 2020, eq. 1 to 4): no mean is subtracted."""
    network = lively(replace(SMALL, norm="filter_response", activation="tlu"))
    branch, x = network.get_submodule("stage1.block1.branch"), picture() + 0.5
    norm, act = branch.get_submodule("norm1"), branch.get_submodule("act1")
    assert isinstance(norm, FilterResponse)
    assert isinstance(act, ThresholdedLinear)
    square = (x * x).mean((2, 3), keepdim=True)
    normed = column(norm.weight) * x / (square + EPS).sqrt() + column(norm.bias)
    torch.testing.assert_close(norm(x), normed, rtol=1e-12, atol=1e-12)
    threshold = column(act.threshold)
    expected = torch.where(normed > threshold, normed, threshold.expand_as(normed))
    torch.testing.assert_close(act(norm(x)), expected, rtol=1e-12, atol=1e-12)
    assert len(set(act.threshold.tolist())) == 8


def test_the_threshold_begins_as_relu() -> None:
    network = make_network(make_plan(replace(SMALL, norm="filter_response", activation="tlu")))
    x = picture().float()
    assert torch.equal(network.get_submodule("stage1.block1.branch.act1")(x), x.clamp_min(0))


@pytest.mark.parametrize("norm", [n for n in AXES["norm"] if n != "none"])
def test_every_norm_is_known_as_one(norm: str) -> None:
    """So that its scales and shifts are spared weight decay, and frozen with the others."""
    network = make_network(make_plan(replace(SMALL, norm=norm)))
    for layer in network.plan.layers:
        if layer.kind == "norm":
            assert isinstance(network.get_submodule(layer.name), NORMS)

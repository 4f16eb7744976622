"""Our C routines against the same arithmetic in float64."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from residuum.kernels import build, convolve, convolves, kernels, normalise, normalises
from residuum.kernels.convolution import weight_gradient

pytestmark = pytest.mark.skipif(kernels() is None, reason="needs a C compiler and torch with GNU's OpenMP")
SHAPES = [
    (2, 16, 8, 8),
    (3, 5, 3, 7),
    (4, 600, 2, 2),
    (1, 33, 5, 1),
    (7, 1, 9, 9),
    (33, 48, 4, 4),
    (128, 16, 32, 32),
    (100, 16, 31, 31),
]
HALF_STEP = 2.0**-8
"""bfloat16 keeps 8 bits: rounding moves a number by at most this share of itself."""


def pictures(*shape: int, seed: int = 0, mean: float = 0.0) -> Tensor:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) + mean
    return values.bfloat16().contiguous(memory_format=torch.channels_last)


def norm_of(channels: int) -> nn.BatchNorm2d:
    torch.manual_seed(channels)
    norm = nn.BatchNorm2d(channels)
    nn.init.uniform_(norm.weight, 0.5, 1.5)
    nn.init.normal_(norm.bias)
    return norm


def close(ours: Tensor, exact: Tensor, share: float) -> bool:
    """Within a share of each number, and as much of the typical one where numbers cancel."""
    scale = exact.abs() + exact.square().mean().sqrt()
    return bool(((ours.double() - exact).abs() <= share * scale).all())


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("joined", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_norm_is_the_formula(shape: tuple[int, ...], joined: bool, relu: bool) -> None:
    x, gradient = pictures(*shape, mean=3.0).requires_grad_(), pictures(*shape, seed=1)
    shortcut = pictures(*shape, seed=2).requires_grad_() if joined else None
    norm = norm_of(shape[1])
    assert normalises(norm, x, shortcut)
    y = normalise(norm, x, shortcut, relu)

    exact_x = x.detach().double().requires_grad_()
    exact_shortcut = None if shortcut is None else shortcut.detach().double().requires_grad_()
    exact_norm = norm_of(shape[1]).double()
    before = exact_norm(exact_x) + (0 if exact_shortcut is None else exact_shortcut)
    # where ReLU lets a gradient through is taken from ours: rounding may move a number across zero
    exact = before * (y.detach() > 0) if relu else before
    assert y.dtype == torch.bfloat16
    assert close(y.detach(), before.relu().detach() if relu else before.detach(), HALF_STEP)
    assert torch.allclose(norm.running_mean.double(), exact_norm.running_mean, rtol=1e-5, atol=1e-6)
    assert torch.allclose(norm.running_var.double(), exact_norm.running_var, rtol=1e-5, atol=1e-6)
    assert norm.num_batches_tracked == 1

    y.backward(gradient)
    exact.backward(gradient.double())
    assert x.grad is not None
    assert close(x.grad, exact_x.grad, HALF_STEP)
    assert close(norm.weight.grad, exact_norm.weight.grad, 1e-5)
    assert close(norm.bias.grad, exact_norm.bias.grad, 1e-5)
    if shortcut is not None:
        assert torch.equal(shortcut.grad.double(), exact_shortcut.grad)


def test_a_mean_far_from_zero_costs_no_variance() -> None:
    x, norm = pictures(8, 4, 16, 16, mean=1000.0), norm_of(4)
    normalise(norm, x, None, False)
    exact = x.double().var((0, 2, 3))
    assert torch.allclose(norm.running_var.double(), 0.9 + 0.1 * exact, rtol=1e-4)


def test_what_is_not_a_number_stays_so() -> None:
    x = pictures(2, 16, 8, 8)
    x[0, 3, 2, 2] = float("nan")
    y = normalise(norm_of(16), x, None, True)
    assert y[:, 3].isnan().all()
    assert not y[:, :3].isnan().any()


def test_whole_numbers_are_settings_too() -> None:
    x, norm = pictures(4, 16, 8, 8), norm_of(16)
    norm.momentum = 1
    normalise(norm, x, None, True)
    assert torch.allclose(norm.running_mean, x.float().mean((0, 2, 3)), atol=1e-5)


def test_threads_change_nothing() -> None:
    x, gradient, found = pictures(9, 24, 7, 7), pictures(9, 24, 7, 7, seed=1), []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            norm, inputs = norm_of(24), x.clone().requires_grad_()
            y = normalise(norm, inputs, None, True)
            y.backward(gradient)
            found.append((y, inputs.grad, norm.weight.grad, norm.bias.grad, norm.running_mean, norm.running_var))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_what_the_norm_does_not_do() -> None:
    x, norm = pictures(2, 16, 4, 4), norm_of(16)
    assert normalises(norm, x)
    assert not normalises(norm, pictures(2, 32, 4, 4)), "torch says what is wrong"
    assert not normalises(norm, x.float())
    assert not normalises(norm, x.contiguous())
    assert not normalises(norm, x, x[:, :8])
    assert not normalises(norm, x, x.float())
    assert not normalises(norm, pictures(1, 16, 1, 1)), "torch refuses one value per channel"
    assert not normalises(nn.BatchNorm2d(16, affine=False), x)
    assert not normalises(nn.BatchNorm2d(16, track_running_stats=False), x)
    assert not normalises(nn.BatchNorm2d(16, momentum=None), x)
    assert not normalises(norm.eval(), x)


needs_instructions = pytest.mark.skipif(
    not (kernels() and kernels().weight_gradient), reason="needs a processor with AVX512-BF16"
)


@needs_instructions
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("n", "inputs", "outputs", "size"),
    [
        (5, 16, 16, (32, 32)), (3, 32, 64, (8, 8)), (2, 16, 48, (9, 17)), (4, 48, 16, (1, 1)), (1, 16, 16, (3, 40)),
        (2, 64, 32, (9, 2)),
    ],
)  # fmt: skip
def test_weights_gradient_is_the_sum(n: int, inputs: int, outputs: int, size: tuple[int, int], threads: int) -> None:
    x, dy = pictures(n, inputs, *size), pictures(n, outputs, *size, seed=1)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        found = weight_gradient(x, dy)
    finally:
        torch.set_num_threads(before)
    weight = torch.zeros(outputs, inputs, 3, 3, dtype=torch.float64, requires_grad=True)
    F.conv2d(x.double(), weight, padding=1).backward(dy.double())
    assert close(found, weight.grad, 1e-5)


@needs_instructions
def test_a_convolution_learns_as_torchs_does() -> None:
    if torch.cpu._is_amx_tile_supported():
        pytest.skip("torch's own is used where there are tiles")
    torch.manual_seed(0)
    conv = nn.Conv2d(16, 32, 3, padding=1, bias=False)
    assert convolves(conv)
    x, dy = pictures(2, 16, 8, 12).requires_grad_(), pictures(2, 32, 8, 12, seed=1)
    gradients = []
    for module in (conv, lambda x: convolve(conv, x)):
        x.grad = conv.weight.grad = None
        with torch.autocast("cpu", torch.bfloat16):
            y = module(x)
        y.backward(dy)
        gradients.append((y.detach(), x.grad, conv.weight.grad))
    (y, dx, dw), (our_y, our_dx, our_dw) = gradients
    assert torch.equal(y, our_y)
    assert torch.equal(dx, our_dx)
    assert torch.allclose(dw, our_dw, rtol=HALF_STEP, atol=1e-6)
    assert our_dw.dtype == torch.float32


@needs_instructions
def test_what_the_convolution_does_not_do() -> None:
    assert convolves(nn.Conv2d(16, 16, 3, padding=1, bias=False)) != torch.cpu._is_amx_tile_supported()
    for arguments, named in (
        ((16, 16, 1), {}),
        ((16, 16, 3), {"padding": 1, "stride": 2}),
        ((16, 16, 3), {"padding": 1, "groups": 2}),
        ((16, 24, 3), {"padding": 1}),
        ((3, 16, 3), {"padding": 1}),
        ((256, 256, 3), {"padding": 1}),
    ):
        assert not convolves(nn.Conv2d(*arguments, bias=False, **named)), (arguments, named)
    assert not convolves(nn.Conv2d(16, 16, 3, padding=1)), "a bias"


def test_compiled_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    build.kernels.cache_clear()
    try:
        assert build.kernels() is not None
        (library,) = (tmp_path / "residuum" / "kernels").iterdir()
        written = library.stat().st_mtime_ns
        build.kernels.cache_clear()
        assert build.kernels() is not None
        assert library.stat().st_mtime_ns == written
    finally:
        build.kernels.cache_clear()


@pytest.mark.parametrize("missing", ["compiler", "threads", "working compiler"])
def test_without_a_compiler_there_are_none(missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    if missing == "threads":
        monkeypatch.setattr(build, "_threads_are_shared", lambda: False)
    else:
        monkeypatch.setenv("PATH", str(tmp_path))
    if missing == "working compiler":
        (tmp_path / "cc").write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / "cc").chmod(0o755)
    build.kernels.cache_clear()
    try:
        assert build.kernels() is None
        assert not normalises(norm_of(16), pictures(2, 16, 4, 4))
    finally:
        build.kernels.cache_clear()

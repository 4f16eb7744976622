"""Grad-CAM against its formula, integrated gradients by completeness, occlusion by brute force; all find the spot."""

from __future__ import annotations

import sys
from pathlib import Path

import blobs
import numpy as np
import pytest
import torch
from torch import Tensor

from residuum import load
from residuum.analysis.saliency import (
    COMPLETE,
    METHODS,
    cam,
    covered,
    grad_cam,
    inputs_of,
    last_map_size,
    method_of,
    path_integral,
)
from residuum.errors import UserError
from residuum.inference import Model
from residuum.nets.network import Network
from samples import picture, tiny_model, tiny_network

needs_captum = pytest.mark.parametrize("name", ["integrated-gradients", "occlusion"])


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    return blobs.photos(6, 50)[0]


def by_formula(network: Network, x: Tensor, classes: list[int]) -> Tensor:
    """Selvaraju et al. 2017, eq. 1 and 2, on `Network.features`, with finite differences in place of autograd."""
    last = network.plan.stages[-1].name
    with torch.no_grad():
        maps = network.features(x)[last]
        positions, step = maps[0, 0].numel(), 1e-3
        found = torch.zeros(len(x), *maps.shape[2:], dtype=x.dtype)
        for k in range(maps.shape[1]):
            shift = torch.zeros_like(maps)
            shift[:, k] = step
            rise = network.head(maps + shift) - network.head(maps - shift)  # of all positions of the channel together
            slope = rise[range(len(x)), classes] / (2 * step)
            found += (slope / positions)[:, None, None] * maps[:, k]
        return found.clamp_min(0)


def test_grad_cam_is_its_formula() -> None:
    network = tiny_network().double().eval()
    x = torch.randn(3, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for classes in ([0, 1, 2], [2, 2, 0]):
        expected = by_formula(network, x, classes)
        assert expected.max() > 0
        assert (cam(network, x, classes) - expected).abs().max() < 1e-8 * expected.max()
    assert torch.equal(cam(network, x), cam(network, x, network(x).argmax(1).tolist()))


def test_grad_cam_is_that_of_captum(trained: Model, pictures: list[np.ndarray]) -> None:
    attr = pytest.importorskip("captum.attr")
    inputs = inputs_of(trained, pictures)
    theirs = attr.LayerGradCam(trained.network, trained.network.get_submodule("stage3")).attribute(inputs, target=1)
    ours = cam(trained.network, inputs, [1] * len(pictures))
    assert torch.allclose(ours, theirs.clamp_min(0)[:, 0], rtol=1e-4, atol=1e-7)


def test_integrated_gradients_add_up_and_leave_out_what_plays_no_part(
    trained: Model, pictures: list[np.ndarray]
) -> None:
    """Completeness and dummy, the axioms of Sundararajan et al. 2017, sections 3 and 4."""
    pytest.importorskip("captum")
    for model in (trained, blobs.untrained(3)):
        network = model.network
        inputs = inputs_of(model, pictures)
        with torch.no_grad():
            rise = (network(inputs) - network(torch.zeros_like(inputs)))[:, 2]
        parts = path_integral(network, inputs, 2)
        assert ((parts.sum((1, 2, 3)) - rise).abs() <= COMPLETE * rise.abs()).all()
    with torch.no_grad():
        network.get_parameter("stem.conv1.weight")[:, 1] = 0  # green plays no part
    parts = path_integral(network, inputs, 2)
    assert (parts[:, 1] == 0).all()
    assert (parts[:, 0] != 0).any()


@pytest.mark.parametrize(("side", "stride"), [(2, 1), (3, 2), (4, 3)])
def test_occlusion_by_brute_force(side: int, stride: int) -> None:
    pytest.importorskip("captum")
    network = tiny_network(size=7).eval()
    x = torch.randn(1, 3, 7, 7, generator=torch.Generator().manual_seed(0))
    falls, covers = np.zeros((7, 7)), np.zeros((7, 7))
    with torch.no_grad():
        score = float(network(x)[0, 1])
        starts = range(0, -(-(7 - side) // stride) * stride + 1, stride)
        for top in starts:
            for left in starts:
                hidden = x.clone()
                hidden[..., top : top + side, left : left + side] = 0
                falls[top : top + side, left : left + side] += score - float(network(hidden)[0, 1])
                covers[top : top + side, left : left + side] += 1
    assert covers.min() >= 1
    assert covered(network, x, 1, side, stride)[0].numpy() == pytest.approx(falls / covers, abs=1e-5 * abs(falls).max())


@pytest.mark.parametrize("name", METHODS)
def test_every_method_finds_the_spot(name: str, trained: Model) -> None:
    """Near it in every photo, and on average neither above nor below it, neither left nor right."""
    if METHODS[name].needs_captum:
        pytest.importorskip("captum")
    pictures, colours, centres = blobs.photos(40 if name == "grad-cam" else 10, 200)
    maps = METHODS[name].maps(trained, pictures, colours)
    assert maps.shape == (len(pictures), blobs.SIDE, blobs.SIDE)
    assert maps.dtype == np.float32
    assert (maps.min(), maps.max()) == (0, 1)
    peaks = np.array([np.argwhere(heat >= 0.999 * heat.max()).mean(0) + 0.5 for heat in maps])
    off = peaks - np.array(centres)
    assert np.hypot(*off.T).max() < 5  # a cell of Grad-CAM's map has four pixels
    assert np.abs(off.mean(0)).max() < 0.75


def test_grad_cam_answers_for_its_class(trained: Model) -> None:
    """Two spots in one photo: each class has its own."""
    both = blobs.photo(24, 24, (6, 6), 0) // 2 + blobs.photo(24, 24, (18, 18), 2) // 2
    both = np.clip(both.astype(np.int64) * 1.6 - 60, 0, 255).astype(np.uint8)
    red, blue = grad_cam(trained, [both, both], [0, 2])
    assert red[:12, :12].mean() > 3 * red[12:, 12:].mean()
    assert blue[12:, 12:].mean() > 3 * blue[:12, :12].mean()


def test_neither_the_batch_nor_inference_mode_changes_a_map(pictures: list[np.ndarray], trained: Model) -> None:
    many = [*pictures * 3]  # more than one batch
    expected = np.concatenate([grad_cam(trained, [each]) for each in many])
    assert np.abs(grad_cam(trained, many) - expected).max() < 1e-5
    trained.predict(many)
    with torch.inference_mode():
        inside = grad_cam(trained, pictures)
    with torch.no_grad():
        without = grad_cam(trained, pictures)
    assert np.array_equal(inside, without)
    assert np.abs(inside - expected[: len(pictures)]).max() < 1e-5
    assert not any(parameter.grad is not None for parameter in trained.network.parameters())
    assert grad_cam(trained, []).shape == (0, 24, 24)


@needs_captum
def test_captum_runs_in_inference_mode(name: str, trained: Model, pictures: list[np.ndarray]) -> None:
    pytest.importorskip("captum")
    expected = METHODS[name].maps(trained, pictures[:1], [0])
    with torch.inference_mode():
        assert np.array_equal(METHODS[name].maps(trained, pictures[:1], [0]), expected)


@pytest.mark.parametrize("name", METHODS)
def test_a_model_loaded_in_inference_mode(name: str, tmp_path: Path) -> None:
    if METHODS[name].needs_captum:
        pytest.importorskip("captum")
    path, pixels = tiny_model(tmp_path / "m.safetensors"), np.asarray(picture(16, 16, 0))
    with torch.inference_mode():
        model = load(path)
        assert next(model.network.parameters()).is_inference()
    assert np.array_equal(METHODS[name].maps(model, [pixels], [1]), METHODS[name].maps(load(path), [pixels], [1]))


def test_a_last_map_of_one_cell_is_known_and_even(tmp_path: Path) -> None:
    model = load(tiny_model(tmp_path / "m.safetensors", size=4))
    assert last_map_size(model) == (1, 1)
    for index in range(3):
        (heat,) = grad_cam(model, [np.asarray(picture(9, 12, 0))], [index])
        assert np.ptp(heat) == 0


def test_grey_pictures_and_a_mean_picture(tmp_path: Path) -> None:
    colour, grey = np.asarray(picture(30, 20, 4)), np.asarray(picture(30, 20, 4).convert("L"))[..., None]
    model = load(tiny_model(tmp_path / "m.safetensors", channels=1, mean_picture=True))
    assert np.array_equal(grad_cam(model, [colour]), grad_cam(model, [grey]))


def test_an_unknown_method_and_a_missing_library(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match='did you mean "occlusion"'):
        method_of("oclusion")
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    assert method_of("grad-cam").maps is grad_cam
    with pytest.raises(UserError, match=r"residuum\[explain\]"):
        method_of("occlusion")

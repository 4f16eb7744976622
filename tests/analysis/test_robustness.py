"""Corruptions harm more with severity, repeat exactly, and every figure says what was done."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import residuum
from commands import run
from residuum.analysis.attacks import OnPixels, attacks
from residuum.analysis.corruptions import CORRUPTIONS, SEVERITIES, corrupt, jpeg, rotated
from residuum.analysis.robustness import DEGREES, QUALITIES
from residuum.data.sources import open_data


def photo(height: int, width: int, channels: int = 3) -> np.ndarray:
    """Something with edges, gradients and texture."""
    rows, columns = np.mgrid[:height, :width]
    waves = 127 + 60 * np.sin(rows / 5) * np.cos(columns / 7) + 40 * ((rows // 8 + columns // 8) % 2)
    tint = np.linspace(0.6, 1.0, channels)
    return np.clip(waves[..., None] * tint, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("shape", [(96, 64, 3), (32, 32, 3), (32, 32, 1)])
def test_a_corruption_changes_the_picture_and_repeats_exactly(name: str, shape: tuple[int, int, int]) -> None:
    picture = photo(*shape)
    for severity in SEVERITIES:
        one = corrupt(picture, name, severity, seed=3, index=5)
        assert one.dtype == np.uint8
        assert one.shape == picture.shape
        assert (one == corrupt(picture, name, severity, seed=3, index=5)).all()
    assert (one != picture).any()


@pytest.mark.parametrize("name", ["gaussian-noise", "shot-noise", "impulse-noise", "contrast", "jpeg"])
@pytest.mark.parametrize("side", [96, 32])
def test_a_higher_severity_is_further_from_the_picture(name: str, side: int) -> None:
    picture = photo(side, side)
    away = [np.abs(corrupt(picture, name, s, 0, 0).astype(int) - picture).mean() for s in SEVERITIES]
    assert away[0] < away[2] < away[4]


def test_randomness_follows_seed_and_place() -> None:
    picture = photo(32, 32)
    first = corrupt(picture, "gaussian-noise", 3, 0, 0)
    assert (first != corrupt(picture, "gaussian-noise", 3, 1, 0)).any()
    assert (first != corrupt(picture, "gaussian-noise", 3, 0, 1)).any()


def test_known_changes_are_what_they_are_called() -> None:
    picture = photo(64, 64)
    turned = rotated(picture, 90)
    assert np.abs(turned[1:-1, 1:-1].astype(int) - np.rot90(picture)[1:-1, 1:-1]).max() <= 1
    assert (
        np.abs(jpeg(picture, 95).astype(int) - picture).mean() < np.abs(jpeg(picture, 10).astype(int) - picture).mean()
    )
    flat = np.full((32, 32, 3), 100, np.uint8)
    for name in ("defocus-blur", "glass-blur", "motion-blur", "zoom-blur", "contrast", "pixelate"):
        assert np.abs(corrupt(flat, name, 5, 0, 0).astype(int) - 100).max() <= 1, f"{name} of a flat picture"
    noise = corrupt(np.full((64, 64, 3), 128, np.uint8), "gaussian-noise", 1, 0, 0) / 255
    assert noise.std() == pytest.approx(0.08, rel=0.05)


def test_attacks_stay_within_eps_and_raise_the_loss() -> None:
    pytest.importorskip("captum")
    torch.manual_seed(0)
    network = residuum.build("resnet20", 10, depth=8).eval()
    on_pixels = OnPixels(network, torch.full((3, 1, 1), 0.5), torch.full((3, 1, 1), 0.25))
    pixels, labels = torch.rand(8, 3, 32, 32), torch.arange(8)
    before = torch.nn.functional.cross_entropy(on_pixels(pixels), labels).detach()
    for name, attack in attacks(on_pixels).items():
        worse = attack(pixels.clone(), labels, 4 / 255)
        assert float((worse - pixels).abs().max()) <= 4 / 255 + 1e-6, name
        assert 0 <= float(worse.min()) <= float(worse.max()) <= 1
        assert float(torch.nn.functional.cross_entropy(on_pixels(worse), labels).detach()) > float(before)


def test_every_figure_has_its_own_protocol(tmp_path: Path) -> None:
    pytest.importorskip("captum")
    out = tmp_path / "run"
    run("train", "digits", "--model", "resnet20", "--depth", 8, "--recipe", "debug", "--steps", 40, "--out", out)
    summary = run("evaluate", out / "model.safetensors", "digits", "--split", "val", "--robustness", "--json").json()
    found = summary["robustness"]
    assert found[0]["name"] == "none"
    assert found[0]["correct_top1"] == summary["correct_top1"], "unchanged pictures are those of the evaluation"
    assert len(found) == 1 + 5 * len(CORRUPTIONS) + len(DEGREES) + len(QUALITIES) + 8
    changes = [tuple(each["protocol"]["change"].items()) for each in found]
    assert len(set(changes)) == len(changes)
    assert all(each["images"] == len(open_data("digits").part("val")) for each in found)

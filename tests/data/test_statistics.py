"""Statistics are those of the training part alone, exactly."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from residuum.data import statistics as module
from residuum.data.manifest import Manifest
from residuum.data.pictures import ArrayPictures
from residuum.data.preprocessing import Preprocessing, view
from residuum.data.sources import open_data
from residuum.data.statistics import STD_FLOOR, channel_statistics, mean_picture, pca_colour

MakeFolder = Callable[..., Path]


@pytest.fixture(params=[(16, 16), (140, 20)], ids=["in memory", "from files"])
def manifest(request: pytest.FixtureRequest, folder: MakeFolder) -> Manifest:
    return open_data(str(folder({"a": 12, "b": 12}, size=request.param)), val=6)


def pixels(manifest: Manifest, part: str, size: tuple[int, int], channels: int) -> np.ndarray:
    p = Preprocessing(size, max(size), channels, (0.0,) * channels, (1.0,) * channels)
    return np.stack([view(manifest.pictures.read(i, channels), p) for i in manifest.part(part)]) / 255


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(16, 16), (10, 10)])
def test_mean_and_deviation(manifest: Manifest, channels: int, size: tuple[int, int]) -> None:
    mean, std = channel_statistics(manifest, channels=channels, size=size)
    expected = pixels(manifest, "train", size, channels).reshape(-1, channels)
    np.testing.assert_allclose(mean, expected.mean(0), rtol=1e-12)
    np.testing.assert_allclose(std, expected.std(0), rtol=1e-9)
    other, _ = channel_statistics(manifest, "val", channels=channels, size=size)
    assert other != mean


def test_a_constant_channel_has_the_floor_as_deviation() -> None:
    flat = Manifest(
        argument="flat",
        names=("a", "b"),
        labels=np.array([0, 1]),
        classes=("x", "y"),
        parts={"train": np.array([0, 1])},
        pictures=ArrayPictures(np.full((2, 4, 4, 1), 51, np.uint8)),
        digest="",
    )
    mean, std = channel_statistics(flat, channels=1, size=(4, 4))
    assert mean == pytest.approx((0.2,))
    assert std == (STD_FLOOR,)


def test_a_sample_is_fixed_and_close(manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _ = channel_statistics(manifest, channels=3, size=(16, 16))
    monkeypatch.setattr(module, "SAMPLE", 9)
    part, _ = channel_statistics(manifest, channels=3, size=(16, 16))
    assert part == channel_statistics(manifest, channels=3, size=(16, 16))[0]
    assert part != whole
    np.testing.assert_allclose(part, whole, atol=0.05)


def test_mean_picture(manifest: Manifest) -> None:
    p = Preprocessing((16, 16), 16, 3, (0.0,) * 3, (1.0,) * 3, per_pixel=True)
    got = mean_picture(manifest, "train", p)
    assert got.shape == (3, 16, 16)
    assert got.dtype == np.float32
    expected = pixels(manifest, "train", (16, 16), 3).mean(0).transpose(2, 0, 1)
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_the_mean_picture_of_a_large_part_is_that_of_a_fixed_sample(
    manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    p = Preprocessing((16, 16), 16, 3, (0.0,) * 3, (1.0,) * 3, per_pixel=True)
    told: list[tuple[int, int]] = []
    mean_picture(manifest, "train", p, lambda done, total: told.append((done, total)))
    assert told[-1] == (18, 18)
    monkeypatch.setattr(module, "MEAN_SAMPLE", 5)
    sampled = mean_picture(manifest, "train", p)
    np.testing.assert_array_equal(sampled, mean_picture(manifest, "train", p))
    views = pixels(manifest, "train", (16, 16), 3).transpose(0, 3, 1, 2)
    chosen = [five for five in combinations(range(18), 5) if np.abs(views[list(five)].mean(0) - sampled).max() < 1e-6]
    assert len(chosen) == 1


@pytest.mark.parametrize("channels", [1, 3])
def test_principal_colours_diagonalise_the_covariance(manifest: Manifest, channels: int) -> None:
    values, vectors = pca_colour(manifest, "train", channels)
    flat = np.concatenate(
        [manifest.pictures.read(i, channels).reshape(-1, channels) / 255 for i in manifest.part("train")]
    )
    covariance = np.cov(flat.T, bias=True).reshape(channels, channels)
    np.testing.assert_allclose(vectors @ np.diag(values) @ vectors.T, covariance, atol=1e-12)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(channels), atol=1e-12)
    assert (vectors[np.abs(vectors).argmax(0), np.arange(channels)] > 0).all()

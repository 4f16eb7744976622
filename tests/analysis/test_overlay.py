"""A map goes back to the part of the picture that the network saw, and nowhere else."""

from __future__ import annotations

import blobs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from residuum.analysis.geometry import Box, on_picture, seen
from residuum.analysis.overlay import DIMMED, LARGEST, SMALLEST, at_viewing_size, overlay
from residuum.analysis.saliency import METHODS
from residuum.data.preprocessing import Preprocessing, view
from residuum.inference import Model

WAVES = Preprocessing((48, 64), 72, 1, (0.5,), (0.25,))


def waves(height: int, width: int) -> np.ndarray:
    """A smooth grey picture, in which every place has its own brightness nearby."""
    rows, columns = np.mgrid[:height, :width] + 0.5
    level = 128 + 60 * np.sin(9 * rows / height) + 60 * np.cos(12 * columns / width)
    return np.rint(level).clip(0, 255).astype(np.uint8)[..., None]


@given(height=st.integers(40, 200), width=st.integers(40, 200))
def test_a_view_laid_back_on_its_picture_is_the_picture(height: int, width: int) -> None:
    picture = waves(height, width)
    back = on_picture(view(picture, WAVES)[..., 0].astype(np.float32), seen(height, width, WAVES), (height, width))
    inside = ~np.isnan(back)
    assert inside.mean() == pytest.approx(_share_seen(height, width), abs=0.06)
    error = np.where(inside, back - picture[..., 0], 0)
    assert np.abs(error).mean() < 1.5  # grey levels
    for axis in (0, 1):  # how far aside, in pixels, would account for the error
        slope = np.where(inside, np.gradient(picture[..., 0].astype(float), axis=axis), 0)
        assert abs((error * slope).sum() / (slope**2).sum()) < 0.15


def _share_seen(height: int, width: int) -> float:
    scale = 72 / min(height, width)
    return 48 * 64 / (height * scale * width * scale)


@pytest.mark.parametrize("size", [(100, 300), (300, 100)], ids=str)
def test_only_the_middle_of_a_long_picture_is_seen(size: tuple[int, int]) -> None:
    square = Preprocessing((50, 50), 50, 3, (0.5,) * 3, (0.25,) * 3)
    box = seen(*size, square)
    assert (box == Box(0, 100, 100, 200)) if size == (100, 300) else (box == Box(100, 0, 200, 100))
    heat = np.linspace(0, 1, 2500, dtype=np.float32).reshape(50, 50)
    unseen = np.isnan(on_picture(heat, box, size))
    across = unseen if size == (100, 300) else unseen.T
    assert across[:, :100].all()
    assert not across[:, 100:200].any()
    assert across[:, 200:].all()


def test_a_picture_of_the_views_size_is_seen_whole() -> None:
    picture = np.zeros((48, 64, 1), np.uint8)
    whole = Preprocessing((48, 64), 64, 1, (0.5,), (0.25,))
    assert seen(48, 64, whole) == Box(0, 0, 48, 64)
    heat = np.random.default_rng(0).random((48, 64)).astype(np.float32)
    assert np.abs(on_picture(heat, seen(48, 64, whole), picture.shape[:2]) - heat).max() < 1e-6


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(("height", "width"), [(60, 110), (110, 60)])
def test_a_spot_in_a_corner_of_a_photo_lights_up_there(name: str, height: int, width: int, trained: Model) -> None:
    if METHODS[name].needs_captum:
        pytest.importorskip("captum")
    box = seen(height, width, trained.artifact.preprocessing)
    for down in (0.2, 0.8):
        for right in (0.2, 0.8):
            spot = box.top + down * (box.bottom - box.top), box.left + right * (box.right - box.left)
            photo = blobs.photo(height, width, spot, 1)
            heat = METHODS[name].maps(trained, [photo], [1])[0]
            lit = on_picture(heat, box, (height, width))
            places = np.argwhere(lit >= 0.9 * np.nanmax(lit)) + 0.5
            assert np.hypot(*(places.mean(0) - spot)) < 12  # pixels: so wide is the spot, and a cell of Grad-CAM
            drawn = np.asarray(overlay(photo, heat, trained.artifact.preprocessing)).astype(np.int64)
            times = drawn.shape[0] / height
            row, column = (int(n * times) for n in places.mean(0))
            hot, other = drawn[row, column], drawn[drawn.shape[0] - row, drawn.shape[1] - column]
            assert hot[0] - hot[2] > 60 + other[0] - other[2]  # red over blue, where the opposite corner stays grey


def test_what_was_not_seen_is_dimmed_and_colder_places_are_the_picture() -> None:
    picture = np.full((300, 600, 3), 180, np.uint8)
    square = Preprocessing((50, 50), 50, 3, (0.5,) * 3, (0.25,) * 3)
    drawn = np.asarray(overlay(picture, np.zeros((50, 50), np.float32), square))
    assert drawn.shape == (300, 600, 3)
    assert (drawn[:, :149] == round(180 * DIMMED)).all()
    assert (drawn[:, 151:449] == 180).all()
    assert (drawn[:, 451:] == round(180 * DIMMED)).all()


def test_more_heat_is_lighter_on_black() -> None:
    heat = np.linspace(0, 1, 50, dtype=np.float32)[None].repeat(50, 0)
    square = Preprocessing((50, 50), 50, 3, (0.5,) * 3, (0.25,) * 3)
    row = np.asarray(overlay(np.zeros((400, 400, 3), np.uint8), heat, square).convert("L"))[200, 5:395]
    assert (np.diff(row.astype(np.int64)) >= -1).all()  # but for rounding
    assert int(row[-1]) - int(row[0]) > 150


@pytest.mark.parametrize(
    "size", [(1, 1), (8, 8), (32, 20), (255, 3), (256, 256), (500, 768), (2000, 1500), (1, 5000)], ids=str
)
def test_pictures_are_drawn_at_a_size_to_be_looked_at(size: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    shown = at_viewing_size(picture)
    assert SMALLEST <= max(shown.shape[:2]) <= max(LARGEST, 2 * SMALLEST)
    assert overlay(picture, np.ones((4, 4), np.float32), Preprocessing((4, 4), 4, 3, (0.5,) * 3, (0.2,) * 3)).size == (
        shown.shape[1],
        shown.shape[0],
    )
    if max(size) < SMALLEST:
        times = len(shown) // size[0]
        assert np.array_equal(shown[::times, ::times], picture)
    grey = at_viewing_size(picture[..., :1])
    assert grey.shape == shown.shape

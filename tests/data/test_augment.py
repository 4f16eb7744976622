"""Augmentation is checked early, and random boxes keep to the picture and to their ranges."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from residuum.data.augment import Augment
from residuum.data.crops import random_box
from residuum.errors import UserError

sides = st.integers(1, 3000)
chances = st.lists(st.floats(0, 1, exclude_max=True), min_size=4, max_size=4).map(np.array)


@pytest.mark.parametrize(
    ("augment", "message"),
    [
        (Augment(crop_padding=-1), "crop_padding must not be negative"),
        (Augment(padding="edge"), "padding must be"),  # pyright: ignore[reportArgumentType]
        (Augment(crop_padding=32, padding="reflect"), "at most 31 pixels"),
        (Augment(mirror="sometimes"), "mirror must be"),  # pyright: ignore[reportArgumentType]
        (Augment(area=(0.1, 1.0), shorter_side=(256, 480)), "give one of them"),
        (Augment(area=(0.0, 1.0)), "area must be a range"),
        (Augment(area=(0.5, 0.2)), "area must be a range"),
        (Augment(shorter_side=(480, 256)), "shorter_side must be a range"),
        (Augment(shorter_side=(16, 64)), "range from at least 32"),
        (Augment(colour=-0.1), "colour must not be negative"),
        (Augment(colour=math.nan), "colour must not be negative"),
    ],
)
def test_contradictions_are_refused(augment: Augment, message: str) -> None:
    with pytest.raises(UserError, match=message):
        augment.check((32, 32))


def test_all_problems_are_named_at_once() -> None:
    with pytest.raises(UserError, match=r"crop_padding.*area.*colour"):
        Augment(crop_padding=-1, area=(2, 3), colour=-1).check()


@settings(max_examples=300)
@given(sides, sides, chances, st.floats(0.05, 1), st.floats(0, 1))
def test_area_boxes(height: int, width: int, chance: np.ndarray, low: float, span: float) -> None:
    augment = Augment(area=(low, low + (1 - low) * span))
    left, top, right, bottom = random_box(height, width, (224, 224), augment, chance)
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    w, h = right - left, bottom - top
    assert augment.area is not None
    assert w * h <= augment.area[1] * height * width * (1 + 1e-9) or min(w, h) <= 1 + 1e-9
    if min(w, h) > 1.01:
        assert (w + 1) / h >= 3 / 4 - 1e-6, "whole pixels"
        assert w / (h + 1) <= 4 / 3 + 1e-6


@settings(max_examples=300)
@given(sides, sides, chances)
def test_shorter_side_boxes_are_windows_of_the_scaled_picture(height: int, width: int, chance: np.ndarray) -> None:
    left, top, right, bottom = random_box(height, width, (224, 200), Augment(shorter_side=(256, 480)), chance)
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    new_height, new_width = round(224 * height / (bottom - top)), round(200 * width / (right - left))
    side = min(new_height, new_width)
    assert 256 <= side <= 480
    assert max(new_height, new_width) == side * max(height, width) // min(height, width)
    for place in (left * new_width / width, top * new_height / height):
        assert place == pytest.approx(round(place), abs=1e-6)


def test_every_shorter_side_of_the_range_occurs() -> None:
    rng = np.random.default_rng(0)
    boxes = [random_box(100, 100, (4, 4), Augment(shorter_side=(4, 7)), rng.random(4)) for _ in range(400)]
    found = [round(400 / (bottom - top)) for _, top, _, bottom in boxes]
    assert set(found) == {4, 5, 6, 7}
    assert min(found.count(side) for side in (4, 5, 6, 7)) > 60

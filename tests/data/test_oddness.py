"""The odd one out is found without a network, wherever it stands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from residuum.data.oddness import measures, oddest
from residuum.data.sources import open_data


@pytest.mark.parametrize(
    ("odd", "measure"),
    [
        (np.full((40, 40, 3), 128, np.uint8), "detail"),
        (np.random.default_rng(1).integers(0, 256, (20, 200, 3), np.uint8), "shape"),
    ],
)
def test_a_picture_of_another_kind_comes_first(tmp_path: Path, odd: np.ndarray, measure: str) -> None:
    random = np.random.default_rng(0)
    for label in "ab":
        (tmp_path / label).mkdir()
        for number in range(15):
            size = (40 + random.integers(8), 40 + random.integers(8), 3)
            pixels = random.normal(random.integers(100, 150), random.integers(30, 50), size)
            Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(tmp_path / label / f"{number}.png")
    Image.fromarray(odd).save(tmp_path / "b" / "odd.png")
    manifest = open_data(str(tmp_path))
    found = oddest(manifest, 3)
    assert len(found) == 3
    assert manifest.names[found[0][0]].endswith("odd.png")
    if measure == "shape":
        assert found[0][1] == measure


def test_measures_are_finite_for_the_smallest_and_the_longest_picture() -> None:
    for shape in ((1, 1, 1), (1, 20000, 3), (20000, 1, 3)):
        assert np.isfinite(measures(np.zeros(shape, np.uint8))).all()


@pytest.mark.realdata
def test_the_placeholder_among_ants_and_bees_is_among_the_oddest(realdata: Path) -> None:
    manifest = open_data(str(realdata / "hymenoptera" / "train"))
    assert any(manifest.names[index].endswith("imageNotFound.gif") for index, _ in oddest(manifest, 12))

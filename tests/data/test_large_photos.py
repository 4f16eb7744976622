"""Photos much larger than the input are cropped at less than their size, and decoded once where memory allows."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from residuum.data import views
from residuum.data.augment import Augment
from residuum.data.batches import Batch, EvalBatches, TrainBatches
from residuum.data.crops import shrunk
from residuum.data.decoding import decode_native, orientation_of, reduced, upright
from residuum.data.jpeg import Need
from residuum.data.manifest import Manifest
from residuum.data.preprocessing import Preprocessing
from residuum.data.sources import open_data

VIEW = Preprocessing((16, 16), 16, 3, (0.5,) * 3, (0.25,) * 3)
CROPS = Augment(area=(0.35, 1.0), mirror=True)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """Smooth photos of some 300 pixels, upright and turned, as JPEG and PNG, and a small one."""
    random = np.random.default_rng(0)
    for number in range(12):
        side = (40, 31) if number == 5 else (300 + number, 263)
        image = Image.fromarray(random.integers(0, 256, (2, 3, 3), np.uint8)).resize(side, Image.Resampling.BICUBIC)
        exif = Image.Exif()
        exif[0x0112] = 1 + number % 8
        path = tmp_path / "photos" / "ab"[number % 2] / f"{number}.{'png' if number == 3 else 'jpg'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, exif=exif)
    return tmp_path / "photos"


def batches(manifest: Manifest, steps: int, **changed: bool) -> list[Batch]:
    augment = Augment(**{**vars(CROPS), **changed})
    part = TrainBatches(manifest, preprocessing=VIEW, augment=augment, batch_size=5, seed=1)
    return list(islice(part.from_step(0), steps))


@pytest.mark.parametrize("by", [2, 4, 8])
def test_a_reduced_picture_has_the_mean_of_many_pixels(by: int, large: Path) -> None:
    for path in large.rglob("*.jpg"):
        picture = Image.open(path)
        mean = upright(reduced(np.asarray(picture), by), orientation_of(picture))
        small = decode_native(path, Need(reduced=by))
        assert small.shape == mean.shape
        assert np.abs(small.astype(int) - mean).mean() < 2


def test_rows_and_reduction_together(large: Path) -> None:
    data = (large / "a" / "0.jpg").read_bytes()
    whole, part = decode_native(data, Need(reduced=4)), decode_native(data, Need(rows=80, reduced=4))
    assert 20 <= len(part) < len(whole) / 1.5
    assert np.array_equal(part[:20], whole[:20])


def test_a_box_shrinks_to_whole_pixels_of_the_smaller_picture() -> None:
    assert shrunk((0, 0, 301, 263), 4) == (0, 0, 75, 66)
    assert shrunk((8, 17, 9, 18), 8) == (1, 2, 2, 3)


def test_crops_are_nearly_those_of_the_whole_photo(large: Path) -> None:
    manifest = open_data(str(large), val=2)
    assert not manifest.pictures.in_memory
    exact, quick = batches(manifest, 6), batches(manifest, 6, reduced=True)
    for a, b in zip(exact, quick, strict=True):
        assert np.array_equal(a.indices, b.indices)
        levels = (a.inputs - b.inputs).abs() * VIEW.std[0] * 255
        assert 0 < levels.mean() < 6


def test_what_is_kept_changes_nothing_and_is_not_read_again(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = open_data(str(large), val=2)
    part = TrainBatches(manifest, preprocessing=VIEW, augment=Augment(**{**vars(CROPS), "reduced": True}),
                        batch_size=5, seed=1)  # fmt: skip
    stream = part.from_step(0)
    first = list(islice(stream, 2))  # an epoch
    judged = EvalBatches(manifest, manifest.part("val"), VIEW, 2, kept=True)
    before = [batch.inputs for batch in judged]
    monkeypatch.setattr(views, "KEPT_BYTES", 0)
    anew = batches(manifest, 6, reduced=True)
    for path in large.rglob("*.*"):
        path.unlink()
    again = first + list(islice(stream, 4))
    assert all(torch.equal(a.inputs, b.inputs) for a, b in zip(again, anew, strict=True))
    assert all(torch.equal(a, b.inputs) for a, b in zip(before, judged, strict=True))

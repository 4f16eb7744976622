"""The quick way through JPEG files gives the pixels of the long one, and leaves odd files to it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from photos import photos
from PIL import Image

from residuum.data import jpeg
from residuum.data.crops import crop
from residuum.data.decoding import Unreadable, decode_native, opened, pixels_of
from residuum.data.jpeg import Need
from residuum.data.preprocessing import resample


def encoded(height: int, width: int, mode: str = "RGB", seed: int = 0, **options: Any) -> bytes:
    """A JPEG of smooth colours with some noise on them."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (5, 6, 3), dtype=np.uint8)).resize((width, height))
    noisy = np.clip(np.asarray(coarse) + random.normal(0, 9, (height, width, 3)), 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(noisy).convert(mode).save(file, "JPEG", **options)
    return file.getvalue()


@settings(max_examples=120, deadline=None)
@given(
    st.integers(1, 90), st.integers(1, 90), st.sampled_from(["RGB", "L"]), st.integers(1, 100), st.integers(0, 2),
    st.booleans(), st.integers(0, 90),
)  # fmt: skip
def test_it_is_what_pillow_gives(
    height: int, width: int, mode: str, quality: int, subsampling: int, progressive: bool, rows: int
) -> None:
    options = {"subsampling": subsampling} if mode == "RGB" else {}
    data = encoded(height, width, mode, quality=quality, progressive=progressive, **options)
    frame = jpeg.frame_of(data)
    assert frame is not None
    assert (frame.height, frame.width, frame.sequential) == (height, width, not progressive)
    whole = pixels_of(opened(data))
    assert np.array_equal(decode_native(data), whole)
    part = decode_native(data, Need(rows))
    assert len(part) >= min(rows, height)
    assert np.array_equal(part[:rows], whole[:rows])


def test_photos_are_what_pillow_gives(realdata: Path) -> None:
    files = [file for found in photos(realdata).values() for file in found[:60]]
    quick = 0
    for file in files:
        data = file.read_bytes()
        frame = jpeg.frame_of(data)
        quick += frame is not None
        whole = pixels_of(opened(data))
        assert np.array_equal(decode_native(data), whole)
        rows = len(whole) // 3
        assert np.array_equal(decode_native(data, Need(rows))[:rows], whole[:rows])
    assert quick > 0.9 * len(files)


def test_less_is_decoded_for_less() -> None:
    data = encoded(900, 300)
    assert len(decode_native(data, Need(100))) < 200
    assert len(decode_native(data, Need(890))) == 900


@pytest.mark.parametrize("orientation", range(1, 9))
def test_it_is_turned_as_exif_says(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(20, 30, exif=exif)
    assert np.array_equal(decode_native(data), pixels_of(opened(data)))
    assert np.array_equal(decode_native(data, Need(4))[:4], pixels_of(opened(data))[:4])


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.99])
def test_a_truncated_file_is_refused_whatever_of_it_is_wanted(share: float) -> None:
    data = encoded(400, 300)
    with pytest.raises(Unreadable):
        decode_native(data[: int(share * len(data))], Need(300))


def test_odd_files_are_left_to_pillow() -> None:
    good = encoded(40, 40)
    assert jpeg.frame_of(encoded(40, 40, "CMYK")) is None
    assert jpeg.frame_of(good[:30]) is None
    assert jpeg.frame_of(b"\x89PNG" + good) is None
    assert jpeg.frame_of(b"") is None
    frame = jpeg.frame_of(good)
    assert frame is not None
    assert jpeg.decoded(good[: len(good) // 2], frame) is None, "a truncated file is not filled with grey"


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 400))
def test_noise_is_no_frame_or_no_harm(noise: bytes, at: int) -> None:
    good = encoded(24, 24)
    damaged = good[:at] + noise + good[at + len(noise) :]
    frame = jpeg.frame_of(damaged)
    if frame is not None and frame.height * frame.width < 10**6:
        jpeg.decoded(damaged, frame)
        jpeg.decoded(damaged, frame, Need(rows=3, reduced=2))


def test_whole_pixel_boxes_are_resized_as_by_pillow() -> None:
    picture = pixels_of(opened(encoded(200, 260)))
    for box in ((0, 0, 260, 200), (13, 7, 200, 190), (100, 100, 140, 150)):
        ours, theirs = crop(picture, (64, 48), box), resample(picture, (64, 48), box)
        assert ours.shape == theirs.shape
        inner = np.s_[2:-2, 2:-2]  # Pillow sees beyond the box at its edge
        assert np.abs(ours[inner].astype(int) - theirs[inner].astype(int)).max() <= 1

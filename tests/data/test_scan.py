"""Every file is read once; unreadable ones are left out and counted; small pictures stay in memory."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from residuum.data import scan as module
from residuum.data.decoding import decode
from residuum.data.pictures import ArrayPictures, FilePictures, ListPictures, Pictures
from residuum.data.scan import scan
from residuum.errors import UserError

Noise = Callable[..., np.ndarray]


def write(tmp_path: Path, arrays: list[np.ndarray]) -> list[Path]:
    paths = []
    for i, array in enumerate(arrays):
        paths.append(tmp_path / f"{i:03d}.png")
        Image.fromarray(array).save(paths[-1])
    return paths


def names(paths: list[Path]) -> list[str]:
    return [p.name for p in paths]


def same_as_files(pictures: Pictures, paths: list[Path]) -> None:
    assert len(pictures) == len(paths)
    for i, path in enumerate(paths):
        for channels in (1, 3):
            pixels = decode(path, channels)
            np.testing.assert_array_equal(pictures.read(i, channels), pixels)
            assert pictures.sizes[i].tolist() == list(pixels.shape[:2])


@pytest.mark.parametrize("channels", [1, 3])
def test_small_pictures_of_one_size_are_one_array(channels: int, tmp_path: Path, noise: Noise) -> None:
    paths = write(tmp_path, [noise(9, 7, channels, seed) for seed in range(150)])
    found = scan(paths, names(paths)).pictures
    assert isinstance(found, ArrayPictures)
    assert found.uniform == (9, 7)
    assert found.grey == (channels == 1)
    assert found.in_memory
    same_as_files(found, paths)
    pick = np.array([5, 2, 2, 149])
    for asked in (1, 3):
        np.testing.assert_array_equal(found.stack(pick, asked), np.stack([found.read(int(i), asked) for i in pick]))


def test_grey_and_colour_mixed_are_colour(tmp_path: Path, noise: Noise) -> None:
    paths = write(tmp_path, [noise(8, 8, 1), noise(8, 8, 3)])
    found = scan(paths, names(paths)).pictures
    assert not found.grey
    same_as_files(found, paths)


@pytest.mark.parametrize("channels", [1, 3])
def test_small_pictures_of_several_sizes_are_kept_too(channels: int, tmp_path: Path, noise: Noise) -> None:
    sizes = [(8, 8), (8, 8), (8, 9), (1, 1), (8, 8)]
    paths = write(tmp_path, [noise(h, w, channels, i) for i, (h, w) in enumerate(sizes)])
    found = scan(paths, names(paths)).pictures
    assert isinstance(found, ListPictures)
    assert found.uniform is None
    assert found.grey == (channels == 1)
    same_as_files(found, paths)


def test_one_large_picture_keeps_all_on_disk(tmp_path: Path, noise: Noise) -> None:
    paths = write(tmp_path, [noise(8, 8), noise(8, 129), noise(8, 8)])
    found = scan(paths, names(paths)).pictures
    assert isinstance(found, FilePictures)
    assert not found.in_memory
    assert found.uniform is None
    same_as_files(found, paths)


@pytest.mark.parametrize("sizes", [[(8, 8)] * 5, [(8, 8), (8, 9), (8, 8), (8, 8), (8, 8)]])
def test_memory_is_limited(
    sizes: list[tuple[int, int]], tmp_path: Path, noise: Noise, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write(tmp_path, [noise(h, w, seed=i) for i, (h, w) in enumerate(sizes)])
    total = sum(h * w * 3 for h, w in sizes)
    monkeypatch.setattr(module, "KEPT_BYTES", total)
    assert scan(paths, names(paths)).pictures.in_memory
    monkeypatch.setattr(module, "KEPT_BYTES", total - 1)
    found = scan(paths, names(paths)).pictures
    assert isinstance(found, FilePictures)
    same_as_files(found, paths)


@pytest.mark.parametrize("sizes", [[(8, 8)] * 6, [(8, 8), (8, 8), (8, 9), (8, 8), (8, 8), (9, 9)], [(130, 8)] * 6])
@pytest.mark.parametrize("bad", [0, 1, 3, 5])
def test_unreadable_files_are_left_out(sizes: list[tuple[int, int]], bad: int, tmp_path: Path, noise: Noise) -> None:
    paths = write(tmp_path, [noise(h, w, seed=i) for i, (h, w) in enumerate(sizes)])
    paths[bad].write_text("<html>")
    calls: list[tuple[int, int]] = []
    found = scan(paths, names(paths), progress=lambda done, total: calls.append((done, total)))
    good = [p for i, p in enumerate(paths) if i != bad]
    assert found.excluded == ((paths[bad].name, "not a picture: looks like HTML"),)
    assert found.kept.tolist() == [i for i in range(6) if i != bad]
    assert found.contents == tuple(hashlib.sha256(p.read_bytes()).digest() for p in good)
    assert calls[-1] == (6, 6)
    same_as_files(found.pictures, good)


def test_more_than_one_percent_stops_and_names_the_way_out(tmp_path: Path, noise: Noise) -> None:
    paths = write(tmp_path, [noise(4, 4, seed=i) for i in range(20)])
    paths[3].write_bytes(b"")
    paths[7].write_text("<html>")
    with pytest.raises(UserError) as caught:
        scan(paths, names(paths))
    for part in ("2 of 20", "003.png (empty file)", "007.png (not a picture: looks like HTML)", "--allow-bad"):
        assert part in str(caught.value)
    assert len(scan(paths, names(paths), allow_bad=True).excluded) == 2


def test_exactly_one_percent_passes(tmp_path: Path, noise: Noise) -> None:
    paths = write(tmp_path, [noise(2, 2, seed=i) for i in range(200)])
    for bad in (0, 100):
        paths[bad].write_bytes(b"")
    assert len(scan(paths, names(paths)).kept) == 198
    paths[150].write_bytes(b"")
    with pytest.raises(UserError, match="3 of 200"):
        scan(paths, names(paths))


def test_nothing_readable_stops_even_when_allowed(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("x")
    with pytest.raises(UserError, match="none of the 1 pictures"):
        scan([tmp_path / "a.png"], ["a.png"], allow_bad=True)


def test_files_that_are_not_files(tmp_path: Path, noise: Noise) -> None:
    paths = write(tmp_path, [noise(4, 4)])
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    (tmp_path / "dangling.png").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.png")
    odd = [tmp_path / n for n in ("loop.png", "dangling.png", "pipe.png")]
    found = scan([*paths, *odd], names([*paths, *odd]), allow_bad=True)
    reasons = dict(found.excluded)
    assert "No such file" in reasons["dangling.png"]
    assert reasons["pipe.png"] == "not a regular file"
    assert reasons["loop.png"].startswith("cannot be read")


def test_a_file_that_vanished_or_changed_is_named(tmp_path: Path, noise: Noise) -> None:
    paths = write(tmp_path, [noise(8, 200, seed=i) for i in range(3)])
    found = scan(paths, names(paths)).pictures
    Image.fromarray(noise(8, 200, seed=9)).save(paths[1])
    paths[2].unlink()
    assert found.read(0, 3).shape == (8, 200, 3)
    with pytest.raises(UserError, match=r"001\.png has changed"):
        found.read(1, 3)
    with pytest.raises(UserError, match=r"002\.png was there"):
        found.read(2, 3)

"""What the user names becomes a manifest; its digest identifies the data and nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from residuum.data.manifest import digest_of
from residuum.data.sources import open_data
from residuum.errors import UserError

MakeFolder = Callable[..., Path]


def disjoint_and_covering(parts: dict[str, np.ndarray], n: int) -> bool:
    together = np.concatenate(list(parts.values()))
    return sorted(together.tolist()) == list(range(n)) and all((np.diff(p) > 0).all() for p in parts.values())


def test_digits_have_fixed_parts() -> None:
    manifest = open_data("digits")
    assert len(manifest) == 1797
    assert disjoint_and_covering(manifest.parts, 1797)
    assert {k: len(v) for k, v in manifest.parts.items()} == {"train": 1258, "val": 180, "test": 359}
    assert manifest.pictures.uniform == (8, 8)
    assert manifest.pictures.grey
    assert max(manifest.pictures.read(i, 1).max() for i in range(50)) == 255
    for part in ("val", "test"):
        share = len(manifest.parts[part]) / 1797
        counts = np.bincount(manifest.labels[manifest.parts[part]])
        assert np.abs(counts - share * np.bincount(manifest.labels)).max() <= 1
    everything = open_data("digits", val=0)
    np.testing.assert_array_equal(everything.parts["test"], manifest.parts["test"])
    assert len(everything.parts["train"]) == 1258 + 180
    assert everything.digest == manifest.digest


@pytest.mark.parametrize("val", [None, 0, 0.25, 10])
def test_parts_are_disjoint_and_cover(folder: MakeFolder, val: float | None) -> None:
    manifest = open_data(str(folder({"a": 30, "b": 20, "c": 5})), val=val)
    assert disjoint_and_covering(manifest.parts, 55)
    assert len(manifest.parts.get("val", ())) == {None: 6, 0: 0, 0.25: 14, 10: 10}[val]


def test_the_digest_knows_content_names_labels_and_nothing_else(folder: MakeFolder, tmp_path: Path) -> None:
    root = folder({"a": 6, "b": 6})
    digest = open_data(str(root)).digest
    assert open_data(str(root), val=0).digest == digest
    assert open_data(str(root), val=4).digest == digest
    shutil.copytree(root, tmp_path / "elsewhere")
    copy = tmp_path / "elsewhere"
    assert open_data(str(copy)).digest == digest
    assert open_data(os.path.relpath(copy)).digest == digest
    os.utime(copy / "a" / "000.png", (1, 1))
    (copy / "a" / "notes.txt").write_text("x")
    assert open_data(str(copy)).digest == digest

    (copy / "a" / "000.png").rename(copy / "a" / "zzz.png")
    renamed = open_data(str(copy)).digest
    (copy / "a" / "zzz.png").rename(copy / "a" / "000.png")
    assert open_data(str(copy)).digest == digest
    (copy / "a" / "000.png").rename(copy / "b" / "zzz.png")
    relabelled = open_data(str(copy)).digest
    (copy / "b" / "zzz.png").rename(copy / "a" / "000.png")
    Image.new("RGB", (16, 16)).save(copy / "a" / "000.png")
    assert len({digest, renamed, relabelled, open_data(str(copy)).digest}) == 4


def test_the_digest_does_not_depend_on_the_order_of_rows() -> None:
    names, labels, splits, contents = ["x", "y", "z"], [0, 1, 0], ["", "", ""], [b"1", b"2", b"3"]
    digest = digest_of(["a", "b"], names, labels, splits, contents)
    assert digest_of(["a", "b"], names[::-1], labels[::-1], splits, contents[::-1]) == digest
    assert digest_of(["a", "c"], names, labels, splits, contents) != digest
    assert digest_of(["a", "b"], names, [0, 1, 1], splits, contents) != digest
    assert digest_of(["a", "b"], names, labels, ["test", "", ""], contents) != digest
    assert digest_of(["a", "b"], names, labels, splits, [b"1", b"2", b"4"]) != digest
    assert digest_of(["ab", ""], ["x"], [0], [""], [b"1"]) != digest_of(["a", "b"], ["x"], [0], [""], [b"1"])


@pytest.mark.parametrize("name", ["cifar10:data", "digits", "C:data"])
def test_an_existing_folder_wins_over_a_name(
    name: str, folder: MakeFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder({"a": 2, "b": 2}, name=name)
    monkeypatch.chdir(tmp_path)
    assert open_data(name).classes == ("a", "b")


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("cifar:x", 'no data source named "cifar", nor a folder cifar:x; did you mean "cifar10"'),
        ("digts", 'there is no folder digts; did you mean "digits"'),
        ("cifar10", "is not complete: write cifar10:PATH"),
        ("mnist:", "is not complete: write mnist:PATH"),
        ("/no/such/place", "there is no folder /no/such/place"),
        ("", "there is no folder"),
        ("a\0b", "there is no folder"),
    ],
)
def test_unknown_data(argument: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        open_data(argument)
    assert message in str(caught.value)


def test_a_csv_file_without_its_prefix(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("path,label\n")
    with pytest.raises(UserError, match=r"give csv:.*t\.csv"):
        open_data(str(tmp_path / "t.csv"))


def test_a_part_that_is_not_there_is_refused(folder: MakeFolder) -> None:
    manifest = open_data(str(folder({"a": 9, "b": 9})))
    with pytest.raises(UserError, match="has no test part; its parts: train, val"):
        manifest.part("test")


def test_reading_data_needs_no_torch() -> None:
    code = "import sys, residuum.data.sources, residuum.data.statistics, residuum.data.augment; "
    result = subprocess.run([sys.executable, "-c", code + "print('torch' in sys.modules)"], capture_output=True)
    assert result.stdout.strip() == b"False", result.stderr


@pytest.mark.realdata
def test_mnist_official_files(realdata: Path) -> None:
    manifest = open_data(f"mnist:{realdata / 'mnist'}")
    assert {k: len(v) for k, v in manifest.parts.items()} == {"train": 55000, "val": 5000, "test": 10000}
    assert manifest.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert disjoint_and_covering(manifest.parts, 70000)


@pytest.mark.realdata
def test_hymenoptera_with_its_palette_gif(realdata: Path) -> None:
    manifest = open_data(str(realdata / "hymenoptera" / "train"))
    assert manifest.classes == ("ants", "bees")
    assert manifest.excluded == ()
    assert "ants/imageNotFound.gif" in manifest.names
    assert not manifest.pictures.in_memory
    gif = manifest.names.index("ants/imageNotFound.gif")
    assert manifest.pictures.sizes[gif].tolist() == [300, 300]
    assert disjoint_and_covering(manifest.parts, len(manifest))

"""A table of pictures: relative paths, parts, groups that never straddle, and mistakes named by line."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from residuum.data.manifest import Manifest
from residuum.data.sources import open_data
from residuum.errors import UserError

MakeFolder = Callable[..., Path]


def table(root: Path, text: str, name: str = "table.csv") -> str:
    (root / name).write_text(text, encoding="utf-8")
    return f"csv:{root / name}"


def test_paths_are_relative_to_the_table(folder: MakeFolder) -> None:
    root = folder({"a": 3, "b": 3})
    rows = "".join(f"{c}/00{i}.png,label {c}\n" for c in "ba" for i in range(3))
    manifest = open_data(table(root, "\ufeffPath , LABEL\n" + rows))
    assert manifest.classes == ("label a", "label b")
    assert manifest.names[0] == "a/000.png"
    assert manifest.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert manifest.groups is None
    absolute = open_data(table(root.parent, "path,label\n" + "".join(f"{root}/{c}/000.png,{c}\n" for c in "ab")))
    np.testing.assert_array_equal(absolute.pictures.read(0, 3), manifest.pictures.read(0, 3))


def test_odd_names_in_a_table(folder: MakeFolder, tmp_path: Path) -> None:
    root = folder({"a": 1, "b": 2})
    (root / "a" / "000.png").rename(root / 'a, "\n.png')
    manifest = open_data(table(root, 'path,label\n"a, ""\n.png",x\nb/000.png,y\n'), val=0)
    assert manifest.names == ('a, "\n.png', "b/000.png")
    (root / "b" / "000.png").rename(tmp_path / "caf\udce9.png")
    file = tmp_path / "bytes.csv"
    file.write_bytes(b"path,label\ncaf\xe9.png,x\n" + os.fsencode(root) + b"/b/001.png,y\n")
    assert open_data(f"csv:{file}", val=0).names[0].endswith("b/001.png")


def grouped(folder: MakeFolder, val: float | None = None) -> Manifest:
    root = folder({"a": 30, "b": 30})
    rows = "".join(f"{c}/{i:03d}.png,{c},patient {i % 10}\n" for c in "ab" for i in range(30))
    return open_data(table(root, "path,label,group\n" + rows), val=val)


@pytest.mark.parametrize("val", [None, 0.3, 11])
def test_groups_never_straddle(folder: MakeFolder, val: float | None) -> None:
    manifest = grouped(folder, val)
    assert manifest.groups is not None
    train, held = (set(manifest.groups[manifest.part(p)].tolist()) for p in ("train", "val"))
    assert train
    assert held
    assert not train & held
    assert len(train | held) == 10


def test_empty_groups_are_groups_of_their_own(folder: MakeFolder) -> None:
    root = folder({"a": 5, "b": 5})
    rows = "".join(f"{c}/{i:03d}.png,{c},\n" for c in "ab" for i in range(5))
    manifest = open_data(table(root, "path,label,group\n" + rows), val=2)
    assert manifest.groups is not None
    assert len(set(manifest.groups.tolist())) == 10
    assert len(manifest.part("val")) == 2


def test_given_parts(folder: MakeFolder) -> None:
    root = folder({"a": 3, "b": 3})
    parts = ("train", "valid", "TEST")
    rows = "".join(f"{c}/00{i}.png,{c},{parts[i]}\n" for c in "ab" for i in range(3))
    manifest = open_data(table(root, "path,label,split\n" + rows))
    assert {k: v.tolist() for k, v in manifest.parts.items()} == {"train": [0, 3], "val": [1, 4], "test": [2, 5]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no path column"),
        ("path,label\n", "lists no pictures"),
        ("file,label\na,b\n", "has no path column"),
        ("path,label,grup\na/000.png,a,1\n", 'did you mean "group"'),
        ("path,path,label\na,b,c\n", "two columns named path"),
        ("path,label\na/000.png\n", "line 2: the label is empty"),
        ("path,label\na/000.png,a\n,b\n", "line 3: the path is empty"),
        ("path,label\na/000.png,a,x\n", "line 2: more values"),
        ("path,label,split\na/000.png,a,trian\n", 'line 2: the split is "trian"; did you mean "train"'),
        ("path,label\na/000.png,a\na/000.png,b\n", "a/000.png twice"),
        ("path,label\na/000.png,a\n", "only one class, a"),
        ("path,label\na/000.png,a\nb/missing.png,b\n", "no pictures: b"),
        ("path,label,split,group\na/000.png,a,train,g\nb/000.png,b,test,g\n", 'group "g" is in both train and test'),
    ],
)
def test_mistakes_are_named(folder: MakeFolder, text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        open_data(table(folder({"a": 2, "b": 2}), text))
    assert message in str(caught.value)


def test_columns_that_are_not_ours_are_ignored_aloud(folder: MakeFolder) -> None:
    manifest = open_data(table(folder({"a": 1, "b": 1}), "path,label,age\na/000.png,a,3\nb/000.png,b,4\n"))
    assert any("age" in note for note in manifest.notes)


def test_missing_table(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read: No such file"):
        open_data(f"csv:{tmp_path / 'none.csv'}")

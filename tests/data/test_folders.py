"""Folders as people have them: odd names, links, hidden files, parts - and those that cannot be trained on."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from residuum.data.folders import list_folder
from residuum.data.sources import open_data
from residuum.errors import UserError

MakeFolder = Callable[..., Path]


def put(path: Path, colour: str = "red") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), colour).save(path, "PNG")


def test_class_folders_sorted_bytewise(folder: MakeFolder) -> None:
    root = folder({"b": 2, "a": 1, "B": 1, "é": 1})
    found = list_folder(root)
    assert found.classes == ["B", "a", "b", "é"]
    assert list(found.names) == ["B/000.png", "a/000.png", "b/000.png", "b/001.png", "é/000.png"]
    assert list(found.labels) == ["B", "a", "b", "b", "é"]
    assert set(found.splits) == {""}


@pytest.mark.parametrize(
    "name", [b"with space", "emoji \U0001f41c".encode(), b"new\nline", b"-dash", b"caf\xe9 \xff", b"a:b", b"'\"$(x)"]
)
def test_odd_names_of_files_classes_and_folders(name: bytes, tmp_path: Path) -> None:
    odd = os.fsdecode(name)
    root = tmp_path / odd
    for label in ("other", odd):
        for i in range(3):
            put(root / label / f"{odd}{i}.JPG")
    manifest = open_data(str(root))
    assert sorted(manifest.classes) == sorted((odd, "other"))
    assert f"{odd}/{odd}0.JPG" in manifest.names
    assert len(manifest) == 6
    assert len(manifest.digest) == 64
    (root / odd / f"{odd}0.JPG").write_bytes(b"")
    (root / odd / f"{odd}1.JPG").write_bytes(b"")
    with pytest.raises(UserError) as caught:
        open_data(str(root))
    assert str(caught.value).isprintable()
    str(caught.value).encode()


@pytest.mark.parametrize("val_name", ["val", "valid", "validation", "Val"])
def test_parts_above_class_folders(val_name: str, tmp_path: Path) -> None:
    for part, n in (("train", 3), (val_name, 2), ("test", 1)):
        for label in ("x", "y"):
            for i in range(n):
                put(tmp_path / "d" / part / label / f"{i}.png")
    manifest = open_data(str(tmp_path / "d"))
    assert {part: len(i) for part, i in manifest.parts.items()} == {"train": 6, "val": 4, "test": 2}
    assert all(manifest.names[i].startswith("test/") for i in manifest.parts["test"])
    merged = open_data(str(tmp_path / "d"), val=0)
    assert {part: len(i) for part, i in merged.parts.items()} == {"train": 10, "test": 2}
    assert merged.digest == manifest.digest
    assert any("joined" in note for note in merged.notes)


def test_one_part_twice_is_refused(tmp_path: Path) -> None:
    for part in ("train", "val", "valid"):
        put(tmp_path / part / "x" / "0.png")
    with pytest.raises(UserError, match="are both the val part"):
        list_folder(tmp_path)


def test_folders_beside_parts_are_ignored_aloud(tmp_path: Path) -> None:
    for folder in ("train/x", "train/y", "annotations/a"):
        put(tmp_path / folder / "0.png")
    found = list_folder(tmp_path)
    assert found.classes == ["x", "y"]
    assert any("annotations" in note for note in found.notes)


def test_a_class_may_be_called_train_or_test(folder: MakeFolder) -> None:
    assert list_folder(folder({"train": 2, "plane": 2, "test": 1})).classes == ["plane", "test", "train"]


def test_a_stray_picture_does_not_turn_parts_into_classes(tmp_path: Path) -> None:
    for part, n in (("train", 3), ("val", 2)):
        for label in ("x", "y"):
            for i in range(n):
                put(tmp_path / "d" / part / label / f"{i}.png")
    put(tmp_path / "d" / "train" / "overview.png")
    put(tmp_path / "d" / "stray.png")
    found = list_folder(tmp_path / "d")
    assert found.classes == ["x", "y"]
    assert "2 pictures outside of the class folders were ignored" in found.notes


def test_parts_without_class_folders_are_classes_aloud(folder: MakeFolder) -> None:
    found = list_folder(folder({"train": 2, "val": 2}))
    assert found.classes == ["train", "val"]
    assert any(note.startswith("train, val: taken for classes") for note in found.notes)


def test_class_missing_from_training_is_refused(tmp_path: Path) -> None:
    for folder in ("train/x", "train/y", "test/x", "test/z"):
        put(tmp_path / folder / "0.png")
    with pytest.raises(UserError, match="no training pictures of z"):
        open_data(str(tmp_path))


def test_hidden_and_other_files_are_ignored_aloud(folder: MakeFolder) -> None:
    root = folder({"a": 2, "b": 2})
    for extra in ("a/.DS_Store", "a/._000.png", "b/notes.txt", "README"):
        (root / extra).write_text("x")
    (root / ".cache").mkdir()
    put(root / ".cache" / "x.png")
    put(root / "__MACOSX" / "a" / "0.png")
    put(root / "stray.png")
    found = list_folder(root)
    assert len(found.names) == 4
    assert found.classes == ["a", "b"]
    assert any(note.startswith("4 files") for note in found.notes)
    assert any("1 picture outside" in note for note in found.notes)


def test_nested_pictures_belong_to_the_class_at_the_top(tmp_path: Path) -> None:
    for file in ("a/deep/er/0.png", "a/1.png", "b/0.png"):
        put(tmp_path / file)
    found = list_folder(tmp_path)
    assert list(zip(found.names, found.labels, strict=True)) == [
        ("a/1.png", "a"),
        ("a/deep/er/0.png", "a"),
        ("b/0.png", "b"),
    ]


def test_links_are_followed_but_not_in_circles(folder: MakeFolder, tmp_path: Path) -> None:
    root = folder({"a": 2, "b": 2})
    (root / "a" / "up").symlink_to(root)
    (root / "self").symlink_to(root)
    (root / "b" / "loop").symlink_to("loop")
    put(tmp_path / "elsewhere" / "0.png")
    (root / "c").symlink_to(tmp_path / "elsewhere")
    found = list_folder(root)
    assert found.classes == ["a", "b", "c"]
    assert len(found.names) == 5
    assert any(note.startswith("3 symbolic links") for note in found.notes)


def test_two_folders_linked_into_each_other_end(folder: MakeFolder) -> None:
    root = folder({"a": 1, "b": 1})
    (root / "a" / "x").symlink_to(root / "b")
    (root / "b" / "y").symlink_to(root / "a")
    assert set(list_folder(root).names) == {"a/000.png", "a/x/000.png", "b/000.png", "b/y/000.png"}


def refusal(argument: Path, allow_bad: bool = False) -> str:
    with pytest.raises(UserError) as caught:
        open_data(str(argument), allow_bad=allow_bad)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_cannot_be_trained_on_is_said_in_one_sentence(folder: MakeFolder, tmp_path: Path) -> None:
    assert "there is no folder" in refusal(tmp_path / "missing")
    (tmp_path / "empty").mkdir()
    assert "is empty" in refusal(tmp_path / "empty")
    (tmp_path / "hollow" / "a").mkdir(parents=True)
    assert "only empty folders" in refusal(tmp_path / "hollow")
    assert "only one class, cat" in refusal(folder({"cat": 3}, name="one"))
    put(tmp_path / "flat" / "0.png")
    assert "1 pictures but no class folders" in refusal(tmp_path / "flat")
    assert "is a file" in refusal(tmp_path / "flat" / "0.png")
    (tmp_path / "text" / "a").mkdir(parents=True)
    (tmp_path / "text" / "a" / "x.txt").write_text("x")
    assert "holds no pictures, only 1 files of other kinds" in refusal(tmp_path / "text")


def test_an_empty_class_stops_unless_allowed(folder: MakeFolder) -> None:
    root = folder({"a": 3, "b": 3, "c": 1})
    (root / "c" / "000.png").write_bytes(b"")
    assert "1 of 3 classes has no pictures: c" in refusal(root)
    manifest = open_data(str(root), allow_bad=True)
    assert manifest.classes == ("a", "b")
    assert manifest.excluded == (("c/000.png", "empty file"),)
    assert any("left out: c" in note for note in manifest.notes)
    (root / "b" / "000.png").write_bytes(b"")
    (root / "b" / "001.png").write_bytes(b"")
    (root / "b" / "002.png").write_bytes(b"")
    assert "only one class, a" in refusal(root, allow_bad=True)


def test_a_class_with_one_picture_is_only_in_training(folder: MakeFolder) -> None:
    manifest = open_data(str(folder({"a": 20, "b": 20, "c": 1})))
    single = manifest.names.index("c/000.png")
    assert single in manifest.parts["train"]
    assert any("one training picture" in note and "c" in note for note in manifest.notes)


def test_noise_folder_with_two_bad_files_of_eighteen_stops(folder: MakeFolder) -> None:
    root = folder({"cat": 8, "dog": 8})
    (root / "dog" / "html.jpg").write_text("<html>")
    (root / "cat" / "zero.jpg").write_text("")
    message = refusal(root)
    assert "2 of 18" in message
    assert "cat/zero.jpg (empty file)" in message
    assert "--allow-bad" in message


def test_user_files_are_never_touched(folder: MakeFolder) -> None:
    root = folder({"a": 3, "b": 3})
    before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in root.rglob("*") if p.is_file()}
    open_data(str(root))
    assert before == {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in root.rglob("*") if p.is_file()}

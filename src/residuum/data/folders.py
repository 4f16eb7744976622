"""Folders: class folders of pictures, optionally below train/, val/ and test/, as a listing that reads no
picture.

Symbolic links are followed, except to a folder that is being listed already. Hidden entries, `__MACOSX` and
files without a picture's suffix are left out and counted.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from residuum.data.decoding import is_picture_name
from residuum.errors import UserError, shown

SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""Names of folders (in any case), and values of a table's split column, and the part each means."""


@dataclass(frozen=True)
class Listing:
    """Files with what is known of them before any is read, sorted by name, bytewise.

    `splits` are the given parts ("" where none is given); `groups` name what belongs together; `labels` may
    name only some of `classes`.
    """

    paths: Sequence[Path]
    names: Sequence[str]
    labels: Sequence[str]
    splits: Sequence[str]
    classes: Sequence[str]
    groups: Sequence[str] | None = None
    notes: Sequence[str] = ()


@dataclass
class _Walk:
    """Files found so far, and what was passed over; `loose` pictures lie outside of the class folders."""

    rows: list[tuple[str, Path, str, str]] = field(default_factory=list)
    loose: int = 0
    others: int = 0
    loops: int = 0

    def notes(self) -> list[str]:
        notes = []
        if self.loose:
            notes.append(f"{self.loose} picture{'s' * (self.loose != 1)} outside of the class folders were ignored")
        if self.others:
            notes.append(f"{self.others} files without a picture's suffix, or hidden, were ignored")
        if self.loops:
            notes.append(f"{self.loops} symbolic links that lead nowhere new were ignored")
        return notes


@dataclass(frozen=True)
class _Contents:
    folders: dict[str, Path]
    files: dict[str, Path]


def list_folder(root: Path) -> Listing:
    """The pictures of a folder of class folders. Raises UserError where there are none."""
    walk = _Walk()
    above = (_identity(root),)
    top = _contents(root, above, walk)
    parts = _split_folders(top, above)
    walk.loose = len(top.files)
    classes: set[str] = set()
    notes: list[str] = []
    if parts:
        ignored = sorted(shown(name) for name in top.folders if top.folders[name] not in parts.values())
        if ignored:
            notes.append(f"folders beside {', '.join(sorted(parts))} were ignored: {', '.join(ignored)}")
        for split, folder in parts.items():
            inside = (*above, _identity(folder))
            contents = _contents(folder, inside, walk)
            walk.loose += len(contents.files)
            for name, path in contents.folders.items():
                classes.add(name)
                _collect(path, f"{folder.name}/{name}", name, split, inside, walk)
    else:
        for name, path in top.folders.items():
            classes.add(name)
            _collect(path, name, name, "", above, walk)
        if called := parts_as_classes(top.folders):
            listed = ", ".join(map(shown, called))
            notes.append(
                f"{listed}: taken for {'a class' if len(called) == 1 else 'classes'}, since pictures lie in "
                f"{'it' if len(called) == 1 else 'them'} directly; a part holds class folders"
            )
    if not walk.rows:
        raise UserError(_nothing(root, top, walk))
    rows = sorted(walk.rows, key=lambda row: os.fsencode(row[0]))
    names, paths, labels, splits = zip(*rows, strict=True)
    return Listing(paths, names, labels, splits, sorted(classes, key=os.fsencode), None, (*notes, *walk.notes()))


def _nothing(root: Path, top: _Contents, walk: _Walk) -> str:
    layout = "put each class's pictures into a folder of its own below it"
    if top.files:
        return f"{shown(root)} holds {len(top.files)} pictures but no class folders; {layout}"
    if walk.others:
        return f"{shown(root)} holds no pictures, only {walk.others} files of other kinds or hidden; {layout}"
    if top.folders:
        return f"{shown(root)} holds no pictures, only empty folders; {layout}"
    return f"{shown(root)} is empty; {layout}"


def _split_folders(top: _Contents, above: tuple[tuple[int, int], ...]) -> dict[str, Path]:
    """Part -> folder, if the folders at the top are parts with class folders in them rather than classes."""
    found: dict[str, Path] = {}
    for name, path in top.folders.items():
        split = SPLITS.get(name.lower())
        if split is None:
            continue
        inside = _contents(path, (*above, _identity(path)), _Walk())
        if not inside.folders or (inside.files and len(inside.files) >= _pictures_below(inside, path, above)):
            continue
        if split in found:
            raise UserError(f"{shown(found[split])} and {shown(path)} are both the {split} part; keep one of them")
        found[split] = path
    # Without train/, a folder named test beside others is just a class.
    return found if "train" in found or len(found) == len(top.folders) else {}


def _pictures_below(contents: _Contents, folder: Path, above: tuple[tuple[int, int], ...]) -> int:
    """How many pictures lie in the folders of a folder."""
    walk, inside = _Walk(), (*above, _identity(folder))
    for name, path in contents.folders.items():
        _collect(path, name, name, "", inside, walk)
    return len(walk.rows)


def parts_as_classes(classes: Iterable[str]) -> list[str]:
    """The classes that are called as parts are: perhaps they were meant to be parts."""
    return sorted(name for name in classes if name.lower() in SPLITS)


def _collect(folder: Path, name: str, label: str, split: str, above: tuple[tuple[int, int], ...], walk: _Walk) -> None:
    """Adds the pictures below a class folder, at any depth."""
    inside = (*above, _identity(folder))
    contents = _contents(folder, inside, walk)
    walk.rows.extend((f"{name}/{file}", path, label, split) for file, path in contents.files.items())
    for sub, path in contents.folders.items():
        _collect(path, f"{name}/{sub}", label, split, inside, walk)


def _contents(folder: Path, above: tuple[tuple[int, int], ...], walk: _Walk) -> _Contents:
    """The folders and pictures directly in `folder`; `above` identifies the folders that contain it."""
    contents = _Contents({}, {})
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: os.fsencode(entry.name))
    except OSError as error:
        raise UserError(f"{shown(folder)} cannot be listed: {error.strerror}") from error
    for entry in entries:
        try:
            directory = entry.is_dir()
        except OSError:  # a link to itself
            walk.loops += 1
            continue
        path = Path(entry.path)
        if entry.name.startswith(".") or entry.name == "__MACOSX":
            walk.others += 0 if directory else 1
        elif not directory and is_picture_name(entry.name):
            contents.files[entry.name] = path
        elif not directory:
            walk.others += 1
        elif _identity(path) in above:
            walk.loops += 1
        else:
            contents.folders[entry.name] = path
    return contents


def _identity(folder: Path) -> tuple[int, int]:
    try:
        status = folder.stat()
    except OSError as error:
        raise UserError(f"{shown(folder)} cannot be read: {error.strerror}") from error
    return status.st_dev, status.st_ino

"""ImageNet (Russakovsky et al. 2015): the official folders of ILSVRC 2012, of which only names and sizes are read.

    train/n01440764/n01440764_18.JPEG     one folder for each synset
    val/ILSVRC2012_val_00000001.JPEG      flat, with the development kit or Kaggle's tables beside train and val,
    val/n01440764/...                     or in synset folders too

PATH may be the folder that holds train, or one above it in the layout that Kaggle and the localisation task have
(PATH/ILSVRC/Data/CLS-LOC/train). Classes are numbered by sorted WordNet ID, as all published weights are. What is given
up by not reading 1.28 million files before training is said in docs/decisions/0007.
"""

from __future__ import annotations

import os
import stat
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from residuum.data.decoding import is_picture_name
from residuum.data.synsets import WNID, Synsets, class_name, find_synsets, validation_wnids
from residuum.errors import UserError, shown

_BELOW = ("", "CLS-LOC", "Data/CLS-LOC", "ILSVRC", "ILSVRC/Data/CLS-LOC")
"""Where train may lie below PATH."""
_ABOVE = ("CLS-LOC", "Data", "ILSVRC")
"""Folders of the layout, beside or above which the tables may lie."""

HELD_OUT = 50_000 / 1_281_167
"""Share of the training pictures held out where there is no val folder: as many as the official part has."""


@dataclass(frozen=True)
class Listed:
    """Files as the file system names them, sorted by name: `names` relative to `root`, `lengths` in bytes, int64 (n,),
    `labels` int64 (n,) into `classes`, which are called `class_name` of the sorted `wnids`."""

    root: Path
    names: Sequence[str]
    lengths: np.ndarray
    labels: np.ndarray
    splits: Sequence[str]
    wnids: Sequence[str]
    classes: Sequence[str]
    notes: Sequence[str]


def list_imagenet(path: Path, progress: Callable[[int, int], None] | None = None) -> Listed:
    """The pictures below a root of ImageNet. Raises UserError where the layout is not the official one.

    `progress` is called with the number of files found and an estimate of all.
    """
    root = _root(path)
    tables = _tables(root)
    synsets = find_synsets(tables)
    train = _synset_folders(root / "train")
    if not train:
        raise UserError(_no_synsets(root / "train"))
    if synsets is not None:
        _refuse_missing(root / "train", train, synsets)
    files = _Files(root)
    for done, wnid in enumerate(train, 1):
        files.add(f"train/{wnid}", wnid)
        if progress is not None:
            progress(len(files.names), len(files.names) * len(train) // done)
    pictures = len(files.names)
    if without := sorted(set(train) - set(files.wnids)):
        raise UserError(f"{shown(root / 'train')} has {_some(without, 'folder')} without pictures; extract them again")
    notes = []
    if (root / "val").is_dir():
        _add_val(files, tables, synsets, set(train))
    else:
        notes.append(f"there is no folder {shown(root / 'val')}, so no given validation part")
    files.refuse_empty()
    if files.others:
        notes.append(f"{files.others} files without a picture's suffix, or hidden, were ignored")
    index = {wnid: i for i, wnid in enumerate(train)}
    words = {} if synsets is None else synsets.words
    return Listed(
        root=root,
        names=tuple(files.names),
        lengths=np.frombuffer(files.lengths, np.int64),
        labels=np.fromiter((index[wnid] for wnid in files.wnids), np.int64, len(files.wnids)),
        splits=["train"] * pictures + ["val"] * (len(files.names) - pictures),
        wnids=train,
        classes=[class_name(wnid, words.get(wnid, "")) for wnid in train],
        notes=notes,
    )


@dataclass
class _Files:
    """Files found so far, in the order of their names, and the number of others passed over."""

    root: Path
    names: list[str] = field(default_factory=list)
    lengths: array[int] = field(default_factory=lambda: array("q"))
    wnids: list[str] = field(default_factory=list)
    others: int = 0

    def add(self, folder: str, wnid: str) -> None:
        """The pictures directly in `folder`, all of one synset."""
        for name, length in self.pictures(folder):
            self.names.append(f"{folder}/{name}")
            self.lengths.append(length)
            self.wnids.append(wnid)

    def pictures(self, folder: str) -> list[tuple[str, int]]:
        """Name and size in bytes of the pictures directly in `folder`, sorted bytewise."""
        found = []
        for entry in _entries(self.root / folder):
            if not is_picture_name(entry.name):
                self.others += not entry.is_dir()
                continue
            try:
                status = entry.stat()
            except OSError as error:
                raise UserError(f"{shown(entry.path)} cannot be read: {error.strerror}") from error
            if not stat.S_ISREG(status.st_mode):
                raise UserError(f"{shown(entry.path)} is not a regular file; remove it")
            found.append((entry.name, status.st_size))
        return found

    def refuse_empty(self) -> None:
        """An interrupted extraction leaves files without content, which would be found hours later."""
        empty = [self.names[i] for i in np.flatnonzero(np.frombuffer(self.lengths, np.int64) == 0)]
        if empty:
            raise UserError(f"{shown(self.root)} has {_some(empty, 'empty file')}; extract them again")


def _add_val(files: _Files, tables: Sequence[Path], synsets: Synsets | None, train: set[str]) -> None:
    val = files.root / "val"
    folders, flat = _synset_folders(val), files.pictures("val")
    if folders and flat:
        raise UserError(
            f"{shown(val)} holds {len(flat)} pictures beside {len(folders)} synset folders: "
            "keep all pictures flat, or sort all of them into folders"
        )
    if not folders and not flat:
        raise UserError(f"{shown(val)} holds no pictures; extract them, or remove the folder")
    wnids = folders or validation_wnids(tables, [name for name, _ in flat], synsets, val)
    if unknown := sorted(set(wnids) - train):
        raise UserError(
            f"{shown(val)} has pictures of {_some(unknown, 'synset')} without a folder in {shown(files.root / 'train')}"
        )
    for wnid in folders:
        files.add(f"val/{wnid}", wnid)
    if flat:
        files.names += [f"val/{name}" for name, _ in flat]
        files.lengths.extend(length for _, length in flat)
        files.wnids += wnids


def _root(path: Path) -> Path:
    """The folder that holds train."""
    if not path.is_dir():
        what = "is a file: extract it, and give the folder" if path.exists() else "is not there: give the folder"
        raise UserError(f"{shown(path)} {what} that holds train and val")
    for below in _BELOW:
        if (path / below / "train").is_dir():
            return path / below
    raise UserError(
        f"{shown(path)} has no folder train, nor ILSVRC/Data/CLS-LOC/train below it; "
        "ImageNet's layout is train/<synset>/*.JPEG and val"
    )


def _tables(root: Path) -> list[Path]:
    """Folders in which tables of synsets and ground truth may lie, the nearest first."""
    root = root.absolute()
    found = [root]
    while found[-1].name in _ABOVE:
        found.append(found[-1].parent)
    return found


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: os.fsencode(entry.name))
    except OSError as error:
        raise UserError(f"{shown(folder)} cannot be listed: {error.strerror}") from error


def _synset_folders(folder: Path) -> list[str]:
    """The WNIDs that folders in `folder` are named by, sorted. Other folders do not belong to ImageNet."""
    names = [entry.name for entry in _entries(folder) if not entry.name.startswith(".") and entry.is_dir()]
    if other := [name for name in names if not WNID.fullmatch(name)]:
        raise UserError(
            f"{shown(folder / other[0])} is not named by a WordNet ID such as n01440764; "
            "for class folders of your own give the folder without imagenet:"
        )
    return names


def _no_synsets(train: Path) -> str:
    archives = sum(entry.name.endswith(".tar") for entry in _entries(train))
    if archives:
        return f"{shown(train)} holds {archives} .tar files: extract each into a folder of its name (n01440764/)"
    return f"{shown(train)} has no synset folders; ImageNet's layout is train/<synset>/*.JPEG"


def _refuse_missing(folder: Path, there: Sequence[str], synsets: Synsets) -> None:
    if missing := sorted(set(synsets.words) - set(there)):
        raise UserError(
            f"{shown(folder)} lacks {_some(missing, 'folder')} of the {len(synsets.words)} synsets that "
            f"{shown(synsets.source)} lists; extract them, or for a part of ImageNet give the folder without imagenet:"
        )


def _some(names: Sequence[str], what: str) -> str:
    """The number of names and the first three."""
    first = ", ".join(shown(name) for name in names[:3]) + (", ..." if len(names) > 3 else "")
    return f"{len(names)} {what}{'' if len(names) == 1 else 's'} ({first})"

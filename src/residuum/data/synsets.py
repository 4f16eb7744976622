"""Synsets: the names of ImageNet's classes, and the tables that say which validation picture belongs to which.

A synset is known by its WordNet ID (WNID), "n" and eight digits: n01440764. A class is called by it and the first of
its words, "n01440764 tench", or by it alone where no table of words is there. Words alone would not do: two synsets
are called crane, and two maillot.

The tables come in two forms, that of the official development kit and that of the competition's Kaggle page.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from os.path import splitext
from pathlib import Path

import numpy as np

from residuum.errors import UserError, one_line, shown

DEVKIT = "ILSVRC2012_devkit_t12"
META = f"{DEVKIT}/data/meta.mat"
TRUTH = f"{DEVKIT}/data/ILSVRC2012_validation_ground_truth.txt"
KAGGLE_WORDS = "LOC_synset_mapping.txt"
KAGGLE_TRUTH = "LOC_val_solution.csv"

WNID = re.compile(r"n\d{8}")
_NUMBER = re.compile(r"[0-9]{1,9}")
_NUMBERED = re.compile(r"ILSVRC2012_val_(\d{8})")


@dataclass(frozen=True)
class Synsets:
    """What a table tells: `words` by WNID, comma-separated, and `wnids` by the devkit's own number. Those numbers are
    not the alphabetical order of WNIDs, by which pretrained weights number the classes."""

    source: Path
    words: dict[str, str]
    wnids: dict[int, str]


def class_name(wnid: str, words: str) -> str:
    """The name of a class: "n01440764 tench" of n01440764 and "tench, Tinca tinca"."""
    return f"{wnid} {words.partition(',')[0].strip()}".strip()


def places(wanted: Sequence[str], known: Sequence[str]) -> list[int | None]:
    """The index among `known` of each class of `wanted`: the one of the same name, else the only one of the same WNID.

    So "n01440764 tench" and "n01440764" are one class, however the words were found.
    """
    by_name = {name: index for index, name in enumerate(known)}
    by_wnid = {wnid: index for index, name in enumerate(known) if (wnid := _wnid_of(name))}
    several = {wnid for wnid, count in Counter(map(_wnid_of, known)).items() if count > 1}
    found: list[int | None] = []
    for name in wanted:
        wnid = _wnid_of(name)
        found.append(by_name.get(name, None if wnid in several else by_wnid.get(wnid)))
    return found


def _wnid_of(name: str) -> str:
    """The WNID that a class's name is or begins with, else ""."""
    first = name.partition(" ")[0]
    return first if WNID.fullmatch(first) else ""


def find_synsets(folders: Sequence[Path]) -> Synsets | None:
    """The first table of synsets that lies in one of the folders; None where there is none."""
    for folder in folders:
        if (file := folder / META).is_file():
            return _read_meta(file)
        if (file := folder / KAGGLE_WORDS).is_file():
            return _read_mapping(file)
    return None


def validation_wnids(folders: Sequence[Path], files: Sequence[str], synsets: Synsets | None, val: Path) -> list[str]:
    """The WNID of each of the flat validation pictures `files` (sorted names), which lie in `val`.

    Raises UserError where there is no table of them, or where it does not fit the pictures.
    """
    for folder in folders:
        if (file := folder / TRUTH).is_file():
            return _by_line(file, files, synsets, val)
        if (file := folder / KAGGLE_TRUTH).is_file():
            return _by_name(file, files, val)
    raise UserError(
        f"nothing says what the {len(files)} pictures in {shown(val)} show: put the folder {DEVKIT} (from "
        f"{DEVKIT}.tar.gz) or {KAGGLE_TRUTH} into {shown(folders[0])}, or sort them into synset folders"
    )


def _read_meta(file: Path) -> Synsets:
    """The leaves among the synsets of the devkit's meta.mat; the inner nodes of the tree are no classes."""
    from scipy.io import loadmat  # slow to import, and only needed here

    try:
        table = np.atleast_1d(loadmat(file, squeeze_me=True, variable_names=["synsets"])["synsets"])
        leaves = [row for row in table if int(row["num_children"]) == 0]
        rows = [(int(row["ILSVRC2012_ID"]), str(row["WNID"]), str(row["words"])) for row in leaves]
    except Exception as error:  # damaged files raise nearly anything
        raise UserError(f"{shown(file)} is not the development kit's table of synsets: {one_line(error)}") from error
    if bad := [wnid for _, wnid, _ in rows if not WNID.fullmatch(wnid)]:
        raise UserError(f"{shown(file)} has a synset named {shown(bad[0])}, which is no WordNet ID")
    return Synsets(file, {wnid: words for _, wnid, words in rows}, {number: wnid for number, wnid, _ in rows})


def _read_mapping(file: Path) -> Synsets:
    words: dict[str, str] = {}
    for line, text in enumerate(_text(file).splitlines(), 1):
        wnid, _, rest = text.strip().partition(" ")
        if not wnid:
            continue
        if not WNID.fullmatch(wnid):
            raise UserError(f"{shown(file)}, line {line}: {shown(wnid)} is no WordNet ID such as n01440764")
        words[wnid] = rest
    return Synsets(file, words, {})


def _by_line(file: Path, files: Sequence[str], synsets: Synsets | None, val: Path) -> list[str]:
    """Line i of the devkit's ground truth is the number of the synset of ILSVRC2012_val_{i}."""
    if synsets is None or not synsets.wnids:
        meta = file.parent / "meta.mat"
        raise UserError(f"{shown(meta)} is missing, which says what the numbers in {file.name} mean; add it")
    lines = _text(file).split()
    _check_count(file, len(lines), len(files), val)
    for expected, name in enumerate(files, 1):
        number = _NUMBERED.fullmatch(splitext(name)[0])
        if number is None or int(number[1]) != expected:
            raise UserError(
                f"{shown(val / name)} stands where ILSVRC2012_val_{expected:08d}.JPEG is expected, so the lines of "
                f"{file.name} cannot be told apart; the names must run from 1 to {len(files)}"
            )
    found = []
    for line, text in enumerate(lines, 1):
        wnid = synsets.wnids.get(int(text)) if _NUMBER.fullmatch(text) else None
        if wnid is None:
            raise UserError(f"{shown(file)}, line {line}: {shown(text)} is the number of no class in meta.mat")
        found.append(wnid)
    return found


def _by_name(file: Path, files: Sequence[str], val: Path) -> list[str]:
    """Kaggle's table: ImageId, and boxes each of which begins with its WNID; all boxes of a picture have one."""
    reader = csv.DictReader(_text(file).splitlines())
    if not {"ImageId", "PredictionString"} <= set(reader.fieldnames or ()):
        raise UserError(f"{shown(file)} must begin with the line ImageId,PredictionString")
    truth: dict[str, str] = {}
    for row in reader:
        wnid = (row["PredictionString"] or "").partition(" ")[0]
        if not WNID.fullmatch(wnid):
            raise UserError(f"{shown(file)}, line {reader.line_num}: {shown(wnid)} is no WordNet ID such as n01440764")
        truth[row["ImageId"]] = wnid
    _check_count(file, len(truth), len(files), val)
    stems = [splitext(name)[0] for name in files]
    if absent := [stem for stem in stems if stem not in truth]:
        raise UserError(f"{shown(file)} has no line for {shown(absent[0])}, which is in {shown(val)}")
    return [truth[stem] for stem in stems]


def _check_count(file: Path, lines: int, pictures: int, val: Path) -> None:
    if lines != pictures:
        raise UserError(
            f"{shown(file)} is about {lines} pictures and {shown(val)} holds {pictures}: "
            f"{'some are missing, extract them again' if pictures < lines else 'remove what does not belong there'}"
        )


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise UserError(f"{shown(file)} cannot be read: {error.strerror}") from error

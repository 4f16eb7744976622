"""A table of pictures: a CSV file of path and label, optionally with split and group columns."""

from __future__ import annotations

import csv
import os
from itertools import pairwise
from pathlib import Path

from residuum.data.folders import SPLITS, Listing
from residuum.errors import UserError, nearest, one_line, shown

_COLUMNS = ("path", "label", "split", "group")


def list_csv(file: Path) -> Listing:
    """The pictures of a CSV file whose header names path, label and optionally split and group.

    Paths are relative to the file's folder. All pictures of a group must be in one part; an empty group is a
    group of its own. Raises UserError with the line number of what is wrong.
    """
    try:
        with open(file, encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            columns, notes = _columns(file, reader.fieldnames)
            rows = [_row(file, reader.line_num, row, columns) for row in reader]
    except OSError as error:
        raise UserError(f"{shown(file)} cannot be read: {error.strerror}") from error
    except csv.Error as error:
        raise UserError(f"{shown(file)} is not a CSV file: {one_line(error)}") from error
    if not rows:
        raise UserError(f"{shown(file)} lists no pictures; each line gives a path and a label")
    rows.sort(key=lambda row: os.fsencode(row["path"]))
    for one, other in pairwise(rows):
        if one["path"] == other["path"]:
            raise UserError(f"{shown(file)} lists {shown(one['path'])} twice")
    groups = [row["group"] or f"\0{row['path']}" for row in rows] if "group" in columns else None
    splits = [row["split"] for row in rows]
    if groups is not None:
        _refuse_straddling(file, groups, splits)
    names = [row["path"] for row in rows]
    labels = [row["label"] for row in rows]
    classes = sorted(set(labels), key=os.fsencode)
    return Listing([file.parent / name for name in names], names, labels, splits, classes, groups, notes)


def _columns(file: Path, header: object) -> tuple[dict[str, str], list[str]]:
    """Our name -> the header's spelling, and notes on columns that are not ours."""
    columns: dict[str, str] = {}
    ignored: list[str] = []
    for given in header if isinstance(header, list) else []:
        name = str(given).strip().lower()
        if name in columns:
            raise UserError(f"{shown(file)} has two columns named {name}")
        if name in _COLUMNS:
            columns[name] = given
        elif "did you mean" in (hint := nearest(name, [c for c in _COLUMNS if c not in columns])):
            # A misspelt group would let a patient straddle training and test unseen.
            raise UserError(f'{shown(file)} has a column "{shown(name)}"; {hint}')
        else:
            ignored.append(shown(name))
    for name in ("path", "label"):
        if name not in columns:
            raise UserError(f"{shown(file)} has no {name} column; its first line must be path,label[,split][,group]")
    return columns, [f"columns of the table that were ignored: {', '.join(ignored)}"] if ignored else []


def _row(file: Path, line: int, row: dict[str, str | None], columns: dict[str, str]) -> dict[str, str]:
    values = {name: (row.get(given) or "").strip() for name, given in columns.items() if name != "path"}
    values["path"] = row.get(columns["path"]) or ""
    if None in row:
        raise UserError(f"{shown(file)}, line {line}: more values than the header has columns")
    for name in ("path", "label"):
        if not values[name]:
            raise UserError(f"{shown(file)}, line {line}: the {name} is empty")
    if "\0" in values["path"]:
        raise UserError(f"{shown(file)}, line {line}: the path holds a zero byte")
    if "split" in columns:
        split = SPLITS.get(values["split"].lower())
        if split is None:
            hint = nearest(values["split"], SPLITS)
            raise UserError(f'{shown(file)}, line {line}: the split is "{shown(values["split"])}"; {hint}')
        values["split"] = split
    return {"split": "", "group": "", **values}


def _refuse_straddling(file: Path, groups: list[str], splits: list[str]) -> None:
    seen: dict[str, str] = {}
    for group, split in zip(groups, splits, strict=True):
        if seen.setdefault(group, split) != split:
            raise UserError(
                f'{shown(file)}: group "{shown(group)}" is in both {seen[group]} and {split}; '
                "a group belongs to one part"
            )

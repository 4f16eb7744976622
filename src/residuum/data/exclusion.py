"""Lists of files to leave out: written by `residuum check --exclude-list`, read by `residuum train --exclude`.

One path a line, relative to the data, as the data set's names are. A line that begins with # is a comment; comments
right above paths are the reason for leaving those out. A name that would not survive as a line of text (it begins with
# or a quotation mark, or holds a line break) is written as a JSON string.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from residuum.data.archives import Arrays
from residuum.data.folders import Listing
from residuum.data.imagenet import Listed
from residuum.data.shards.listing import Shards
from residuum.errors import UserError, one_line, shown
from residuum.files import write_atomic

Found = TypeVar("Found", bound=Listing | Listed | Shards | Arrays)

HEAD = "# residuum check: files to leave out"
_ROWS = ("names", "paths", "labels", "splits", "groups", "lengths", "pixels", "shard_of", "offsets", "sizes")
"""The fields that have a value for every picture."""


def read_exclude_list(file: Path) -> dict[str, str]:
    """Name -> reason of each file that a list names. Raises UserError with the line that is wrong."""
    try:
        text = file.read_bytes().removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    except OSError as error:
        raise UserError(f"{shown(file)} cannot be read: {error.strerror}") from error
    found: dict[str, str] = {}
    comments: list[str] = []
    above = False
    for number, raw in enumerate(text.split("\n"), start=1):
        line = raw.removesuffix("\r")
        if not line.strip():
            comments, above = [], False
        elif line.startswith("#"):
            comments = [*([] if above else comments), line.lstrip("#").strip()]
            above = False
        else:
            found[_name(line, file, number)] = one_line(" ".join(comments)) or f"listed in {shown(file.name)}"
            above = True
    return found


def _name(line: str, file: Path, number: int) -> str:
    if not line.startswith('"'):
        return line
    try:
        name = json.loads(line)
    except ValueError:
        name = None
    if not isinstance(name, str):
        raise UserError(f"{shown(file)}, line {number}: a name in quotation marks must be a JSON string")
    return name


Blocks = Iterable[tuple[str, Sequence[str]]]
"""Reasons with the names of files."""


def write_exclude_list(file: Path, about: str, sure: Blocks, perhaps: Blocks) -> None:
    """Write a list: `about` says of what; the files of `perhaps` stand in comments, for a person to look at first.

    A file that is not such a list is never written over. Raises UserError.
    """
    refuse_other_file(file)
    lines = [
        f"{HEAD} of {one_line(shown(about))}",
        "# Take out what should stay, then: residuum train DATA --exclude FILE",
    ]
    for reason, names in sure:
        lines += ["", f"# {one_line(shown(reason))}", *map(_line, names)]
    unsure = [
        line
        for reason, names in perhaps
        for line in ("", f"# {one_line(shown(reason))}", *(f"# {_line(n)}" for n in names))
    ]
    if unsure:
        lines += ["", "# To be looked at; a name without the # before it is left out:", *unsure]
    write_atomic(file, "\n".join(lines) + "\n")


def refuse_other_file(file: Path) -> None:
    """UserError where `file` is there and is no list of files to leave out, or cannot be read."""
    try:
        with file.open("rb") as stream:
            ours = stream.read(len(HEAD)) in (HEAD.encode(), b"")
    except FileNotFoundError:
        return
    except OSError as error:
        raise UserError(f"cannot write {shown(file)}: {error.strerror}; choose another --exclude-list") from error
    if not ours:
        raise UserError(
            f"{shown(file)} is there already and is no list of files to leave out; choose another --exclude-list"
        )


def _line(name: str) -> str:
    plain = name.strip() == name and not name.startswith(("#", '"')) and not any(c in name for c in "\r\n\0")
    return name if plain else json.dumps(name)


def without(
    found: Found, exclude: Mapping[str, str], argument: str, all_there: bool
) -> tuple[Found, tuple[tuple[str, str], ...]]:
    """What was found less the pictures that `exclude` names, and those as (name, reason).

    Raises UserError where nothing would be left, and for a name that is not there where they must be `all_there`.
    """
    there = set(found.names)
    for name in exclude if all_there else ():
        if name not in there:
            raise UserError(
                f"there is no picture {shown(name)} in {shown(argument)}, which the list of files to leave out names; "
                f"{_hint(name, there)}"
            )
    kept = [i for i, name in enumerate(found.names) if name not in exclude]
    if not kept:
        raise UserError(f"the list of files to leave out names every picture of {shown(argument)}; shorten it")
    rows = {
        field.name: values[kept] if isinstance(values, np.ndarray) else [values[i] for i in kept]
        for field in fields(found)
        if field.name in _ROWS and (values := getattr(found, field.name)) is not None
    }
    return replace(found, **rows), tuple((name, exclude[name]) for name in found.names if name in exclude)


def _hint(name: str, there: set[str]) -> str:
    ends = [each for each in there if each.endswith(f"/{Path(name).name}")]
    if len(ends) == 1:
        return f'did you mean "{shown(ends[0])}"?'
    return "paths are relative to the data, as residuum check writes them"

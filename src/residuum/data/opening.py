"""Opening a data set for a person: progress while it is read, and everything worth knowing said once."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from residuum.data.exclusion import read_exclude_list
from residuum.data.manifest import Manifest
from residuum.data.shards.pattern import PIPE, absolute_pattern
from residuum.data.sources import open_data
from residuum.errors import UserError, shown
from residuum.progress import Reporter

SHOWN = 20
"""Files left out that are named on the screen."""


def open_for(
    reporter: Reporter,
    argument: str,
    val: float | None,
    allow_bad: bool,
    exclude: str | Path | Mapping[str, str] | None = None,
) -> Manifest:
    """`open_data` with progress, its notes and the files it left out told through `reporter`.

    `exclude` is a list of files to leave out, which must all be there; or what was once read from it, of which some may
    have been removed since.
    """
    given = isinstance(exclude, str | Path)
    names = read_exclude_list(Path(exclude)) if given else exclude
    with reporter.track("reading pictures", "files") as update:
        manifest = open_data(
            absolute(argument), val=val, allow_bad=allow_bad, exclude=names, all_there=given, progress=update
        )
    for name, reason in manifest.excluded[:SHOWN]:
        reporter.say(f"left out {shown(name)}: {reason}")
    if len(manifest.excluded) > SHOWN:
        reporter.say(f"left out {len(manifest.excluded) - SHOWN} more files: all are in run.json")
    for note in manifest.notes:
        reporter.say(note)
    return manifest


def open_as_trained(
    reporter: Reporter, argument: str, trained: Iterable[Mapping[str, Any]], allow_bad: bool
) -> Manifest:
    """`open_for`, uncut; where one of the trainings left out files of these data, they are left out here too.

    `trained` are the data's records in run.json or the model file. What a model was trained on is then known again.
    """
    whole: Manifest | None = None
    for facts in trained:
        if exclude := dict(facts.get("exclude") or ()):
            manifest = open_for(reporter, argument, None, allow_bad, exclude)
            if manifest.digest == facts["digest"]:
                return manifest
            whole = whole if manifest.listed_out else manifest
    return open_for(reporter, argument, None, allow_bad) if whole is None else whole


def absolute(argument: str) -> str:
    """The data argument with its path made absolute, so that a run can be resumed from any folder."""
    if os.path.exists(argument):
        return os.path.abspath(argument)
    name, colon, path = argument.partition(":")
    if name == "shards" and path:
        return f"shards:{absolute_pattern(path)}"
    return f"{name}:{os.path.abspath(path)}" if colon and os.path.exists(path) else argument


def recorded(argument: str) -> str:
    """A data argument that a run or a model file has recorded; UserError where opening it would run a command.

    Files come from anywhere, and reading one must not do what it says.
    """
    if PIPE in argument:
        raise UserError(f"the data are what a command writes ({shown(argument)}); give them again to have it run")
    return argument


def default_workers(manifest: Manifest) -> int:
    """Decoding threads: none where the pictures are in memory."""
    return 0 if manifest.pictures.in_memory else min(os.cpu_count() or 1, 8)

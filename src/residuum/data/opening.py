"""Opening a data set for a person: progress while it is read, and everything worth knowing said once."""

from __future__ import annotations

import os

from residuum.data.manifest import Manifest
from residuum.data.sources import open_data
from residuum.errors import shown
from residuum.progress import Reporter

SHOWN = 20
"""Files left out that are named on the screen."""


def open_for(reporter: Reporter, argument: str, val: float | None, allow_bad: bool) -> Manifest:
    """`open_data` with progress, its notes and the files it left out told through `reporter`."""
    with reporter.track("reading pictures", "files") as update:
        manifest = open_data(absolute(argument), val=val, allow_bad=allow_bad, progress=update)
    for name, reason in manifest.excluded[:SHOWN]:
        reporter.say(f"left out {shown(name)}: {reason}")
    if len(manifest.excluded) > SHOWN:
        reporter.say(f"left out {len(manifest.excluded) - SHOWN} more files: all are in run.json")
    for note in manifest.notes:
        reporter.say(note)
    return manifest


def absolute(argument: str) -> str:
    """The data argument with its path made absolute, so that a run can be resumed from any folder."""
    if os.path.exists(argument):
        return os.path.abspath(argument)
    name, colon, path = argument.partition(":")
    return f"{name}:{os.path.abspath(path)}" if colon and os.path.exists(path) else argument


def default_workers(manifest: Manifest) -> int:
    """Decoding threads: none where the pictures are in memory."""
    return 0 if manifest.pictures.in_memory else min(os.cpu_count() or 1, 8)

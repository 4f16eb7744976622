"""Records: what is left of a finished run - one small JSON file that a later call of any study reuses.

A record is found by what was run: spec, recipe as settled, length, seed, data and validation part. Where its file
lies and which study asked for it do not matter.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from residuum.errors import UserError, shown
from residuum.files import make_folder, write_json

FORMAT = "residuum study record 1"
FIELDS = {"format", "key", "study", "label", "status", "trial", "environment"}


def key_of(trial: Mapping[str, Any]) -> str:
    """SHA-256 of what is run, as canonical JSON."""
    return hashlib.sha256(json.dumps(trial, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@dataclass(frozen=True)
class Records:
    """A folder of records."""

    folder: Path

    def path(self, label: str, key: str) -> Path:
        return self.folder / f"{label}-{key[:10]}.json"

    def find(self, label: str, key: str) -> dict[str, Any] | None:
        """The record of a run, or None where it has not been finished."""
        path = self.path(label, key)
        if path.exists():
            return _read(path)
        return next((record for record in self.all() if record["key"] == key), None)

    def all(self) -> Iterator[dict[str, Any]]:
        """Every record of the folder, by file name."""
        for path in sorted(self.folder.glob("*.json")) if self.folder.is_dir() else ():
            yield _read(path)

    def write(self, record: dict[str, Any]) -> Path:
        make_folder(self.folder)
        path = self.path(record["label"], record["key"])
        write_json(path, record)
        return path


def _read(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"the record {shown(path)} cannot be read ({error}); delete it to run it again") from None
    if not isinstance(record, dict) or record.get("format") != FORMAT or not record.keys() >= FIELDS:
        raise UserError(f"{shown(path)} is not the record of a run; move it out of the folder of records")
    if record["key"] != key_of(record["trial"]):
        raise UserError(f"the record {shown(path)} was changed after it was written; delete it to run it again")
    return record

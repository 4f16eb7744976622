"""The page of a training in folds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from residuum.files import write_atomic
from residuum.report.render import render


def write_folds(folder: Path, found: dict[str, Any]) -> Path:
    """Write folds.html into the folder; `found` is what folds.json holds."""
    page = folder / "folds.html"
    write_atomic(page, render("folds.html", {"found": found}))
    return page

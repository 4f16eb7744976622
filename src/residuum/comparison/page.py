"""The comparison as one self-contained HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from residuum.comparison import cells, protocols
from residuum.comparison.curves import curves
from residuum.comparison.tables import Table
from residuum.errors import UserError, shown
from residuum.files import make_folder, write_atomic
from residuum.report.render import render
from residuum.report.wording import number

if TYPE_CHECKING:
    from residuum.comparison import Comparison

LONG = 30
"""More fields than this are folded away until they are asked for."""


def write_page(comparison: Comparison, path: Path) -> Path:
    """Write the page to `path`, which must end in .html; UserError where it cannot be written."""
    check_name(path)
    make_folder(path.parent)
    write_atomic(path, render("comparison.html", contents(comparison)))
    return path


def check_name(path: Path) -> None:
    """Refuses a name that a page does not have: a run's files are easily given by mistake."""
    if path.suffix.lower() not in (".html", ".htm") or path.is_dir():
        raise UserError(f"{shown(path)} is no name for a page; give --out a file that ends in .html")


def contents(comparison: Comparison) -> dict[str, Any]:
    """The template's variables."""
    return {
        "count": len(comparison.entries),
        "tables": [_table(table, head) for table, head in zip(comparison.tables, headings(comparison), strict=True)],
        "unranked": cells.unranked(comparison.unranked) if comparison.unranked else [],
        "problems": [
            (label, f"{entry.status}: {entry.problem}")
            for label, entry in zip(comparison.labels, comparison.entries, strict=True)
            if entry.problem
        ],
        "notes": comparison.notes,
        "curves": curves(comparison.entries, comparison.labels),
        "differences": comparison.differences,
        "folded": len(comparison.differences.fields) > LONG,
    }


def _table(table: Table, heading: str) -> dict[str, Any]:
    return {
        "columns": cells.ranked(table),
        "over_seeds": cells.over_seeds(table),
        "title": heading,
        "protocols": [
            (title, protocols.record(result))
            for title, result in zip(cells.lettered(table), table.protocols, strict=True)
        ],
    }


def headings(comparison: Comparison) -> list[str]:
    """What each table is of: its protocol, or how many it has; and its classes where those of others are different."""
    tables = comparison.tables
    texts = (
        [f"{len(table.protocols)} protocols" for table in tables]
        if any(len(table.protocols) > 1 for table in tables)
        else protocols.titles([table.protocols[0] for table in tables])
    )
    if len({table.rows[0].entry.question for table in tables}) < 2:
        return texts
    return [f"{text}, {_question(table)}" for text, table in zip(texts, tables, strict=True)]


def _question(table: Table) -> str:
    task, classes = table.rows[0].entry.question
    return f"{shown(task)} of {number(len(classes))} classes" if classes else "classes unknown"

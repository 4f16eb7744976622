"""residuum compare: runs side by side."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from residuum.cli.base import Files, Flag, Json, app, print_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console
    from rich.table import Table

    from residuum.comparison import Comparison
    from residuum.comparison.cells import Column

WIDEST = 10_000


@app.command
def compare(
    runs: Files,
    /,
    *,
    out: Path | None = None,
    sort: str | None = None,
    across_protocols: Annotated[bool, Flag] = False,
    json: Json = False,
) -> None:
    """Put runs side by side: what they cost, what they reached, and whether the pictures tell them apart.

    Args:
        runs: Run directories, model files and documents of `residuum evaluate --json`.
        out: A page to write (.html), with tables, curves and the settings that differ.
        sort: error, loss, calibration-error, parameters, multiply-adds, epochs, steps, time or images-per-second.
        across_protocols: Rank figures together that were made under different protocols, each marked with its own.
    """
    from residuum.api import compare as run_comparison
    from residuum.errors import shown

    comparison = run_comparison(*runs, out=out, sort=sort, across_protocols=across_protocols)
    if json:
        print_json(comparison.to_dict())
        return
    _show(comparison)
    if out is not None:
        print(f"page  {shown(out)}")


def _show(comparison: Comparison) -> None:
    """The tables and what may not be concluded from them."""
    from rich.console import Console

    from residuum.comparison import cells
    from residuum.comparison.page import headings
    from residuum.errors import shown

    on_terminal = sys.stdout.isatty()
    console = Console(soft_wrap=not on_terminal, width=None if on_terminal else 200, highlight=False, markup=False)
    for table, heading in zip(comparison.tables, headings(comparison), strict=True):
        console.print(heading, style="bold")
        for title in cells.lettered(table) if len(table.protocols) > 1 else ():
            console.print(title)
        _print(console, cells.ranked(table))
        if table.groups:
            console.print("over seeds, mean ± standard deviation", style="bold")
            _print(console, cells.over_seeds(table))
    if comparison.unranked:
        console.print("without a result", style="bold")
        _print(console, cells.unranked(comparison.unranked))
    for label, entry in zip(comparison.labels, comparison.entries, strict=True):
        if entry.problem:
            console.print(f"{label} is {entry.status}: {shown(entry.problem)}")
    for note in comparison.notes:
        console.print(note)


def _print(console: Console, columns: Sequence[Column]) -> None:
    """One table, or where it is too wide two: what the rows reached, and what they cost."""
    from rich.measure import Measurement

    whole = _table(columns)
    if (
        not any(column.cost for column in columns)
        or Measurement.get(console, console.options.update(width=WIDEST), whole).maximum <= console.width
    ):
        console.print(whole)
        return
    console.print(_table([column for column in columns if not column.cost]))
    console.print(_table([column for column in columns if column.cost or column.heading == "name"]))


def _table(columns: Sequence[Column]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for column in columns:
        # only names may be folded: half a number is none
        table.add_column(
            Text(column.heading.replace(" ", "\n").replace("-", "-\n")),
            justify="left" if column.text else "right",
            no_wrap=column.heading != "name",
            min_width=12 if column.heading == "name" else None,
        )
    for row in zip(*(column.cells for column in columns), strict=True):
        table.add_row(*(Text(cell) for cell in row))
    return table

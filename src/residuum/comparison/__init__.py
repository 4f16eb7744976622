"""Runs side by side: what each was, what it cost, what it reached, and whether the pictures tell them apart.

Numbers are ranked together only where they were made under one protocol, on the same pictures; others stand in tables
of their own. The figures are those after the last epoch, never of the best.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from residuum.comparison.entries import Entry, labels
from residuum.comparison.notes import notes
from residuum.comparison.page import check_name, write_page
from residuum.comparison.protocols import chosen, differing, key_of
from residuum.comparison.reading import WANTED, read_entry
from residuum.comparison.settings import Differences, differences
from residuum.comparison.tables import FIGURES, MEASURED, Row, Table, make_tables
from residuum.config import Part
from residuum.errors import UserError, nearest, shown

__all__ = ["Comparison", "check_name", "compare", "write_page"]


@dataclass(frozen=True)
class Comparison:
    """Runs in tables.

    entries, labels    in the order given; every label is of one entry alone
    tables             each ranked on its own
    unranked           entries without a result: running, stopped, diverged, damaged, or with nothing held out
    differences        between the settings they were trained with
    notes              sentences on what may not be concluded
    """

    entries: tuple[Entry, ...]
    labels: tuple[str, ...]
    tables: tuple[Table, ...]
    unranked: tuple[tuple[str, Entry], ...]
    differences: Differences
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON values; errors in percent, intervals of errors too, calibration errors as fractions of 1."""
        return {
            "tables": [_table(table) for table in self.tables],
            "unranked": [_entry(label, entry) for label, entry in self.unranked],
            "differences": {"columns": self.differences.columns, "fields": dict(self.differences.fields)},
            "notes": self.notes,
        }


def compare(
    runs: Sequence[str | Path],
    *,
    sort: str | None = None,
    across_protocols: bool = False,
    using: Iterable[type[Part]] = (),
) -> Comparison:
    """Run directories, model files and JSON documents of `residuum evaluate` side by side.

    Rows are sorted by `sort`, a name in `FIGURES` (default: error). Numbers of different protocols are ranked together
    only with `across_protocols`; networks of different classes or tasks never are. UserError where a path is none of
    the three, or where `sort` asks for one order of numbers that may not be ranked together. `using` are classes of
    parts from outside the package that the networks were made with.
    """
    if not runs:
        raise UserError(f"there is nothing to compare: {WANTED}")
    if sort is not None and sort not in FIGURES:
        raise UserError(f'there is no figure "{shown(sort)}" to sort by; {nearest(sort, FIGURES)}')
    using = tuple(using)
    entries = [read_entry(path, using) for path in {Path(run).resolve(): Path(run) for run in runs}.values()]
    names = labels(entries)
    results = chosen(entries)
    rows = [Row(name, e, result) for name, e, result in zip(names, entries, results, strict=True) if result is not None]
    if sort in MEASURED and not across_protocols:
        _refuse_one_order(rows)
    tables = make_tables(rows, across_protocols, sort or "error")
    return Comparison(
        entries=tuple(entries),
        labels=tuple(names),
        tables=tuple(tables),
        unranked=tuple((n, e) for n, e, result in zip(names, entries, results, strict=True) if result is None),
        differences=differences(entries, names),
        notes=tuple(notes(tables)),
    )


def _refuse_one_order(rows: Sequence[Row]) -> None:
    protocols = {key_of(row.result): row.result for row in rows}
    if len({row.entry.question for row in rows}) > 1:
        raise UserError(
            "networks of different classes or tasks cannot be put in one order; leave --sort out for a table of each"
        )
    if len(protocols) > 1:
        raise UserError(
            f"these figures were made under {len(protocols)} protocols ({differing(list(protocols.values()))}) and are "
            f"not put in one order; leave --sort out for a table of each, or insist with --across-protocols"
        )


def _table(table: Table) -> dict[str, Any]:
    first = table.rows[0].entry
    return {
        "task": first.task,
        "classes": first.classes,
        "protocols": [{"images": result.images, "protocol": result.protocol} for result in table.protocols],
        "rows": [
            _entry(row.label, row.entry)
            | {
                "protocol": table.protocol(row.result),
                "images": row.result.images,
                "correct_top1": row.result.correct_top1,
                "top1_error": row.result.error,
                "top1_error_interval": [100 * bound for bound in row.count.interval()],
                "top5_error": row.result.top5_error,
                "loss": row.result.loss,
                "calibration_error": row.result.calibration_error,
                "places": row.places,
            }
            for row in table.rows
        ],
        "over_seeds": [asdict(group) for group in table.groups],
        "not_told_apart": table.alike(),
    }


def _entry(label: str, entry: Entry) -> dict[str, Any]:
    last = entry.history[-1] if entry.history else {}
    return {
        "label": label,
        "source": str(entry.source),
        "kind": entry.kind,
        "status": entry.status,
        "problem": entry.problem,
        "name": entry.name,
        "parameters": entry.parameters,
        "macs": entry.macs,
        "epochs": entry.epochs,
        "planned_epochs": entry.planned_epochs,
        "steps": entry.steps,
        "planned_steps": entry.planned_steps,
        "seconds": entry.seconds,
        "images_per_second": entry.images_per_second,
        "seed": entry.seed,
        "last_epoch": {key: last.get(key) for key in ("train_loss", "train_top1_error", "val_loss", "val_top1_error")},
    }

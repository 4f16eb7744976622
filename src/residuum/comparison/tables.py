"""Entries in tables, one for each protocol, ranked on its own; and runs that differ in their seed alone, together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from residuum.comparison.entries import Entry, Result, joined
from residuum.comparison.protocols import key_of
from residuum.comparison.settings import signature
from residuum.comparison.uncertainty import Count, Spread, places, told_apart


@dataclass(frozen=True)
class Row:
    """An entry with the result that is compared, and the places (from 1) that its pictures leave open to it."""

    label: str
    entry: Entry
    result: Result
    places: tuple[int, int] = (1, 1)

    @property
    def count(self) -> Count:
        return Count(self.result.wrong, self.result.images)


@dataclass(frozen=True)
class SeedGroup:
    """Runs that differ in their seed alone: mean and standard deviation over seeds, each seed counted once."""

    label: str
    members: tuple[str, ...]
    seeds: tuple[int, ...]
    protocol: int
    error: Spread
    loss: Spread | None
    calibration_error: Spread | None
    seconds: Spread | None


@dataclass(frozen=True)
class Table:
    """Rows that are ranked together; more than one protocol only where that was asked for."""

    rows: tuple[Row, ...]
    protocols: tuple[Result, ...]
    """One result of each protocol, in the order of their letters."""
    groups: tuple[SeedGroup, ...]

    def protocol(self, result: Result) -> int:
        """The place of a result's protocol in `protocols`."""
        return [key_of(known) for known in self.protocols].index(key_of(result))

    def alike(self) -> list[tuple[str, str]]:
        """The pairs of rows on the same pictures, under one protocol, that those do not tell apart."""
        return [
            (one.label, other.label)
            for one, other in combinations(self.rows, 2)
            if key_of(one.result) == key_of(other.result) and not told_apart(one.count, other.count)
        ]


FIGURES: dict[str, Callable[[Row], float | None]] = {
    "error": lambda row: row.result.error,
    "loss": lambda row: row.result.loss,
    "calibration-error": lambda row: row.result.calibration_error,
    "parameters": lambda row: row.entry.parameters,
    "multiply-adds": lambda row: row.entry.macs,
    "epochs": lambda row: row.entry.epochs,
    "steps": lambda row: row.entry.steps,
    "time": lambda row: row.entry.seconds,
    "images-per-second": lambda row: None if (rate := row.entry.images_per_second) is None else -rate,
}
"""What rows may be sorted by; the least comes first, but of images per second the most."""
MEASURED = ("error", "loss", "calibration-error")
"""Figures that depend on the protocol."""


def make_tables(rows: Sequence[Row], across: bool, sort: str) -> list[Table]:
    """One table for each question and protocol, or, `across` protocols, for each question; the fullest first."""
    parts: dict[object, list[Row]] = {}
    for row in rows:
        parts.setdefault((row.entry.question, None if across else key_of(row.result)), []).append(row)
    return [_table(part, sort) for part in sorted(parts.values(), key=len, reverse=True)]


def _table(rows: list[Row], sort: str) -> Table:
    protocols = tuple({key_of(row.result): row.result for row in rows}.values())
    open_places = places([row.count for row in rows])
    placed = [replace(row, places=where) for row, where in zip(rows, open_places, strict=True)]

    def order(row: Row) -> tuple[bool, float, float]:
        value = FIGURES[sort](row)
        return value is None, value or 0.0, row.result.error

    table = Table(tuple(sorted(placed, key=order)), protocols, ())
    return replace(table, groups=_groups(table))


def _groups(table: Table) -> tuple[SeedGroup, ...]:
    found: dict[tuple[str, str], dict[int, Row]] = {}
    for row in table.rows:
        key, seed = signature(row.entry), row.entry.seed
        if key is not None and seed is not None:
            found.setdefault((key, key_of(row.result)), {}).setdefault(seed, row)  # a seed counts once
    several = [dict(sorted(members.items())) for members in found.values() if len(members) > 1]
    groups = [_group(table, members, [other for other in several if other is not members]) for members in several]
    return tuple(sorted(groups, key=lambda group: group.error.mean))


def _group(table: Table, members: dict[int, Row], others: list[dict[int, Row]]) -> SeedGroup:
    rows = list(members.values())
    name = rows[0].entry.name
    if any(next(iter(other.values())).entry.name == name for other in others):
        name = joined([row.entry for row in rows], [row.label for row in rows])
    error = Spread.of([row.result.error for row in rows])
    assert error is not None
    return SeedGroup(
        label=name,
        members=tuple(row.label for row in rows),
        seeds=tuple(members),
        protocol=table.protocol(rows[0].result),
        error=error,
        loss=Spread.of([row.result.loss for row in rows]),
        calibration_error=Spread.of([row.result.calibration_error for row in rows]),
        seconds=Spread.of([row.entry.seconds for row in rows]),
    )

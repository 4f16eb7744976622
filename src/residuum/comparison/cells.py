"""Tables as text: the columns that the terminal and the page both show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from residuum.comparison import protocols
from residuum.comparison.entries import Entry
from residuum.comparison.tables import Row, SeedGroup, Table
from residuum.comparison.uncertainty import Spread
from residuum.report.wording import MISSING, amount, duration, number, percent

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class Column:
    """A heading and a text for each row; `cost` columns say what a run took, the others what it reached."""

    heading: str
    cells: tuple[str, ...]
    text: bool = False
    cost: bool = False


def ranked(table: Table) -> list[Column]:
    """A table's columns."""
    rows = table.rows
    columns = [
        Column("place", tuple(_places(row.places) for row in rows), text=True),
        Column("name", tuple(row.label for row in rows), text=True),
        *_status([row.entry for row in rows]),
        Column("error", tuple(percent(row.count.share, row.count.images) for row in rows)),
        Column("95% interval", tuple(_interval(row) for row in rows)),
        Column("wrong", tuple(f"{number(row.count.wrong)} of {number(row.count.images)}" for row in rows)),
        Column("loss", tuple(_decimals(row.result.loss) for row in rows)),
        Column("calibration error", tuple(percent(row.result.calibration_error) for row in rows)),
        *_cost([row.entry for row in rows]),
    ]
    if len(table.protocols) > 1:
        columns.insert(2, Column("protocol", tuple(letter(table.protocol(row.result)) for row in rows), text=True))
    return columns


def over_seeds(table: Table) -> list[Column]:
    """The columns of the groups that differ in their seed alone; empty where there are none."""
    groups = table.groups
    if not groups:
        return []
    columns = [
        Column("name", tuple(group.label for group in groups), text=True),
        Column("seeds", tuple(", ".join(map(str, group.seeds)) for group in groups), text=True),
        Column("error (%)", tuple(_spread(group.error, 2) for group in groups)),
        Column("loss", tuple(_spread(group.loss, 4) for group in groups)),
        Column("calibration error (%)", tuple(_calibration(group) for group in groups)),
        Column("time (s)", tuple(_spread(group.seconds, 1) for group in groups)),
    ]
    if len(table.protocols) > 1:
        columns.insert(1, Column("protocol", tuple(letter(group.protocol) for group in groups), text=True))
    return columns


def unranked(entries: Sequence[tuple[str, Entry]]) -> list[Column]:
    """The columns of entries that have no result."""
    only = [entry for _, entry in entries]
    last = [entry.history[-1] if entry.history else {} for entry in only]
    return [
        Column("name", tuple(label for label, _ in entries), text=True),
        Column("status", tuple(entry.status for entry in only), text=True),
        Column("training error", tuple(_percent(row.get("train_top1_error")) for row in last)),
        Column("validation error", tuple(_held_out(e, row) for e, row in zip(only, last, strict=True))),
        *_cost(only),
    ]


def lettered(table: Table) -> list[str]:
    """The titles of a table's protocols, behind their letters where there are several."""
    titles = protocols.titles(table.protocols)
    return [f"{letter(place)}  {title}" for place, title in enumerate(titles)] if len(titles) > 1 else titles


def letter(protocol: int) -> str:
    """A, B, ... Z, A1, B1, ..."""
    again, place = divmod(protocol, len(LETTERS))
    return LETTERS[place] + (str(again) if again else "")


def _status(entries: Sequence[Entry]) -> list[Column]:
    """Only where one of them is not what it should be."""
    if all(entry.status == "finished" for entry in entries):
        return []
    return [Column("status", tuple(entry.status for entry in entries), text=True)]


def _cost(entries: Sequence[Entry]) -> list[Column]:
    """What is known of at least one entry."""
    columns = {
        "parameters": [amount(entry.parameters) for entry in entries],
        "multiply-adds": [amount(entry.macs) for entry in entries],
        "epochs": [_of(entry.epochs, entry.planned_epochs) for entry in entries],
        "steps": [_of(entry.steps, entry.planned_steps) for entry in entries],
        "time": [duration(entry.seconds) for entry in entries],
        "images/s": [number(entry.images_per_second) for entry in entries],
        "seed": [MISSING if entry.seed is None else str(entry.seed) for entry in entries],
    }
    known = {heading: tuple(cells) for heading, cells in columns.items() if set(cells) != {MISSING}}
    return [Column(heading, cells, cost=True) for heading, cells in known.items()]


def _places(places: tuple[int, int]) -> str:
    first, last = places
    return str(first) if first == last else f"{first}–{last}"


def _interval(row: Row) -> str:
    low, high = row.count.interval()
    return f"{percent(low, row.count.images).removesuffix('%')}–{percent(high, row.count.images)}"


def _of(done: float | None, planned: float | None) -> str:
    if done is None:
        return MISSING
    return _count(done) if planned is None or done >= planned else f"{_count(done)} of {_count(planned)}"


def _count(value: float) -> str:
    return f"{value:,.1f}".removesuffix(".0")


def _decimals(value: float | None) -> str:
    return MISSING if value is None else f"{value:.4f}"


def _percent(value: float | None, of: int | None = None) -> str:
    return MISSING if value is None else percent(value / 100, of)


def _held_out(entry: Entry, last: dict[str, float | None]) -> str:
    text = _percent(last.get("val_top1_error"), entry.held_out)
    return text if text == MISSING or entry.held_out is None else f"{text} of {number(entry.held_out)}"


def _spread(spread: Spread | None, decimals: int) -> str:
    return MISSING if spread is None else f"{spread.mean:.{decimals}f} ± {spread.sd:.{decimals}f}"


def _calibration(group: SeedGroup) -> str:
    spread = group.calibration_error
    return _spread(spread and Spread(100 * spread.mean, 100 * spread.sd), 1)

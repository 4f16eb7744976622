"""The sentences of a comparison: why tables are apart, and which runs the pictures do not tell apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from residuum.comparison.protocols import differing, key_of
from residuum.comparison.settings import signature
from residuum.comparison.tables import Row, Table
from residuum.comparison.uncertainty import told_apart
from residuum.report.wording import number, percent


def notes(tables: Sequence[Table]) -> list[str]:
    """What a reader must not conclude from the tables."""
    found = []
    for table in tables:
        for protocol in table.protocols:
            rows = [row for row in table.rows if key_of(row.result) == key_of(protocol)]
            found += _not_told_apart(sorted(rows, key=lambda row: row.result.error), len(rows) == len(table.rows))
    protocols = list({key_of(p): p for table in tables for p in table.protocols}.values())
    questions = {table.rows[0].entry.question for table in tables}
    if len(questions) > 1:
        found.append("Networks of different classes or tasks are not comparable, and stand in tables of their own.")
    if any(len(table.protocols) > 1 for table in tables):
        found.append(
            "Errors of different letters were made under different protocols, and may differ because of that alone."
        )
    elif len(protocols) > 1:
        found.append(
            f"Figures made under different protocols ({differing(protocols)}) are not ranked together; "
            f"--across-protocols puts them in one table, each marked with its protocol."
        )
    return found + _repeated_seeds(tables)


def _not_told_apart(rows: Sequence[Row], all_of_them: bool) -> list[str]:
    """One sentence on the rows of one protocol, least error first; `all_of_them` if the table has no others."""
    if len(rows) < 2:
        return []
    best, *others = rows
    pictures = f"these {number(best.result.images)} pictures"
    alike = [row.label for row in others if not told_apart(best.count, row.count)]
    if not alike:
        return []
    if len(rows) == 2:
        low, high = others[0].count.minus(best.count)
        return [
            f"{best.label} and {alike[0]} are not told apart by {pictures}: the 95% interval of the difference of "
            f"their errors, {100 * low:.1f} to {100 * high:.1f} points, holds zero."
        ]
    least = f"{best.label}, which has the least error ({percent(best.count.share, best.result.images)})"
    if all_of_them and len(alike) == len(others):
        return [f"None of the others is told apart from {least}, by {pictures}."]
    return [f"Not told apart from {least}, by {pictures}: {', '.join(alike)}."]


def _repeated_seeds(tables: Sequence[Table]) -> list[str]:
    """Runs of one seed are one run over again, and no sample of seeds."""
    seen = Counter(
        (signature(row.entry), row.entry.seed, key_of(row.result))
        for table in tables
        for row in table.rows
        if signature(row.entry) is not None
    )
    if all(times == 1 for times in seen.values()):
        return []
    return ["Runs that have the same settings and the same seed count once in the mean over seeds."]

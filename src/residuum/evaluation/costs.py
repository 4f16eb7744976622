"""The price of mistakes: a matrix of costs, read from CSV, and what decisions cost under it."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np

from residuum.errors import UserError, nearest, shown


def read_costs(path: str | Path, classes: tuple[str, ...]) -> np.ndarray:
    """The price of taking class i for class j, float64 (K, K) in the order of `classes`.

    The first line of the file names the classes that are said, the first cell of each other line the true one. Raises
    UserError, in one sentence, where it is not a square table of finite numbers, none negative, over all classes.
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = [[cell.strip() for cell in row] for row in csv.reader(file) if any(cell.strip() for cell in row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"cannot read the costs {shown(path)}: {why}; give a CSV with class names in its first line "
                        "and column") from None  # fmt: skip
    if len(table) < 2 or len(table[0]) < 2:
        raise UserError(f"{shown(path)} holds no table of costs: give class names in its first line and column")
    columns, rows = table[0][1:], [row[0] for row in table[1:]]
    _check_names(path, "columns", columns, classes)
    _check_names(path, "rows", rows, classes)
    found = np.empty((len(classes), len(classes)))
    for name, *cells in table[1:]:
        if len(cells) != len(columns):
            raise UserError(
                f"the row of {shown(name)} in {shown(path)} has {len(cells)} costs for {len(columns)} classes: the "
                "table must be square"
            )
        for column, cell in zip(columns, cells, strict=True):
            found[classes.index(name), classes.index(column)] = _price(path, name, column, cell)
    if not (found != found[:, :1]).any():
        raise UserError(f"in {shown(path)} every decision costs the same: give mistakes a price")
    return found


def _check_names(path: Path, what: str, names: list[str], classes: tuple[str, ...]) -> None:
    for name in names:
        if name not in classes:
            raise UserError(
                f"the {what} of {shown(path)} name {shown(name) or 'nothing'}, which is no class of the data; "
                f"{nearest(name, classes)}"
            )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"the {what} of {shown(path)} name {shown(twice[0])} more than once")
    missing = [name for name in classes if name not in names]
    if missing:
        raise UserError(
            f"the {what} of {shown(path)} lack {', '.join(map(shown, missing[:10]))}: every class needs its costs, in "
            "rows and columns"
        )


def _price(path: Path, true: str, said: str, cell: str) -> float:
    where = f"the cost of taking {shown(true)} for {shown(said)} in {shown(path)}"
    try:
        price = float(cell)
    except ValueError:
        raise UserError(f'{where} is "{shown(cell)}", not a number') from None
    if not math.isfinite(price) or price < 0:
        raise UserError(f"{where} is {cell}: costs are finite and not negative")
    return price


def cheapest(probabilities: np.ndarray, costs: np.ndarray) -> np.ndarray:
    """For each row of (N, K) the decision of lowest expected cost (of equal ones the lowest index): int64 (N,).

    Elkan 2001, "The foundations of cost-sensitive learning", eq. 1.
    """
    return (probabilities @ costs).argmin(axis=1)


def mean_cost(labels: np.ndarray, decisions: np.ndarray, costs: np.ndarray) -> float:
    """What N decisions cost on average."""
    return math.fsum(costs[labels, decisions].tolist()) / len(labels)

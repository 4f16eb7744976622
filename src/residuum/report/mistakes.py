"""Where a network goes wrong: which classes it takes for which, and the pictures that cost it most."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from residuum.evaluation.calibration import most_wrong
from residuum.evaluation.metrics import Evaluation
from residuum.report.pictures import Thumbnail, thumbnail

LARGEST_MATRIX = 30
"""With more classes a matrix is unreadable, and the pairs most often confused are listed instead."""
PAIRS = 20
TILES = 24


@dataclass(frozen=True)
class Pair:
    """`count` pictures of class `true`, `share` of all of them, were taken for class `predicted`, which cost so much
    altogether (None where mistakes have no price)."""

    true: str
    predicted: str
    count: int
    share: float
    cost: float | None


@dataclass(frozen=True)
class Confusion:
    """Who is taken for whom."""

    matrix: list[tuple[str, list[tuple[int, float]]]] | None
    """Rows of (true class, [(count, share of the row) per predicted class]); None if they are too many."""
    pairs: list[Pair]
    """The pairs most often confused, or whose confusion cost most where mistakes have a price."""
    short: bool
    """Whether the names are short enough to stand upright over the columns."""


@dataclass(frozen=True)
class Tile:
    """One picture with what it is and what it was taken for; without a thumbnail where it cannot be read."""

    name: str
    true: str
    predicted: str
    probability: float
    of_true: float
    picture: Thumbnail | None


@dataclass(frozen=True)
class Worst:
    """The pictures of highest loss: mistakes, or where there are none (`mistakes` 0) the closest calls."""

    mistakes: int
    tiles: list[Tile]


def confusion(evaluation: Evaluation) -> Confusion:
    """The confusion of an evaluation, its most frequent or costliest pairs first."""
    classes = evaluation.classes
    actual = np.bincount(evaluation.labels, minlength=len(classes))
    wrong = evaluation.predicted != evaluation.labels
    places, counts = np.unique(
        evaluation.labels[wrong] * len(classes) + evaluation.predicted[wrong], return_counts=True
    )
    priced = None if evaluation.costs is None else evaluation.costs.ravel()[places] * counts
    pairs = []
    for place in np.lexsort((-counts, np.zeros(len(counts)) if priced is None else -priced))[:PAIRS]:
        true, predicted = divmod(int(places[place]), len(classes))
        count, cost = int(counts[place]), None if priced is None else float(priced[place])
        pairs.append(Pair(classes[true], classes[predicted], count, count / int(actual[true]), cost))
    return Confusion(
        matrix=_matrix(evaluation) if len(classes) <= LARGEST_MATRIX else None,
        pairs=pairs,
        short=max(map(len, classes)) <= 3,
    )


def _matrix(evaluation: Evaluation) -> list[tuple[str, list[tuple[int, float]]]]:
    counts = evaluation.confusion()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    rows = (list(zip(c, s, strict=True)) for c, s in zip(counts.tolist(), shares.tolist(), strict=True))
    return list(zip(evaluation.classes, rows, strict=True))


def worst(evaluation: Evaluation, read: Callable[[int], np.ndarray]) -> Worst:
    """Up to 24 mistakes, the costliest first; the 8 closest calls of a network that makes none."""
    order = most_wrong(evaluation, len(evaluation.names))
    wrong = order[evaluation.predicted[order] != evaluation.labels[order]]
    chosen = wrong[:TILES] if len(wrong) else order[: TILES // 3]
    return Worst(mistakes=len(wrong), tiles=[_tile(evaluation, int(row), read) for row in chosen])


def _tile(evaluation: Evaluation, row: int, read: Callable[[int], np.ndarray]) -> Tile:
    true, predicted = int(evaluation.labels[row]), int(evaluation.predicted[row])
    return Tile(
        name=evaluation.names[row],
        true=evaluation.classes[true],
        predicted=evaluation.classes[predicted],
        probability=float(evaluation.probabilities[row, predicted]),
        of_true=float(evaluation.probabilities[row, true]),
        picture=thumbnail(read, int(evaluation.indices[row])),
    )

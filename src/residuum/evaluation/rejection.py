"""Rejection: what the error would be if the least confident pictures were left to a person.

Risk is the error on the pictures that are kept, coverage their share; the area under risk over coverage (AURC) sums up
the curve (Geifman and El-Yaniv 2017, arXiv 1705.08500; Geifman, Uziel and El-Yaniv 2019, arXiv 1805.08206).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from residuum.errors import UserError
from residuum.evaluation.metrics import Evaluation


@dataclass(frozen=True)
class Rejection:
    """What a threshold does: pictures kept of all, and how many of the kept are wrong."""

    threshold: float
    images: int
    kept: int
    wrong: int

    @property
    def coverage(self) -> float:
        """The share of pictures that are answered, a fraction of 1."""
        return self.kept / self.images

    @property
    def error(self) -> float | None:
        """Percent of the answered pictures that are wrong; None where none is answered."""
        return 100 * self.wrong / self.kept if self.kept else None

    def to_dict(self) -> dict[str, float | int | None]:
        return {
            "reject_below": self.threshold,
            "kept": self.kept,
            "wrong": self.wrong,
            "coverage": self.coverage,
            "error": self.error,
        }


def check_threshold(threshold: float) -> float:
    """The threshold itself; UserError unless it is a probability."""
    if not 0.0 <= threshold <= 1.0:
        raise UserError(f"--reject-below is a probability from 0 to 1, not {threshold}")
    return threshold


def reject(evaluation: Evaluation, threshold: float) -> Rejection:
    """Keep the pictures whose predicted class has at least this probability."""
    sure = evaluation.probabilities.max(axis=1) >= check_threshold(threshold)
    wrong = evaluation.predicted != evaluation.labels
    return Rejection(threshold, len(sure), int(sure.sum()), int((sure & wrong).sum()))


def risk_coverage(evaluation: Evaluation) -> tuple[np.ndarray, np.ndarray]:
    """Coverage (fractions) and error (percent) as pictures are taken in, the most confident first: both (N,).

    Pictures of equal confidence cannot be told apart by a threshold: they share the mean of their errors.
    """
    confidence = evaluation.probabilities.max(axis=1)
    wrong = (evaluation.predicted != evaluation.labels).astype(np.float64)
    order = np.argsort(-confidence, kind="stable")
    _, place, counts = np.unique(-confidence[order], return_inverse=True, return_counts=True)
    tied = np.bincount(place, wrong[order]) / counts
    taken = np.arange(1, len(wrong) + 1)
    return taken / len(wrong), 100 * np.cumsum(tied[place]) / taken


def area_under_risk(evaluation: Evaluation) -> float:
    """AURC as a fraction of 1: the mean over all coverages of the error on what is kept; lower is better."""
    return float(risk_coverage(evaluation)[1].mean() / 100)

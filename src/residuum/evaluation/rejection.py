"""Rejection: what the error would be if the least confident pictures were left to a person."""

from __future__ import annotations

from dataclasses import dataclass

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

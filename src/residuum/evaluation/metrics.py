"""What a network said about each picture, and every figure that follows from it.

Counts are added over all pictures and divided once, so neither the batch size nor the order of the pictures
changes a result. A ratio whose denominator is zero is undefined and reported as None, never as 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from sklearn.metrics import roc_auc_score

from residuum.errors import UserError, shown
from residuum.evaluation.calibration import area_under_risk, calibration_error
from residuum.evaluation.costs import cheapest, mean_cost

FIGURES = ("precision", "recall", "f1", "sensitivity", "specificity", "auc")
TOP = 5
LARGEST_CONFUSION = 200
"""Above this many classes a summary leaves the confusion matrix out: a million zeros help nobody."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a network said about each of N pictures, and all that is computed from it."""

    classes: tuple[str, ...]
    """K class names."""
    names: tuple[str, ...]
    """N picture names (relative paths)."""
    indices: np.ndarray
    """(N,) int64, position in the manifest."""
    labels: np.ndarray
    """(N,) int64, the true class."""
    probabilities: np.ndarray
    """(N, K) float64, rows sum to 1."""
    losses: np.ndarray
    """(N,) float64, cross-entropy in nats."""
    protocol: dict[str, Any]
    """How it was measured, in full: data, split, view, precision, backend, ..."""
    costs: np.ndarray | None = None
    """(K, K) float64, the price of taking the class of the row for that of the column; None: mistakes cost alike."""
    groups: tuple[str, ...] | None = None
    """N names of the groups that the data put the pictures into, or None."""

    def __post_init__(self) -> None:
        if not self.names:
            raise UserError("There are no pictures to evaluate; choose another split or folder.")
        _check_shapes(len(self.names), len(self.classes), self)

    @classmethod
    def from_logits(
        cls,
        classes: tuple[str, ...],
        names: tuple[str, ...],
        indices: np.ndarray,
        labels: np.ndarray,
        logits: np.ndarray,
        protocol: dict[str, Any],
    ) -> Self:
        """Softmax and cross-entropy of (N, K) logits, in float64; UserError where a logit is not finite."""
        _refuse_not_finite(names, logits)
        labels = labels.astype(np.int64)
        # one float64 array, reworked in place: at 50,000 x 1,000 each copy would be 400 MB
        work = logits.astype(np.float64)
        work -= work.max(axis=1, keepdims=True)
        of_label = work[np.arange(len(work)), labels]
        np.exp(work, out=work)
        total = work.sum(axis=1)
        work /= total[:, None]
        return cls(
            classes=tuple(classes),
            names=tuple(names),
            indices=indices.astype(np.int64),
            labels=labels,
            probabilities=work,
            losses=np.log(total) - of_label,
            protocol=protocol,
        )

    @classmethod
    def from_probabilities(
        cls,
        classes: tuple[str, ...],
        names: tuple[str, ...],
        indices: np.ndarray,
        labels: np.ndarray,
        probabilities: np.ndarray,
        protocol: dict[str, Any],
    ) -> Self:
        """The cross-entropy -log p of averaged probabilities (N, K); UserError where one is not finite.

        A probability of 0, which only rounding can make, counts as the smallest normal number: a loss of 708.4.
        """
        _refuse_not_finite(names, probabilities)
        labels = labels.astype(np.int64)
        probabilities = probabilities.astype(np.float64)
        of_label = probabilities[np.arange(len(labels)), labels]
        return cls(
            classes=tuple(classes),
            names=tuple(names),
            indices=indices.astype(np.int64),
            labels=labels,
            probabilities=probabilities,
            losses=-np.log(np.maximum(of_label, np.finfo(np.float64).tiny)),
            protocol=protocol,
        )

    @cached_property
    def predicted(self) -> np.ndarray:
        """(N,) int64, the class of highest probability or, with costs, of lowest expected cost; the first of equals."""
        if self.costs is not None:
            return cheapest(self.probabilities, self.costs)
        return self.probabilities.argmax(axis=1)

    def correct(self, k: int) -> int:
        """How many pictures have their true class among the k most probable; lower indices win ties."""
        of_label = self.probabilities[np.arange(len(self.labels)), self.labels][:, None]
        ahead = self.probabilities > of_label
        before = np.arange(len(self.classes)) < self.labels[:, None]
        ahead |= (self.probabilities == of_label) & before
        return int((ahead.sum(axis=1) < k).sum())

    def confusion(self) -> np.ndarray:
        """(K, K) int64: row the true class, column the predicted one."""
        K = len(self.classes)
        return np.bincount(self.labels * K + self.predicted, minlength=K * K).reshape(K, K)

    @cached_property
    def per_class(self) -> tuple[dict[str, Any], ...]:
        """One row for each class, taken against all others; fractions of 1, None where undefined."""
        N, K = len(self.names), len(self.classes)
        actual = np.bincount(self.labels, minlength=K).tolist()
        claimed = np.bincount(self.predicted, minlength=K).tolist()
        hits = np.bincount(self.labels[self.predicted == self.labels], minlength=K).tolist()
        rows = []
        for c, name in enumerate(self.classes):
            recall = _ratio(hits[c], actual[c])
            rows.append(
                {
                    "class": name,
                    "images": actual[c],
                    "precision": _ratio(hits[c], claimed[c]),
                    "recall": recall,
                    "f1": _ratio(2 * hits[c], actual[c] + claimed[c]),
                    "sensitivity": recall,
                    "specificity": _ratio(N - actual[c] - claimed[c] + hits[c], N - actual[c]),
                    "auc": self._auc(c) if 0 < actual[c] < N else None,
                }
            )
        return tuple(rows)

    def _auc(self, c: int) -> float:
        return float(roc_auc_score(self.labels == c, np.ascontiguousarray(self.probabilities[:, c])))

    def _cost_summary(self) -> dict[str, Any] | None:
        """What decisions cost: those of lowest expected cost, and the most probable classes beside them."""
        if self.costs is None:
            return None
        probable = self.probabilities.argmax(axis=1)
        wrong = int((self.predicted != self.labels).sum())
        return {
            "rule": "minimum expected cost",
            "mean_cost": mean_cost(self.labels, self.predicted, self.costs),
            "wrong": wrong,
            "error": 100 * wrong / len(self.labels),
            "mean_cost_of_most_probable": mean_cost(self.labels, probable, self.costs),
        }

    def _per_group(self) -> list[dict[str, Any]] | None:
        """Pictures and errors of each group, the worst first; None where the data have none."""
        if self.groups is None:
            return None
        names, place = np.unique(np.array(self.groups, dtype=object), return_inverse=True)
        images = np.bincount(place)
        wrong = np.bincount(place, self.predicted != self.labels).astype(int)
        rows = [
            {"group": str(name), "images": int(n), "wrong": int(w), "error": 100 * int(w) / int(n)}
            for name, n, w in zip(names, images, wrong, strict=True)
        ]
        return sorted(rows, key=lambda row: (-row["error"], row["group"]))

    def summary(self) -> dict[str, Any]:
        """All figures, ready for JSON; errors in percent, calibration error and ratios as fractions of 1."""
        N, K = len(self.names), len(self.classes)
        top1 = self.correct(1)
        top5 = self.correct(TOP) if K > TOP else None
        return {
            "protocol": self.protocol,
            "images": N,
            "correct_top1": top1,
            "correct_top5": top5,
            "top1_error": 100 * (N - top1) / N,
            "top5_error": None if top5 is None else 100 * (N - top5) / N,
            "loss": math.fsum(self.losses.tolist()) / N,
            "calibration_error": calibration_error(self.probabilities, self.labels),
            "confusion": self.confusion().tolist() if K <= LARGEST_CONFUSION else None,
            "per_class": [dict(row) for row in self.per_class],
            "costs": self._cost_summary(),
            "area_under_risk": area_under_risk(self.probabilities, self.predicted != self.labels),
            "per_group": self._per_group(),
            "macro": {figure: _mean([row[figure] for row in self.per_class]) for figure in FIGURES},
        }


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _mean(values: list[float | None]) -> float | None:
    """The mean over the classes for which the figure is defined."""
    defined = [value for value in values if value is not None]
    return math.fsum(defined) / len(defined) if defined else None


class NotFinite(UserError):
    """A network whose outputs are not finite numbers."""


def _refuse_not_finite(names: tuple[str, ...], outputs: np.ndarray) -> None:
    bad = np.flatnonzero(~np.isfinite(outputs).all(axis=1))
    if len(bad):
        raise NotFinite(
            f"The network's output is not a finite number for {len(bad)} of {len(outputs)} pictures, "
            f"first for {shown(names[bad[0]])}; its weights have probably diverged: "
            "train again with a lower learning rate."
        )


def _check_shapes(N: int, K: int, evaluation: Evaluation) -> None:
    for name, array, shape in (
        ("indices", evaluation.indices, (N,)),
        ("labels", evaluation.labels, (N,)),
        ("probabilities", evaluation.probabilities, (N, K)),
        ("losses", evaluation.losses, (N,)),
    ):
        if array.shape != shape:
            raise ValueError(f"{name} has shape {array.shape}, but {N} pictures and {K} classes need {shape}")
    if evaluation.labels.min() < 0 or evaluation.labels.max() >= K:
        raise ValueError(f"labels must lie in 0..{K - 1}")

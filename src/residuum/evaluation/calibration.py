"""How far stated confidence is from the share that is right, and which pictures cost most.

The expected calibration error (Guo et al. 2017, "On Calibration of Modern Neural Networks", section 2) sorts
the pictures into M equal bins of confidence ((m-1)/M, m/M] and averages the gap over the pictures:

    ECE = sum over bins of  (pictures in bin / pictures) * |accuracy of bin - mean confidence of bin|
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from residuum.evaluation.metrics import Evaluation


@dataclass(frozen=True)
class Bin:
    """The pictures whose highest probability lies in (low, high]; figures of an empty bin are None."""

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: float | None


def reliability(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> list[Bin]:
    """Sort N pictures into `bins` bins of equal width by the probability of their predicted class.

    `probabilities` is (N, K), `labels` (N,) integers; the list covers (0, 1] in ascending order.
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    result = []
    for m in range(bins):
        inside = place == m
        count = int(inside.sum())
        result.append(
            Bin(
                low=m / bins,
                high=(m + 1) / bins,
                count=count,
                # fsum is exact, so the order of the pictures cannot change the last digit
                confidence=math.fsum(confidence[inside].tolist()) / count if count else None,
                accuracy=int(right[inside].sum()) / count if count else None,
            )
        )
    return result


def calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    """The expected calibration error of N pictures as a fraction, 0 (calibrated) to 1."""
    gaps = [
        filled.count * abs(filled.accuracy - filled.confidence)
        for filled in reliability(probabilities, labels, bins)
        if filled.accuracy is not None and filled.confidence is not None
    ]
    return math.fsum(gaps) / len(labels)


def risk_coverage(probabilities: np.ndarray, wrong: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coverage (fractions of 1) and the error on what is covered (percent), most confident pictures first: both (N,).

    `probabilities` is (N, K), `wrong` bool (N,). Pictures of equal confidence cannot be told apart by a threshold: they
    share the mean of their errors (Geifman and El-Yaniv 2017, arXiv 1705.08500, section 2).
    """
    confidence = probabilities.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    _, place, counts = np.unique(-confidence[order], return_inverse=True, return_counts=True)
    tied = np.bincount(place, wrong[order].astype(np.float64)) / counts
    taken = np.arange(1, len(wrong) + 1)
    return taken / len(wrong), 100 * np.cumsum(tied[place]) / taken


def area_under_risk(probabilities: np.ndarray, wrong: np.ndarray) -> float:
    """AURC, a fraction of 1: the mean over all coverages of the error on what is covered; lower is better.

    Geifman, Uziel and El-Yaniv 2019, arXiv 1805.08206.
    """
    return math.fsum(risk_coverage(probabilities, wrong)[1].tolist()) / (100 * len(wrong))


def most_wrong(evaluation: Evaluation, k: int) -> np.ndarray:
    """At most `k` rows of the evaluation, the highest loss first; equal losses keep their order."""
    return np.argsort(-evaluation.losses, kind="stable")[:k]

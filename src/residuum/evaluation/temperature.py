"""Temperature scaling: one number that makes stated probabilities match the share that is right (Guo et al. 2017, 4.2).

Probabilities become softmax(z / T) with the T > 0 of lowest cross-entropy on held-out pictures. Dividing by T keeps the
order of the classes, so no prediction changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar

from residuum.config import STRICT
from residuum.evaluation.calibration import calibration_error
from residuum.evaluation.metrics import Evaluation

FEWEST = 50
"""Held-out pictures below which nothing is fitted: T would follow their noise."""
RANGE = (0.05, 20.0)
"""Between which T is looked for, on a logarithmic scale."""


@dataclass(frozen=True)
class Temperature:
    """T, and what it was fitted on: pictures of a part of a data set, their cross-entropy (nats) and calibration error
    (a fraction of 1) before and after."""

    temperature: float
    images: int
    split: str
    data_digest: str
    loss_before: float
    loss_after: float
    error_before: float
    error_after: float
    __pydantic_config__ = STRICT


def temperature_of(calibration: dict[str, Any] | None) -> float:
    """T as a model file holds it; 1 where it holds none."""
    return float((calibration or {}).get("temperature", 1.0))


def scaled(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """softmax(z / T) from softmax(z), (N, K) float64: z is known but for a constant in each row, which cancels."""
    if temperature == 1.0:
        return probabilities
    logits = np.log(np.maximum(probabilities, np.finfo(np.float64).tiny)) / temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def fit_temperature(evaluation: Evaluation) -> Temperature | None:
    """The temperature of lowest cross-entropy on an evaluation at T = 1.

    None where there are fewer than `FEWEST` pictures, or where no T is better than 1 by more than rounding.
    """
    probabilities, labels = evaluation.probabilities, evaluation.labels
    if len(labels) < FEWEST:
        return None

    def loss(log_t: float) -> float:
        of_label = scaled(probabilities, float(np.exp(log_t)))[np.arange(len(labels)), labels]
        return float(-np.log(np.maximum(of_label, np.finfo(np.float64).tiny)).mean())

    found = minimize_scalar(loss, bounds=tuple(np.log(RANGE)), method="bounded", options={"xatol": 1e-6})
    value, before = float(np.exp(found.x)), loss(0.0)
    if not found.fun < before - 1e-9:
        return None
    return Temperature(
        temperature=value,
        images=len(labels),
        split=evaluation.protocol["split"],
        data_digest=evaluation.protocol["data_digest"],
        loss_before=before,
        loss_after=float(found.fun),
        error_before=calibration_error(probabilities, labels),
        error_after=calibration_error(scaled(probabilities, value), labels),
    )

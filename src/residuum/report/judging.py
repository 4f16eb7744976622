"""An evaluation on a page: confusions, classes, groups, mistakes, and what its probabilities are worth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from residuum.evaluation.calibration import calibration_error, reliability, risk_coverage
from residuum.evaluation.metrics import Evaluation
from residuum.evaluation.rejection import Rejection, reject
from residuum.evaluation.temperature import scaled
from residuum.report import plots
from residuum.report.mistakes import Confusion, confusion, worst
from residuum.report.plots import Plot, plotted

LONG_TABLE = 40
THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
"""Of --reject-below, as examples."""


def judged(evaluation: Evaluation | None, read: Callable[[int], np.ndarray]) -> dict[str, Any]:
    """The variables of judged.html; `read(index)` gives the uint8 picture at a place, or raises UserError."""
    if evaluation is None:
        return {"summary": None, "trust_plots": {}}
    matrix: Confusion = confusion(evaluation)
    temperature = float(evaluation.protocol.get("temperature", 1.0))
    return {
        "summary": evaluation.summary(),
        "per_class": _per_class(evaluation),
        "confusion": matrix,
        "worst": worst(evaluation, read),
        "confidence": _confidence(evaluation),
        "temperature": temperature,
        "error_before": calibration_error(_uncalibrated(evaluation, temperature), evaluation.labels),
        "wrong": int((evaluation.predicted != evaluation.labels).sum()),
        "rejections": _rejections(evaluation),
        "trust_plots": {plot.name: plot for plot in _trust_plots(evaluation, temperature)},
    }


def _rejections(evaluation: Evaluation) -> list[Rejection]:
    """What thresholds would do, those that leave out more than the one before and answer something."""
    found: list[Rejection] = []
    kept = len(evaluation.names)
    for threshold in THRESHOLDS:
        rejection = reject(evaluation, threshold)
        if 0 < rejection.kept < kept:
            found.append(rejection)
            kept = rejection.kept
    return found


def _uncalibrated(evaluation: Evaluation, temperature: float) -> np.ndarray:
    """The probabilities as they were before the temperature."""
    return scaled(evaluation.probabilities, 1 / temperature)


def _trust_plots(evaluation: Evaluation, temperature: float) -> list[Plot]:
    """Reliability, before it, where the model was calibrated, as it was without; and the error over the coverage."""
    labels = evaluation.labels
    bins = reliability(evaluation.probabilities, labels)
    found = []
    if temperature != 1.0:
        before = reliability(_uncalibrated(evaluation, temperature), labels)
        found.append(plotted("reliability-before", "Before calibration", plots.reliability_diagram(before)))
    caption = "Reliability" if temperature == 1.0 else f"After, at temperature {temperature:.2f}"
    found.append(plotted("reliability", caption, plots.reliability_diagram(bins)))
    coverage, error = risk_coverage(evaluation.probabilities, evaluation.predicted != labels)
    found.append(plotted("coverage", "Error on the surest pictures", plots.risk_coverage_curve(coverage, error)))
    return found


def _per_class(evaluation: Evaluation) -> list[dict[str, Any]]:
    """In the order of the classes; where they are too many to look through, the lowest recall first."""
    table = list(evaluation.per_class)
    if len(table) > LONG_TABLE:
        table.sort(key=lambda row: 2.0 if row["recall"] is None else row["recall"])
    return table


def _confidence(evaluation: Evaluation) -> dict[str, float]:
    """Mean confidence beside the share that is right, both fractions of 1."""
    return {
        "mean": float(evaluation.probabilities.max(axis=1).mean()),
        "right": evaluation.correct(1) / len(evaluation.names),
    }

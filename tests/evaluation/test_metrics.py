"""Laws of the figures: what an evaluation may not depend on, and what they equal elsewhere."""

from __future__ import annotations

import json
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    confusion_matrix,
    log_loss,
    precision_recall_fscore_support,
    roc_auc_score,
    top_k_accuracy_score,
)

from residuum.errors import UserError
from residuum.evaluation.calibration import calibration_error, most_wrong, reliability
from residuum.evaluation.metrics import FIGURES, Evaluation

FIFTY = settings(max_examples=50, deadline=None)
COUNTS = ("images", "correct_top1", "correct_top5")


def evaluate(logits: np.ndarray, labels: np.ndarray) -> Evaluation:
    N, K = logits.shape
    return Evaluation.from_logits(
        classes=tuple(f"class {c}" for c in range(K)),
        names=tuple(f"{n}.png" for n in range(N)),
        indices=np.arange(N),
        labels=labels,
        logits=logits,
        protocol={"split": "test"},
    )


@st.composite
def outcomes(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Logits on a coarse grid, so that ties, absent classes and classes never predicted all occur."""
    N, K = draw(st.integers(1, 40)), draw(st.integers(2, 9))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    logits = generator.integers(-3, 4, size=(N, K)).astype(np.float32)
    return logits, generator.integers(0, K, size=N)


@FIFTY
@given(outcomes(), st.integers(0, 2**32 - 1))
def test_order_of_pictures_changes_nothing(outcome: tuple[np.ndarray, np.ndarray], seed: int) -> None:
    logits, labels = outcome
    order = np.random.default_rng(seed).permutation(len(labels))
    assert evaluate(logits[order], labels[order]).summary() == evaluate(logits, labels).summary()


@FIFTY
@given(outcomes(), st.data())
def test_counts_add_over_any_partition(outcome: tuple[np.ndarray, np.ndarray], data: st.DataObject) -> None:
    logits, labels = outcome
    part = np.array(data.draw(st.lists(st.integers(0, 2), min_size=len(labels), max_size=len(labels))))
    whole = evaluate(logits, labels).summary()
    parts = [evaluate(logits[part == p], labels[part == p]).summary() for p in np.unique(part)]
    for key in COUNTS:
        if whole[key] is not None:
            assert sum(p[key] for p in parts) == whole[key]
    assert np.array_equal(sum(np.array(p["confusion"]) for p in parts), whole["confusion"])
    assert whole["loss"] == pytest.approx(sum(p["loss"] * p["images"] for p in parts) / whole["images"], rel=1e-12)


@FIFTY
@given(outcomes())
def test_equals_scikit_learn(outcome: tuple[np.ndarray, np.ndarray]) -> None:
    logits, labels = outcome
    result = evaluate(logits, labels)
    summary, every = result.summary(), list(range(len(result.classes)))
    assert np.array_equal(summary["confusion"], confusion_matrix(labels, result.predicted, labels=every))
    theirs = precision_recall_fscore_support(labels, result.predicted, labels=every, zero_division=np.nan)  # pyright: ignore[reportArgumentType]
    for figure, column in zip(("precision", "recall", "f1", "images"), theirs, strict=True):
        ours = [np.nan if row[figure] is None else row[figure] for row in summary["per_class"]]
        np.testing.assert_allclose(ours, np.asarray(column), rtol=1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # theirs warns of probabilities that sum to one only in float arithmetic
        assert summary["loss"] == pytest.approx(log_loss(labels, result.probabilities, labels=every), rel=1e-9)


@FIFTY
@given(outcomes())
def test_one_against_all_figures_follow_from_the_confusion_matrix(
    outcome: tuple[np.ndarray, np.ndarray],
) -> None:
    logits, labels = outcome
    result = evaluate(logits, labels)
    matrix = np.array(result.summary()["confusion"])
    for c, row in enumerate(result.per_class):
        others = np.delete(matrix, c, axis=0)
        true_negatives, negatives = np.delete(others, c, axis=1).sum(), others.sum()
        assert row["specificity"] == (true_negatives / negatives if negatives else None)
        assert row["sensitivity"] == row["recall"]
        positives = labels == c
        defined = positives.any() and not positives.all()
        assert row["auc"] == (roc_auc_score(positives, result.probabilities[:, c]) if defined else None)


def test_top5_equals_scikit_learn_without_ties() -> None:
    generator = np.random.default_rng(3)
    logits, labels = generator.normal(size=(200, 12)).astype(np.float32), generator.integers(0, 12, 200)
    theirs = top_k_accuracy_score(labels, logits, k=5, labels=range(12), normalize=False)
    assert evaluate(logits, labels).summary()["correct_top5"] == theirs


@pytest.mark.parametrize("K", [2, 6, 200])
def test_of_equal_probabilities_the_lowest_index_leads(K: int) -> None:
    result = evaluate(np.zeros((K, K), np.float32), np.arange(K))
    assert [result.correct(k) for k in range(1, K + 1)] == list(range(1, K + 1))
    assert (result.predicted == 0).all()


@given(st.integers(2, 12), st.integers(1, 4))
def test_perfect_predictions(K: int, each: int) -> None:
    labels = np.repeat(np.arange(K), each)
    summary = evaluate(np.eye(K, dtype=np.float32)[labels] * 80, labels).summary()
    assert summary["top1_error"] == 0
    assert summary["calibration_error"] == pytest.approx(0, abs=1e-12)
    assert summary["loss"] == pytest.approx(0, abs=1e-12)
    assert all(row[figure] == 1 for row in summary["per_class"] for figure in FIGURES)
    assert set(summary["macro"].values()) == {1.0}
    assert summary["top5_error"] == (0 if K > 5 else None)


def test_undefined_figures_are_null_and_stay_out_of_the_mean() -> None:
    """Class 2 has no picture and is never predicted; class 1 has no picture but is."""
    labels = np.zeros(2, np.int64)
    summary = evaluate(np.array([[9, 0, 0], [0, 9, 0]], np.float32), labels).summary()
    zero, one, two = summary["per_class"]
    assert (zero["precision"], zero["recall"], zero["specificity"], zero["auc"]) == (1, 0.5, None, None)
    assert (one["precision"], one["recall"], one["f1"]) == (0, None, 0)
    assert [two[figure] for figure in ("precision", "recall", "f1")] == [None, None, None]
    assert summary["macro"]["recall"] == 0.5
    assert summary["macro"]["auc"] is None


def test_summary_is_json_without_nan_and_keeps_the_confusion_matrix_to_200_classes() -> None:
    generator = np.random.default_rng(0)

    def summary(K: int) -> dict[str, Any]:
        result = evaluate(generator.normal(size=(30, K)).astype(np.float32), generator.integers(0, K, 30))
        return json.loads(json.dumps(result.summary(), allow_nan=False))

    assert len(summary(200)["confusion"]) == 200
    large = summary(1000)
    assert large["confusion"] is None
    assert len(large["per_class"]) == 1000


@FIFTY
@given(outcomes(), st.integers(-(2**20), 2**20))
def test_adding_one_number_to_all_logits_changes_nothing(outcome: tuple[np.ndarray, np.ndarray], shift: int) -> None:
    logits, labels = outcome
    assert evaluate(logits + np.float32(shift), labels).summary() == evaluate(logits, labels).summary()


def test_the_largest_finite_logits_give_finite_losses() -> None:
    largest = np.finfo(np.float32).max
    result = evaluate(np.array([[largest, -largest], [-largest, largest]], np.float32), np.zeros(2, np.int64))
    assert result.probabilities.tolist() == [[1, 0], [0, 1]]
    assert result.losses.tolist() == [0, 2 * float(largest)]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_output_that_is_not_finite_names_the_picture(value: float) -> None:
    logits = np.zeros((5, 3), np.float32)
    logits[3, 1] = value
    with pytest.raises(UserError, match=r"for 1 of 5 pictures, first for 3\.png"):
        evaluate(logits, np.zeros(5, np.int64))


def test_no_pictures_and_mismatched_shapes_are_refused() -> None:
    with pytest.raises(UserError, match="no pictures"):
        evaluate(np.zeros((0, 3), np.float32), np.zeros(0, np.int64))
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.2"):
        evaluate(np.zeros((1, 3), np.float32), np.array([-1]))


@FIFTY
@given(outcomes(), st.integers(1, 20))
def test_reliability_bins_hold_every_picture_once(outcome: tuple[np.ndarray, np.ndarray], bins: int) -> None:
    logits, labels = outcome
    result = evaluate(logits, labels)
    table = reliability(result.probabilities, labels, bins)
    assert sum(b.count for b in table) == len(labels)
    assert sum(b.count * (b.accuracy or 0) for b in table) == pytest.approx(result.correct(1))
    for b in table:
        assert b.confidence is None or b.low - 1e-12 <= b.confidence <= b.high + 1e-12


def test_calibration_error_by_hand() -> None:
    """Four pictures at 0.9 of which three are right, and one wrong at 0.6: (4*0.15 + 1*0.6) / 5."""
    p = np.array([[0.9, 0.1]] * 4 + [[0.6, 0.4]])
    assert calibration_error(p, np.array([0, 0, 0, 1, 1])) == pytest.approx(0.24)


@FIFTY
@given(outcomes(), st.integers(1, 50))
def test_most_wrong_are_the_highest_losses(outcome: tuple[np.ndarray, np.ndarray], k: int) -> None:
    result = evaluate(*outcome)
    chosen = result.losses[most_wrong(result, k)]
    assert chosen.tolist() == sorted(result.losses.tolist(), reverse=True)[:k]

"""Temperature scaling: the order of the classes stays, the loss falls, and what is fitted is what is used."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax

import residuum
from commands import run
from residuum.evaluation.metrics import Evaluation
from residuum.evaluation.temperature import FEWEST, fit_temperature, scaled


def evaluation(logits: np.ndarray, labels: np.ndarray) -> Evaluation:
    names = tuple(map(str, range(len(labels))))
    classes = tuple("abcdefghij"[: logits.shape[1]])
    protocol = {"split": "val", "data_digest": "d"}
    return Evaluation.from_logits(classes, names, np.arange(len(labels)), labels, logits, protocol)


@given(seed=st.integers(0, 1000), temperature=st.floats(0.1, 10))
def test_scaling_is_the_softmax_of_divided_logits_and_keeps_the_order(seed: int, temperature: float) -> None:
    logits = np.random.default_rng(seed).normal(0, 4, (20, 5))
    found = scaled(softmax(logits, axis=1), temperature)
    assert found == pytest.approx(softmax(logits / temperature, axis=1), abs=1e-9)
    assert (found.argmax(1) == logits.argmax(1)).all()


@pytest.mark.parametrize("truth", [0.5, 1.0, 2.5])
def test_the_temperature_that_made_the_labels_is_found(truth: float) -> None:
    """Labels drawn from softmax(z / T) have T as their best temperature."""
    random = np.random.default_rng(0)
    logits = random.normal(0, 3, (20_000, 4))
    drawn = softmax(logits / truth, axis=1).cumsum(1) > random.random((len(logits), 1))
    found = fit_temperature(evaluation(logits, drawn.argmax(1)))
    if truth == 1.0:
        assert found is None or found.temperature == pytest.approx(1.0, abs=0.05)
        return
    assert found is not None
    assert found.temperature == pytest.approx(truth, rel=0.05)
    assert found.loss_after < found.loss_before
    assert found.error_after < found.error_before
    expected = -log_softmax(logits / found.temperature, axis=1)[np.arange(len(logits)), drawn.argmax(1)].mean()
    assert found.loss_after == pytest.approx(expected, rel=1e-9)


def test_few_pictures_fit_nothing() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(0, 9, (FEWEST - 1, 3))
    assert fit_temperature(evaluation(logits, random.integers(0, 3, len(logits)))) is None


def test_training_fits_it_and_prediction_evaluation_and_records_use_it(tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert run("train", "digits", "--model", "resnet20", "--depth", 8, "--recipe", "debug", "--out", out).code == 0
    model = residuum.load(out / "model.safetensors")
    calibration = model.artifact.calibration
    assert calibration is not None
    assert calibration["split"] == "val"
    assert model.temperature == calibration["temperature"] != 1.0
    again = run("evaluate", out / "model.safetensors", "digits", "--split", "val", "--json").json()
    stored = json.loads((out / "run.json").read_text())["all_results"]["val"]
    assert again == stored
    assert stored["protocol"]["temperature"] == model.temperature
    assert stored["loss"] == pytest.approx(calibration["loss_after"], rel=1e-9)
    from residuum.data.sources import open_data

    manifest = open_data("digits")
    index = int(manifest.part("val")[0])
    said = model.predict(manifest.pictures.read(index, 1), top=10)[0]["predictions"]
    rows = model.evaluate(manifest, "val").probabilities[0]
    assert [p["probability"] for p in said] == pytest.approx(sorted(rows.tolist(), reverse=True), rel=1e-4)

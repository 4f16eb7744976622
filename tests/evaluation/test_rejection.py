"""Rejection: coverage and error follow from counting; the score of strangeness tells noise from digits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import residuum
from commands import refused, run
from residuum.data.sources import open_data
from residuum.evaluation.calibration import area_under_risk, risk_coverage
from residuum.evaluation.metrics import Evaluation
from residuum.evaluation.rejection import reject
from residuum.evaluation.unlike import energies, fit_unlike, unlike


def evaluation(confidence: list[float], right: list[bool]) -> Evaluation:
    probabilities = np.array([[c, 1 - c] for c in confidence])
    labels = np.array([0 if r else 1 for r in right])
    names = tuple(map(str, range(len(labels))))
    return Evaluation.from_probabilities(("a", "b"), names, np.arange(len(labels)), labels, probabilities, {})


def test_what_is_kept_and_what_of_it_is_wrong() -> None:
    found = reject(evaluation([0.9, 0.8, 0.7, 0.6], [True, False, True, False]), 0.7)
    assert (found.kept, found.wrong, found.coverage, found.error) == (3, 1, 0.75, pytest.approx(100 / 3))
    nothing = reject(evaluation([0.9, 0.8], [True, True]), 1.0)
    assert (nothing.kept, nothing.error) == (0, None)


def test_the_curve_ends_at_the_error_and_ties_share_it() -> None:
    case = evaluation([0.9, 0.9, 0.8, 0.6], [False, True, True, False])
    coverage, error = risk_coverage(case.probabilities, case.predicted != case.labels)
    assert coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert error.tolist() == pytest.approx([50, 50, 100 / 3, 50])
    assert case.summary()["area_under_risk"] == pytest.approx(error.mean() / 100)


def test_an_order_that_puts_mistakes_last_has_less_area() -> None:
    good = evaluation([0.9, 0.8, 0.7, 0.6], [True, True, False, False])
    bad = evaluation([0.9, 0.8, 0.7, 0.6], [False, False, True, True])
    areas = [area_under_risk(case.probabilities, case.predicted != case.labels) for case in (good, bad)]
    assert areas[0] < areas[1]


def test_groups_of_a_table_are_counted_by_name(model_file: Path, tmp_path: Path) -> None:
    from PIL import Image

    manifest = open_data("digits")
    lines = ["path,label,group"]
    for number, index in enumerate(manifest.part("test")[:60]):
        Image.fromarray(manifest.pictures.read(int(index), 1)[..., 0]).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,{manifest.classes[manifest.labels[index]]},{('north', 'south')[number % 3 == 0]}")
    (tmp_path / "table.csv").write_text("\n".join(lines))
    summary = run("evaluate", model_file, f"csv:{tmp_path / 'table.csv'}", "--split", "all", "--json").json()
    groups = {row["group"]: row for row in summary["per_group"]}
    assert {name: row["images"] for name, row in groups.items()} == {"north": 40, "south": 20}
    assert sum(row["wrong"] for row in groups.values()) == 60 - summary["correct_top1"]
    assert "south" in run("evaluate", model_file, f"csv:{tmp_path / 'table.csv'}", "--split", "all").out


def test_the_score_is_a_share_of_held_out_pictures() -> None:
    logits = np.random.default_rng(0).normal(0, 3, (2000, 5))
    held_out = {"energies": fit_unlike(logits)}
    scores = unlike(logits, held_out)
    assert scores is not None
    assert 0 <= scores.min() <= scores.max() <= 1
    assert scores.mean() == pytest.approx(0.5, abs=0.02)
    assert (np.argsort(scores, kind="stable") == np.argsort(np.round(scores, 12), kind="stable")).all()
    assert np.corrcoef(scores, energies(logits))[0, 1] > 0.9
    assert unlike(logits, None) is None


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trust") / "run"
    done = run("train", "digits", "--model", "resnet20", "--depth", 8, "--recipe", "debug", "--steps", 60, "--out", out)
    assert done.code == 0, done.err
    return out / "model.safetensors"


def test_shuffled_digits_look_stranger_than_digits(model_file: Path) -> None:
    from sklearn.metrics import roc_auc_score

    model, manifest = residuum.load(model_file), open_data("digits")
    pictures = [manifest.pictures.read(int(i), 1) for i in manifest.part("test")]
    random = np.random.default_rng(0)
    shuffled = [random.permutation(p.reshape(-1)).reshape(p.shape) for p in pictures]
    scores = [np.array([answer["unlike"] for answer in model.predict(each)]) for each in (pictures, shuffled)]
    labels = np.repeat([0, 1], [len(pictures), len(shuffled)])
    assert roc_auc_score(labels, np.concatenate(scores)) > 0.75


def test_the_commands_say_what_is_left_to_a_person(model_file: Path, tmp_path: Path) -> None:
    summary = run("evaluate", model_file, "digits", "--reject-below", 0.9, "--json").json()
    rejection = summary["rejection"]
    assert rejection["coverage"] == rejection["kept"] / summary["images"]
    assert rejection["error"] <= summary["top1_error"]
    from PIL import Image

    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "blank.png")
    answer = run("predict", model_file, tmp_path / "blank.png", "--reject-below", 1, "--json").json()[0]
    assert answer["rejected"] is True
    assert "unsure" in run("predict", model_file, tmp_path / "blank.png", "--reject-below", 1).out
    assert "is a probability from 0 to 1" in refused(
        "predict", model_file, tmp_path / "blank.png", "--reject-below", 90
    )
    assert "is a probability from 0 to 1" in refused("evaluate", model_file, "digits", "--reject-below", -1)
    assert "leave --protocol, --resize, --crop and --ensemble out" in refused(
        "evaluate", model_file, "digits", "--robustness", "--protocol", "flip"
    )

"""With --json stdout is one JSON document and nothing else; without it, something to read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from commands import TINY, run
from residuum.catalog import CATALOG
from runs import record


def strictly(text: str) -> Any:
    """JSON without the NaN and Infinity that only Python takes for numbers."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_train(tmp_path: Path) -> None:
    outcome = run("train", "digits", *TINY, "--recipe", "debug", "--steps", "2", "--json", "--out", tmp_path / "run")
    assert outcome.code == 0
    document = strictly(outcome.out)
    assert document == record(tmp_path / "run")
    assert document["status"] == "finished"
    assert document["seed"] == 0
    assert document["results"]["images"] == 359
    assert set(document["all_results"]) == {"val", "test"}
    assert document["data"]["digest"]
    assert document["environment"]["torch"]
    assert document["time"]["images_per_second"] > 0
    assert "epoch 1" in outcome.err


def test_train_tells_a_person_where_everything_is(tmp_path: Path) -> None:
    out = tmp_path / "run"
    outcome = run("train", "digits", *TINY, "--recipe", "debug", "--steps", "2", "--out", out)
    assert [str(out / name) in outcome.out for name in ("model.safetensors", "report.html")] == [True, True]
    for word in ("10 classes", "resnet20", "debug", "lr", "seed 0", "val error", "images/s", "left"):
        assert word in outcome.err
    lines = (out / "train.log").read_text().splitlines()
    assert [line.split(" ", 2)[2] for line in lines] == outcome.err.splitlines()[-len(lines) :]


def test_evaluate(model: Path) -> None:
    outcome = run("evaluate", model, "digits", "--json")
    assert outcome.code == 0
    document = strictly(outcome.out)
    assert document["images"] == 359
    assert document["top1_error"] == pytest.approx(100 * (359 - document["correct_top1"]) / 359)
    assert 0 <= document["top5_error"] <= document["top1_error"]
    assert document["loss"] > 0
    assert {"split": "test", "precision": "float32", "backend": "torch"}.items() <= document["protocol"].items()
    assert sum(map(sum, document["confusion"])) == 359
    assert [row["class"] for row in document["per_class"]] == [str(i) for i in range(10)]
    keys = {"precision", "recall", "f1", "sensitivity", "specificity", "auc"}
    assert all(keys <= row.keys() for row in document["per_class"])
    assert 0 <= document["calibration_error"] <= 1


def test_evaluation_repeats_what_training_recorded(model: Path) -> None:
    for part in ("val", "test"):
        document = strictly(run("evaluate", model, "digits", "--split", part, "--json").out)
        recorded = record(model.parent)["all_results"][part]
        assert document["loss"] == pytest.approx(recorded["loss"], rel=1e-6)
        for key in ("images", "correct_top1", "correct_top5", "confusion"):
            assert document[key] == recorded[key]


def test_evaluate_for_people(model: Path) -> None:
    outcome = run("evaluate", model, "digits")
    assert outcome.code == 0
    for word in ("of 359", "top-5 error", "calibration", "test", "float32", "precision", "recall"):
        assert word in outcome.out


def test_top5_error_is_null_below_six_classes(folder: Path, tmp_path: Path) -> None:
    debug = ("--recipe", "debug", "--steps", "2", "--out", tmp_path / "run")
    assert run("train", folder, *TINY, *debug).code == 0
    document = strictly(run("evaluate", tmp_path / "run" / "model.safetensors", folder, "--json").out)
    assert document["top5_error"] is None
    assert document["protocol"]["split"] == "val"
    # a class that no picture of the part belongs to has no precision, recall or AUC, and no NaN either
    assert run("evaluate", tmp_path / "run" / "model.safetensors", folder).code == 0


def test_models() -> None:
    document = strictly(run("models", "--json").out)
    assert [row["name"] for row in document] == list(CATALOG)
    assert all({"name", "family", "parameters", "macs"} <= row.keys() for row in document)
    (row,) = [row for row in document if row["name"] == "resnet50"]
    assert (row["parameters"], round(row["macs"] / 1e9, 3)) == (25_557_032, 3.858)
    text = run("models").out
    assert all(name in text for name in CATALOG)


def test_models_of_a_name() -> None:
    document = strictly(
        run("models", "resnet50", "--shortcut", "C", "--classes", "10", "--channels", "1", "--json").out
    )
    assert {"name", "parameters", "macs", "input", "layers", "spec"} <= document.keys()
    keys = {"name", "kind", "in", "out", "kernel", "stride", "padding", "groups", "output", "parameters", "macs"}
    assert all(keys <= layer.keys() for layer in document["layers"])
    assert document["input"] == [1, 224, 224]
    assert document["spec"]["shortcut"] == "C"
    assert document["layers"][-1]["out"] == 10
    assert sum(layer["parameters"] for layer in document["layers"]) == document["parameters"]
    assert sum(layer["macs"] for layer in document["layers"]) == document["macs"]
    text = run("models", "resnet50").out
    for word in ("25,557,032", "receptive field", "7x7", "activations"):
        assert word in text


def test_no_progress_of_commands_without_json_goes_to_stdout(model: Path, folder: Path) -> None:
    outcome = run("predict", model, folder / "ant" / "000.png")
    assert outcome.out.count("\n") == 1
    assert outcome.err == ""

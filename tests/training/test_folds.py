"""Folds: every picture held out once, classes spread, groups whole; finished ones are not repeated."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from commands import TINY, Death, refused, run, start
from residuum.data.folds import Fold, fold_of
from residuum.data.sources import open_data
from residuum.errors import UserError
from runs import different_tensors, record
from samples import picture_folder

STEPS = (*TINY, "--recipe", "debug", "--steps", "3")


@pytest.mark.parametrize("of", [2, 5])
@pytest.mark.parametrize("grouped", [False, True])
def test_each_picture_is_held_out_once(of: int, grouped: bool) -> None:
    digits = open_data("digits")
    groups = np.arange(len(digits)) // 7
    manifest = replace(digits, groups=groups) if grouped else digits
    folds = [fold_of(manifest, Fold(index, of, 3)) for index in range(1, of + 1)]
    pool = np.sort(np.concatenate([digits.parts["train"], digits.parts["val"]]))
    held_out = np.concatenate([fold.part("val") for fold in folds])
    assert np.array_equal(np.sort(held_out), pool)
    for fold in folds:
        assert not set(fold.part("train")) & set(fold.part("val"))
        assert len(fold.part("train")) + len(fold.part("val")) == len(pool)
        assert np.array_equal(fold.part("test"), digits.parts["test"])
        if grouped:
            assert not set(groups[fold.part("train")]) & set(groups[fold.part("val")])
        else:
            counts = np.bincount(digits.labels[fold.part("val")])
            share = np.bincount(digits.labels[pool]) / of
            assert (np.abs(counts - share) <= 1).all()
    other = fold_of(manifest, Fold(1, of, 4))
    assert not np.array_equal(other.part("val"), folds[0].part("val"))


def test_finished_folds_are_not_repeated_and_a_killed_one_goes_on(tmp_path: Path) -> None:
    data = picture_folder(tmp_path / "data", {"ant": 12, "bee": 12})
    command = ("train", data, *STEPS, "--folds", "2", "--seed", "1")
    assert run(*command, "--out", tmp_path / "whole").code == 0
    # run.json, metrics.jsonl and a checkpoint
    death = Death("replace", 3, after=True, at="fold-2")
    assert start(tmp_path / "log", *command, "--out", tmp_path / "cut", death=death).wait() == -9
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "cut" / "fold-1").rglob("*")}
    assert record(tmp_path / "cut" / "fold-1")["status"] == "finished"
    assert record(tmp_path / "cut" / "fold-2")["status"] == "running"
    found = run(*command, "--out", tmp_path / "cut", "--json").json()
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cut" / "fold-1").rglob("*")} == before
    for fold in ("fold-1", "fold-2"):
        assert different_tensors(tmp_path / "whole" / fold, tmp_path / "cut" / fold) == []
    errors = [row["error"] for row in found["folds"]]
    assert found["mean_error"] == pytest.approx(np.mean(errors))
    assert found["std_error"] == pytest.approx(np.std(errors, ddof=1))
    assert found["images"] == 24
    assert (tmp_path / "cut" / "folds.html").exists()
    # what a fold's model is judged on is what it was not trained on
    said = run("evaluate", tmp_path / "cut" / "fold-2" / "model.safetensors", data, "--json").json()
    assert said["images"] == found["folds"][1]["images"]
    assert said["top1_error"] == pytest.approx(found["folds"][1]["error"])
    assert "--seed" in refused(*command[:-1], "2", "--out", tmp_path / "cut")
    assert "--folds" in refused("train", data, *STEPS, "--folds", "3", "--seed", "1", "--out", tmp_path / "cut")


def test_a_class_with_one_picture_cannot_be_divided(tmp_path: Path) -> None:
    data = picture_folder(tmp_path / "data", {"ant": 6, "bee": 1})
    message = refused("train", data, *STEPS, "--folds", "2", "--out", tmp_path / "run")
    assert "bee" in message
    assert "1 picture to divide" in message
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(("--folds", "1"), "at least 2"), (("--folds", "0"), "at least 2"), (("--folds", "30"), "more than there are"),
     (("--folds", "2", "--val", "0.5"), "--val"), (("--folds", "2", "--find-lr"), "not both"),
     (("--folds", "2", "--resume", "x"), "same command")],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)  # fmt: skip
def test_folds_that_make_no_sense_are_refused(arguments: tuple[str, ...], words: str, tmp_path: Path) -> None:
    data = picture_folder(tmp_path / "data", {"ant": 6, "bee": 6})
    assert words in refused("train", data, *STEPS, *arguments)


def test_a_group_that_is_a_whole_class_cannot_be_divided() -> None:
    digits = open_data("digits")
    with pytest.raises(UserError, match="1 group to divide"):
        fold_of(replace(digits, groups=digits.labels), Fold(1, 2, 0))

"""`residuum predict`: files, folders and globs of any name; what cannot be read is told after the other answers."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import residuum
from commands import TINY, refused, run, sentence
from residuum.data.sources import open_data
from residuum.progress import Reporter
from samples import picture


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    picture(30, 20, 5).save(path)
    return path


def test_json_is_a_list_of_images_with_predictions(model: Path, photo: Path) -> None:
    (answer,) = run("predict", model, photo, "--json").json()
    assert answer.keys() == {"image", "predictions", "unlike"}
    assert answer["image"] == str(photo)
    assert len(answer["predictions"]) == 5
    for prediction in answer["predictions"]:
        assert prediction.keys() == {"class", "index", "probability"}
        assert prediction["class"] == str(prediction["index"])
        assert 0 <= prediction["probability"] <= 1
    probabilities = [prediction["probability"] for prediction in answer["predictions"]]
    assert probabilities == sorted(probabilities, reverse=True)


@pytest.mark.parametrize(("top", "count"), [("1", 1), ("3", 3), ("10", 10), ("99", 10)])
def test_top(top: str, count: int, model: Path, photo: Path) -> None:
    (answer,) = run("predict", model, photo, "--top", top, "--json").json()
    assert len(answer["predictions"]) == count


def test_for_people_one_line_for_each_picture(model: Path, photo: Path) -> None:
    shutil.copy(photo, photo.with_name("other.png"))
    outcome = run("predict", model, photo, photo.with_name("other.png"), "--top", "2")
    lines = outcome.out.splitlines()
    assert [line.partition(": ")[0] for line in lines] == [str(photo), str(photo.with_name("other.png"))]
    assert all(line.count("%") == 2 for line in lines)


def test_files_folders_and_globs(model: Path, folder: Path) -> None:
    def images(*arguments: object) -> list[str]:
        return [answer["image"] for answer in run("predict", model, *arguments, "--json").json()]

    every = sorted(map(str, folder.rglob("*.png")))
    assert images(folder) == every
    assert images(f"{folder}/*/*.png") == every
    assert images(f"{folder}/**/00?.png") == [name for name in every if "/00" in name]
    one = folder / "bee" / "003.png"
    assert images(one, folder / "ant", one) == [str(one), *sorted(map(str, (folder / "ant").iterdir()))]


NAMES = [
    "a b.png",
    "caf\u00e9 \U0001f600.png",
    "new\nline.png",
    "tab\t.png",
    "-x.png",
    "--top.png",
    "--json.png",
    "\udcff\udcfe.png",
    "[1].png",
    "*.png",
    "'\"$(x).png",
    "x" * 250 + ".png",
    ".hidden.png",
    "no suffix",
]


@pytest.mark.parametrize("name", NAMES)
def test_odd_names(name: str, model: Path, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copyfile(photo, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    (answer,) = run("predict", model, "--json", "--", name).json()
    assert answer["image"] == name
    assert answer["predictions"] == run("predict", model, photo, "--json").json()[0]["predictions"]
    outcome = run("predict", model, "--", name)
    assert outcome.code == 0
    assert outcome.out.count("\n") == 1
    assert run("predict", model, "--json", tmp_path / name).json()[0]["image"] == os.fspath(tmp_path / name)


@pytest.mark.parametrize("flag", ["--json", "--top=1"])
def test_unreadable_pictures_do_not_keep_the_others_from_being_answered(flag: str, model: Path, photo: Path) -> None:
    bad = photo.with_name("bad.jpg")
    bad.write_text("<html>")
    missing = photo.with_name("missing.png")
    outcome = run("predict", model, bad, photo, missing, flag)
    assert outcome.code == 2
    message = sentence(outcome)
    assert "bad.jpg" in message
    assert "missing.png" in message
    if flag == "--json":
        assert [answer["image"] for answer in outcome.json()] == [str(photo)]
    else:
        assert outcome.out.startswith(str(photo))


def test_nothing_to_predict(model: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "no pictures" in refused("predict", model, tmp_path / "empty")
    assert "nothing matches" in refused("predict", model, f"{tmp_path}/*.jpg")
    assert "IMAGES" in refused("predict", model)


def test_digits_as_files_get_the_answers_of_the_evaluation(model: Path, tmp_path: Path) -> None:
    evaluation = residuum.evaluate(model, "digits", reporter=Reporter(quiet=True))
    data = open_data("digits")
    for place in evaluation.indices:
        Image.fromarray(data.pictures.read(int(place), 1)[..., 0]).save(tmp_path / f"{place:05d}.png")
    answers = run("predict", model, tmp_path, "--top", "10", "--batch-size", "50", "--json").json()
    assert len(answers) == 359
    found = np.zeros_like(evaluation.probabilities)
    for row, answer in zip(found, answers, strict=True):
        for prediction in answer["predictions"]:
            row[prediction["index"]] = prediction["probability"]
    assert np.abs(found - evaluation.probabilities).max() <= 1e-6
    assert [answer["predictions"][0]["index"] for answer in answers] == evaluation.predicted.tolist()


def test_the_papers_mean_picture_is_kept_and_used(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    paper = (*TINY, "--recipe", "paper-cifar", "--steps", "4", "--batch-size", "8")
    assert run("train", folder, *paper, "--out", out).code == 0
    model, data = residuum.load(out / "model.safetensors"), open_data(str(folder))
    train = np.stack([data.pictures.read(int(i), 3) for i in data.part("train")])
    assert model.mean_picture is not None
    assert np.abs(model.mean_picture - train.mean(0).transpose(2, 0, 1) / 255).max() < 1e-6
    assert model.artifact.preprocessing.std == (1.0, 1.0, 1.0)
    evaluation = residuum.evaluate(model, folder, split="all", reporter=Reporter(quiet=True))
    answers = run("predict", out / "model.safetensors", folder, "--json").json()
    for answer, name, row in zip(answers, evaluation.names, evaluation.probabilities, strict=True):
        assert answer["image"] == str(folder / name)
        assert all(abs(row[p["index"]] - p["probability"]) <= 1e-6 for p in answer["predictions"])

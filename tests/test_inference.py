"""A model file at work: pictures in any form get the same answer as in evaluation."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from residuum.data.sources import open_data
from residuum.errors import UserError
from residuum.inference import Model, find_pictures, load
from samples import picture, picture_folder, tiny_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(tiny_model(tmp_path_factory.mktemp("model") / "model.safetensors"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of many sizes, one class of them in grey."""
    root = picture_folder(tmp_path_factory.mktemp("data") / "data", {"ant": 5, "bee": 6, "cat": 4}, sides=(9, 40))
    for path in (root / "cat").iterdir():
        with Image.open(path) as image:
            image.convert("L").save(path)
    return root


def probabilities(model: Model, answer: dict) -> np.ndarray:
    """By class index, from an answer that names all classes."""
    row = np.zeros(len(model.classes))
    for prediction in answer["predictions"]:
        row[prediction["index"]] = prediction["probability"]
    return row


def test_an_answer_names_classes_best_first(model: Model, folder: Path) -> None:
    path = folder / "ant" / "000.png"
    (answer,) = model.predict(path)
    assert answer["image"] == str(path)
    found = answer["predictions"]
    assert len(found) == 3
    assert [p["class"] for p in found] == [model.classes[p["index"]] for p in found]
    assert [p["probability"] for p in found] == sorted((p["probability"] for p in found), reverse=True)
    assert sum(p["probability"] for p in found) == pytest.approx(1, abs=1e-12)
    for top in (1, 2, 3, 100):
        (fewer,) = model.predict(path, top=top)
        assert fewer["predictions"] == found[:top]


def test_paths_pillow_pictures_and_arrays_are_the_same_picture(model: Model, folder: Path) -> None:
    for path in (folder / "ant" / "001.png", folder / "cat" / "001.png"):
        with Image.open(path) as image:
            image.load()
        array = np.asarray(image)
        forms = [path, str(path), image, array]
        if array.ndim == 2:
            forms.append(array[..., None])
        answers = [model.predict(form)[0]["predictions"] for form in forms]
        assert all(answer == answers[0] for answer in answers)
        assert model.predict(image)[0]["image"] == ""


@pytest.mark.parametrize("mean_picture", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_prediction_and_evaluation_agree(mean_picture: bool, channels: int, folder: Path, tmp_path: Path) -> None:
    model = load(tiny_model(tmp_path / "m.safetensors", mean_picture=mean_picture, channels=channels))
    manifest = open_data(str(folder))
    evaluation = model.evaluate(manifest, batch_size=4)
    answers = model.predict([folder / name for name in evaluation.names], top=3, batch_size=7)
    for answer, row, label in zip(answers, evaluation.probabilities, evaluation.predicted, strict=True):
        assert np.abs(probabilities(model, answer) - row).max() <= 1e-6
        assert answer["predictions"][0]["index"] == label


def test_the_mean_picture_is_subtracted(tmp_path: Path) -> None:
    model = load(tiny_model(tmp_path / "m.safetensors", mean_picture=True))
    pixels = np.asarray(picture(16, 16, 3))
    assert model.mean_picture is not None
    inputs = (torch.from_numpy(pixels.copy()).permute(2, 0, 1) / 255 - torch.from_numpy(model.mean_picture)) / 0.25
    with torch.no_grad():
        expected = torch.softmax(model.network(inputs[None]).double(), 1)[0].numpy()
    (answer,) = model.predict(pixels)
    assert np.abs(probabilities(model, answer) - expected).max() < 1e-5


@given(count=st.integers(1, 9), batch_size=st.integers(1, 10))
def test_the_batch_size_changes_no_answer(model: Model, count: int, batch_size: int) -> None:
    pictures = [picture(10 + i, 20, i) for i in range(count)]
    one_by_one = [model.predict(p)[0] for p in pictures]
    for answer, expected in zip(model.predict(pictures, batch_size=batch_size), one_by_one, strict=True):
        assert [p["index"] for p in answer["predictions"]] == [p["index"] for p in expected["predictions"]]
        assert np.abs(probabilities(model, answer) - probabilities(model, expected)).max() <= 1e-6


def test_an_unreadable_picture_raises_or_is_told(model: Model, folder: Path, tmp_path: Path) -> None:
    bad, good = tmp_path / "bad.jpg", folder / "bee" / "000.png"
    bad.write_text("<html>")
    with pytest.raises(UserError, match=r"bad\.jpg.*HTML"):
        model.predict([good, bad])
    told: list[str] = []
    answers = model.predict([bad, good, tmp_path / "missing.png", good], on_unreadable=told.append, batch_size=1)
    assert [answer["image"] for answer in answers] == [str(good)] * 2
    assert len(told) == 2
    assert "bad.jpg" in told[0]
    assert "missing.png" in told[1]
    assert model.predict([]) == []


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((8, 8, 3), np.float32),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((8, 8, 2), np.uint8),
        np.zeros(8, np.uint8),
        np.zeros((1, 8, 8, 3), np.uint8),
        np.zeros((3, 8, 8), np.uint8),
        np.zeros((0, 8, 3), np.uint8),
    ],
    ids=lambda array: f"{array.dtype} {array.shape}",
)
def test_arrays_of_other_kinds_are_refused(model: Model, array: np.ndarray) -> None:
    with pytest.raises(UserError, match="uint8"):
        model.predict(array)


# Which pictures ------------------------------------------------------------------------------------------------


def test_folders_and_globs_are_searched_and_each_picture_comes_once(folder: Path) -> None:
    ants = sorted((folder / "ant").iterdir())
    assert find_pictures([folder / "ant"]) == ants
    assert find_pictures([f"{folder}/ant/*.png"]) == ants
    assert find_pictures([f"{folder}/**/00[01].png"]) == sorted(folder.rglob("00[01].png"))
    assert find_pictures([ants[2], folder / "ant", ants[0]]) == [ants[2], *(a for a in ants if a != ants[2])]
    assert find_pictures([folder]) == sorted(folder.rglob("*.png"))
    assert find_pictures([folder / "missing.png"]) == [folder / "missing.png"]


def test_what_holds_no_pictures_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(UserError, match="holds no pictures"):
        find_pictures([tmp_path])
    with pytest.raises(UserError, match="nothing matches"):
        find_pictures([f"{tmp_path}/*.png"])


@pytest.mark.parametrize("name", ["[1].png", "what?.png", "*.png", "a b.png", "\udcff.png", "-x.png", "a\nb.png"])
def test_a_file_of_that_name_wins_over_a_pattern(name: str, tmp_path: Path) -> None:
    (tmp_path / "1.png").write_text("")
    path = tmp_path / name
    path.write_text("")
    assert find_pictures([os.fspath(path)]) == [path]


# Labels --------------------------------------------------------------------------------------------------------


def test_classes_in_another_order_are_aligned_by_name(tmp_path: Path) -> None:
    data = open_data(str(picture_folder(tmp_path / "data", {"bee": 4, "cat": 5, "dog": 3})))
    straight = load(tiny_model(tmp_path / "a", ("bee", "cat", "dog", "ant")))
    turned = load(tiny_model(tmp_path / "b", ("dog", "ant", "cat", "bee")))
    turned.network.load_state_dict(straight.network.state_dict())
    with torch.no_grad():  # the same network with its outputs in the other order
        for parameter in turned.network.get_submodule("head.fc").parameters():
            parameter.copy_(parameter[[2, 3, 1, 0]])
    one, other = straight.evaluate(data), turned.evaluate(data)
    assert [one.classes[label] for label in one.labels] == [data.classes[label] for label in data.labels]
    assert [other.classes[label] for label in other.labels] == [data.classes[label] for label in data.labels]
    assert one.summary()["correct_top1"] == other.summary()["correct_top1"]
    assert one.losses == pytest.approx(other.losses, rel=1e-6)


def test_unknown_classes_are_refused_by_name(model: Model, tmp_path: Path) -> None:
    data = open_data(str(picture_folder(tmp_path / "data", {"ant": 3, "wasp": 3})))
    with pytest.raises(UserError, match="wasp"):
        model.evaluate(data)


def test_a_model_trained_on_numbers_does_not_know_names(tmp_path: Path) -> None:
    model = load(tiny_model(tmp_path / "m", ("0", "1", "2")))
    data = open_data(str(picture_folder(tmp_path / "data", {"ant": 3, "bee": 3, "cat": 3})))
    with pytest.raises(UserError, match="ant"):
        model.evaluate(data)


def test_load_names_the_file_it_cannot_use(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere"):
        load(tmp_path / "nowhere")
    with pytest.raises(UserError, match="nonsense"):
        load(tiny_model(tmp_path / "m"), device="nonsense")

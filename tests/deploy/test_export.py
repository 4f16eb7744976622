"""What is exported runs alone, in its real runtime, and says what the model says."""

from __future__ import annotations

import io
import json
import re
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
import torch
from PIL import Image

import residuum
from commands import refused, run
from residuum.data.preprocessing import view
from residuum.deploy.pictures import normalised
from residuum.evaluation.unlike import STRANGE
from residuum.inference import Model, load
from samples import picture, picture_folder, tiny_model

SUFFIXES = {"onnx": ".onnx", "openvino": ".xml", "torch": ".pt2", "int8-onnx": ".onnx", "int8-openvino": ".xml"}


def script(card: Path) -> str:
    """The Python of a model card."""
    (found,) = re.findall(r"```python\n(.*?)```", card.read_text(), flags=re.DOTALL)
    return found


def said_by(code: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, float]:
    """Class and probability that the card's script prints for picture.jpg beside the file."""
    monkeypatch.chdir(folder)
    out = io.StringIO()
    with redirect_stdout(out):
        exec(compile(code, "card", "exec"), {})
    name, probability = out.getvalue().strip().rsplit(" ", 1)
    return name, float(probability)


WAYS = [(to, inside) for to in ("onnx", "openvino", "torch") for inside in (False, True)]


@pytest.mark.parametrize(("to", "inside"), [*WAYS, ("int8-onnx", True), ("int8-openvino", False)])
def test_the_cards_own_script_gives_the_models_answer(
    to: str, inside: bool, model: Model, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / f"a model{SUFFIXES[to]}"
    outcome = run("export", model_file, "--to", to, "--out", out, "--json", *["--with-preprocessing"] * inside)
    assert outcome.code == 0, outcome
    told = outcome.json()
    made = {path.name for path in tmp_path.iterdir()}
    assert {Path(path).name for path in (*told["files"], told["card"])} == made
    checked = told["checked"]
    assert checked["labels_equal"] == 1
    assert checked["pictures"] == 7, "those that training held out"
    assert "val part" in checked["source"]
    if not to.startswith("int8"):
        assert checked["logit_difference"] <= 1e-4
        assert checked["points_lost"] == 0

    image = picture(33, 57, 5)
    exif = Image.Exif()
    exif[0x0112] = 6  # lying on its side
    image.save(tmp_path / "picture.jpg", exif=exif, quality=95)
    expected = model.predict(tmp_path / "picture.jpg")[0]["predictions"][0]
    name, probability = said_by(script(Path(told["card"])), tmp_path, monkeypatch)
    assert name == expected["class"]
    assert probability == pytest.approx(expected["probability"], abs=0.05 if to.startswith("int8") else 1e-4)


def test_a_file_warns_of_what_predict_warns_of(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The energies of held-out pictures travel in the file, and the card's script asks them."""
    picture(33, 57, 5).save(tmp_path / "picture.jpg", quality=95)
    for name, energies, strange in (("known", [1e6] * 50, False), ("strange", [-1e6] * 50, True)):
        content = replace(model.artifact, calibration={"energies": energies})
        taught = Model(content, "cpu")
        assert (taught.predict(tmp_path / "picture.jpg")[0]["unlike"] >= STRANGE) == strange
        told = residuum.export(taught, "onnx", tmp_path / f"{name}.onnx")
        metadata = onnxruntime.InferenceSession(tmp_path / f"{name}.onnx").get_modelmeta().custom_metadata_map
        assert json.loads(metadata["residuum"])["energies"] == energies
        monkeypatch.chdir(tmp_path)
        out = io.StringIO()
        with redirect_stdout(out):
            exec(compile(script(told.card), "card", "exec"), {})
        assert ("unlike the training pictures" in out.getvalue()) == strange


@pytest.fixture(scope="module")
def exported(model_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the model in each float32 format, pictures in."""
    folder = tmp_path_factory.mktemp("exported")
    for to in ("onnx", "openvino", "torch"):
        residuum.export(model_file, to, folder / f"m{SUFFIXES[to]}", with_preprocessing=True)
    return folder


@pytest.mark.parametrize("count", [1, 2, 13])
def test_a_batch_of_any_size_and_the_same_numbers_everywhere(count: int, model: Model, exported: Path) -> None:
    views = np.stack([view(np.asarray(picture(30, 20, i)), model.artifact.preprocessing) for i in range(count)])
    with torch.no_grad():
        expected = model.network(normalised(model, views)).numpy()
    session = onnxruntime.InferenceSession(exported / "m.onnx")
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(exported / "m.xml", "CPU", settings)
    for logits, probabilities in (session.run(["logits", "probabilities"], {"pictures": views}),
                                  [compiled([views])[name] for name in ("logits", "probabilities")]):  # fmt: skip
        assert np.abs(logits - expected).max() <= 1e-4 * np.abs(expected).max()
        assert probabilities.sum(1) == pytest.approx(np.ones(count), abs=1e-5)
        assert (probabilities.argmax(1) == logits.argmax(1)).all()


def test_the_file_says_what_it_is_and_nothing_of_the_machine(model: Model, exported: Path) -> None:
    content = onnx.load(exported / "m.onnx")
    onnx.checker.check_model(content, full_check=True)
    (item,) = content.metadata_props
    facts = json.loads(item.value)
    assert item.key == "residuum"
    there = openvino.Core().read_model(exported / "m.xml").get_rt_info("residuum")
    assert facts == json.loads(there.astype(str))
    assert tuple(facts["classes"]) == model.classes
    assert facts["source_sha256"] == model.artifact.sha256
    assert facts["preprocessing"] == model.artifact.preprocessing.to_dict()
    shape = {"name": "pictures", "dtype": "uint8", "layout": "NHWC", "shape": ["batch", 20, 16, 3]}
    assert facts["input"] == shape
    (taken,) = content.graph.input
    sides = [side.dim_param or side.dim_value for side in taken.type.tensor_type.shape.dim]
    assert [taken.name, *sides] == ["pictures", "batch", 20, 16, 3]
    here = (str(Path(residuum.__file__).parent), str(Path(torch.__file__).parent), str(exported), str(exported.parent))
    for path in exported.iterdir():
        assert not [place for place in here if place.encode() in path.read_bytes()], path


def test_a_card_shows_names_as_they_are_and_the_results(model: Model, exported: Path) -> None:
    card = (exported / "m.onnx.md").read_text()
    assert "<b>" not in re.sub(r"\\.", "", card)
    assert r"\<b\>bee\|wasp" in card
    assert r"c\*t" in card
    (result,) = model.artifact.results
    assert f"{result['top1_error']:.2f} %" in card
    assert "recipe: debug, 30 steps" in card
    assert "onnxruntime" in card
    assert str(model.artifact.sha256) in card


def test_a_mean_picture_goes_inside(tmp_path: Path) -> None:
    source = tiny_model(tmp_path / "m", mean_picture=True)
    data = picture_folder(tmp_path / "data", {"ant": 4, "bee": 4, "cat": 4})
    assert "--with-preprocessing" in refused("export", source, "--to", "onnx", "--out", tmp_path / "m.onnx")
    residuum.export(source, "onnx", tmp_path / "m.onnx", data=data, with_preprocessing=True)
    pixels = np.asarray(picture(16, 16, 3))
    _, (row,) = onnxruntime.InferenceSession(tmp_path / "m.onnx").run(None, {"pictures": pixels[None]})
    for answer in load(source).predict(pixels)[0]["predictions"]:
        assert row[answer["index"]] == pytest.approx(answer["probability"], abs=1e-5)


def test_a_grey_picture_goes_in_as_grey(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tiny_model(tmp_path / "m", channels=1)
    data = picture_folder(tmp_path / "data", {"ant": 4, "bee": 4, "cat": 4})
    found = residuum.export(source, "onnx", tmp_path / "m.onnx", data=data)
    picture(20, 40, 3).save(tmp_path / "picture.jpg", quality=95)
    expected = load(source).predict(tmp_path / "picture.jpg")[0]["predictions"][0]
    name, probability = said_by(script(found.card), tmp_path, monkeypatch)
    assert name == expected["class"]
    assert probability == pytest.approx(expected["probability"], abs=1e-4)


def test_a_temperature_divides_the_logits(tmp_path: Path) -> None:
    content = load(tiny_model(tmp_path / "m")).artifact
    warm = Model(replace(content, calibration={"temperature": 2.5}))
    residuum.export(warm, "onnx", tmp_path / "m.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    logits, probabilities = session.run(None, {"inputs": np.random.default_rng(0).random((4, 3, 16, 16), np.float32)})
    expected = torch.softmax(torch.from_numpy(logits).double() / 2.5, 1).numpy()
    assert np.abs(probabilities - expected).max() < 1e-6


@pytest.mark.parametrize("to", ["int8-onnx", "int8-openvino"])
def test_int8_keeps_the_accuracy_of_real_weights(to: str, realdata: Path, tmp_path: Path) -> None:
    """A published CIFAR ResNet-20, calibrated on half of 500 pictures and judged on the others."""
    names = realdata / "cifar10_lossless" / "label_names.txt"
    weights = realdata / "reference" / "resnet20-12fca82f.th"
    options = ("--model", "resnet20", "--classes-file", names, "--out", tmp_path / "m")
    assert run("import", weights, *options).code == 0
    data = lossless(realdata / "cifar10_lossless", names.read_text().split(), tmp_path / "data")
    found = residuum.export(tmp_path / "m", to, tmp_path / f"m{SUFFIXES[to]}", data=data)
    assert found.agreement.pictures == 250
    lost: Any = found.agreement.points_lost
    assert lost <= 0.5
    assert found.agreement.labels_equal >= 0.99


def lossless(source: Path, names: list[str], root: Path) -> Path:
    """500 lossless CIFAR pictures in class folders."""
    with np.load(source / "data_batch_2_first1017.npz") as batch:
        for number, (pixels, label) in enumerate(zip(batch["images"][:500], batch["labels"][:500], strict=True)):
            path = root / names[label] / f"{number:04d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    return root

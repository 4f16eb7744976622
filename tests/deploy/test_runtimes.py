"""Runtimes give the model's logits; auto takes the fastest that does, once, and bench shows them all."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from commands import refused, run
from residuum.deploy import choice
from residuum.deploy.choice import choose
from residuum.deploy.pictures import Sample, normalised
from residuum.deploy.runtimes import candidates, make_runtime, reference
from residuum.errors import UserError
from residuum.evaluation.runtime import Runtime
from residuum.inference import Model, load
from residuum.progress import Reporter
from samples import picture, tiny_model

QUIET = Reporter(quiet=True)


def sample(model: Model, count: int) -> Sample:
    """Views of real (smooth) pictures."""
    height, width = model.artifact.preprocessing.size
    views = np.stack([np.asarray(picture(height, width, i)) for i in range(count)])
    return Sample(views, None, f"{count} pictures")


def test_every_runtime_gives_the_models_logits(model: Model) -> None:
    inputs = normalised(model, sample(model, 7).views)
    expected = reference(model).logits(inputs)
    found = candidates(model)
    assert {"torch", "onnx", "openvino"} == {backend for backend, _ in found}
    for backend, precision in found:
        runtime = make_runtime(model, backend, precision)
        assert (runtime.backend, runtime.precision) == (backend, precision)
        tolerance = 1e-4 if precision == "float32" else 0.05
        for part in (inputs, inputs[:1], inputs[2:5]):
            logits = runtime.logits(part)
            assert (logits.dtype, logits.device.type) == (torch.float32, "cpu")
            assert (logits - reference(model).logits(part)).abs().max() <= tolerance * expected.abs().max()


@pytest.fixture
def race(model: Model, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two candidates: torch, and one that answers at once and wrongly; the list says which were made."""
    made: list[str] = []

    def make(model: Model, backend: str, precision: str) -> Runtime:
        made.append(backend)
        if backend == "torch":
            return make_runtime(model, backend, precision)

        def turned(inputs: Tensor) -> Tensor:
            return torch.eye(3)[torch.arange(len(inputs)) % 3] * 9

        return Runtime(backend, precision, turned)

    monkeypatch.setattr(choice, "candidates", lambda model, backend: [("hasty", "float32"), ("torch", "float32")])
    monkeypatch.setattr(choice, "make_runtime", make)
    monkeypatch.setattr("residuum.deploy.timing.SECONDS", 0.01)
    return made


def test_the_fastest_is_not_taken_where_it_disagrees(race: list[str], model: Model) -> None:
    assert choose(model, "auto", sample(model, 12), QUIET).backend == "torch"
    assert race == ["hasty", "torch"]


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("labels_changed", "probability_moved", "taken"),
    [(0, 0.0, True), (1, 0.0, True), (2, 0.0, False), (0, 0.015, True), (0, 0.025, False)],
)
def test_the_law_of_agreement_on_real_pictures(
    labels_changed: int, probability_moved: float, taken: bool, realdata: Path, monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:  # fmt: skip
    """Of 200 photos a runtime may give one another label (99.5%), and no probability may be off by more than 0.02.

    The other runtime answers at once, from memory, so it wins whenever it is allowed to.
    """
    held = np.load(next((realdata / "cifar10_lossless").glob("*.npz")))
    photos = next(held[key] for key in held.files if held[key].ndim == 4)[:200]
    plain = load(tiny_model(tmp_path / "m", size=32), "cpu")
    warmth = 4 * float(reference(plain).logits(normalised(plain, photos)).std())  # so that few answers are sure
    model = Model(replace(plain.artifact, calibration={"temperature": warmth}), "cpu")
    views = Sample(photos, None, "200 real pictures")
    inputs = normalised(model, photos)
    expected = reference(model).logits(inputs).double()
    probabilities = (expected / warmth).softmax(1)
    ahead = probabilities.topk(2).values
    for row in (ahead[:, 0] - ahead[:, 1]).argsort()[:labels_changed]:  # close calls: no probability moves far
        best = expected[row].topk(2).indices
        middle = expected[row, best].mean()
        expected[row, best[0]], expected[row, best[1]] = middle - 1e-4, middle + 1e-4
    if probability_moved:  # from the class of one picture, which stays its class, to the next
        row = (ahead[:, 0] - ahead[:, 1]).argmax()
        best = expected[row].topk(2).indices
        moved = probabilities[row].clone()
        moved[best] += torch.tensor([-probability_moved, probability_moved])
        expected[row] = moved.log() * warmth
    places = {float(one.double().sum()): place for place, one in enumerate(inputs)}
    assert len(places) == 200

    def make(model: Model, backend: str, precision: str) -> Runtime:
        if backend == "torch":
            return make_runtime(model, backend, precision)
        return Runtime(backend, precision, lambda x: expected[[places[float(i.double().sum())] for i in x]].float())

    monkeypatch.setattr(choice, "candidates", lambda model, backend: [("memory", "float32"), ("torch", "float32")])
    monkeypatch.setattr(choice, "make_runtime", make)
    monkeypatch.setattr("residuum.deploy.timing.SECONDS", 0.02)
    assert choose(model, "auto", views, QUIET).backend == ("memory" if taken else "torch")


def test_a_choice_is_remembered_until_many_more_pictures_are_given(race: list[str], model: Model, cache: Path) -> None:
    for count, expected in ((9, ["hasty", "torch"]), (9, ["torch"]), (3, ["torch"]), (30, ["hasty", "torch"])):
        race.clear()
        assert choose(model, "auto", sample(model, count), QUIET).backend == "torch"
        assert race == expected, count
    (kept,) = json.loads((cache / "residuum" / "backends.json").read_text()).values()
    assert (kept["backend"], kept["precision"], kept["pictures"]) == ("torch", "float32", 30)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"a": 1}', '{"a": {"backend": "torch"}}'])
def test_a_damaged_memory_is_made_anew(content: str, race: list[str], model: Model, cache: Path) -> None:
    path = cache / "residuum" / "backends.json"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    for expected in (["hasty", "torch"], ["torch"]):
        race.clear()
        choose(model, "auto", sample(model, 5), QUIET)
        assert race == expected


def test_a_place_where_nothing_can_be_remembered_is_no_hindrance(race: list[str], model: Model, cache: Path) -> None:
    cache.write_text("not a folder")
    assert choose(model, "auto", sample(model, 5), QUIET).backend == "torch"


def test_backends_that_are_not_to_be_had(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match='did you mean "onnx"'):
        candidates(model, "onxx")
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(UserError, match=r"residuum\[export\]"):
        candidates(model, "openvino")
    assert {backend for backend, _ in candidates(model)} == {"torch", "onnx"}


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("residuum.deploy.timing.SECONDS", 0.01)


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_evaluation_on_a_backend_says_so_and_counts_alike(backend: str, model_file: Path, folder: Path) -> None:
    plain = run("evaluate", model_file, folder, "--split", "all", "--json").json()
    outcome = run(
        "evaluate", model_file, folder, "--split", "all", "--protocol", "flip", "--backend", backend, "--json"
    )
    assert outcome.json()["protocol"]["backend"] == backend
    found = run("evaluate", model_file, folder, "--split", "all", "--backend", backend, "--json").json()
    where = ("backend", "precision")
    assert found["protocol"]["precision"] in ("float32", "bfloat16")
    assert {k: v for k, v in found["protocol"].items() if k not in where} == {
        k: v for k, v in plain["protocol"].items() if k not in where
    }
    assert (plain["protocol"]["backend"], plain["protocol"]["precision"]) == ("torch", "float32")
    assert abs(found["correct_top1"] - plain["correct_top1"]) <= 0.005 * found["images"]
    assert found["loss"] == pytest.approx(plain["loss"], abs=0.05)


@pytest.mark.usefixtures("hurried")
def test_prediction_on_the_fastest_backend(model_file: Path, folder: Path, cache: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_text("")
    pictures = [*sorted((folder / "ant").iterdir())[:5], tmp_path / "broken.png"]
    plain, found = (run("predict", model_file, *pictures, "--json", *more) for more in ((), ("--backend", "auto")))
    assert plain.code == found.code == 2, "the broken one is told"
    for one, other in zip(plain.json(), found.json(), strict=True):
        assert other["backend"] in ("torch", "onnx", "openvino")
        assert "backend" not in one
        assert one["image"] == other["image"]
        assert one["predictions"][0]["class"] == other["predictions"][0]["class"]
        assert one["predictions"][0]["probability"] == pytest.approx(other["predictions"][0]["probability"], abs=0.02)
    assert (cache / "residuum" / "backends.json").exists()
    again = run("predict", model_file, *pictures, "--json", "--backend", "auto")
    assert again.json() == found.json()
    assert "chosen before" in again.err


@pytest.mark.parametrize(
    "options",
    [("--protocol", "multi-scale"), ("--protocol", "fully-convolutional"), ("--crop", "12"), ("--ensemble", "other"),
     ("--robustness",)],
    ids=" ".join,
)  # fmt: skip
def test_what_a_backend_is_not_made_for(options: tuple[str, ...], model_file: Path, folder: Path) -> None:
    assert "leave" in refused("evaluate", model_file, folder, "--split", "all", "--backend", "torch", *options)


def test_bench_shows_every_runtime_at_every_batch_size(
    model_file: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("residuum.deploy.timing.SECONDS", 0.01)
    outcome = run("bench", model_file, "--batch-size", "1", "3", "--json")
    assert outcome.code == 0, outcome
    found = outcome.json()
    assert "val part" in found["pictures"]
    assert found["input"] == [3, 20, 16]
    for size in (1, 3):
        rows = [row for row in found["rows"] if row["batch_size"] == size]
        named = [(row["backend"], row["precision"]) for row in rows]
        assert named == [("torch", "float32"), *candidates(model)]
        assert rows[0]["ratio"] == 1
        assert all(row["slowest"] <= row["images_per_second"] <= row["fastest"] for row in rows)
        assert all(row["agrees"] for row in rows if row["precision"] == "float32")
    text = run("bench", model_file, "--batch-size", "2").out
    *table, told = text.partition("fastest that agrees: ")
    assert table[0].count("openvino float32") == 1
    assert "at 2 at a time" in told


@pytest.mark.parametrize("size", ["0", "-1", "5000"])
def test_bench_refuses_batches_that_make_no_sense(size: str, model_file: Path) -> None:
    assert "--batch-size" in refused("bench", model_file, "--batch-size", size)

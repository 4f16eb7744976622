"""Nothing is written that is not the model, or half, or over something, or for want of anything."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import residuum
from commands import refused, run
from residuum import artifact, files
from residuum.artifact import Artifact
from residuum.config import Part
from residuum.data.preprocessing import Preprocessing
from residuum.deploy import graph
from residuum.deploy.fold import folded
from residuum.deploy.pictures import gather
from residuum.errors import UserError
from residuum.inference import Model, load
from residuum.nets.network import make_network
from residuum.plan import Layer, make_plan
from residuum.progress import Reporter
from samples import picture_folder, tiny_model, tiny_network

QUIET = Reporter(quiet=True)


@pytest.fixture
def plain_model(tmp_path: Path) -> Path:
    """A model file without a training source, in a folder of its own."""
    (tmp_path / "model").mkdir()
    return tiny_model(tmp_path / "model" / "m.safetensors")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where nothing may be left behind."""
    (tmp_path / "place").mkdir()
    return tmp_path / "place"


# Bad input -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("to", "name", "said"),
    [
        ("onxx", "m.onnx", 'did you mean "onnx"?'),
        ("tflite", "m.tflite", "choose from"),
        ("onnx", "m.xml", "m.onnx"),
        ("openvino", "m", "m.xml"),
        ("torch", "m.onnx", "m.pt2"),
        ("int8-openvino", "m.bin", "m.xml"),
        ("onnx", "nowhere/m.onnx", "make it first"),
        ("int8-onnx", "m.onnx", "--data"),
    ],
)
def test_a_format_or_place_that_cannot_be(to: str, name: str, said: str, plain_model: Path, place: Path) -> None:
    assert said in refused("export", plain_model, "--to", to, "--out", place / name)
    assert not list(place.iterdir())


@pytest.mark.parametrize("taken", ["m.xml", "m.bin", "m.xml.md"])
def test_no_file_is_written_over(taken: str, plain_model: Path, place: Path) -> None:
    (place / taken).write_text("mine")
    assert "exists already" in refused("export", plain_model, "--to", "openvino", "--out", place / "m.xml")
    assert [(path.name, path.read_text()) for path in place.iterdir()] == [(taken, "mine")]


def test_what_is_no_model_file_or_no_fitting_data(plain_model: Path, place: Path, tmp_path: Path) -> None:
    out = ("--to", "onnx", "--out", place / "m.onnx")
    (tmp_path / "text").write_text("hello")
    assert "not a Residuum model file" in refused("export", tmp_path / "text", *out)
    data = picture_folder(tmp_path / "data", {"ant": 3, "wasp": 3})
    assert "wasp" in refused("export", plain_model, *out, "--data", data)
    assert "no folder" in refused("export", plain_model, *out, "--data", tmp_path / "none")
    assert "--min-agreement" in refused("export", plain_model, *out, "--min-agreement", "90")
    assert not list(place.iterdir())


@pytest.mark.parametrize(
    ("to", "lacking"), [("onnx", "onnxscript"), ("int8-openvino", "nncf"), ("openvino", "openvino")]
)
def test_a_library_that_is_not_installed(
    to: str, lacking: str, plain_model: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, lacking, None)
    out = place / ("m.onnx" if to == "onnx" else "m.xml")
    said = refused("export", plain_model, "--to", to, "--out", out)
    assert lacking in said
    assert 'pip install "residuum[export]"' in said


def test_networks_that_are_not_for_pictures(place: Path) -> None:
    spec = tiny_network(ndim=1, size=32).plan.spec
    view = Preprocessing((32, 32), 32, 3, (0.5,) * 3, (0.2,) * 3)
    series = Model(Artifact(spec, ("a", "b", "c"), view, make_network(make_plan(spec)).state_dict()), "cpu")
    with pytest.raises(UserError, match="ndim 1"):
        residuum.export(series, "onnx", place / "m.onnx")


@dataclass(frozen=True)
class Moody(Part):
    """An activation that looks at its values before it decides, which no tracer can follow."""

    def parameters(self, layer: Layer) -> int:
        return 0

    def module(self, layer: Layer) -> nn.Module:
        class Mood(nn.Module):
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return x.relu() if float(x.mean()) > 0 else x.sigmoid()

        return Mood()


def test_a_part_that_cannot_be_exported(place: Path, tmp_path: Path) -> None:
    network = tiny_network(activation=Moody())
    view = Preprocessing((16, 16), 16, 3, (0.5,) * 3, (0.2,) * 3)
    artifact.save(Artifact(network.plan.spec, ("a", "b", "c"), view, network.state_dict()), tmp_path / "m")
    with pytest.raises(UserError, match="cannot be exported") as refusal:
        residuum.export(load(tmp_path / "m", using=[Moody]), "torch", place / "m.pt2")
    assert "\n" not in str(refusal.value)
    assert not list(place.iterdir())


# Wrong answers, and interruptions ------------------------------------------------------------------------------


def test_a_file_that_disagrees_is_not_written(plain_model: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slightly_wrong(network: nn.Module) -> nn.Module:
        result: Any = folded(network)
        result.head.fc.weight.data *= 1.001
        return result

    monkeypatch.setattr(graph, "folded", slightly_wrong)
    assert "disagrees" in refused("export", plain_model, "--to", "onnx", "--out", place / "m.onnx")
    assert not list(place.iterdir())


def test_int8_that_keeps_too_few_labels_is_not_written_unless_allowed(
    plain_model: Path, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def turned(network: nn.Module) -> nn.Module:
        result: Any = folded(network)
        result.head.fc.weight.data = result.head.fc.weight.data.roll(1, 0)
        return result

    monkeypatch.setattr(graph, "folded", turned)
    data = picture_folder(tmp_path / "data", {"ant": 6, "bee": 6, "cat": 6})
    export = ("export", plain_model, "--to", "int8-onnx", "--out", place / "m.onnx", "--data", data)
    assert "--min-agreement" in refused(*export)
    assert not list(place.iterdir())
    outcome = run(*export, "--min-agreement", "0", "--json")
    assert outcome.code == 0, outcome
    assert outcome.json()["checked"]["labels_equal"] < 0.9


def test_a_failing_disk_leaves_nothing_half_written(
    plain_model: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = files.os.replace

    def full(source: Any, target: Any) -> None:
        if Path(target).suffix == ".xml":
            raise OSError(28, "No space left on device")
        whole(source, target)

    monkeypatch.setattr(files.os, "replace", full)
    assert "No space left" in refused("export", plain_model, "--to", "openvino", "--out", place / "m.xml")
    assert not list(place.iterdir())


# Which pictures ------------------------------------------------------------------------------------------------


def test_without_pictures_it_says_that_it_checked_on_synthetic_ones(
    plain_model: Path, model: Model, place: Path, tmp_path: Path
) -> None:
    outcome = run("export", plain_model, "--to", "torch", "--out", place / "m.pt2")
    assert outcome.code == 0, outcome
    assert "synthetic" in outcome.out
    assert "synthetic" in (place / "m.pt2.md").read_text()
    gone = {**model.artifact.training, "data": model.artifact.training["data"] | {"argument": str(tmp_path / "gone")}}
    moved = Model(replace(model.artifact, training=gone), "cpu")
    samples = gather(moved, None, False, QUIET)
    assert not samples.checked.real
    assert "gone" in samples.notes[0]


@pytest.mark.parametrize("parts", [(), ("train", "val"), ("train", "test")], ids=["one", "val", "test"])
def test_no_picture_is_both_calibrated_on_and_compared(
    parts: tuple[str, ...], plain_model: Path, tmp_path: Path
) -> None:
    for seed, part in enumerate(parts or ("",)):
        picture_folder(tmp_path / "data" / part, {"ant": 9, "bee": 8, "cat": 7}, seed=seed)
    samples = gather(load(plain_model), str(tmp_path / "data"), True, QUIET)
    assert samples.calibration is not None
    both = np.concatenate([samples.checked.views, samples.calibration.views])
    assert len(np.unique(both.reshape(len(both), -1), axis=0)) == len(both)
    assert len(samples.calibration) >= 12
    assert len(samples.checked) >= 12
    assert set(samples.checked.labels.tolist()) == {0, 1, 2}


# Privacy -------------------------------------------------------------------------------------------------------


def test_libraries_are_imported_without_their_telemetry(tmp_path: Path) -> None:
    code = (
        "import sys; from residuum.deploy.libraries import library; library('openvino', 'x'); library('nncf', 'x');"
        "print([name for name, module in sys.modules.items() if name.startswith('openvino_telemetry') and module])"
    )
    env = {"HOME": str(tmp_path), "PATH": ""}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")
    assert not (tmp_path / "intel").exists(), "where it keeps the number by which it knows a user"

"""One server for most tests: two models side by side, with training pictures to compare with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason='needs pip install "residuum[serve]"')

from service_process import Service, serving

import residuum
from residuum import artifact
from residuum.inference import Model
from samples import picture_folder, tiny_model

CLASSES = ("ant", "bee", "cat")


def undecided(path: Path) -> Path:
    """The model file with a classifier so weak that every picture gets probabilities of its own, none 0 or 1."""
    content = artifact.load(path)
    tensors = {name: tensor / 100 if name.startswith("head.") else tensor for name, tensor in content.tensors.items()}
    artifact.save(replace(content, tensors=tensors), path)
    return path


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return undecided(tiny_model(tmp_path_factory.mktemp("models") / "insects.safetensors", CLASSES))


@pytest.fixture(scope="session")
def grey_file(model_file: Path) -> Path:
    """A second model, of grey pictures of another size, in a run of its own."""
    folder = model_file.with_name("grey")
    folder.mkdir()
    return undecided(tiny_model(folder / "model.safetensors", CLASSES, size=8, channels=1))


@pytest.fixture(scope="session")
def model(model_file: Path) -> Model:
    return residuum.load(model_file)


@pytest.fixture(scope="session")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return picture_folder(tmp_path_factory.mktemp("examples"), dict.fromkeys(CLASSES, 6), sides=(16, 40))


@pytest.fixture(scope="session")
def service(model_file: Path, grey_file: Path, examples: Path) -> Iterator[Service]:
    with serving(model_file, grey_file, "--data", examples) as running:
        yield running

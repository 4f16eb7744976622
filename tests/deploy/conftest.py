"""A network that was trained, a little, on a folder of pictures, and the pictures."""

from __future__ import annotations

from pathlib import Path

import pytest

import commands
from residuum.inference import Model, load
from samples import picture_folder

CLASSES = {"ant": 24, "<b>bee|wasp": 24, "c*t": 24}
"""Names that a card must show as they are."""


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return picture_folder(tmp_path_factory.mktemp("deploy") / "insects", CLASSES, sides=(14, 30))


@pytest.fixture(scope="session")
def model_file(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained on the folder for thirty steps, at 20 x 16 pixels; 7 pictures are held out."""
    run = tmp_path_factory.mktemp("trained") / "run"
    options = ("--recipe", "debug", "--size", "20x16", "--out", run)
    outcome = commands.run("train", folder, *commands.TINY, *options)
    assert outcome.code == 0, outcome
    return run / "model.safetensors"


@pytest.fixture(scope="session")
def model(model_file: Path) -> Model:
    return load(model_file, "cpu")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"

"""What the tests of commands share: a folder of pictures, and one finished run on it and on digits."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from commands import TINY, refused, run
from samples import picture_folder

DEBUG = (*TINY, "--recipe", "debug", "--steps", "6")


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished debug run on digits."""
    folder = tmp_path_factory.mktemp("digits") / "run"
    outcome = run("train", "digits", *DEBUG, "--out", folder)
    assert outcome.code == 0, outcome
    return folder


@pytest.fixture(scope="session")
def model(digits_run: Path) -> Path:
    """The model file of a debug run on digits."""
    return digits_run / "model.safetensors"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve pictures each of ants and bees, to be spoilt."""
    return picture_folder(tmp_path / "data", {"ant": 12, "bee": 12})


@pytest.fixture
def refuses_data(tmp_path: Path) -> Callable[..., str]:
    """refuses_data(argument, *options): the sentence with which training on data is refused, leaving no run."""

    def check(data: object, *options: object) -> str:
        out = tmp_path / "refused"
        message = refused("train", data, *DEBUG, *options, "--out", out)
        assert not out.exists()
        return message

    return check


@pytest.fixture
def read_only() -> Iterator[Callable[[Path], None]]:
    """Makes a folder read-only until the test is over: by its mode, or for root by mounting it so."""
    undo: list[Callable[[], object]] = []

    def make(folder: Path) -> None:
        if os.geteuid() != 0:
            mode = folder.stat().st_mode
            folder.chmod(0o555)
            undo.append(lambda: folder.chmod(mode))
            return
        mounted = shutil.which("mount") and subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "ro,size=64k", "tmpfs", os.fspath(folder)], capture_output=True, check=False
        )
        if not mounted or mounted.returncode:
            pytest.skip("root may write anywhere, and nothing can be mounted here")
        undo.append(lambda: subprocess.run(["umount", os.fspath(folder)], check=True))

    yield make
    for step in undo:
        step()

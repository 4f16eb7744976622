"""Finished runs to compare with: small pictures in memory, and photos of many sizes decoded by two workers."""

from __future__ import annotations

import pytest

import commands
import samples
from runs import Case


@pytest.fixture(scope="session", params=["in memory", "photos"])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """Ten epochs with a checkpoint after each."""
    folder = tmp_path_factory.mktemp("case")
    if request.param == "photos":
        # larger than what is kept in memory, so that files are decoded again in each epoch
        samples.picture_folder(folder / "data", {"ant": 14, "bee": 14}, sides=(40, 200), suffix=".jpg")
        special = ("--size", "32", "--workers", "2")
    else:
        samples.picture_folder(folder / "data", {"ant": 20, "bee": 20, "cat": 16})
        special = ("--workers", "0")
    arguments = (
        str(folder / "data"), *commands.TINY, "--recipe", "fast", "--epochs", "10", "--batch-size", "8",
        "--seed", "5", *special,
    )  # fmt: skip
    case = Case(arguments, folder / "run")
    command = case.start(folder)
    assert command.wait() == 0, command.text()
    return case

"""A run that is killed and resumed ends as one that never was: weights and metrics, bit for bit."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest

import commands
from commands import Command, Death
from runs import Case, different_tensors, metrics, record

KILLED = -signal.SIGKILL


def resume(folder: Path, death: Death | None = None) -> Command:
    return commands.start(folder / "log", "train", "--resume", folder / "run", death=death)


def finish(case: Case, folder: Path) -> str:
    """Resume to the end, and hold the run against the uninterrupted one; returns everything that was printed."""
    command = resume(folder)
    assert command.wait() == 0, command.text()
    run = folder / "run"
    assert different_tensors(run, case.uninterrupted) == []
    assert metrics(run) == metrics(case.uninterrupted)
    assert [row["epoch"] for row in metrics(run)] == list(range(1, 11))
    assert record(run)["status"] == "finished"
    assert record(run)["all_results"] == record(case.uninterrupted)["all_results"]
    assert "Traceback" not in command.text()
    return command.text()


def training_began(run: Path, before: int = 0) -> bool:
    """Whether metrics.jsonl has been replaced, which is the first thing that training does."""
    path = run / "metrics.jsonl"
    return path.exists() and path.stat().st_ino != before


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_at_random_moments(case: Case, seed: int, tmp_path: Path) -> None:
    draws, run = random.Random(seed), tmp_path / "run"
    command, before, kills = case.start(tmp_path), 0, 0
    for _ in range(4):
        command.until(lambda before=before: training_began(run, before))
        before = (run / "metrics.jsonl").stat().st_ino
        time.sleep(draws.uniform(0.0, 0.5) * case.seconds)
        command.send(signal.SIGKILL)
        if command.wait() != KILLED:
            break
        kills += 1
        command = resume(tmp_path)
    command.wait()
    assert kills >= 2, "finished before it could be killed twice"
    finish(case, tmp_path)


@pytest.mark.parametrize("case", ["in memory"], indirect=True)
@pytest.mark.parametrize(
    ("death", "resumed_from"),
    [
        pytest.param(Death("replace", 1, after=True), None, id="as soon as there is a run"),
        pytest.param(Death("replace", 2), None, id="before training"),
        pytest.param(Death("replace", 3), None, id="first checkpoint written but not in place"),
        pytest.param(Death("replace", 3, after=True), 1, id="first checkpoint just in place"),
        pytest.param(Death("replace", 6), 3, id="fourth epoch told but its checkpoint not in place"),
        pytest.param(Death("replace", 12, after=True), 10, id="trained but not evaluated"),
        pytest.param(Death("replace", 13), 10, id="model file written but not in place"),
    ],
)
def test_killed_at_the_worst_moments(case: Case, death: Death, resumed_from: int | None, tmp_path: Path) -> None:
    assert case.start(tmp_path, death).wait() == KILLED
    assert record(tmp_path / "run")["status"] == "running"
    text = finish(case, tmp_path)
    step = metrics(case.uninterrupted)[resumed_from - 1]["step"] if resumed_from else None
    assert (f"going on after step {step} of" in text) if step else ("going on" not in text)

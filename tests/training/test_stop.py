"""Ctrl-C and SIGTERM finish the step, save and exit; the resumed run ends as one that never stopped."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

import commands
from runs import Case, different_tensors, metrics, record


@pytest.mark.parametrize(
    ("number", "code", "case"),
    [(signal.SIGTERM, 143, "in memory"), (signal.SIGINT, 130, "in memory"), (signal.SIGINT, 130, "photos")],
    indirect=["case"],
)
def test_stopped_and_resumed(case: Case, number: int, code: int, tmp_path: Path) -> None:
    run = tmp_path / "run"
    stopped = case.start(tmp_path)
    stopped.until(lambda: len(metrics(run)) >= 2 if (run / "metrics.jsonl").exists() else False)
    stopped.send(number)
    assert stopped.wait() == code
    assert "Traceback" not in stopped.text()
    last = stopped.text().splitlines()[-1]
    assert last.startswith("residuum: stopped after step ")
    assert f"residuum train --resume {run}" in last
    assert record(run)["status"] == "stopped"
    assert not (run / "model.safetensors").exists()

    resumed = commands.start(tmp_path / "log", "train", "--resume", run)
    assert resumed.wait() == 0, resumed.text()
    step = last.removeprefix("residuum: stopped after step ").partition(";")[0]
    assert f"going on after step {step} of" in resumed.text()
    assert different_tensors(run, case.uninterrupted) == []
    assert metrics(run) == metrics(case.uninterrupted)
    assert record(run)["status"] == "finished"


TWO_SIGNALS = """
import os, signal, sys
from residuum.training.stop import StopRequest
number, acted = int(sys.argv[1]), []
signal.signal(number, lambda *_: acted.append(number))
with StopRequest() as stop:
    assert stop.signal_number is None
    os.kill(os.getpid(), number)
    assert (stop.signal_number, acted) == (number, [])
    os.kill(os.getpid(), number)
    assert acted == [number]
os.kill(os.getpid(), number)
assert acted == [number, number]
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_noted_and_the_second_acts_as_ever(number: int) -> None:
    """In a process of its own: a signal that went astray would end the process that runs the tests."""
    done = subprocess.run(
        [sys.executable, "-c", TWO_SIGNALS, str(int(number))], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr

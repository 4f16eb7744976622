"""Progress on a terminal is a bar on stderr, in a plain log it is lines; stdout has neither."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from commands import TINY
from residuum.errors import UserError
from residuum.progress import Reporter, duration


def test_a_bar_on_a_terminal(tmp_path: Path) -> None:
    terminal, theirs = pty.openpty()
    seen: list[bytes] = []

    def listen() -> None:
        try:
            while chunk := os.read(terminal, 4096):
                seen.append(chunk)
        except OSError:  # the other side has closed
            return

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    arguments = [
        "train",
        "digits",
        *TINY,
        "--recipe",
        "debug",
        "--steps",
        "3",
        "--json",
        "--out",
        str(tmp_path / "run"),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "residuum", *arguments], stdout=subprocess.PIPE, stderr=theirs, check=False, timeout=300
    )
    os.close(theirs)
    listener.join(10)
    os.close(terminal)
    text = b"".join(seen).decode()
    assert done.returncode == 0, text
    assert json.loads(done.stdout)["status"] == "finished"
    assert "epoch 1" in text
    assert "training" in text
    assert "\x1b[" in text


def test_plain_lines_are_rare_and_tell_rate_and_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    with Reporter().track("training", "steps") as update:
        for step in range(1, 101):
            now += 0.5
            update(step, 200, "loss 1")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 5
    assert lines[0].startswith("training 20/200 steps, ")
    assert lines[-1] == "training 100/200 steps, 2.0/s, 51s left  loss 1"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (-3, "0s"), (59.4, "59s"), (59.6, "1m00s"), (185, "3m05s"), (3599.7, "1h00m"), (7620, "2h07m")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_log_holds_any_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Reporter(tmp_path / "log", quiet=True).say("left out a\nb\udcff \U0001f600")
    assert (tmp_path / "log").read_text(encoding="utf-8").count("\n") == 1
    assert capsys.readouterr().err == ""


def test_a_log_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    with pytest.raises(UserError, match="log: Is a directory"):
        Reporter(tmp_path / "log", quiet=True).say("x")

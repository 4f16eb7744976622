"""The command line in tests: run in this process, or as a process of its own that can be killed."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from residuum import cli

SLOW_IMPORTS = ["residuum.api", "residuum.cli.app", "torch._dynamo", "matplotlib.backends.backend_svg"]
TINY = ("--model", "resnet20", "--depth", "8")
"""The smallest network of the catalogue's families."""


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """The one JSON document on stdout; whatever stands around it is an error."""
        return json.loads(self.out)


def run(*arguments: object) -> Outcome:
    """`residuum ARGUMENTS` in this process, with streams as strict about text as the real ones."""
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace")
    with redirect_stdout(out), redirect_stderr(err):
        code = cli.run([os.fspath(a) if isinstance(a, Path) else str(a) for a in arguments])
        out.flush()
        err.flush()
    return Outcome(code, *(stream.buffer.getvalue().decode() for stream in (out, err)))  # type: ignore[attr-defined]


def refused(*arguments: object) -> str:
    """The sentence with which bad input is refused: exit code 2, one line, nothing on stdout, no traceback."""
    outcome = run(*arguments)
    assert outcome.code == 2, outcome
    assert outcome.out == ""
    return sentence(outcome)


def sentence(outcome: Outcome) -> str:
    """The last line on stderr, which must be the only one that the command itself signs."""
    assert "Traceback" not in outcome.err
    assert outcome.err.endswith("\n")
    *progress, last = outcome.err.removesuffix("\n").split("\n")
    assert last.startswith("residuum: "), outcome.err
    assert not [line for line in progress if line.startswith("residuum: ")]
    return last.removeprefix("residuum: ")


@dataclass(frozen=True)
class Death:
    """Kill -9 just before or after the nth call, counted from 1, of an os function whose arguments hold `at`."""

    function: str
    call: int
    after: bool = False
    at: str = ""


@dataclass
class Command:
    """`residuum ARGUMENTS` in a process of its own; both its streams go to the file `log`."""

    process: BaseProcess
    log: Path

    def wait(self, timeout: float = 300.0) -> int:
        """The exit code; minus the signal where one ended it."""
        self.process.join(timeout)
        assert self.process.exitcode is not None, f"still running after {timeout} s: {self.text()}"
        return self.process.exitcode

    def text(self) -> str:
        return self.log.read_text(errors="backslashreplace") if self.log.exists() else ""

    def send(self, number: int) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def until(self, happened: Callable[[], bool], timeout: float = 300.0) -> None:
        """Wait until something has happened; it must while the process is running."""
        end = time.monotonic() + timeout
        while not happened():
            assert self.process.is_alive(), f"ended with {self.process.exitcode}: {self.text()}"
            assert time.monotonic() < end, f"did not happen within {timeout} s: {self.text()}"
            time.sleep(0.002)


def start(log: Path, *arguments: object, death: Death | None = None) -> Command:
    """Start a command. A server that has imported everything forks it, which saves seconds for each."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(SLOW_IMPORTS)
    process = context.Process(target=_main, args=([str(a) for a in arguments], str(log), death), daemon=True)
    process.start()
    return Command(process, log)


def _main(arguments: list[str], log: str, death: Death | None) -> None:
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if death is not None:
        _arm(death)
    sys.exit(cli.run(arguments))


def _arm(death: Death) -> None:
    original, calls = getattr(os, death.function), 0

    def counted(*args: Any, **named: Any) -> Any:
        nonlocal calls
        if death.at not in " ".join(map(str, args)):
            return original(*args, **named)
        calls += 1
        if calls == death.call and not death.after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*args, **named)
        if calls == death.call:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(os, death.function, counted)

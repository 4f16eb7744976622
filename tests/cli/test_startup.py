"""Help and the catalogue answer at once: they import no torch. As real processes, installed or by `-m`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROBE = """
import sys
from residuum.cli import run
code = run(sys.argv[1:])
loaded = sorted({name.partition(".")[0] for name in sys.modules})
print(code, *[name for name in ("torch", "numpy", "sklearn", "matplotlib", "PIL") if name in loaded], file=sys.stderr)
"""


COMMANDS = (
    "train", "evaluate", "predict", "models", "import", "check", "compare", "study", "tune", "explain", "export",
    "bench", "serve", "shard",
)  # fmt: skip


def python(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, timeout=300, env=env
    )


@pytest.mark.parametrize(
    "arguments",
    [["--help"], [], ["--version"], ["train", "--help"], ["import", "--help"], ["models"], ["models", "--json"],
     ["models", "resnet50"], ["models", "resnet21"], ["trian"]],
    ids=" ".join,
)  # fmt: skip
def test_no_torch(arguments: list[str]) -> None:
    code, *loaded = python("-c", PROBE, *arguments).stderr.splitlines()[-1].split()
    assert code == ("2" if arguments in (["models", "resnet21"], ["trian"]) else "0")
    assert loaded == []


def test_help_names_every_command_and_every_option_has_a_line() -> None:
    text = python("-m", "residuum", "--help").stdout
    assert all(command in text for command in COMMANDS)
    text = python("-m", "residuum", "train", "--help").stdout
    for option in ("--model", "--recipe", "--out", "--resume", "--epochs", "--steps", "--batch-size", "--lr", "--seed",
                   "--set", "--device", "--val", "--workers", "--json", "--shortcut", "--stride-in"):  # fmt: skip
        assert option in text


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_what_every_option_is_for(command: str) -> None:
    text = python("-m", "residuum", command, "--help", env=os.environ | {"COLUMNS": "500"}).stdout
    rows = [line.strip("│ *").split("  ") for line in text.splitlines() if line.startswith("│")]
    assert len(rows) >= 3
    for option, *words in rows:
        said = " ".join(words).strip()
        assert said, option
        assert not said.startswith("["), option  # not only [required] or [default: ...]


def test_exit_codes_reach_the_shell() -> None:
    assert python("-m", "residuum", "models", "resnet20").returncode == 0
    bad = python("-m", "residuum", "models", "resnet21")
    assert bad.returncode == 2
    assert bad.stdout == ""
    assert bad.stderr == 'residuum: unknown model "resnet21"; did you mean "resnet20"?\n'


def test_a_reader_that_leaves_early_is_no_error() -> None:
    command = f"'{sys.executable}' -m residuum models resnet152 --json | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True, timeout=300)
    assert done.stderr == ""
    assert done.stdout.splitlines()[0] == "{"
    assert done.stdout.splitlines()[1] in ("0", "141")


def test_a_terminal_that_knows_only_ascii(tmp_path: Path) -> None:
    done = python("-m", "residuum", "models", "caf\u00e9 \U0001f600", env={"LC_ALL": "C", "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 2
    assert done.stderr.startswith("residuum: unknown model")

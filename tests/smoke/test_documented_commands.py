"""Every command of README, guide and catalogue runs, but for placeholders word for word, and so does `make demo`'s."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import residuum

PROJECT = Path(__file__).resolve().parents[2]
PLACEHOLDERS = {
    "train DATA --model NAME --recipe NAME --out RUN": "train digits --model resnet20 --recipe debug --out debug",
    "RUN/model.safetensors DATA": "runs/leaves/model.safetensors leaves",
    "RUN/": "runs/leaves/",
}
MAKE = re.compile(r"make (demo|test|check)\b|\.ci/run")
"""Commands that set up an environment: CI runs them, or their parts run below."""


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of a page, placeholders filled in."""
    found = re.findall(rf"```{language}\n(.*?)```", (PROJECT / page).read_text(), flags=re.DOTALL)
    for placeholder, value in PLACEHOLDERS.items():
        found = [block.replace(placeholder, value) for block in found]
    return found


def commands(page: str) -> list[str]:
    lines = [line.partition(" #")[0].strip() for block in blocks(page, "sh") for line in block.splitlines()]
    return [line for line in lines if line and not MAKE.match(line)]


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a line as a person's shell would, `residuum` and `torchrun` being those of the environment under test."""
    programs = {"residuum": "residuum", "torchrun": "torch.distributed.run"}
    script = "".join(f'{name}() {{ "{sys.executable}" -m {module} "$@"; }}\n' for name, module in programs.items())
    script += command
    done = subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr[-2000:]}"
    return done


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the pictures and files that the pages speak of."""
    folder = tmp_path_factory.mktemp("documented")
    random = np.random.default_rng(0)
    for name, level in (("healthy", 60), ("rust", 180)):
        (folder / "leaves" / name).mkdir(parents=True)
        for number in range(30):
            pixels = np.clip(random.normal(level, 40, (16, 16, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "leaves" / name / f"{number}.png")
    leaf = Image.fromarray(np.full((20, 30, 3), 60, np.uint8))
    for path in ("new-leaf.jpg", "picture.jpg", "folder/a.jpg", "more/b.png"):
        (folder / path).parent.mkdir(exist_ok=True)
        leaf.save(folder / path)
    torch.save(residuum.build("resnet50", stride_in="3x3").state_dict(), folder / "weights.pth")
    (folder / "costs.csv").write_text("true,healthy,rust\nhealthy,0,1\nrust,10,0\n")
    (folder / "names.txt").write_text("\n".join(f"class {i}" for i in range(1000)))
    return folder


PAGES = {
    "README.md": 9, "docs/guide.md": 4, "docs/catalogue.md": 1, "docs/protocols.md": 6, "docs/explain.md": 3,
    "docs/deploy.md": 7, "docs/studies.md": 2, "docs/trust.md": 4, "docs/tuning.md": 2,
    "docs/finetune.md": 6, "docs/shards.md": 5, "docs/many-machines.md": 2,
}  # fmt: skip
"""Pages and the commands they have at least; those of docs/serve.md run in tests/serve."""
TRAINED = "residuum train leaves --out runs/leaves"
"""What README.md trains, and other pages use."""


def served(command: str, folder: Path) -> None:
    """`residuum serve` until it says where its page is; then SIGTERM, after which it ends by itself."""
    process = subprocess.Popen(
        [sys.executable, "-m", *shlex.split(command), "--port", "0"], cwd=folder, text=True, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    said = "".join(process.stdout.readline() for _ in range(2))
    process.send_signal(signal.SIGTERM)
    assert "http://127.0.0.1:" in said
    assert process.wait(60) == 0


@pytest.mark.parametrize(("page", "least"), PAGES.items())
def test_commands_and_python_of_a_page_run(page: str, least: int, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(place / "cache"))
    if page != "README.md" and not (place / "runs/leaves/model.safetensors").exists():
        shell(TRAINED, place)
    run = commands(page)
    assert len(run) >= least
    assert page != "README.md" or TRAINED in run
    for command in run:
        assert command.startswith(("residuum ", "torchrun ")), f"{command} is not known"
        if command.startswith("residuum serve "):
            served(command, place)
        else:
            shell(command, place)
    for block in blocks(page, "python"):
        done = subprocess.run([sys.executable, "-c", block], cwd=place, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_the_demo_learns_digits(tmp_path: Path) -> None:
    recipe = subprocess.run(["make", "-n", "demo"], cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    lines = [line.replace(".venv/bin/", "") for line in recipe.splitlines() if line.startswith(".venv/bin/residuum")]
    assert [line.split()[1] for line in lines] == ["train", "evaluate", "predict"]
    (tmp_path / "examples").symlink_to(PROJECT / "examples")
    for line in lines:
        done = shell(line, tmp_path)
    assert done.stdout.startswith("examples/digit.png: 0 ")
    results = json.loads((tmp_path / "demo" / "run.json").read_text())["results"]
    assert results["protocol"]["split"] == "test"
    assert results["top1_error"] <= 2.0


def test_the_example_picture_is_a_held_out_digit() -> None:
    from residuum.data.sources import open_data

    manifest = open_data("digits")
    first = int(manifest.part("test")[0])
    example = np.asarray(Image.open(PROJECT / "examples" / "digit.png"))
    assert (example == manifest.pictures.read(first, 1)[..., 0]).all()
    assert manifest.classes[manifest.labels[first]] == "0"

"""What tests read from run directories."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

import commands


def record(run: Path) -> dict[str, Any]:
    """run.json."""
    return json.loads((run / "run.json").read_text())


def metrics(run: Path) -> list[dict[str, Any]]:
    """metrics.jsonl without what the clock decides."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key not in ("seconds", "images_per_second")} for row in rows]


def different_tensors(one: Path, other: Path) -> list[str]:
    """Names of the tensors in which two runs' model files are not equal, bit for bit."""
    a, b = load_file(one / "model.safetensors"), load_file(other / "model.safetensors")
    assert a.keys() == b.keys()
    return [name for name in a if not torch.equal(a[name], b[name])]


@dataclass(frozen=True)
class Case:
    """A training, and the run it makes when nothing interrupts it."""

    arguments: tuple[str, ...]
    uninterrupted: Path

    def start(self, folder: Path, death: commands.Death | None = None) -> commands.Command:
        """Begin it again in a folder of its own."""
        return commands.start(folder / "log", "train", *self.arguments, "--out", folder / "run", death=death)

    @property
    def seconds(self) -> float:
        return record(self.uninterrupted)["time"]["seconds"]

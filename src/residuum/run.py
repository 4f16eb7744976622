"""The run directory: run.json, metrics.jsonl, checkpoints/, model.safetensors, report.html, plots/."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from residuum.errors import UserError, shown
from residuum.files import make_folder, write_atomic, write_json

RECORDED = {"name", "status", "spec", "recipe", "length", "data", "seed", "workers", "deterministic", "environment"} | {
    "pieces", "lanes",
}  # fmt: skip
"""What run.json holds from the beginning on."""


@dataclass(frozen=True)
class Run:
    """A folder that one training writes; of several processes one `writes`, the others read."""

    folder: Path
    writes: bool = True

    @property
    def model(self) -> Path:
        return self.folder / "model.safetensors"

    @property
    def report(self) -> Path:
        return self.folder / "report.html"

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoints" / "last.safetensors"

    @property
    def best(self) -> Path:
        """The weights of the epoch with the lowest validation loss, where that decides which are kept."""
        return self.folder / "checkpoints" / "best.safetensors"

    @property
    def start(self) -> Path:
        """The network that fine-tuning begins with, as a model file, until the run is finished."""
        return self.folder / "start.safetensors"

    @property
    def log(self) -> Path:
        return self.folder / "train.log"

    @classmethod
    def create(cls, folder: Path, facts: dict[str, Any]) -> Run:
        """A new run; a folder that already holds one is never written over."""
        run = cls(folder)
        if (folder / "run.json").exists():
            raise UserError(
                f"{shown(folder)} already holds a run; go on with `residuum train --resume {shown(folder)}`, "
                f"or choose another --out"
            )
        make_folder(folder)
        if any((folder / name).exists() for name in ("model.safetensors", "metrics.jsonl", "checkpoints")):
            raise UserError(f"{shown(folder)} holds files of another run; choose another --out")
        # run.json first: a run killed here can still be resumed
        run.write(facts)
        make_folder(run.checkpoint.parent)
        return run

    @classmethod
    def open(cls, folder: Path, writes: bool = True) -> Run:
        """An existing run, to be resumed or read."""
        if not (folder / "run.json").is_file():
            raise UserError(f"{shown(folder)} holds no run (no run.json); give the --out folder of a training")
        run = cls(folder, writes)
        if not writes:
            return run
        make_folder(run.checkpoint.parent)
        for half_written in run.checkpoint.parent.glob(".*.safetensors.*"):
            half_written.unlink(missing_ok=True)  # left by a kill in the middle of saving
        return run

    def read(self) -> dict[str, Any]:
        """run.json."""
        path = self.folder / "run.json"
        try:
            facts = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise UserError(f"{shown(path)} cannot be read: {error}") from None
        if not isinstance(facts, dict) or not facts.keys() >= RECORDED:
            raise UserError(f"{shown(path)} is not the record of a run; give the --out folder of a training")
        return facts

    def write(self, facts: dict[str, Any]) -> None:
        if self.writes:
            write_json(self.folder / "run.json", facts)

    def history(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl, one per epoch; a line cut off by a crash is left out."""
        path = self.folder / "metrics.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        found = []
        for line in lines:
            try:
                found.append(json.loads(line))
            except ValueError:
                break
        return found

    def append(self, row: dict[str, Any]) -> None:
        """Add one line to metrics.jsonl."""
        if not self.writes:
            return
        path = self.folder / "metrics.jsonl"
        try:
            with path.open("a") as file:
                file.write(json.dumps(row) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise UserError(f"cannot write {shown(path)}: {error.strerror or error}; make room and resume") from None

    def forget_after(self, step: int) -> None:
        """Drop the metrics of epochs that ended after `step`: the resumed run writes them again."""
        if not self.writes:
            return
        kept = [row for row in self.history() if row["step"] <= step]
        write_atomic(self.folder / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in kept))

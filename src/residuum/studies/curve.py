"""Curve: training loss and error of every step, one line each, that a resumed run continues without a gap."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from residuum.files import write_atomic

POINTS = 100
"""Windows over which a record averages a run's steps."""


@dataclass
class Curve:
    """A watch (training/loop.py) that writes `file`."""

    file: Path

    def rewind(self, step: int) -> None:
        kept = self._lines()[:step]
        write_atomic(self.file, "".join(line + "\n" for line in kept))

    def after_backward(self, step: int, network: nn.Module, loss: float, error: float) -> None:
        with self.file.open("a") as file:
            file.write(json.dumps([step, loss, error]) + "\n")

    def after_epoch(self, row: dict[str, Any]) -> None:
        """Nothing: epochs are in metrics.jsonl."""

    def _lines(self) -> list[str]:
        return self.file.read_text().splitlines() if self.file.exists() else []

    def points(self) -> list[dict[str, Any]]:
        """At most `POINTS` points: step (the window's last), mean training loss (nats) and error (percent) in it."""
        rows = [json.loads(line) for line in self._lines()]
        window = max(1, len(rows) // POINTS)
        found = []
        for end in range(window, len(rows) + 1, window):
            inside = rows[end - window : end]
            found.append(
                {
                    "step": inside[-1][0],
                    "train_loss": round(sum(row[1] for row in inside) / window, 5),
                    "train_error": round(sum(row[2] for row in inside) / window, 4),
                }
            )
        return found

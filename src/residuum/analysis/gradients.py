"""Gradient flow: the size of the gradient that reaches each layer (He et al. 2015, section 4.1)."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from residuum.analysis.responses import weighted_layers
from residuum.files import write_atomic
from residuum.nets.network import Network


@dataclass(frozen=True)
class Gradient:
    """The Euclidean norm of the loss's gradient with respect to a convolution's weights."""

    layer: str
    norm: float


def gradient_norms(network: Network) -> list[Gradient]:
    """The gradients that are there after a backward pass, in the order of the forward pass; None counts as 0."""
    found = []
    for name, _ in weighted_layers(network.plan):
        gradient = network.get_submodule(name).weight.grad
        norm = 0.0 if gradient is None else float(torch.linalg.vector_norm(gradient.double()))
        found.append(Gradient(name, norm))
    return found


@dataclass
class GradientWatch:
    """Looks on at training (training/loop.py) and writes the norms of the steps `at` to `file`, one line each."""

    file: Path
    at: Collection[int]

    def rewind(self, step: int) -> None:
        kept = [row for row in self.rows() if row["step"] <= step]
        write_atomic(self.file, "".join(json.dumps(row) + "\n" for row in kept))

    def after_backward(self, step: int, network: nn.Module, loss: float, error: float) -> None:
        if step in self.at and isinstance(network, Network):
            norms = {gradient.layer: gradient.norm for gradient in gradient_norms(network)}
            with self.file.open("a") as file:
                file.write(json.dumps({"step": step, "loss": loss, "norms": norms}) + "\n")

    def after_epoch(self, row: dict[str, Any]) -> None:
        """Nothing: gradients are of steps."""

    def rows(self) -> list[dict[str, Any]]:
        """What was written: {"step", "loss", "norms": {layer: norm}}."""
        return [json.loads(line) for line in self.file.read_text().splitlines()] if self.file.exists() else []

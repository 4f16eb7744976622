"""A trainer put together by hand, on the embedded digits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from residuum.data.augment import Augment
from residuum.data.batches import Batch, TrainBatches
from residuum.data.manifest import Manifest
from residuum.data.preprocessing import Preprocessing
from residuum.data.sources import open_data
from residuum.progress import Reporter
from residuum.run import Run
from residuum.training.loop import Trainer
from residuum.training.recipe import SGD, Length, OneCycle, Recipe
from samples import tiny_network

VIEW = Preprocessing((8, 8), 8, 1, (0.3,), (0.4,))


@cache
def digits() -> Manifest:
    return open_data("digits")


def recipe(steps: int, **changed: Any) -> Recipe:
    """Everything that the optimizer can do at once: Nesterov, decay, smoothing, a rate that changes."""
    values: dict[str, Any] = {
        "name": "hand",
        "steps": steps,
        "batch_size": 16,
        "optimizer": SGD(0.1, 0.9, nesterov=True, weight_decay=1e-3, decay_norms_and_biases=False),
        "schedule": OneCycle(warmup=0.4),
        "label_smoothing": 0.1,
        "precision": "float32",
    }
    return Recipe(**values | changed)


def stream(seed: int = 0, batch_size: int = 16) -> TrainBatches:
    return TrainBatches(digits(), preprocessing=VIEW, augment=Augment(crop_padding=1), batch_size=batch_size, seed=seed)


def network() -> nn.Module:
    """The same weights each time."""
    return tiny_network(channels=1, size=8, classes=10)


@dataclass
class Changed:
    """A stream whose batches go through a function of the step and the batch."""

    inner: TrainBatches
    change: Callable[[int, Batch], Batch]

    def from_step(self, step: int) -> Iterator[Batch]:
        return (self.change(at, batch) for at, batch in enumerate(self.inner.from_step(step), start=step))


def trainer(folder: Path, of: Recipe, *, images: int = 40, **changed: Any) -> Trainer:
    """Epochs of `images` pictures; nothing is held out."""
    folder.mkdir(parents=True, exist_ok=True)
    run = Run.create(folder, {}) if not (folder / "run.json").exists() else Run.open(folder)
    assert of.steps is not None
    values: dict[str, Any] = {
        "network": network(),
        "recipe": of,
        "length": Length(images, of.batch_size, of.steps),
        "batches": stream(batch_size=of.batch_size),
        "validate": None,
        "name_of": digits().names.__getitem__,
        "run": run,
        "reporter": Reporter(quiet=True),
        "device": torch.device("cpu"),
        "precision": torch.float32,
    }
    return Trainer(**values | changed)


def state(of: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in of.state_dict().items()}


def different(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> list[str]:
    """Names of tensors that are not equal, bit for bit."""
    assert one.keys() == other.keys()
    return [name for name in one if not torch.equal(one[name], other[name])]

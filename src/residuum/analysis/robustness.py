"""Robustness: the error on the same pictures made worse - noise, blur, weather, rotation, JPEG, attacks.

Every figure is a number of its own with its own protocol: that of the centre view, and what was done to the view.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from residuum.analysis.attacks import STRENGTHS, OnPixels, attacks
from residuum.analysis.corruptions import CORRUPTIONS, SEVERITIES, corrupt, jpeg, rotated
from residuum.config import to_dict
from residuum.data.manifest import Manifest
from residuum.data.preprocessing import view
from residuum.data.random import permutation
from residuum.data.tensors import Normaliser
from residuum.evaluation.evaluate import logits_of
from residuum.evaluation.protocols import choose_protocol, record
from residuum.inference import Model
from residuum.progress import Update

PICTURES = 1000
"""Pictures that are taken at most, chosen by the seed."""
BATCH = 100
DEGREES = (5, 10, 15, 20, 30)
QUALITIES = (90, 70, 50, 30, 10)

Change = Callable[[np.ndarray, int], np.ndarray]
"""(uint8 (H, W, C), place of the picture) -> the changed picture."""


@dataclass(frozen=True)
class Stress:
    """The error under one change: percent of the pictures, and the protocol it was made under."""

    name: str
    severity: int
    strength: str
    images: int
    correct_top1: int
    protocol: dict[str, Any]

    @property
    def top1_error(self) -> float:
        return 100 * (self.images - self.correct_top1) / self.images

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name, "severity": self.severity, "strength": self.strength, "images": self.images,
            "correct_top1": self.correct_top1, "top1_error": self.top1_error, "protocol": self.protocol,
        }  # fmt: skip


def robustness(
    model: Model, manifest: Manifest, part: str | None, seed: int = 0, progress: Update | None = None
) -> list[Stress]:
    """The unchanged pictures first (severity 0), then every change at every severity."""
    indices = manifest.part(part) if part else np.arange(len(manifest))
    if len(indices) > PICTURES:
        indices = np.sort(indices[permutation(seed, 0, len(indices))[:PICTURES]])
    preprocessing = model.artifact.preprocessing
    seen = [view(manifest.pictures.read(int(i), preprocessing.channels), preprocessing) for i in indices]
    labels = model.labels(manifest)[indices]
    base = to_dict(record(choose_protocol("center", preprocessing), manifest, part or "all", model.temperature))
    work = list(_changes(seed))
    found = []

    def note(name: str, severity: int, strength: str, right: int) -> None:
        change = {"name": name, "severity": severity, "strength": strength, "seed": seed, "pictures": len(indices)}
        found.append(Stress(name, severity, strength, len(indices), right, base | {"change": change}))
        if progress:
            progress(len(found), len(work) + 2 * len(STRENGTHS))

    normalise = Normaliser(preprocessing, model.mean_picture)
    for name, severity, strength, change in work:
        right = 0
        for start in range(0, len(seen), BATCH):
            cut = range(start, min(start + BATCH, len(seen)))
            pixels = np.stack([change(seen[i], int(indices[i])) for i in cut])
            logits = logits_of(model.network, normalise(pixels).permute(0, 3, 1, 2)).numpy()
            right += int((logits.argmax(1) == labels[start : start + BATCH]).sum())
        note(name, severity, strength, right)
    for name, severity, eps, right in _attacked(model, seen, labels):
        note(name, severity, f"eps {round(255 * eps)}/255", right)
    return found


def _changes(seed: int) -> Iterator[tuple[str, int, str, Change]]:
    yield "none", 0, "", lambda picture, index: picture
    for name in CORRUPTIONS:
        for severity in SEVERITIES:
            yield name, severity, f"severity {severity}", partial(_corrupted, name=name, severity=severity, seed=seed)
    for severity, degrees in enumerate(DEGREES, start=1):
        yield "rotation", severity, f"{degrees} degrees", partial(_rotated, degrees=degrees)
    for severity, quality in enumerate(QUALITIES, start=1):
        yield "jpeg-quality", severity, f"quality {quality}", partial(_recompressed, quality=quality)


def _corrupted(picture: np.ndarray, index: int, *, name: str, severity: int, seed: int) -> np.ndarray:
    return corrupt(picture, name, severity, seed, index)


def _rotated(picture: np.ndarray, index: int, *, degrees: float) -> np.ndarray:
    """Every second picture the other way round."""
    return rotated(picture, degrees if index % 2 else -degrees)


def _recompressed(picture: np.ndarray, index: int, *, quality: int) -> np.ndarray:
    return jpeg(picture, quality)


def _attacked(model: Model, seen: list[np.ndarray], labels: np.ndarray) -> Iterator[tuple[str, int, float, int]]:
    """(attack, severity, eps, pictures still right)."""
    preprocessing = model.artifact.preprocessing
    device = next(model.network.parameters()).device
    mean = torch.tensor(preprocessing.mean)[:, None, None]
    if model.mean_picture is not None:
        mean = torch.from_numpy(model.mean_picture)
    std = torch.tensor(preprocessing.std)[:, None, None]
    network = OnPixels(model.network.eval(), mean.to(device), std.to(device))
    targets = torch.from_numpy(labels).to(device)
    for name, attack in attacks(network).items():
        for severity, eps in enumerate(STRENGTHS, start=1):
            right = 0
            for start in range(0, len(seen), BATCH):
                pixels = torch.from_numpy(np.stack(seen[start : start + BATCH])).permute(0, 3, 1, 2).float() / 255
                truth = targets[start : start + BATCH]
                worst = attack(pixels.to(device), truth, eps)
                with torch.inference_mode():
                    right += int((network(worst).argmax(1) == truth).sum())
            yield name, severity, eps, right

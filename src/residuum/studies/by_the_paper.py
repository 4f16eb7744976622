"""What the studies that train by the paper's recipe share: a run, its errors in a table, its curves in a figure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from residuum.studies.figures import Line, Tone
from residuum.studies.findings import held_out_error, mean_and_spread, training_error
from residuum.studies.trial import Trial
from residuum.wishes import Wishes

Record = dict[str, Any]


def wishes(
    axes: Mapping[str, Any], steps: int, seed: int, settings: Sequence[str], val: float | None, model: str = "resnet20"
) -> Wishes:
    """A network of the paper's CIFAR family, changed by `axes`, under recipe paper-cifar."""
    return Wishes(model=model, axes=axes, recipe="paper-cifar", steps=steps, seed=seed, val=val, settings=settings)


def grouped(trials: Iterable[Trial], records: Iterable[dict[str, Any]], *tags: str) -> dict[Any, list[dict[str, Any]]]:
    """The records of all seeds, by the value of a tag of their trials, or by a tuple of several."""
    groups: dict[Any, list[dict[str, Any]]] = {}
    for trial, record in zip(trials, records, strict=True):
        values = tuple(trial.tags[tag] for tag in tags)
        groups.setdefault(values if len(tags) > 1 else values[0], []).append(record)
    return groups


def training_errors(group: Sequence[Record]) -> list[float]:
    """Of the runs that did not diverge."""
    return [error for error in map(training_error, group) if error is not None]


def held_out_errors(group: Sequence[Record]) -> list[float]:
    """Of the runs that did not diverge."""
    return [error for error in map(held_out_error, group) if error is not None]


def errors_in_words(group: Sequence[Record]) -> tuple[str, str]:
    """Training and validation error over seeds, for a table; diverged runs are counted out loud."""
    diverged = sum(record["status"] == "diverged" for record in group)
    note = f" ({diverged} of {len(group)} diverged)" if diverged else ""
    return mean_and_spread(training_errors(group)) + note, mean_and_spread(held_out_errors(group))


def training_line(record: Record, label: str, tone: Tone, strength: float) -> Line:
    """Training error by step."""
    points = record["curve"]
    return Line(label, [p["step"] for p in points], [p["train_error"] for p in points], tone, strength, thin=True)


def validation_line(record: Record, label: str, tone: Tone, strength: float) -> Line:
    """Validation error by step, once an epoch."""
    rows = record["history"]
    return Line(label, [r["step"] for r in rows], [r["val_top1_error"] for r in rows], tone, strength)

"""What is compared: an entry for each run, model file or evaluation, and the results it has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from residuum.config import from_dict
from residuum.errors import shown

Kind = Literal["run", "model", "evaluation"]
Status = Literal["finished", "running", "stopped", "diverged", "failed", "damaged", "unreadable"]
PREFERRED = ("test", "val")
"""Of several results of one entry, the split that is quoted."""


@dataclass(frozen=True)
class Result:
    """The figures of one evaluation and its protocol, as `Evaluation.summary` writes them."""

    protocol: dict[str, Any]
    images: Annotated[int, Field(gt=0)]
    correct_top1: Annotated[int, Field(ge=0)]
    top5_error: float | None = None
    loss: float | None = None
    calibration_error: float | None = None
    __pydantic_config__ = {"extra": "ignore", "allow_inf_nan": False}  # noqa: RUF012 - read by pydantic

    def __post_init__(self) -> None:
        if self.correct_top1 > self.images:
            raise ValueError(f"{self.correct_top1} of {self.images} pictures cannot be right")

    @property
    def wrong(self) -> int:
        return self.images - self.correct_top1

    @property
    def error(self) -> float:
        """Top-1 error in percent."""
        return 100 * self.wrong / self.images

    @property
    def split(self) -> str:
        return str(self.protocol.get("split"))


@dataclass(frozen=True)
class Entry:
    """One run, model file or evaluation with what it has; None and empty where it lacks something.

    problem              why it is not whole, or when a running one last wrote
    epochs, steps        gone through so far; `planned_` to the end
    seconds              of training, validation excluded
    images_per_second    training pictures over training time
    held_out             pictures of the validation part
    settings             everything it was made with but the seed: dotted field name to JSON value
    results              the preferred split first
    history              the rows of metrics.jsonl
    """

    source: Path
    kind: Kind
    status: Status
    name: str
    problem: str | None = None
    task: str | None = None
    classes: tuple[str, ...] | None = None
    parameters: int | None = None
    macs: int | None = None
    epochs: float | None = None
    planned_epochs: float | None = None
    steps: int | None = None
    planned_steps: int | None = None
    seconds: float | None = None
    images_per_second: float | None = None
    seed: int | None = None
    held_out: int | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    results: tuple[Result, ...] = ()
    history: tuple[dict[str, Any], ...] = ()

    @property
    def question(self) -> tuple[str | None, tuple[str, ...] | None]:
        """What the network is asked: the task, and the classes it chooses from. Errors of other questions say nothing
        about each other."""
        return self.task, self.classes and tuple(sorted(self.classes))


def read_results(documents: Iterable[Any], where: str) -> tuple[Result, ...]:
    """Results from their JSON, the preferred split first; UserError where one is not a summary."""
    results = [from_dict(Result, document, where) for document in documents]
    return tuple(sorted(results, key=lambda result: (*PREFERRED, result.split).index(result.split)))


def labels(entries: Sequence[Entry]) -> list[str]:
    """A name for each entry that no other has: with as much of its path as that takes where names are shared."""
    return [_label(entry, [other for other in entries if other is not entry]) for entry in entries]


def _label(entry: Entry, others: list[Entry]) -> str:
    namesakes = [other.source.resolve().parts for other in others if other.name == entry.name]
    if not namesakes:
        return shown(entry.name)
    parts = entry.source.resolve().parts
    length = next((k for k in range(1, len(parts)) if all(o[-k:] != parts[-k:] for o in namesakes)), len(parts))
    return f"{shown(entry.name)} ({shown(Path(*parts[-length:]))})"


def joined(entries: Sequence[Entry], labels: Sequence[str]) -> str:
    """The labels of several entries as one; a name that all of them have is said once."""
    name = shown(entries[0].name)
    places = [label.removeprefix(f"{name} (").removesuffix(")") for label in labels]
    if len(labels) > 1 and [f"{name} ({place})" for place in places] == list(labels):
        return f"{name} ({', '.join(places)})"
    return ", ".join(labels)

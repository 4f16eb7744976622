"""The fastest runtime that agrees with the float32 torch model, decided once for model and machine, and remembered."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from residuum import __version__
from residuum.config import STRICT, from_dict, to_dict
from residuum.data.manifest import Manifest
from residuum.deploy.check import Agreement, agreement, reference_logits
from residuum.deploy.libraries import available, library
from residuum.deploy.pictures import Sample, normalised, sample_given, sample_of
from residuum.deploy.runtimes import LIBRARIES, candidates, make_runtime
from residuum.deploy.timing import rates
from residuum.devices import describe_environment
from residuum.errors import UserError
from residuum.evaluation.runtime import Runtime
from residuum.files import cache_folder, write_json
from residuum.inference import Model, Picture
from residuum.progress import Reporter

LABELS_EQUAL = 0.995
PROBABILITY_DIFFERENCE = 0.02
"""What a runtime has to keep to be chosen."""
COMPARED = 200
"""Pictures that a choice is made on, at most."""
BATCH = 16
"""Pictures at a time in the race, where there are so many."""


@dataclass(frozen=True)
class Choice:
    """What was decided: on how many pictures, and how fast each candidate was."""

    backend: str
    precision: str
    pictures: int
    images_per_second: dict[str, float]
    __pydantic_config__ = STRICT

    def suits(self, every: Sequence[tuple[str, str]], pictures: int) -> bool:
        """Whether it is still to be had, and was made on at least half as many pictures."""
        return (self.backend, self.precision) in every and 2 * self.pictures >= min(pictures, COMPARED)


def on_data(model: Model, backend: str, manifest: Manifest, part: str | None, reporter: Reporter) -> Model:
    """The model on the chosen runtime, chosen on pictures of a part of a data set; None means every picture."""
    indices = manifest.part(part) if part else np.arange(len(manifest))
    where = f"{part} part" if part else "all parts"
    return model.on(choose(model, backend, sample_of(model, manifest, indices, COMPARED, where), reporter))


def on_pictures(model: Model, backend: str, pictures: Sequence[Picture], reporter: Reporter) -> Model:
    """The model on the chosen runtime, chosen on the pictures given."""
    sample = sample_given(model, pictures, COMPARED)
    return model if sample is None else model.on(choose(model, backend, sample, reporter))


def choose(model: Model, backend: str, sample: Sample, reporter: Reporter) -> Runtime:
    """The fastest of the backend's candidates (auto: of all) that agrees with the model on the pictures given.

    A choice made earlier on at least half as many pictures is taken again; one picture and several are chosen for
    apart. Raises UserError where the backend is unknown or not installed, or none of its candidates agrees.
    """
    every = candidates(model, backend)
    key = _key(model, backend, len(sample))
    remembered = _recall().get(key)
    if remembered is not None and remembered.suits(every, len(sample)):
        reporter.say(f"backend {remembered.backend} {remembered.precision}, chosen before")
        return make_runtime(model, remembered.backend, remembered.precision)
    runtime, choice = decide(model, every, sample, reporter)
    _remember(key, choice)
    return runtime


def decide(
    model: Model, every: Sequence[tuple[str, str]], sample: Sample, reporter: Reporter
) -> tuple[Runtime, Choice]:
    """Compare all, race those that agree."""
    expected = reference_logits(model, sample)
    inputs = normalised(model, sample.views)
    agreeing: list[Runtime] = []
    refused: list[str] = []
    for backend, precision in every:
        try:
            runtime = make_runtime(model, backend, precision)
        except UserError as error:  # a part that this backend has no counterpart for
            refused.append(str(error))
            continue
        found = beside(model, runtime, sample, inputs, expected)
        if agrees(found):
            agreeing.append(runtime)
        else:
            refused.append(f"{runtime.name} disagrees with the float32 model: {found.sentence()}")
    for why in refused:
        reporter.say(f"not taken: {why}")
    if not agreeing:
        raise UserError("no runtime of this backend agrees with the float32 model: use --backend torch, or none")
    speeds = {runtime.name: rate for runtime, rate in zip(agreeing, rates(agreeing, inputs[:BATCH]), strict=True)}
    best = max(agreeing, key=lambda runtime: speeds[runtime.name])
    told = ", ".join(f"{name} {rate:.1f}" for name, rate in speeds.items())
    reporter.say(f"backend {best.name}, the fastest that agrees on {sample.source} (images/s: {told})")
    return best, Choice(best.backend, best.precision, len(sample), speeds)


def beside(model: Model, runtime: Runtime, sample: Sample, inputs: torch.Tensor, expected: Any) -> Agreement:
    """A runtime's answers beside the reference logits."""
    logits = torch.cat([runtime.logits(part) for part in inputs.split(BATCH)])
    probabilities = torch.softmax(logits.double() / model.temperature, 1)
    return agreement(sample, expected, logits.numpy(), probabilities.numpy(), model.temperature)


def agrees(found: Agreement) -> bool:
    return found.labels_equal >= LABELS_EQUAL and found.probability_difference <= PROBABILITY_DIFFERENCE


def _key(model: Model, backend: str, pictures: int) -> str:
    """All that the choice depends on."""
    device = next(model.network.parameters()).device
    place = describe_environment(device, torch.float32)
    names = dict.fromkeys(name for names in LIBRARIES.values() for name in names if available(name))
    versions = [f"{name} {library(name, '').__version__}" for name in names]
    at_a_time = "one picture" if pictures == 1 else "several pictures"
    return " | ".join(
        [model.digest(), backend, at_a_time, place["device"], place["processor"], f"threads {place['threads']}",
         f"residuum {__version__}", f"torch {place['torch']}", *versions]
    )  # fmt: skip


def memory() -> Path | None:
    """The file of choices in the user's cache folder; None where there is no such folder."""
    folder = cache_folder()
    return folder and folder / "backends.json"


def _recall() -> dict[str, Choice]:
    """What was remembered; nothing where the file is absent or damaged, for it can be made again."""
    path = memory()
    found: dict[str, Choice] = {}
    with suppress(OSError, ValueError, UserError, AttributeError):
        if path is not None:
            for key, value in json.loads(path.read_bytes()).items():
                found[key] = from_dict(Choice, value, str(path))
    return found


def _remember(key: str, choice: Choice) -> None:
    """Kept where that is possible; a choice that cannot be kept is made again next time."""
    path = memory()
    if path is None:
        return
    with suppress(OSError, UserError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {each: to_dict(value) for each, value in (_recall() | {key: choice}).items()})

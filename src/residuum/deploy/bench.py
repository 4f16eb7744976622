"""The runtimes of this machine side by side on one model: speed at each batch size, and agreement with the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import torch

from residuum.deploy.check import Agreement, reference_logits
from residuum.deploy.choice import agrees, beside
from residuum.deploy.libraries import available
from residuum.deploy.pictures import gather, normalised
from residuum.deploy.runtimes import BACKENDS, LIBRARIES, candidates, make_runtime, reference
from residuum.deploy.timing import ROUNDS, measured
from residuum.devices import describe_environment
from residuum.errors import UserError
from residuum.evaluation.runtime import Runtime
from residuum.inference import Model
from residuum.progress import Reporter

COMPARED = 200
"""Pictures that agreement is judged on, at most."""
LARGEST_BATCH = 1024


@dataclass(frozen=True)
class Row:
    """One runtime at one batch size.

    folded             whether batch norms are folded into convolutions; only the first row's are not
    images_per_second  the median over the rounds; `slowest` and `fastest` are its extremes
    ratio              median over the rounds of its speed over that of torch in float32, not folded, in the same round
    agrees             whether --backend auto may take it
    """

    backend: str
    precision: str
    folded: bool
    batch_size: int
    images_per_second: float
    slowest: float
    fastest: float
    ratio: float
    labels_equal: float
    probability_difference: float
    agrees: bool


@dataclass(frozen=True)
class Bench:
    """The table, and what it was measured on."""

    rows: tuple[Row, ...]
    input: tuple[int, ...]
    pictures: str
    rounds: int
    environment: dict[str, str]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def bench(model: Model, batch_sizes: Sequence[int], data: str | None, reporter: Reporter) -> Bench:
    """Measure every runtime that is installed, in turns, at each batch size.

    Agreement is judged on pictures of `data`, else of the source the model was trained on, else on synthetic ones.
    """
    if not batch_sizes or not all(1 <= size <= LARGEST_BATCH for size in batch_sizes):
        raise UserError(f"--batch-size takes numbers of pictures from 1 to {LARGEST_BATCH}")
    samples = gather(model, data, False, reporter, COMPARED)
    expected, inputs = reference_logits(model, samples.checked), normalised(model, samples.checked.views)
    runtimes, notes = [reference(model)], list(samples.notes)
    notes += [f"{name} is not installed" for name in BACKENDS if not available(*LIBRARIES[name])]
    for backend, precision in candidates(model):
        try:
            runtimes.append(make_runtime(model, backend, precision))
        except UserError as error:
            notes.append(f"{backend} {precision}: {error}")
    found = [beside(model, runtime, samples.checked, inputs, expected) for runtime in runtimes]
    rows = [
        row
        for size in dict.fromkeys(batch_sizes)
        for row in _rows(runtimes, found, size, inputs[torch.arange(size) % len(inputs)])
    ]
    environment = describe_environment(next(model.network.parameters()).device, torch.float32)
    environment = {key: value for key, value in environment.items() if key != "precision"}
    return Bench(tuple(rows), tuple(inputs.shape[1:]), samples.checked.source, ROUNDS, environment, tuple(notes))


def _rows(runtimes: list[Runtime], found: list[Agreement], size: int, inputs: torch.Tensor) -> list[Row]:
    speeds = measured(runtimes, inputs)
    return [
        Row(
            runtime.backend,
            runtime.precision,
            index > 0,
            size,
            median(own),
            min(own),
            max(own),
            median(mine / base for mine, base in zip(own, speeds[0], strict=True)),
            beside.labels_equal,
            beside.probability_difference,
            agrees(beside),
        )
        for index, (runtime, beside, own) in enumerate(zip(runtimes, found, speeds, strict=True))
    ]

"""How fast runtimes are, measured in turns, so that what else the machine does meets all of them alike."""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median

from torch import Tensor

from residuum.evaluation.runtime import Runtime

ROUNDS = 5
SECONDS = 0.2
"""What one runtime computes for in one round, at least."""


def rates(runtimes: Sequence[Runtime], inputs: Tensor) -> list[float]:
    """Images per second of each: the median over the rounds."""
    return [median(found) for found in measured(runtimes, inputs)]


def measured(runtimes: Sequence[Runtime], inputs: Tensor) -> list[list[float]]:
    """Images per second of each runtime in each of `ROUNDS` rounds, after one call that is not measured."""
    for runtime in runtimes:
        runtime.logits(inputs)
    found: list[list[float]] = [[] for _ in runtimes]
    for _ in range(ROUNDS):
        for runtime, into in zip(runtimes, found, strict=True):
            into.append(_rate(runtime, inputs))
    return found


def _rate(runtime: Runtime, inputs: Tensor) -> float:
    calls, start = 0, time.perf_counter()
    while (seconds := time.perf_counter() - start) < SECONDS or not calls:
        runtime.logits(inputs)
        calls += 1
    return calls * len(inputs) / seconds

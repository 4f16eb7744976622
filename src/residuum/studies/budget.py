"""How long a study may take: a duration shared by its runs, a number of steps for each, or the paper's 64,000."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from residuum.errors import UserError, shown
from residuum.nets.network import make_network
from residuum.plan import make_plan
from residuum.tasks import classification
from residuum.training.quick import TORCH, pick_kernels, quick
from residuum.training.setup import Setup

FULL = 64_000
"""Iterations of the paper's CIFAR-10 runs (section 4.2)."""
SHORTEST = 10
"""Steps below which a run says nothing."""
TIMED_STEPS = 3
LONG_STEP = 5.0
"""A step that takes longer, in seconds, is timed once."""
MARGIN = 1.1
"""What validation, reading and writing add to the steps."""
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class TooSmall(UserError):
    """A budget or a machine that is too small for a run."""


@dataclass(frozen=True)
class Budget:
    """What was asked for: `seconds` for all runs together, or `steps` for each."""

    text: str
    seconds: float | None = None
    steps: int | None = None


def parse_budget(text: str) -> Budget:
    """10m, 2h, 1h30m, full (64,000 steps for each run), or 2000steps."""
    asked = text.strip().lower()
    if asked == "full":
        return Budget(asked, steps=FULL)
    if found := re.fullmatch(r"([1-9]\d{0,8}) ?steps?", asked):
        return Budget(asked, steps=int(found[1]))
    if re.fullmatch(r"(\d+(\.\d+)?[smhd])+", asked):
        seconds = sum(float(n) * _UNITS[unit] for n, _, unit in re.findall(r"(\d+(\.\d+)?)([smhd])", asked))
        if 1 <= seconds < math.inf:
            return Budget(asked, seconds=seconds)
    raise UserError(
        f"--budget is a duration like 10m or 2h, full, or a number of steps like 2000steps, not {shown(text)}"
    )


def steps_within(seconds: float, step_seconds: Sequence[float]) -> int:
    """Steps for each run, alike, so that all of them take about `seconds`; two digits that mean something."""
    steps = seconds / (MARGIN * sum(step_seconds))
    if steps < SHORTEST:
        raise TooSmall(
            f"this budget leaves {steps:.1f} steps for each of {len(step_seconds)} runs; give at least "
            f"{math.ceil(SHORTEST * MARGIN * sum(step_seconds))}s, or fewer runs"
        )
    unit = 10 ** (int(math.log10(steps)) - 1)
    return int(steps // unit * unit)


def step_seconds(setup: Setup, device: torch.device, precision: torch.dtype) -> float:
    """Measured seconds of a training step on random pictures: the fastest of a few."""
    plan = make_plan(setup.spec)
    network = make_network(plan, generator=torch.Generator().manual_seed(0)).to(device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    run = network if pick_kernels(setup.recipe, device, precision) == TORCH else quick(network)
    inputs = torch.randn(setup.length.batch_size, plan.spec.channels, *plan.spec.input_size(), device=device)
    inputs = inputs.to(memory_format=torch.channels_last)
    targets = torch.zeros(len(inputs), dtype=torch.int64, device=device)
    best = math.inf
    for _ in range(TIMED_STEPS):
        start = time.perf_counter()
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            logits = run(inputs)
        classification.loss(logits, targets).backward()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - start)
        if best > LONG_STEP:
            break
    return best

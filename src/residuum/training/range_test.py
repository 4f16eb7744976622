"""Smith's range test: the loss while the learning rate rises step by step, and the rate that follows from it.

Smith 2017, "Cyclical learning rates for training neural networks" (arXiv 1506.01186), section 3.3.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from itertools import islice

from residuum.progress import Reporter
from residuum.training.loop import Diverged, Position, Trainer

LOWEST, HIGHEST = 1e-6, 10.0
STEPS = 120
SMOOTHING = 0.9
"""Share of the past in the running mean of the loss, which is corrected for its start."""
TOO_HIGH = 4.0
"""Once the smoothed loss is so many times its lowest value, the test ends."""
BACK = 5.0
"""The rate proposed is so many times below the highest bearable one: the smoothed loss lags behind."""
LEVEL = 1 / 3
"""The first share of the steps, whose rates are too low to change anything, tells what loss training begins with."""


@dataclass(frozen=True)
class RangeTest:
    """One (rate, loss, smoothed loss) for each step.

    `bearable` is the highest rate up to which the smoothed loss was no higher than in the beginning; without one there
    is nothing `proposed`.
    """

    curve: tuple[tuple[float, float, float], ...]
    bearable: float | None
    proposed: float | None


def range_test(trainer: Trainer, reporter: Reporter) -> RangeTest:
    """Train for up to `STEPS` steps with rates from `LOWEST` to `HIGHEST`, each a constant factor above the last."""
    engine = trainer.ready()
    if trainer.prepare is not None:
        trainer.prepare()
    batches = trainer.batches.from_step(0)
    engine.train_mode()
    curve, mean, at = list[tuple[float, float, float]](), 0.0, Position()
    with reporter.track("range test", "steps") as update:
        for step in range(STEPS):
            rate = LOWEST * (HIGHEST / LOWEST) ** (step / (STEPS - 1))
            at.begin_epoch()
            try:
                trainer.step(engine, list(islice(batches, trainer.pieces.own)), rate, at)
            except Diverged:
                break
            loss = at.loss_sum / at.images
            mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
            smooth = mean / (1 - SMOOTHING ** (step + 1))
            curve.append((rate, loss, smooth))
            update(step + 1, STEPS, f"lr {rate:.3g}  loss {loss:.4f}")
            if smooth > TOO_HIGH * min(point[2] for point in curve):
                break
    return propose(tuple(curve))


def propose(curve: tuple[tuple[float, float, float], ...]) -> RangeTest:
    """A fifth of the highest rate at which the smoothed loss was not above its first level, to one digit.

    The median of the smoothed loss over the first third is that level: a single lowest value, as is often taken, is
    noise where a batch is small or the classifier already trained.
    """
    first = round(LEVEL * STEPS)
    if len(curve) <= first:
        return RangeTest(curve, None, None)
    level = statistics.median(smooth for _, _, smooth in curve[:first])
    good = [rate for rate, _, smooth in curve[first:] if smooth <= level]
    return RangeTest(curve, good[-1], _one_digit(good[-1] / BACK)) if good else RangeTest(curve, None, None)


def _one_digit(value: float) -> float:
    return float(f"{value:.0e}")

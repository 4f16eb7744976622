"""Learning rates: a pure function of the step, and for warm-up and plateau of the errors seen so far."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from residuum.training.recipe import Cosine, Drops, OneCycle, Plateau, Recipe

WARMUP_WINDOW = 50
"""Steps over which the training error is averaged to decide that warm-up is over."""


@dataclass
class Progress:
    """What a schedule remembers: all of it is in the checkpoint.

    `recent_error` is the mean training error, in percent, of the last steps (an exponential average).
    """

    warm: bool = False
    recent_error: float = 100.0
    best_error: float = float("inf")
    bad_epochs: int = 0
    drops: int = 0

    def state(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def restore(cls, state: Mapping[str, Any]) -> Progress:
        return cls(**state)

    def after_step(self, recipe: Recipe, batch_error: float) -> None:
        """Note a batch's training error, in percent; warm-up ends for good once the average is low enough."""
        self.recent_error += (batch_error - self.recent_error) / WARMUP_WINDOW
        schedule = recipe.schedule
        if isinstance(schedule, Drops) and schedule.warmup and self.recent_error < schedule.warmup.until_error:
            self.warm = True

    def after_epoch(self, recipe: Recipe, error: float) -> None:
        """Note an epoch's error (validation, or training where nothing is held out); a plateau drops the rate."""
        schedule = recipe.schedule
        if not isinstance(schedule, Plateau):
            return
        if error < self.best_error:
            self.best_error, self.bad_epochs = error, 0
            return
        self.bad_epochs += 1
        if self.bad_epochs >= schedule.patience:
            self.drops, self.bad_epochs = self.drops + 1, 0


def learning_rate(recipe: Recipe, step: int, steps: int, progress: Progress) -> float:
    """The rate of step `step` (from 0) of a run of `steps`."""
    lr, schedule = recipe.optimizer.lr, recipe.schedule
    if isinstance(schedule, OneCycle):
        # the middle of the step, so that neither the first nor the last step is wasted at 0
        at, rise = step + 0.5, schedule.warmup * steps
        return lr * (at / rise if at < rise else (steps - at) / (steps - rise))
    if isinstance(schedule, Cosine):
        at, rise = step + 0.5, schedule.warmup * steps
        return lr * (at / rise if at < rise else (1 + math.cos(math.pi * (at - rise) / (steps - rise))) / 2)
    if isinstance(schedule, Plateau):
        return lr * schedule.factor**progress.drops
    if schedule.warmup and not progress.warm:
        return schedule.warmup.lr
    return lr * schedule.factor ** sum(step >= round(fraction * steps) for fraction in schedule.at)

"""Optuna's side of a search: its storage and samplers, when a trial is cut short, and what it is told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

if TYPE_CHECKING:
    import optuna

SAMPLERS = ("tpe", "gp", "nsga2")


def open_study(out: Path, data: str, sampler: str) -> optuna.Study:
    """The study in `out/trials.log` on the data of a digest, as it was left."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    samplers = {
        "tpe": lambda: optuna.samplers.TPESampler(seed=0, n_startup_trials=6),
        "gp": lambda: optuna.samplers.GPSampler(seed=0, n_startup_trials=6),
        "nsga2": lambda: optuna.samplers.NSGAIISampler(seed=0, population_size=8),
    }
    cost_too = sampler == "nsga2"
    name = f"{data[:16]}-{'cost' if cost_too else 'error'}"
    return optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(out / "trials.log"))),
        study_name=name,
        sampler=samplers[sampler](),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=1),
        directions=["minimize", "minimize"] if cost_too else ["minimize"],
        load_if_exists=True,
    )


class Pruned(Exception):
    """A trial that is worse than the others were at the same epoch."""


@dataclass
class Pruner:
    """A watch that cuts a training short where the others were better by then."""

    trial: optuna.Trial
    error: float | None = None

    def rewind(self, step: int) -> None:
        """Nothing: what was reported stays reported."""

    def after_backward(self, step: int, network: nn.Module, loss: float, error: float) -> None:
        """Nothing: errors are those of epochs."""

    def after_epoch(self, row: dict[str, Any]) -> None:
        self.error = row["val_top1_error"]
        if self.error is not None:
            self.trial.report(self.error, row["epoch"])
            if self.trial.should_prune():
                raise Pruned


def tell(study: optuna.Study, trial: optuna.Trial, record: dict[str, Any] | None, macs: int) -> None:
    """The outcome: no record of one that was cut short; a run that diverged failed."""
    import optuna

    if record is None:
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    elif record["status"] != "finished":
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
    else:
        error = record["results"]["val"]["top1_error"]
        study.tell(trial, [error, macs] if len(study.directions) == 2 else error)

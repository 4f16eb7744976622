"""What a person asks of a study, and a data set and records to answer from."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from residuum.data.manifest import Manifest
from residuum.data.opening import open_for
from residuum.errors import UserError, shown
from residuum.progress import Reporter
from residuum.studies.budget import Budget
from residuum.studies.running import Place, Trials, run_trials, steps_of


@dataclass(frozen=True)
class Request:
    """A study's arguments, settled: defaults are filled in and options it does not take were refused."""

    study: str
    data: str
    budget: Budget
    seeds: int
    depths: tuple[int, ...]
    models: tuple[Path, ...]
    settings: tuple[str, ...]
    val: float | None
    place: Place
    reporter: Reporter = field(repr=False)

    @cached_property
    def manifest(self) -> Manifest:
        """The data set, opened once; there must be held-out pictures."""
        manifest = open_for(self.reporter, self.data, self.val, False)
        if "val" not in manifest.parts:
            raise UserError(
                f"{shown(manifest.argument)} has no held-out part, and the study compares errors on one; "
                f"leave --val out, or give a share of the pictures"
            )
        return manifest

    def trained(self, trials: Trials, *, models: bool = False) -> tuple[list[dict[str, Any]], int]:
        """The records of the trials, in their order, and the steps of each.

        With `models`, a record whose model file is not in the study's folder is not enough: the run is done again.
        """
        steps = steps_of(self.study, self.budget, trials, self.manifest, self.place, self.reporter)
        settled = trials(steps)
        return run_trials(self.study, settled, self.manifest, self.place, self.reporter, models=models), steps

"""Carrying out a study's trials: one length for all, every run once, shared by as many processes as are started."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from residuum.data.manifest import Manifest
from residuum.devices import pick_device, pick_precision
from residuum.errors import UserError, shown
from residuum.files import make_folder, write_json
from residuum.plan import make_plan
from residuum.progress import Reporter, duration
from residuum.studies.budget import Budget, step_seconds, steps_within
from residuum.studies.records import Records
from residuum.studies.trial import Settled, Trial, carry_out, settle_trial

Trials = Callable[[int], list[Trial]]
"""The trials of a study for a number of steps."""
RETRY_SECONDS = 5.0


@dataclass(frozen=True)
class Place:
    """Where a study keeps its things: the page in `out`, records in `runs`, unfinished runs in `work`."""

    out: Path
    runs: Path

    @property
    def work(self) -> Path:
        return self.out / "work"

    @property
    def records(self) -> Records:
        return Records(self.runs)


def steps_of(study: str, budget: Budget, trials: Trials, manifest: Manifest, place: Place, reporter: Reporter) -> int:
    """The length of each run: as asked for, as settled when the study was begun, or what the budget allows here."""
    if budget.steps is not None:
        return budget.steps
    assert budget.seconds is not None
    file = place.out / "study.json"
    settled = _settled(file)
    asked = {"study": study, "budget": budget.text, "data": manifest.digest}
    for earlier in settled:
        if {key: earlier.get(key) for key in asked} == asked:
            return int(earlier["steps"])
    seconds: dict[str, float] = {}
    drafts = [settle_trial(trial, manifest) for trial in trials(1)]
    with reporter.track("timing the networks", "runs") as update:
        for number, draft in enumerate(drafts):
            update(number, len(drafts), draft.setup.name)
            facts = json.dumps(draft.facts["network"])
            if facts not in seconds:
                device = pick_device(draft.trial.wishes.device or "auto")
                precision = pick_precision(draft.setup.recipe.precision, device)
                seconds[facts] = step_seconds(draft.setup, device, precision)
    steps = steps_within(budget.seconds, [seconds[json.dumps(draft.facts["network"])] for draft in drafts])
    make_folder(place.out)
    write_json(file, [*settled, asked | {"steps": steps}])
    return steps


def _settled(file: Path) -> list[dict[str, Any]]:
    if not file.exists():
        return []
    try:
        found = json.loads(file.read_text())
    except ValueError:
        raise UserError(f"{shown(file)} is damaged; delete it, and the budget is measured anew") from None
    return found


def run_trials(
    study: str,
    trials: Sequence[Trial],
    manifest: Manifest,
    place: Place,
    reporter: Reporter,
    *,
    models: bool = False,
) -> list[dict[str, Any]]:
    """The records of all trials, in their order: those there are, and the others made now.

    Runs that another process is at are waited for last. `models`: their model files are needed as well.
    """
    settled = [settle_trial(trial, manifest) for trial in trials]
    found: dict[str, dict[str, Any]] = {}
    work = {each.key: each.setup.length.steps * make_plan(each.setup.spec).macs for each in settled}
    for each in settled:
        record = each.find(place.records)
        if record and (not models or record["status"] != "finished" or each.model(place.work).exists()):
            found[each.key] = record
    if found:
        reporter.say(f"{len(found)} of {len(work)} runs are done already")
    started, done_before = time.monotonic(), sum(work[key] for key in found)
    waiting = False
    while len(found) < len(work):
        elsewhere: list[Settled] = []
        for each in settled:
            if each.key in found:
                continue
            _say_start(each, found, work, started, done_before, reporter, waiting)
            record = carry_out(each, study, manifest, place.work, place.records, reporter, again=models)
            if record is None:
                elsewhere.append(each)
            else:
                found[each.key] = record
        if elsewhere and not waiting:
            labels = ", ".join(each.trial.label for each in elsewhere)
            reporter.say(f"waiting for {labels}, which another process is at (Ctrl-C: this one has nothing left to do)")
        waiting = bool(elsewhere)
        if waiting:
            time.sleep(RETRY_SECONDS)
    return [found[each.key] for each in settled]


def _say_start(
    each: Settled, found: dict[str, Any], work: dict[str, int], started: float, done_before: int, reporter: Reporter,
    waiting: bool,
) -> None:  # fmt: skip
    if waiting:
        return
    done, total = sum(work[key] for key in found), sum(work.values())
    rate = (done - done_before) / max(time.monotonic() - started, 1e-9)
    left = f", about {duration((total - done) / rate)} left" if rate > 0 else ""
    reporter.say(
        f"run {len(found) + 1} of {len(work)}: {each.trial.label} ({100 * done / total:.0f}% of the study done{left})"
    )

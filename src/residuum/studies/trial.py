"""A trial: one training that a study needs - done once, interrupted at will, and left as a record."""

from __future__ import annotations

import datetime
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import torch

from residuum import session
from residuum.config import changed
from residuum.data.manifest import Manifest
from residuum.devices import pick_device, pick_precision
from residuum.files import make_folder
from residuum.plan import make_plan
from residuum.progress import Reporter
from residuum.run import Run
from residuum.studies.curve import Curve
from residuum.studies.records import FORMAT, Records, key_of
from residuum.training.loop import Diverged, Watch
from residuum.training.setup import Setup, choose_network, settle
from residuum.wishes import Wishes, settled_recipe

try:
    import fcntl
except ImportError:  # Windows has no flock: two processes must not share a study there
    fcntl = None

Measure = Callable[[Run, Manifest], Any]
"""What a study measures on a finished run besides its errors, as JSON for the record."""


@dataclass(frozen=True)
class Trial:
    """One training: what to call it, what is wished for, and what else is measured.

    `measures` are taken on the finished run, by name; a record that lacks one gets it from the run's model file, or
    from training again. `watch` looks on at the run in the given folder. `tags` are for the study's tables.
    """

    label: str
    wishes: Wishes
    measures: Mapping[str, Measure] = field(default_factory=dict)
    watch: Callable[[Path], Watch] | None = None
    tags: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Settled:
    """A trial on a data set: everything decided, and the facts by which its record is found."""

    trial: Trial
    setup: Setup
    facts: dict[str, Any]

    @property
    def key(self) -> str:
        return key_of(self.facts)

    def folder(self, work: Path) -> Path:
        """The run directory of the trial."""
        return work / f"{self.trial.label}-{self.key[:10]}"

    def model(self, work: Path) -> Path:
        """Its model file."""
        return Run(self.folder(work)).model

    def find(self, records: Records) -> dict[str, Any] | None:
        """The record, where there is one with all that is to be measured."""
        found = records.find(self.trial.label, self.key)
        whole = found and (found["status"] == "diverged" or found["measured"].keys() >= self.trial.measures.keys())
        return found if whole else None


def settle_trial(trial: Trial, manifest: Manifest) -> Settled:
    """Network, recipe and length of a trial, and what identifies it."""
    wanted = trial.wishes
    device = pick_device(wanted.device or "auto")
    name, spec = choose_network(manifest, wanted.model, dict(wanted.axes or {}), device.type == "cuda")
    setup = settle(manifest, name, spec, settled_recipe(wanted))
    recipe = {key: value for key, value in changed(setup.recipe).items() if key not in ("name", "precision")}
    facts = {
        "network": changed(setup.spec),
        "recipe": recipe,
        "steps": setup.length.steps,
        "precision": str(pick_precision(setup.recipe.precision, device)).removeprefix("torch."),
        "seed": wanted.seed or 0,
        "data": {
            "digest": manifest.digest,
            "val": wanted.val,
            "counts": {part: len(indices) for part, indices in manifest.parts.items()},
        },
    }
    return Settled(trial, setup, facts)


def carry_out(
    settled: Settled,
    study: str,
    manifest: Manifest,
    work: Path,
    records: Records,
    reporter: Reporter,
    *,
    again: bool = False,
) -> dict[str, Any] | None:
    """The record of a trial: found, or made by training, from its last checkpoint where there is one.

    None where another process is at this very run. `again` trains although there is a record, unless the run is in
    `work`. Raises `Stopped` after a signal, its state saved.
    """
    run = Run(settled.folder(work))
    make_folder(work)
    with _claim(work / f".{run.folder.name}.lock") as claimed:
        if not claimed:
            return None
        found = settled.find(records)
        if found and (not again or _over(run)):
            return found
        # a process killed between its last step and the record leaves a run that only needs the record
        if not _over(run):
            _train(settled, manifest, run, reporter)
        record = _record(settled, study, run, manifest)
        records.write(record)
        shutil.rmtree(run.folder / "checkpoints", ignore_errors=True)
    return record


def _over(run: Run) -> bool:
    """Whether a run has ended by itself: finished, or diverged."""
    if not (run.folder / "run.json").exists():
        return False
    facts = run.read()
    return facts["status"] == "finished" or facts.get("diverged", False)


def _train(settled: Settled, manifest: Manifest, run: Run, reporter: Reporter) -> None:
    """Begin the run or go on with it; one that diverges is noted, not hidden."""
    wanted, trial = settled.trial.wishes, settled.trial
    make_folder(run.folder)
    watch = _Watches((Curve(run.folder / "steps.jsonl"), *([trial.watch(run.folder)] if trial.watch else [])))
    own = Reporter(quiet=reporter.quiet)
    if (run.folder / "run.json").exists():
        begun = session.resume(run.folder, manifest, Wishes(using=wanted.using), own)
    else:
        begun = session.begin(manifest, run.folder, wanted, own)
    assert begun is not None, "a finished run is not begun again"
    try:
        session.carry_out(begun, watch, report=False)
    except Diverged as error:
        reporter.say(f"{trial.label}: {error}")


@dataclass(frozen=True)
class _Watches:
    """Several watches as one."""

    all: tuple[Watch, ...]

    def rewind(self, step: int) -> None:
        for watch in self.all:
            watch.rewind(step)

    def after_backward(self, step: int, network: torch.nn.Module, loss: float, error: float) -> None:
        for watch in self.all:
            watch.after_backward(step, network, loss, error)

    def after_epoch(self, row: dict[str, Any]) -> None:
        for watch in self.all:
            watch.after_epoch(row)


def _record(settled: Settled, study: str, run: Run, manifest: Manifest) -> dict[str, Any]:
    facts, trial = run.read(), settled.trial
    plan = make_plan(settled.setup.spec)
    finished, history = facts["status"] == "finished", run.history()
    results = {
        part: {name: result[name] for name in ("images", "correct_top1", "top1_error", "loss")}
        | {"protocol": result["protocol"] | {"data": Path(result["protocol"]["data"]).name}}
        for part, result in facts.get("all_results", {}).items()
    }
    return {
        "format": FORMAT,
        "key": settled.key,
        "study": study,
        "label": trial.label,
        "status": "finished" if finished else "diverged",
        "trial": settled.facts,
        "name": settled.setup.name,
        "recipe_name": settled.setup.recipe.name,
        "parameters": plan.parameters,
        "macs": plan.macs,
        "command": ["residuum", *sys.argv[1:]],
        "environment": facts["environment"],
        "created": facts["created"],
        "finished": facts.get("finished") or _now(),
        "time": facts.get("time") or {"seconds": history[-1]["seconds"] if history else 0.0},
        "history": history,
        "curve": Curve(run.folder / "steps.jsonl").points(),
        "results": results,
        "measured": {name: measure(run, manifest) for name, measure in trial.measures.items()} if finished else {},
    }


@contextmanager
def _claim(path: Path) -> Iterator[bool]:
    """Whether this process may do the run: others that share the folder do other runs. Ends with the process."""
    handle: IO[str] = path.open("w")
    try:
        if fcntl is not None:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                yield False
                return
        yield True
        path.unlink(missing_ok=True)
    finally:
        handle.close()


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")

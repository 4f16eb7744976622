"""A trial: one training that a study needs, done once, interrupted at will, and left as a record."""

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
from residuum.errors import UserError, shown
from residuum.files import make_folder
from residuum.plan import make_plan
from residuum.progress import Reporter
from residuum.run import Run
from residuum.session import Wishes
from residuum.studies.curve import Curve
from residuum.studies.records import FORMAT, Records, key_of
from residuum.training.loop import Diverged, Watch
from residuum.training.setup import Setup, choose_network, settle

try:
    import fcntl
except ImportError:  # Windows has no flock: two processes must not share a study there
    fcntl = None  # type: ignore[assignment]

Measure = Callable[[Run], dict[str, Any]]
"""What a study measures on a finished run besides its errors: JSON for the record."""


@dataclass(frozen=True)
class Trial:
    """One training: what to call it, what is wished for, and what is measured on it.

    `measures` names what `measure` adds to the record (part of the key: another measure is another record); `watch`
    looks on at the run in the given folder besides the curve.
    """

    label: str
    wishes: Wishes
    measures: str = ""
    measure: Measure | None = None
    watch: Callable[[Path], Watch] | None = None
    tags: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Settled:
    """A trial on a data set: everything decided, and the key its record is found by."""

    trial: Trial
    setup: Setup
    facts: dict[str, Any]

    @property
    def key(self) -> str:
        return key_of(self.facts)


def settle_trial(trial: Trial, manifest: Manifest) -> Settled:
    """Network, recipe and length of a trial, and what identifies it."""
    wanted = trial.wishes
    device = pick_device(wanted.device or "auto")
    name, spec = choose_network(manifest, wanted.model, dict(wanted.axes or {}), device.type == "cuda")
    setup = settle(manifest, name, spec, session.settled_recipe(wanted))
    precision = str(pick_precision(setup.recipe.precision, device)).removeprefix("torch.")
    counts = {part: len(indices) for part, indices in manifest.parts.items()}
    facts = {
        "network": changed(setup.spec),
        "recipe": {key: value for key, value in changed(setup.recipe).items() if key not in ("name", "precision")},
        "steps": setup.length.steps,
        "precision": precision,
        "seed": wanted.seed or 0,
        "data": {"digest": manifest.digest, "val": wanted.val, "counts": counts},
        "measures": trial.measures,
    }
    return Settled(trial, setup, facts)


def carry_out(
    settled: Settled, study: str, manifest: Manifest, work: Path, records: Records, reporter: Reporter
) -> dict[str, Any] | None:
    """The record of a trial: found, or made by training, from its last checkpoint where there is one.

    None where another process is at this very run. Raises `Stopped` after a signal, its state saved.
    """
    trial, folder = settled.trial, work / f"{settled.trial.label}-{settled.key[:10]}"
    if found := records.find(trial.label, settled.key):
        return found
    make_folder(work)
    with _claim(work / f".{folder.name}.lock") as claimed:
        if not claimed:
            return None
        if found := records.find(trial.label, settled.key):
            return found
        run = Run(folder)
        # a process killed between its last step and the record leaves a run that only needs the record
        if not _over(run):
            _train(settled, manifest, run, reporter)
        record = _record(settled, study, run)
        records.write(record)
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
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
    watch = Watches((Curve(run.folder / "steps.jsonl"), *([trial.watch(run.folder)] if trial.watch else [])))
    quiet = Reporter(quiet=reporter.quiet)
    if (run.folder / "run.json").exists():
        begun = session.resume(run.folder, manifest, Wishes(using=wanted.using), quiet)
    else:
        begun = session.begin(manifest, run.folder, wanted, quiet)
    assert begun is not None, "a finished run is not begun again"
    try:
        session.carry_out(begun, watch)
    except Diverged as error:
        reporter.say(f"{trial.label}: {error}")


@dataclass(frozen=True)
class Watches:
    """Several watches as one."""

    all: tuple[Watch, ...]

    def rewind(self, step: int) -> None:
        for watch in self.all:
            watch.rewind(step)

    def after_backward(self, step: int, network: torch.nn.Module, loss: float, error: float) -> None:
        for watch in self.all:
            watch.after_backward(step, network, loss, error)


def _record(settled: Settled, study: str, run: Run) -> dict[str, Any]:
    facts, trial = run.read(), settled.trial
    plan = make_plan(settled.setup.spec)
    diverged = facts["status"] != "finished"
    history = run.history()
    time = facts.get("time") or {"seconds": history[-1]["seconds"] if history else 0.0}
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
        "status": "diverged" if diverged else "finished",
        "trial": settled.facts,
        "name": settled.setup.name,
        "recipe_name": settled.setup.recipe.name,
        "tags": dict(trial.tags),
        "parameters": plan.parameters,
        "macs": plan.macs,
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "environment": facts["environment"],
        "created": facts["created"],
        "finished": facts.get("finished") or _now(),
        "time": time,
        "history": history,
        "curve": Curve(run.folder / "steps.jsonl").points(),
        "results": results,
        "measured": trial.measure(run) if trial.measure and not diverged else {},
    }


@contextmanager
def _claim(path: Path) -> Iterator[bool]:
    """Whether this process may do the run: others that share the folder do other runs. Ends with the process."""
    handle: IO[str] = path.open("w")
    try:
        if fcntl is None:
            yield True
            return
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


def refuse_unfit(manifest: Manifest, study: str) -> None:
    """Studies compare errors on held-out pictures: there must be some."""
    if "val" not in manifest.parts:
        raise UserError(f"{shown(manifest.argument)} has no validation part for the study {study}; give --val")

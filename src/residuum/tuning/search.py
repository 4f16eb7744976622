"""The search: candidates in turn, each for an equal share of the budget, unpromising ones cut short (Optuna)."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from residuum.data.manifest import Manifest
from residuum.data.opening import open_for
from residuum.devices import pick_device, pick_precision
from residuum.errors import UserError, shown
from residuum.files import make_folder
from residuum.plan import make_plan
from residuum.progress import Reporter, duration
from residuum.studies.budget import Budget, TooSmall, parse_budget, step_seconds, steps_within
from residuum.studies.findings import Findings
from residuum.studies.records import Records
from residuum.studies.running import Place, steps_of
from residuum.studies.trial import Settled, Trial, carry_out, settle_trial
from residuum.tuning import page
from residuum.tuning.space import Candidate, candidate, named
from residuum.tuning.storage import SAMPLERS, Pruned, Pruner, open_study, tell
from residuum.wishes import Wishes

if TYPE_CHECKING:
    import optuna

SHARES = 12
"""Candidates that the budget is for where none is cut short."""


@dataclass(frozen=True)
class Tried:
    """A candidate that was tried: what it cost and reached. `record` is None where it was cut short, or never begun
    (0 steps) because its share of the time is too small for it."""

    candidate: Candidate
    record: dict[str, Any] | None
    macs: int
    parameters: int
    steps: int
    pruned_at: float | None = None


@dataclass
class _Bench:
    """What every trial of a search needs."""

    manifest: Manifest
    out: Path
    reporter: Reporter
    seconds: float

    def trial(self, choice: Candidate, seed: int, steps: int) -> Trial:
        wishes = Wishes(model=choice.model, axes=choice.axes, recipe=choice.recipe, seed=seed, steps=steps)
        return Trial(f"{choice.text.split(' ')[0]}-seed{seed}", wishes)

    def settle(self, choice: Candidate, seed: int, steps: int) -> Settled:
        return settle_trial(self.trial(choice, seed, steps), self.manifest)

    def steps(self, choice: Candidate) -> int:
        """The steps that fit a trial's share of the time, by timing this network's step."""
        draft = self.settle(choice, 0, 1)
        device = pick_device("auto")
        precision = pick_precision(draft.setup.recipe.precision, device)
        each = step_seconds(draft.setup, device, precision)
        return steps_within(self.seconds, [each])


def tune(
    data: str | Path,
    *,
    budget: str = "30m",
    models: Sequence[str] = (),
    sampler: str = "tpe",
    seeds: int = 1,
    out: str | Path | None = None,
    val: float | None = None,
    exclude: str | Path | None = None,
    reporter: Reporter | None = None,
) -> Findings:
    """Search for the best network on `data` within a duration, or compare `models` of the catalogue; writes a page.

    `exclude` is a list of files to leave out, as `residuum check` writes it.
    The search goes on where an earlier one in `out` stopped, until the budget is used up; errors are on the validation
    part, which thereby chooses. Raises UserError for bad input, `residuum.training.stop.Stopped` after a signal.
    """
    reporter = reporter or Reporter()
    text, whole = _duration(budget)
    if sampler not in SAMPLERS:
        raise UserError(f"--sampler is one of {', '.join(SAMPLERS)}, not {shown(sampler)}")
    if not 1 <= seeds <= 100:
        raise UserError(f"--seeds is a number from 1 to 100, not {seeds}")
    if seeds > 1 and not models:
        raise UserError("--seeds is for the comparison of --models; a search tries each candidate once")
    if not models:
        _need_optuna()
    choices = named(models)
    manifest = open_for(reporter, str(data), val, False, exclude)
    if "val" not in manifest.parts:
        raise UserError(f"{shown(manifest.argument)} has no held-out part to choose by; leave --val out")
    folder = Path(out) if out is not None else Path("tuning") / (Path(manifest.argument).name or "data")
    make_folder(folder)
    left_out = None if exclude is None else str(exclude)
    if choices:
        bench = _Bench(manifest, folder, reporter, whole / (len(choices) * seeds))
        tried = _compare(bench, choices, seeds)
        findings = page.comparison(tried, manifest, text, seeds, left_out)
    else:
        bench = _Bench(manifest, folder, reporter, whole / SHARES)
        tried = _search(bench, whole, sampler)
        findings = page.search(tried, manifest, text, sampler, left_out)
    findings.write(folder, "tune")
    return findings


def _duration(text: str) -> tuple[str, float]:
    """A budget as it is said, and its seconds."""
    try:
        asked = parse_budget(text)
    except UserError:
        asked = None
    if asked is None or asked.seconds is None:
        raise UserError(f"--budget of a search is a duration like 30m or 2h, not {shown(text)}")
    return asked.text, asked.seconds


def _need_optuna() -> None:
    try:
        import optuna  # noqa: F401
    except ImportError:
        raise UserError('a search needs Optuna: pip install "residuum[tune]" (--models compares without it)') from None


def _compare(bench: _Bench, choices: list[Candidate], seeds: int) -> list[Tried]:
    """Every model and seed for the same time."""
    tried = []
    place, share = Place(bench.out, bench.out / "runs"), Budget(f"{bench.seconds:.0f}s", seconds=bench.seconds)
    lengths = {
        choice.text: steps_of(
            f"tune {choice.text}",
            share,
            lambda steps, c=choice: [bench.trial(c, 0, steps)],
            bench.manifest,
            place,
            bench.reporter,
        )
        for choice in choices
    }
    for seed in range(seeds):
        for choice in choices:
            number = len(tried) + 1
            bench.reporter.say(f"run {number} of {len(choices) * seeds}: {choice.text}, seed {seed}")
            tried.append(_run(bench, choice, seed, lengths[choice.text], None))
    return tried


def _search(bench: _Bench, seconds: float, sampler: str) -> list[Tried]:
    """Ask for candidates until the time is used up; what was tried before counts."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = open_study(bench.out, bench.manifest.digest, sampler)
    found: dict[int, Tried] = {}
    used = 0.0
    for old in study.get_trials(deepcopy=False):
        used += float(old.user_attrs.get("seconds", 0.0))
        if not old.state.is_finished():
            # cut off by a signal or a crash: its parameters are asked for again, and its run goes on
            study.tell(old.number, state=optuna.trial.TrialState.FAIL)
            study.enqueue_trial(old.params, {"steps": old.user_attrs["steps"]} if "steps" in old.user_attrs else None)
    while used < seconds:
        trial = study.ask()
        choice = candidate(trial, bench.manifest)
        bench.reporter.say(
            f"trial {trial.number + 1}: {choice.text}, lr {choice.recipe.optimizer.lr:.3g} "
            f"({duration(seconds - used)} left)"
        )
        start = time.monotonic()
        tried = _attempt(bench, study, trial, choice)
        spent = time.monotonic() - start
        used += spent
        trial.set_user_attr("seconds", spent)
        tell(study, trial, tried.record, tried.macs)
        found[trial.number] = tried
    return _all(bench, study, found)


def _attempt(bench: _Bench, study: optuna.Study, trial: optuna.Trial, choice: Candidate) -> Tried:
    try:
        steps = int(trial.user_attrs.get("steps") or bench.steps(choice))
    except TooSmall:
        trial.set_user_attr("steps", 0)
        plan = make_plan(bench.settle(choice, 0, 1).setup.spec)
        return Tried(choice, None, plan.macs, plan.parameters, 0)  # too slow for its share of the time
    trial.set_user_attr("steps", steps)
    watch = Pruner(trial) if len(study.directions) == 1 else None
    return _run(bench, choice, 0, steps, watch)


def _run(bench: _Bench, choice: Candidate, seed: int, steps: int, watch: Pruner | None) -> Tried:
    """Train a candidate; what an earlier call began or finished is taken up."""
    settled = bench.settle(choice, seed, steps)
    settled = replace(settled, trial=replace(settled.trial, watch=(lambda folder: watch) if watch else None))
    plan = make_plan(settled.setup.spec)
    record = None
    with contextlib.suppress(Pruned):
        record = carry_out(
            settled, "tune", bench.manifest, bench.out / "work", Records(bench.out / "runs"), bench.reporter
        )
        if record is None:
            raise UserError(f"another process is at work in {shown(bench.out)}; wait for it, or give another --out")
    return Tried(choice, record, plan.macs, plan.parameters, steps, watch.error if watch and record is None else None)


def _all(bench: _Bench, study: optuna.Study, found: dict[int, Tried]) -> list[Tried]:
    """Every trial of the storage, those of earlier calls read from their records."""
    import optuna

    tried = []
    for old in study.get_trials(deepcopy=False):
        if old.number in found:
            tried.append(found[old.number])
        elif old.state.is_finished() and "steps" in old.user_attrs and len(old.params) > 0:
            choice = candidate(optuna.trial.FixedTrial(old.params), bench.manifest)  # type: ignore[arg-type]
            steps = int(old.user_attrs["steps"])
            settled = bench.settle(choice, 0, max(1, steps))
            plan = make_plan(settled.setup.spec)
            record = settled.find(Records(bench.out / "runs"))
            last = old.intermediate_values[max(old.intermediate_values)] if old.intermediate_values else None
            if record is not None or old.state == optuna.trial.TrialState.PRUNED:
                pruned = last if record is None else None
                tried.append(Tried(choice, record, plan.macs, plan.parameters, steps, pruned))
    return tried

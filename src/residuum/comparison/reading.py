"""Entries from their files. Nothing is written: a run that is read may be under way."""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from residuum import artifact
from residuum.catalog import member
from residuum.comparison.entries import Entry, read_results
from residuum.comparison.settings import settings_of
from residuum.config import Part, to_dict
from residuum.errors import UserError, shown
from residuum.plan import make_plan, read_spec
from residuum.report.wording import section
from residuum.run import Run

WANTED = "give run directories, model files or documents of `residuum evaluate --json`"

WRITTEN = ("running", "stopped", "failed", "finished")
"""What a run.json may say of its run."""


def read_entry(path: Path, using: Iterable[type[Part]] = ()) -> Entry:
    """The entry of a run directory, a model file or a JSON document of `residuum evaluate`.

    UserError where the path is none of them; a run or model file that is damaged is an entry that says so. `using` are
    classes of parts from outside the package.
    """
    if path.is_dir():
        return _run(path, using)
    try:
        with path.open("rb") as file:
            head = file.read(9)
    except FileNotFoundError:
        raise UserError(f"there is no {shown(path)}; {WANTED}") from None
    except OSError as error:
        raise UserError(f"cannot read {shown(path)}: {error.strerror or error}") from None
    if head[8:] == b"{" and b"\0" in head:  # eight bytes of length; text has no zero bytes
        return _model(path, using)
    return _evaluation(path)


def _run(folder: Path, using: Iterable[type[Part]]) -> Entry:
    run = Run(folder)
    if not any(path.exists() for path in (folder / "run.json", folder / "metrics.jsonl", run.model)):
        inside = sorted(path.parent for path in folder.glob("*/run.json"))
        advice = f"give the runs in it, as in `residuum compare {shown(folder)}/*`" if inside else WANTED
        raise UserError(f"{shown(folder)} is not a run directory (no run.json); {advice}")
    history = _history(run)
    try:
        facts = run.read()
        return _of_facts(run, facts, history, using)
    except UserError as error:
        problem = str(error)
    entry = Entry(folder, "run", "damaged", folder.resolve().name)
    try:  # a model file checks its own hash: what it says holds
        model = _model(run.model, using)
        entry = entry if model.status == "unreadable" else replace(model, source=folder, kind="run")
    except UserError:
        pass
    last = history[-1] if history else {}
    return replace(
        entry,
        status="damaged",
        problem=problem,
        history=history,
        epochs=entry.epochs or _number(last.get("epoch")),
        steps=entry.steps or _whole(last.get("step")),
        seconds=entry.seconds or _number(last.get("seconds")),
    )


def _of_facts(
    run: Run, facts: dict[str, Any], history: tuple[dict[str, Any], ...], using: Iterable[type[Part]]
) -> Entry:
    """The entry of a run whose run.json can be read; UserError where it makes no sense."""
    status = "diverged" if facts["status"] == "failed" and facts.get("diverged") is True else facts["status"]
    if facts["status"] not in WRITTEN:
        raise UserError(f"{shown(run.folder / 'run.json')} has the unknown status {shown(status)}")
    finished = status == "finished"
    stored = section(facts, "all_results").values() if finished else ()
    results = read_results(stored, f"the results in {shown(run.folder / 'run.json')}")
    last = history[-1] if history else {}
    entry = _trained(Entry(run.folder, "run", status, shown(facts["name"]), results=results, history=history), facts)
    entry = _with_network(entry, facts, using)
    if finished:
        return replace(entry, epochs=entry.planned_epochs, steps=entry.planned_steps)
    return replace(
        entry,
        problem=f"last written {_last_written(run)}" if status == "running" else None,
        epochs=_number(last.get("epoch")) or 0,
        steps=_whole(last.get("step")) or 0,
        seconds=_number(last.get("seconds")),
        images_per_second=_number(last.get("images_per_second")),
    )


def _model(path: Path, using: Iterable[type[Part]]) -> Entry:
    try:
        content = artifact.load(path, using)
    except UserError as error:
        if not _is_ours(path):
            raise
        return Entry(path, "model", "unreadable", path.name, str(error))
    facts = {**content.training, "spec": to_dict(content.spec), "preprocessing": content.preprocessing.to_dict()}
    results = read_results(content.results, f"the results in {shown(path)}")
    name = facts.get("name")
    entry = Entry(path, "model", "finished", shown(name) if name else path.name, results=results)
    entry = replace(_trained(entry, facts), task=content.task, classes=content.classes)
    entry = replace(entry, epochs=entry.planned_epochs, steps=entry.planned_steps)
    return _with_network(entry, facts, using)


def _is_ours(path: Path) -> bool:
    """Whether a file that cannot be loaded was a model file once."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return b'"format_version"' in file.read(2**24)


def _evaluation(path: Path) -> Entry:
    neither = f"{shown(path)} is neither a run directory nor a model file nor a document of `residuum evaluate --json`"
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        raise UserError(neither) from None
    if not isinstance(document, dict) or "protocol" not in document:
        raise UserError(neither)
    table = document.get("per_class")
    rows = [row for row in table if isinstance(row, dict) and "class" in row] if isinstance(table, list) else []
    return Entry(
        path,
        "evaluation",
        "finished",
        path.stem,
        task=str(document.get("task", "classification")),
        classes=tuple(str(row["class"]) for row in rows) or None,
        results=read_results([document], shown(path)),
    )


def _trained(entry: Entry, facts: Mapping[str, Any]) -> Entry:
    """The entry with what run.json and model files tell alike."""
    data, length, time = section(facts, "data"), section(facts, "length"), section(facts, "time")
    images, batch, steps = (_whole(length.get(key)) for key in ("images", "batch_size", "steps"))
    classes = data.get("classes")
    return replace(
        entry,
        task=str(facts.get("task", "classification")),
        classes=tuple(map(str, classes)) if isinstance(classes, list) else None,
        planned_epochs=steps * batch / images if images and batch and steps else None,
        planned_steps=steps,
        seconds=_number(time.get("seconds")),
        images_per_second=_number(time.get("images_per_second")),
        seed=_whole(facts.get("seed")),
        held_out=_whole(section(data, "counts").get("val")),
    )


def _with_network(entry: Entry, facts: Mapping[str, Any], using: Iterable[type[Part]]) -> Entry:
    """The entry with its settings and what its network costs."""
    entry = replace(entry, settings=settings_of(facts, using))
    try:
        spec = read_spec(facts["spec"], shown(entry.source), using)
        plan = make_plan(spec)
    except UserError:  # parts from outside the package: the rest can be compared all the same
        return entry
    return replace(entry, name=member(entry.name, spec), parameters=plan.parameters, macs=plan.macs)


def _history(run: Run) -> tuple[dict[str, Any], ...]:
    """The rows of metrics.jsonl, their finite numbers only."""
    try:
        rows = [row for row in run.history() if isinstance(row, dict)]
    except (OSError, ValueError):
        return ()
    return tuple({str(key): _number(value) for key, value in row.items()} for row in rows)


def _last_written(run: Run) -> str:
    files = (run.folder / "run.json", run.folder / "metrics.jsonl", run.checkpoint)
    newest = max(path.stat().st_mtime for path in files if path.exists())
    return datetime.datetime.fromtimestamp(newest).astimezone().isoformat(" ", "minutes")


def _number(value: object) -> float | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return value
    return None


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None

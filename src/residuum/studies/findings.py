"""What a study found: an answer, tables beside the paper's, figures, and how every number was made."""

from __future__ import annotations

import datetime
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from residuum.devices import describe_environment
from residuum.files import make_folder, write_atomic
from residuum.report.page import Plot
from residuum.report.plots import DARK, LIGHT, Draw, svg
from residuum.report.render import render
from residuum.report.wording import duration

MISSING = "–"


@dataclass(frozen=True)
class Table:
    """Text columns to the left, columns whose name begins with '#' (numbers) to the right."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    def markdown(self) -> str:
        heads = [name.lstrip("#") for name in self.columns]
        rule = ["---:" if name.startswith("#") else "---" for name in self.columns]
        lines = [heads, rule, *([cell.replace("|", "\\|") for cell in row] for row in self.rows)]
        text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return f"**{self.title}**\n\n{text}\n" + (f"\n{self.note}\n" if self.note else "")


@dataclass(frozen=True)
class Figure:
    """A plot and the sentence under it; `name` is its file's."""

    name: str
    caption: str
    draw: Draw

    def plot(self) -> Plot:
        return Plot(self.name, self.caption, svg(self.draw(LIGHT)), svg(self.draw(DARK)))


@dataclass(frozen=True)
class Findings:
    """A study's outcome; `answer` is said first, `protocol` names how the numbers were made, `next` what to do now: in
    words, and as a command."""

    study: str
    title: str
    question: str
    answer: str
    tables: tuple[Table, ...]
    figures: tuple[Figure, ...]
    protocol: tuple[tuple[str, str], ...]
    notes: tuple[str, ...] = ()
    next: tuple[str, str] | None = None
    records: tuple[dict[str, Any], ...] = field(default=(), repr=False)

    @property
    def runs(self) -> Table | None:
        """Every run behind the numbers, with its time."""
        if not self.records:
            return None
        rows = tuple(
            (
                record["label"],
                record["status"],
                str(record["trial"]["steps"]),
                record["trial"]["precision"],
                duration(record["time"]["seconds"]),
                record["environment"]["processor"] + f", threads: {record['environment']['threads']}",
                record["finished"][:10],
                record["key"][:10],
            )
            for record in self.records
        )
        seconds = sum(record["time"]["seconds"] for record in self.records)
        columns = ("run", "status", "#steps", "precision", "#training time", "machine", "finished", "record")
        return Table("Runs", columns, rows, f"Training time of all runs: {duration(seconds)}.")

    def to_dict(self) -> dict[str, Any]:
        """All but the figures, as JSON."""
        tables = [
            {
                "title": t.title,
                "columns": [c.lstrip("#") for c in t.columns],
                "rows": [*map(list, t.rows)],
                "note": t.note,
            }
            for t in self.tables
        ]
        return {
            "study": self.study,
            "title": self.title,
            "question": self.question,
            "answer": self.answer,
            "tables": tables,
            "protocol": dict(self.protocol),
            "notes": list(self.notes),
            "next": None if self.next is None else self.next[1],
            "runs": [record | {"curve": None, "history": None} for record in self.records],
        }

    def write(self, out: Path, name: str = "study") -> Path:
        """NAME.html, NAME.md and plots/ in the folder; returns the page."""
        plots = [figure.plot() for figure in self.figures]
        make_folder(out / "plots")
        for plot in plots:
            write_atomic(out / "plots" / f"{plot.name}.svg", plot.light)
        write_atomic(out / f"{name}.md", self._markdown(plots))
        page = out / f"{name}.html"
        write_atomic(page, render("study.html", {"findings": self, "plots": plots}))
        return page

    def _markdown(self, plots: Sequence[Plot]) -> str:
        parts = [f"# {self.title}\n", f"{self.question}\n", f"**{self.answer}**\n"]
        parts += [table.markdown() for table in self.tables]
        parts += [f"![{plot.caption}](plots/{plot.name}.svg)\n\n{plot.caption}\n" for plot in plots]
        parts += ["## How it was made\n", "\n".join(f"- {name}: {value}" for name, value in self.protocol) + "\n"]
        parts += [f"{note}\n" for note in self.notes]
        parts += [self.runs.markdown()] if self.runs else []
        return "\n".join(parts)


def mean_and_spread(values: Sequence[float], digits: int = 2) -> str:
    """12.34 ± 0.56 (standard deviation over seeds); one value alone has no spread."""
    if not values:
        return MISSING
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    return f"{statistics.fmean(values):.{digits}f} ± {statistics.stdev(values):.{digits}f}"


def made_now() -> tuple[tuple[str, str], ...]:
    """By which command, on what and when, for what is measured in this very call."""
    environment = describe_environment(torch.device("cpu"), torch.float32)
    return (
        ("command", " ".join(["residuum", *sys.argv[1:]])),
        ("machine", f"{environment['processor']}, threads: {environment['threads']}"),
        ("versions", f"residuum {environment['residuum']}, torch {environment['torch']}"),
        ("date", datetime.datetime.now(datetime.UTC).date().isoformat()),
    )


def protocol_of(records: Sequence[dict[str, Any]], budget: str) -> tuple[tuple[str, str], ...]:
    """How the numbers of trained networks were made, where all runs agree on it."""
    if not records:
        return ()
    facts = {
        "budget": budget,
        "steps of each run": _all(str(r["trial"]["steps"]) for r in records),
        "recipe": _all(r["recipe_name"] for r in records)
        + ", its learning rate drops at the fractions of the run that the paper's has",
        "seeds": _all(str(r["trial"]["seed"]) for r in records),
        "data": _all(f"{_of(r, 'data')}, digest {r['trial']['data']['digest'][:12]}" for r in records),
        "pictures": _all(", ".join(f"{n} {p}" for p, n in r["trial"]["data"]["counts"].items()) for r in records),
        "training error": "mean over the last tenth of the steps, on augmented pictures as they were trained on",
        "validation error": _all(f"last epoch, {_of(r, 'name')} view, float32" for r in records),
        "precision of training": _all(r["trial"]["precision"] for r in records),
        "command": _all(" ".join(r["command"]) for r in records),
        "versions": _all(f"residuum {e['residuum']}, torch {e['torch']}" for e in (r["environment"] for r in records)),
    }
    return tuple(facts.items())


def _of(record: dict[str, Any], key: str) -> str:
    results = record["results"]
    return next((str(result["protocol"][key]) for result in results.values()), MISSING)


def _all(values: Any) -> str:
    return "; ".join(dict.fromkeys(value for value in values if value != MISSING))


def training_error(record: dict[str, Any]) -> float | None:
    """Mean training error, in percent, over the last tenth of the steps; None for a run that diverged."""
    if record["status"] != "finished" or not record["curve"]:
        return None
    points = record["curve"]
    last = points[-max(1, len(points) // 10) :]
    return statistics.fmean(point["train_error"] for point in last)


def held_out_error(record: dict[str, Any], part: str = "val") -> float | None:
    """Error in percent on the held-out part after the last step."""
    return record["results"][part]["top1_error"] if part in record["results"] else None

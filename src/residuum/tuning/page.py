"""What a search or a comparison of networks says: the best, the Pareto front of error and cost, and every candidate."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from residuum.comparison.uncertainty import Count, told_apart
from residuum.data.manifest import Manifest
from residuum.recipes.fast import FAST
from residuum.studies.figures import Line, Panel, panels
from residuum.studies.findings import Figure, Findings, Table, mean_and_spread

if TYPE_CHECKING:
    from residuum.tuning.search import Tried
    from residuum.tuning.space import Candidate

FEW_EPOCHS = 2
"""Passes over the training pictures up to which an error says nothing of a network."""
QUESTION = (
    "Every candidate trains for about the same time and is judged on the same held-out pictures. Those pictures "
    "choose, so the error of the best is optimistic: measure it on pictures that no search has seen."
)


def error_of(tried: Tried) -> float | None:
    """Validation error in percent of a candidate that finished."""
    if tried.record is None or tried.record["status"] != "finished":
        return None
    return tried.record["results"]["val"]["top1_error"]


def _rank(tried: Tried) -> tuple[float, int]:
    """Lower error first, of equal ones the cheaper; unfinished ones last."""
    error = error_of(tried)
    return math.inf if error is None else error, tried.macs


def front(tried: Sequence[Tried]) -> list[Tried]:
    """The candidates that no other beats in both error and multiply-adds, cheapest first."""
    finished = sorted((t for t in tried if error_of(t) is not None), key=lambda t: (t.macs, _rank(t)))
    kept: list[Tried] = []
    lowest = math.inf
    for each in finished:
        error = error_of(each)
        if error is not None and error < lowest:
            kept.append(each)
            lowest = error
    return kept


def search(tried: Sequence[Tried], manifest: Manifest, budget: str, sampler: str, exclude: str | None) -> Findings:
    """The outcome of a search; `exclude` is the list of files that were left out."""
    best = min((t for t in tried if error_of(t) is not None), key=_rank, default=None)
    answer = "No candidate finished within the budget; give a longer one."
    if best is not None:
        answer = f"Best of {len(tried)}: {best.candidate.text}, {_sureness(best, tried)}"
    columns = (
        "candidate",
        "#error (%)",
        "#multiply-adds",
        "#parameters",
        "#steps",
        "#lr",
        "#weight decay",
        "#smoothing",
    )
    ranked = sorted(tried, key=_rank)
    return Findings(
        study="tune",
        title=f"Tuning on {Path(manifest.argument).name}",
        question=QUESTION,
        answer=answer,
        tables=(
            Table("Pareto front: nothing is better at this cost or less", columns, tuple(map(_row, front(tried)))),
            Table("Every candidate, best first", columns, tuple(map(_row, ranked))),
        ),
        figures=_figures(tried),
        protocol=(*_protocol(manifest, budget), ("sampler", sampler)),
        next=None if best is None else ("To train the best for longer", _command(best.candidate, manifest, exclude)),
        records=tuple(t.record for t in tried if t.record is not None),
    )


def comparison(tried: Sequence[Tried], manifest: Manifest, budget: str, seeds: int, exclude: str | None) -> Findings:
    """Named networks side by side; `exclude` is the list of files that were left out."""
    names = list(dict.fromkeys(t.candidate.text for t in tried))
    errors = {name: [e for t in tried if t.candidate.text == name and (e := error_of(t)) is not None] for name in names}
    one = {t.candidate.text: t for t in tried}
    ranked = sorted(names, key=lambda name: sum(errors[name]) / len(errors[name]) if errors[name] else math.inf)
    rows = tuple(
        (name, mean_and_spread(errors[name]) if errors[name] else "diverged", f"{one[name].macs:,}",
         f"{one[name].parameters:,}", str(one[name].steps))
        for name in ranked
    )  # fmt: skip
    columns = ("network", "#error (%)", "#multiply-adds", "#parameters", "#steps")
    answer, further = "Every run diverged.", None
    if errors[ranked[0]]:
        further = "To train it for longer", _command(one[ranked[0]].candidate, manifest, exclude)
        answer = f"Lowest validation error: {ranked[0]}, {mean_and_spread(errors[ranked[0]])}%."
    return Findings(
        study="tune",
        title=f"Networks on {Path(manifest.argument).name}",
        question=QUESTION,
        answer=answer,
        tables=(Table(f"Mean ± s.d. over {seeds} seeds, best first", columns, rows),),
        figures=_figures(tried),
        protocol=_protocol(manifest, budget),
        notes=("Differences smaller than the spread over seeds are not told apart by these runs.",),
        next=further,
        records=tuple(t.record for t in tried if t.record is not None),
    )


def _row(tried: Tried) -> tuple[str, ...]:
    error, recipe = error_of(tried), tried.candidate.recipe
    if error is not None:
        said = f"{error:.2f}"
    elif tried.record is not None:
        said = "diverged"
    else:
        said = "too slow" if tried.pruned_at is None else f"cut short at {tried.pruned_at:.1f}"
    return (
        tried.candidate.text, said, f"{tried.macs:,}", f"{tried.parameters:,}", str(tried.steps),
        f"{recipe.optimizer.lr:.3g}", f"{recipe.optimizer.weight_decay:.2g}", f"{recipe.label_smoothing:g}",
    )  # fmt: skip


def _figures(tried: Sequence[Tried]) -> tuple[Figure, ...]:
    points = [(t.macs, error) for t in tried if (error := error_of(t)) is not None]
    if not points:
        return ()
    best = [(t.macs, error_of(t) or 0.0) for t in front(tried)]
    lines = [
        Line("every candidate", [x for x, _ in points], [y for _, y in points], "second", points=True),
        Line("Pareto front", [x for x, _ in best], [y for _, y in best], "first"),
    ]
    panel = Panel("", lines, "multiply-adds", "validation error (%)", log_x=True)
    return (
        Figure("front", "Error against cost: what lies on the blue line is beaten by nothing cheaper.", panels(panel)),
    )


def _protocol(manifest: Manifest, budget: str) -> tuple[tuple[str, str], ...]:
    counts = ", ".join(f"{len(indices)} {part}" for part, indices in manifest.parts.items())
    return (
        ("budget", budget),
        ("data", f"{Path(manifest.argument).name}, digest {manifest.digest[:12]}"),
        ("pictures", counts),
        ("error", "validation part after the last step, centre view, float32"),
    )


def _sureness(best: Tried, tried: Sequence[Tried]) -> str:
    """The end of a sentence: how wrong the best is, how sure that is, and what speaks against relying on it."""
    counts = {id(each): count for each in tried if (count := _count(each)) is not None}
    own = counts.pop(id(best))
    low, high = own.interval()
    said = (
        f"{100 * own.share:.2f}% of {own.images} held-out pictures wrong "
        f"(95% interval {100 * low:.1f} to {100 * high:.1f}%)."
    )
    alike = sum(not told_apart(own, other) for other in counts.values())
    if alike:
        others = "another candidate" if alike == 1 else f"{alike} other candidates"
        said += f" So few pictures do not tell it from {others}."
    epochs = best.record["history"][-1]["epoch"] if best.record else 0
    if epochs <= FEW_EPOCHS:
        said += " It hardly began to learn: give a longer --budget."
    return said


def _count(tried: Tried) -> Count | None:
    if error_of(tried) is None:
        return None
    assert tried.record is not None
    result = tried.record["results"]["val"]
    return Count(result["images"] - result["correct_top1"], result["images"])


def _command(candidate: Candidate, manifest: Manifest, exclude: str | None) -> str:
    """How to train a candidate for longer."""
    words = ["residuum", "train", manifest.argument, "--model", candidate.model]
    for axis, value in candidate.axes.items():
        words += (
            [] if (axis, value) == ("width", 1.0) else [f"--{axis}", f"{value:g}" if axis == "width" else str(value)]
        )
    recipe = candidate.recipe
    if recipe != FAST:
        words += [
            "--lr",
            f"{recipe.optimizer.lr:.3g}",
            "--set",
            f"optimizer.weight_decay={recipe.optimizer.weight_decay:.2g}",
        ]
        words += ["--set", f"label_smoothing={recipe.label_smoothing:g}"]
    words += [] if exclude is None else ["--exclude", exclude]
    return shlex.join(words)

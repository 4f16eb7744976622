"""Degradation: does a deeper plain network train worse, a deeper residual one better? (Fig. 1, 4, 6; Tables 2, 6)"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from residuum.studies import paper
from residuum.studies.by_the_paper import errors_in_words, grouped, training_line, validation_line, wishes
from residuum.studies.figures import Panel, Tone, panels, strengths, top_of
from residuum.studies.findings import (
    MISSING,
    Figure,
    Findings,
    Table,
    held_out_error,
    mean_and_spread,
    protocol_of,
    training_error,
)
from residuum.studies.request import Request
from residuum.studies.trial import Measure, Trial

NAMES = {"plain": "plain", "resnet": "residual"}
DEPTHS = (20, 32, 44, 56)
TITLE = "Degradation: plain against residual networks"
QUESTION = (
    "A deeper network could copy a shallower one and add identities, so it should never have a higher training error. "
    "Plain and residual networks (shortcut A: no parameters of its own) of each depth start from the same weights and "
    "see the same pictures in the same order."
)


def trials(
    depths: Sequence[int],
    seeds: int,
    steps: int,
    *,
    settings: Sequence[str] = (),
    val: float | None = None,
    measures: dict[str, Measure] | None = None,
) -> list[Trial]:
    """A plain and a residual network of each depth and seed, trained by the paper's recipe in `steps` steps."""
    return [
        Trial(
            f"{kind}{depth}-{steps}steps-seed{seed}",
            wishes({"depth": depth}, steps, seed, settings, val, f"{kind}20"),
            measures or {},
            tags={"kind": kind, "depth": depth, "seed": seed},
        )
        for seed in range(seeds)
        for depth in sorted(depths)
        for kind in NAMES
    ]


def conduct(request: Request) -> Findings:
    """Train what is missing and say what all of it shows."""

    def made(steps: int) -> list[Trial]:
        return trials(request.depths, request.seeds, steps, settings=request.settings, val=request.val)

    records, steps = request.trained(made)
    groups = grouped(made(steps), records, "kind", "depth")
    depths = sorted(request.depths)
    return Findings(
        study="degradation",
        title=TITLE,
        question=QUESTION,
        answer=_answer(groups, depths),
        tables=(_table(groups, depths), _pairs(groups, depths)),
        figures=(_curves(groups, depths),),
        protocol=protocol_of(records, request.budget.text),
        notes=(
            "The paper trains for 64,000 iterations on 50,000 pictures and reports the error on the 10,000 test "
            "pictures: its figures stand beside ours for orientation, not as the same measurement.",
        ),
        records=tuple(records),
    )


def _table(groups: dict[tuple[str, int], list[dict[str, Any]]], depths: Sequence[int]) -> Table:
    rows = []
    for kind, name in NAMES.items():
        reference = paper.PLAIN_TEST_ERROR if kind == "plain" else paper.RESNET_TEST_ERROR
        for depth in depths:
            group = groups[kind, depth]
            train, val = errors_in_words(group)
            row = (name, str(depth), f"{group[0]['parameters']:,}", train, val, reference.get(depth, MISSING))
            rows.append(row)
    columns = (
        "network",
        "#layers",
        "#parameters",
        "#training error (%)",
        "#validation error (%)",
        "#paper, test error (%)",
    )
    return Table("Errors after the last step, mean ± s.d. over seeds", columns, tuple(rows))


def _pairs(groups: dict[tuple[str, int], list[dict[str, Any]]], depths: Sequence[int]) -> Table:
    """Differences within pairs: what the seed has in common is gone."""
    rows = []
    for kind, name in NAMES.items():
        for shallow, deep in pairwise(depths):
            rows.append(
                (f"{name}-{deep} minus {name}-{shallow}", *_differences(groups[kind, deep], groups[kind, shallow]))
            )
    for depth in depths:
        rows.append(
            (f"residual-{depth} minus plain-{depth}", *_differences(groups["resnet", depth], groups["plain", depth]))
        )
    columns = ("difference", "#training error (points)", "#validation error (points)")
    return Table("Differences of runs with the same seed, mean ± s.d.", columns, tuple(rows))


def _differences(one: Sequence[dict[str, Any]], other: Sequence[dict[str, Any]]) -> tuple[str, str]:
    found = []
    for error in (training_error, held_out_error):
        pairs = [(error(a), error(b)) for a, b in zip(one, other, strict=True)]
        found.append(mean_and_spread([a - b for a, b in pairs if a is not None and b is not None]))
    return found[0], found[1]


def _answer(groups: dict[tuple[str, int], list[dict[str, Any]]], depths: Sequence[int]) -> str:
    """In words, by the training error of the deepest and the shallowest network, seed by seed."""
    if len(depths) < 2:
        return "One depth alone cannot show degradation; give several --depths."
    shallow, deep = depths[0], depths[-1]
    said = []
    for kind, name in NAMES.items():
        pairs = zip(groups[kind, deep], groups[kind, shallow], strict=True)
        errors = [(training_error(a), training_error(b)) for a, b in pairs]
        whole = [(a, b) for a, b in errors if a is not None and b is not None]
        higher = sum(a > b for a, b in whole)
        if not whole:
            said.append(f"the {name} pairs diverged")
        elif higher == len(whole):
            said.append(f"{name}-{deep} ends with a higher training error than {name}-{shallow}")
        elif higher == 0:
            said.append(f"{name}-{deep} ends with a lower training error than {name}-{shallow}")
        else:
            said.append(f"{name}-{deep} is higher than {name}-{shallow} for {higher} of {len(whole)} seeds only")
    seeds = len(groups["plain", deep])
    text = "; ".join(said) + f" ({seeds} seed{'s' * (seeds > 1)})."
    return text[0].upper() + text[1:]


def _curves(groups: dict[tuple[str, int], list[dict[str, Any]]], depths: Sequence[int]) -> Figure:
    shown = []
    tones: dict[str, Tone] = {"plain": "second", "resnet": "first"}
    for kind, tone in tones.items():
        lines = []
        for depth, strength in zip(depths, strengths(len(depths)), strict=True):
            for record in groups[kind, depth]:
                lines.append(training_line(record, f"{depth} layers, training", tone, strength))
                lines.append(validation_line(record, f"{depth} layers, validation", tone, strength))
        shown.append(Panel(NAMES[kind], lines, "iteration", "error (%)" if kind == "plain" else "", top=top_of(lines)))
    caption = (
        "Training error (thin) and validation error (bold) by iteration, one line for each seed (the paper's Fig. 6)."
    )
    return Figure("curves", caption, panels(*shown))

"""Shortcuts: none, A, B, C and D on one network (Table 3)."""

from __future__ import annotations

from typing import Any

from residuum.studies import paper
from residuum.studies.by_the_paper import errors_in_words, grouped, held_out_errors, training_line, wishes
from residuum.studies.figures import Panel, panels, strengths, top_of
from residuum.studies.findings import (
    MISSING,
    Figure,
    Findings,
    Table,
    protocol_of,
)
from residuum.studies.request import Request
from residuum.studies.trial import Trial

OPTIONS = {
    "none": "no shortcut (plain)",
    "A": "A: zero channels, no parameters",
    "B": "B: projection where shapes change",
    "C": "C: projection everywhere",
    "D": "D: average pool, then projection",
}
TITLE = "Shortcuts: how should x reach the shape of F(x)?"
QUESTION = (
    "The paper finds A a little worse than B and B than C on ImageNet, and all of them far better than no shortcut, "
    "so projections are not essential. Every option is trained here on the same pictures in the same order."
)


def trials(depth: int, request: Request, steps: int) -> list[Trial]:
    """Every option and seed."""
    return [
        Trial(
            f"{'plain' if option == 'none' else 'resnet'}{depth}{'' if option in ('none', 'A') else option}"
            f"-{steps}steps-seed{seed}",
            wishes({"depth": depth, "shortcut": option}, steps, seed, request.settings, request.val),
            tags={"option": option, "seed": seed},
        )
        for seed in range(request.seeds)
        for option in OPTIONS
    ]


def conduct(request: Request) -> Findings:
    """Train what is missing and put the options side by side."""
    depth = request.depths[0]
    records, steps = request.trained(lambda steps: trials(depth, request, steps))
    groups = grouped(trials(depth, request, steps), records, "option")
    rows, means = [], {}
    for option, name in OPTIONS.items():
        group = groups[option]
        val = held_out_errors(group)
        if val:
            means[option] = sum(val) / len(val)
        rows.append(
            (
                name,
                f"{group[0]['parameters']:,}",
                f"{group[0]['macs']:,}",
                *errors_in_words(group),
                paper.SHORTCUTS.get(option, MISSING),
            )
        )
    columns = (
        "shortcut", "#parameters", "#multiply-adds", "#training error (%)", "#validation error (%)",
        "#paper, 34 layers, ImageNet, top-1 / top-5 (%)",
    )  # fmt: skip
    order = ", ".join(f"{option} {means[option]:.2f}%" for option in sorted(means, key=means.__getitem__))
    return Findings(
        study="shortcuts",
        title=TITLE,
        question=QUESTION,
        answer=f"Mean validation error of {depth} layers, lowest first: {order}." if means else "Every run diverged.",
        tables=(Table(f"{depth} layers, mean ± s.d. over seeds", columns, tuple(rows)),),
        figures=(_curves(groups),),
        protocol=protocol_of(records, request.budget.text),
        notes=("Differences smaller than the spread over seeds are not told apart by these runs.",),
        records=tuple(records),
    )


def _curves(groups: dict[str, list[dict[str, Any]]]) -> Figure:
    shades = dict(zip((o for o in OPTIONS if o != "none"), strengths(len(OPTIONS) - 1), strict=True))
    lines = [
        training_line(
            record,
            "no shortcut" if option == "none" else option,
            "second" if option == "none" else "first",
            shades.get(option, 1.0),
        )
        for option, group in groups.items()
        for record in group
    ]
    panel = Panel("", lines, "iteration", "training error (%)", top=top_of(lines))
    return Figure("curves", "Training error by iteration, one line for each seed.", panels(panel, height=3.8))

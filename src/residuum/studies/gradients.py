"""Gradients: do they vanish on their way down, with and without batch norm and shortcuts? (section 4.1)"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from residuum.analysis.gradients import GradientWatch
from residuum.data.manifest import Manifest
from residuum.run import Run
from residuum.studies.by_the_paper import grouped, held_out_errors, training_errors, wishes
from residuum.studies.figures import Line, Panel, Tone, panels
from residuum.studies.findings import MISSING, Figure, Findings, Table, protocol_of
from residuum.studies.request import Request
from residuum.studies.trial import Trial

KINDS = {
    "plain": {"shortcut": "none", "norm": "batch"},
    "residual": {"shortcut": "A", "norm": "batch"},
    "plain, no norm": {"shortcut": "none", "norm": "none"},
    "residual, no norm": {"shortcut": "A", "norm": "none"},
}
RATE = "optimizer.lr=0.01"
"""A rate at which networks without batch norm have a chance; it is the paper's of warm-up."""
WATCHED = 20
"""Steps whose gradients are written down, spread evenly over the logarithm of the step."""
FILE = "gradients.jsonl"
TITLE = "Gradients: do they vanish with depth?"
QUESTION = (
    "The paper argues that the trouble of deep plain networks is not that gradients vanish: with batch norm, forward "
    "and backward signals have healthy norms. Here is the norm of the gradient at every layer's weights, at the first "
    "step and through training, with and without batch norm and shortcuts."
)


def watched(steps: int) -> frozenset[int]:
    """Steps from the first to the last, evenly on a logarithmic scale."""
    return frozenset(round(math.exp(i / (WATCHED - 1) * math.log(steps))) for i in range(WATCHED))


def measure(run: Run, manifest: Manifest) -> list[dict[str, Any]]:
    """The norms that were written down in training: {"step", "loss", "norms": {layer: norm}}."""
    rows = GradientWatch(run.folder / FILE, ()).rows()
    return [row | {"norms": {name: float(f"{norm:.4g}") for name, norm in row["norms"].items()}} for row in rows]


def trials(depth: int, request: Request, steps: int) -> list[Trial]:
    """The four kinds of network, for each seed."""

    def watch(folder: Path) -> GradientWatch:
        return GradientWatch(folder / FILE, watched(steps))

    return [
        Trial(
            f"{kind.replace(', ', '-').replace(' ', '')}{depth}-gradients-{steps}steps-seed{seed}",
            wishes({"depth": depth, **axes}, steps, seed, (RATE, *request.settings), request.val),
            {"gradients": measure},
            watch,
            {"kind": kind, "seed": seed},
        )
        for seed in range(request.seeds)
        for kind, axes in KINDS.items()
    ]


def conduct(request: Request) -> Findings:
    """Train what is missing and compare the first layer's gradient with the last one's."""
    depth = request.depths[-1]
    records, steps = request.trained(lambda steps: trials(depth, request, steps))
    groups = grouped(trials(depth, request, steps), records, "kind")
    ratios = {kind: _ratio(group, 0) for kind, group in groups.items()}
    said = [f"{kind} {_told(ratio)}" for kind, ratio in ratios.items() if ratio is not None]
    return Findings(
        study="gradients",
        title=TITLE,
        question=QUESTION,
        answer=f"At the first step of {depth} layers, the first convolution's gradient over the last one's: "
        + (", ".join(said) or "every run diverged")
        + ".",
        tables=(_table(groups, depth),),
        figures=(_by_layer(groups), _by_step(groups)),
        protocol=(("learning rate", RATE.split("=")[1]), *protocol_of(records, request.budget.text)),
        notes=(
            "The norm is that of the gradient of one batch's loss with respect to a convolution's weights. Those of "
            "exactly zero are left out of the figures.",
            "Residual branches without batch norm begin as Fixup has it (Zhang, H. et al. 2019): the last convolution "
            "of each is zero, or their sum would grow without bound. So at the first step no gradient reaches the "
            "others, and the two networks without norm differ in more than the shortcuts.",
            "The paper says that it verified healthy norms and prints no numbers of them: there are none to compare.",
        ),
        records=tuple(records),
    )


def _norms(record: dict[str, Any], at: int) -> list[float]:
    rows = record["measured"].get("gradients") or []
    return list(rows[at]["norms"].values()) if rows else []


def _seen(norms: list[float]) -> list[float]:
    """Gaps where the norm is zero, which a logarithmic axis cannot show."""
    return [norm or math.nan for norm in norms]


def _ratio(group: list[dict[str, Any]], at: int) -> float | None:
    """First over last layer, geometric mean over seeds."""
    found = [norms[0] / norms[-1] for record in group if (norms := _norms(record, at)) and norms[0] and norms[-1]]
    return math.exp(sum(map(math.log, found)) / len(found)) if found else None


def _told(ratio: float) -> str:
    """Two digits, without a power of ten: 1,200, 2.8, 0.74."""
    return f"{float(f'{ratio:.2g}'):,.12g}"


def _table(groups: dict[str, list[dict[str, Any]]], depth: int) -> Table:
    rows = []
    for kind, group in groups.items():
        diverged = [record for record in group if record["status"] == "diverged"]
        trained, held_out = training_errors(group), held_out_errors(group)
        ratios = (_ratio(group, 0), _ratio(group, -1))
        rows.append(
            (
                kind,
                *(MISSING if ratio is None else _told(ratio) for ratio in ratios),
                f"{sum(trained) / len(trained):.2f}" if trained else MISSING,
                f"{sum(held_out) / len(held_out):.2f}" if held_out else MISSING,
                f"{len(diverged)} of {len(group)}",
            )
        )
    columns = (
        "network", "#first / last layer, first step", "#the same, last step", "#training error (%)",
        "#validation error (%)", "#diverged",
    )  # fmt: skip
    note = "Ratios are geometric means over seeds. A run that diverged has no gradients to show beyond that step."
    return Table(f"Gradients of {depth} layers", columns, tuple(rows), note)


def _tone(kind: str) -> Tone:
    return "second" if kind.startswith("plain") else "first"


def _by_layer(groups: dict[str, list[dict[str, Any]]]) -> Figure:
    shown = []
    for at, title in ((0, "first step"), (-1, "last step")):
        lines = [
            Line(kind, range(1, len(norms) + 1), _seen(norms), _tone(kind), dashed="no norm" in kind)
            for kind, group in groups.items()
            for record in group
            if (norms := _norms(record, at))
        ]
        shown.append(Panel(title, lines, "layer", "norm of the gradient" if at == 0 else "", log_y=True))
    return Figure("layers", "Norm of the gradient by layer, from the input on; a line for each seed.", panels(*shown))


def _by_step(groups: dict[str, list[dict[str, Any]]]) -> Figure:
    shown = []
    for place, title in ((0, "first convolution"), (-1, "last convolution")):
        lines = [
            Line(
                kind,
                [row["step"] for row in rows],
                _seen([list(row["norms"].values())[place] for row in rows]),
                _tone(kind),
                dashed="no norm" in kind,
            )
            for kind, group in groups.items()
            for record in group
            if (rows := record["measured"].get("gradients"))
        ]
        label = "norm of the gradient" if place == 0 else ""
        shown.append(Panel(title, lines, "iteration", label, log_x=True, log_y=True))
    return Figure("steps", "Norm of the gradient through training; a line for each seed.", panels(*shown))

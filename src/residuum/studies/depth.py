"""Depth: what 20 to 1202 layers cost, and what they reach in equal time (section 4.2, "over 1000 layers")."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from residuum import cost
from residuum.errors import UserError
from residuum.plan import NetworkPlan, make_plan
from residuum.studies import paper
from residuum.studies.budget import TooSmall
from residuum.studies.by_the_paper import errors_in_words, grouped, held_out_errors, wishes
from residuum.studies.figures import Line, Panel, panels
from residuum.studies.findings import (
    MISSING,
    Figure,
    Findings,
    Table,
    protocol_of,
)
from residuum.studies.request import Request
from residuum.studies.running import run_trials, steps_of
from residuum.studies.trial import Settled, Trial, settle_trial

DEPTHS = (20, 56, 110, 1202)
SHARE_OF_MEMORY = 0.8
"""A network whose activations need more of the memory that is free is not run."""
TITLE = "Depth: from 20 to 1202 layers"
QUESTION = (
    "The paper trains 1202 layers without difficulty, yet they test worse than 110. Here is what depth costs - "
    "parameters, memory, time of a step - and what each depth reaches in the same share of the budget, warm-up on from "
    "110 layers."
)


@dataclass(frozen=True)
class Costs:
    """What a network costs by its plan: batch size, and bytes kept for the backward pass at that batch."""

    plan: NetworkPlan
    batch_size: int
    activations: int


def trials(depth: int, request: Request, steps: int) -> list[Trial]:
    """The residual network of a depth, for each seed."""
    return [
        Trial(
            f"resnet{depth}-{steps}steps-seed{seed}",
            wishes({"depth": depth}, steps, seed, request.settings, request.val),
            tags={"depth": depth, "seed": seed},
        )
        for seed in range(request.seeds)
    ]


def conduct(request: Request) -> Findings:
    """Train every depth that fits memory and budget, and say which does not."""
    wanted: list[Trial] = []
    costs: dict[int, Costs] = {}
    why_not: dict[int, str] = {}
    for depth in request.depths:
        draft = settle_trial(trials(depth, request, 1)[0], request.manifest)
        costs[depth] = _costs(draft)
        try:
            wanted += trials(depth, request, _steps(depth, request, costs[depth]))
        except TooSmall as error:
            why_not[depth] = str(error)
    records = run_trials("depth", wanted, request.manifest, request.place, request.reporter)
    groups = {depth: [] for depth in request.depths} | grouped(wanted, records, "depth")
    if not records:
        raise UserError("; ".join(why_not.values()))
    return Findings(
        study="depth",
        title=TITLE,
        question=QUESTION,
        answer=_answer(groups),
        tables=(_costs_table(groups, costs), _errors_table(groups, why_not)),
        figures=(_figure(groups, costs),),
        protocol=protocol_of(records, request.budget.text),
        notes=("With a duration as budget every depth has an equal share of it, so deeper networks take fewer steps.",),
        records=tuple(records),
    )


def _costs(draft: Settled) -> Costs:
    plan, batch = make_plan(draft.setup.spec), draft.setup.length.batch_size
    return Costs(plan, batch, cost.activation_bytes(plan, batch))


def _steps(depth: int, request: Request, costs: Costs) -> int:
    free = _free_memory()
    if free is not None and costs.activations > SHARE_OF_MEMORY * free:
        raise TooSmall(
            f"{depth} layers keep {costs.activations / 1e9:.1f} GB of activations at batch {costs.batch_size}, and "
            f"{free / 1e9:.1f} GB are free; use a smaller batch (--set batch_size=...)"
        )
    budget = request.budget
    if budget.seconds is not None:
        budget = replace(budget, seconds=budget.seconds / len(request.depths))
    return steps_of(
        f"depth {depth}", budget, lambda steps: trials(depth, request, steps), request.manifest, request.place,
        request.reporter,
    )  # fmt: skip


def _free_memory() -> int | None:
    """Bytes of main memory that a process may still take; None where the system does not say."""
    info = Path("/proc/meminfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None


def _step_seconds(group: list[dict[str, Any]]) -> float | None:
    found = [r["time"]["seconds"] / r["trial"]["steps"] for r in group if r["status"] == "finished"]
    return sum(found) / len(found) if found else None


def _answer(groups: dict[int, list[dict[str, Any]]]) -> str:
    said = []
    for depth, group in groups.items():
        errors = held_out_errors(group)
        if errors:
            said.append(f"{depth} layers {sum(errors) / len(errors):.1f}%")
        elif group:
            said.append(f"{depth} layers diverged")
        else:
            said.append(f"{depth} layers not run")
    return "Validation error under this budget: " + ", ".join(said) + "."


def _costs_table(groups: dict[int, list[dict[str, Any]]], costs: dict[int, Costs]) -> Table:
    rows = []
    for depth, group in groups.items():
        c, seconds = costs[depth], _step_seconds(group)
        rows.append(
            (
                str(depth),
                f"{c.plan.parameters:,}",
                f"{c.plan.macs:,}",
                f"{c.activations / 1e9:.2f}",
                MISSING if seconds is None else f"{seconds:.3f}",
                MISSING if seconds is None else f"{1e6 * seconds / (c.batch_size * depth):.1f}",
            )
        )
    batch = next(iter(costs.values())).batch_size
    columns = (
        "#layers", "#parameters", "#multiply-adds", f"#activations, batch {batch} (GB)", "#seconds per step",
        "#µs per picture and layer",
    )  # fmt: skip
    return Table(
        "What depth costs", columns, tuple(rows), "A step that grows linearly with depth has an even last column."
    )


def _errors_table(groups: dict[int, list[dict[str, Any]]], why_not: dict[int, str]) -> Table:
    rows = []
    for depth, group in groups.items():
        rows.append(
            (
                str(depth),
                str(group[0]["trial"]["steps"]) if group else MISSING,
                *errors_in_words(group),
                paper.RESNET_TEST_ERROR.get(depth, MISSING),
            )
        )
    note = "Not run: " + "; ".join(why_not.values()) + "." if why_not else ""
    columns = ("#layers", "#steps", "#training error (%)", "#validation error (%)", "#paper, test error (%)")
    return Table("Errors after the last step, mean ± s.d. over seeds", columns, tuple(rows), note)


def _figure(groups: dict[int, list[dict[str, Any]]], costs: dict[int, Costs]) -> Figure:
    timed = [(depth, seconds) for depth, group in groups.items() if (seconds := _step_seconds(group)) is not None]
    lines = [
        Line("seconds per step", [d for d, _ in timed], [s for _, s in timed], "first"),
        Line("activations (GB)", list(costs), [c.activations / 1e9 for c in costs.values()], "second"),
    ]
    panel = Panel("", lines, "layers", log_x=True, log_y=True)
    return Figure("cost", "Time of a step and activation memory by depth, both axes logarithmic.", panels(panel))

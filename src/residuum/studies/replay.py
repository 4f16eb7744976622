"""Replay: one network under the recipes of 2015, of "v1.5" and of today, and what each ingredient is worth."""

from __future__ import annotations

import statistics
from dataclasses import replace
from typing import Any

from residuum.recipes.fast import FAST
from residuum.recipes.paper_cifar import PAPER_CIFAR
from residuum.recipes.v1_5 import V1_5
from residuum.studies import paper
from residuum.studies.figures import Line, Panel, panels, top_of
from residuum.studies.findings import MISSING, Figure, Findings, Table, held_out_error, mean_and_spread, protocol_of
from residuum.studies.request import Request
from residuum.studies.trial import Trial
from residuum.training.recipe import Cosine, Drops, Muon, Recipe
from residuum.wishes import Wishes

TITLE = "Replay: ten years of recipes on one network"
QUESTION = (
    "How much of the progress since 2015 is the recipe? The same network is trained for the same number of steps "
    "under the paper's recipe, that of ResNet v1.5, fast, and a modern one, which is fast with Muon; then each "
    "ingredient is taken out of the latter three, one at a time, and replaced by what the paper had."
)


def recipes() -> dict[str, tuple[str, Recipe]]:
    """(recipe, ingredient taken out or "") by label; in float32 all, so that precision is no ingredient."""
    first, middle, fast = (replace(r, precision="float32") for r in (PAPER_CIFAR, V1_5, FAST))
    modern, sgd = replace(fast, muon=Muon()), fast.optimizer
    return {
        "2015": ("2015", first),
        "v1.5": ("", middle),
        "v1.5 - cosine": ("drops instead of the cosine", replace(middle, schedule=Drops())),
        "v1.5 - warm-up": ("no warm-up", replace(middle, schedule=Cosine(warmup=0.0))),
        "v1.5 - smoothing": ("no label smoothing", replace(middle, label_smoothing=0.0)),
        "v1.5 - free norms": ("weight decay on norms and biases too", _decayed(middle)),
        "fast": ("", fast),
        "fast - nesterov": ("plain momentum", replace(fast, optimizer=replace(sgd, nesterov=False))),
        "fast - high rate": ("learning rate 0.1", replace(fast, optimizer=replace(sgd, lr=0.1))),
        "fast - strong decay": ("weight decay 1e-4", replace(fast, optimizer=replace(sgd, weight_decay=1e-4))),
        "fast - free norms": ("weight decay on norms and biases too", _decayed(fast)),
        "modern": ("", modern),
        "modern - Muon": ("SGD, which is recipe fast", fast),
        "modern - one-cycle": ("drops instead of one-cycle", replace(modern, schedule=Drops())),
        "modern - smoothing": ("no label smoothing", replace(modern, label_smoothing=0.0)),
        "modern - small pictures": ("full resolution throughout", replace(modern, resolution=())),
        "modern - mild crops": ("crops by 4 pixels of zeros", replace(modern, augment=PAPER_CIFAR.augment)),
    }


def _decayed(recipe: Recipe) -> Recipe:
    return replace(recipe, optimizer=replace(recipe.optimizer, decay_norms_and_biases=True))


def trials(depth: int, request: Request, steps: int) -> list[Trial]:
    """Every recipe and seed."""
    return [
        Trial(
            f"{label.replace(' - ', '-without-').replace(' ', '-')}-resnet{depth}-{steps}steps-seed{seed}",
            Wishes(
                model="resnet20",
                axes={"depth": depth},
                recipe=recipe,
                steps=steps,
                seed=seed,
                val=request.val,
                settings=request.settings,
            ),
            tags={"label": label, "seed": seed},
        )
        for seed in range(request.seeds)
        for label, (_, recipe) in recipes().items()
    ]


def conduct(request: Request) -> Findings:
    """Train what is missing and say what each recipe and ingredient is worth."""
    depth = request.depths[0]
    records, steps = request.trained(lambda steps: trials(depth, request, steps))
    groups: dict[str, list[dict[str, Any]]] = {label: [] for label in recipes()}
    for trial, record in zip(trials(depth, request, steps), records, strict=True):
        groups[trial.tags["label"]].append(record)
    whole = ("2015", "v1.5", "fast", "modern")
    errors = {label: _errors(groups[label]) for label in groups}
    said = [
        f"{label} {statistics.fmean(errors[label]):.2f}%" if errors[label] else f"{label} diverged" for label in whole
    ]
    return Findings(
        study="replay",
        title=TITLE,
        question=QUESTION,
        answer=f"Validation error of {depth} layers after {steps} steps: " + ", ".join(said) + ".",
        tables=(_recipes_table(groups, whole), _ingredients_table(groups)),
        figures=(_curves(groups, whole),),
        protocol=protocol_of(records, request.budget.text),
        notes=(
            "Ingredients were set for a run of their own length; in a much shorter or longer one another value may be "
            "best. Differences smaller than the spread over seeds are not told apart by these runs.",
            "The paper has one recipe for CIFAR-10 and nothing to compare these with; of 20 layers its test error is "
            f"{paper.RESNET_TEST_ERROR[20]}% after 64,000 steps.",
        ),
        records=tuple(records),
    )


def _errors(group: list[dict[str, Any]]) -> list[float]:
    return [error for error in map(held_out_error, group) if error is not None]


def _seconds(group: list[dict[str, Any]]) -> str:
    found = [record["time"]["seconds"] for record in group if record["status"] == "finished"]
    return f"{statistics.fmean(found):.0f}" if found else MISSING


def _recipes_table(groups: dict[str, list[dict[str, Any]]], whole: tuple[str, ...]) -> Table:
    rows = tuple((label, mean_and_spread(_errors(groups[label])), _seconds(groups[label])) for label in whole)
    return Table("Recipes, mean ± s.d. over seeds", ("recipe", "#validation error (%)", "#training time (s)"), rows)


def _ingredients_table(groups: dict[str, list[dict[str, Any]]]) -> Table:
    rows = []
    for label, (change, _) in recipes().items():
        base, minus, _ingredient = label.partition(" - ")
        if not minus:
            continue
        pairs = [
            (one["results"]["val"]["top1_error"], other["results"]["val"]["top1_error"])
            for one, other in zip(groups[label], groups[base], strict=True)
            if "val" in one["results"] and "val" in other["results"]
        ]
        delta = mean_and_spread([a - b for a, b in pairs]) if pairs else "diverged"
        rows.append((base, change, mean_and_spread(_errors(groups[label])), delta, _seconds(groups[label])))
    columns = ("recipe", "changed back to", "#validation error (%)", "#difference (points)", "#training time (s)")
    note = "Differences are of runs with the same seed; above zero: the ingredient helped."
    return Table("One ingredient taken out at a time", columns, tuple(rows), note)


def _curves(groups: dict[str, list[dict[str, Any]]], whole: tuple[str, ...]) -> Figure:
    shades = {"2015": 1.0, "v1.5": 0.4, "fast": 0.7, "modern": 1.0}
    lines = [
        Line(
            label,
            [row["step"] for row in record["history"]],
            [row["val_top1_error"] for row in record["history"]],
            "second" if label == "2015" else "first",
            shades[label],
        )
        for label in whole
        for record in groups[label]
    ]
    panel = Panel("", lines, "iteration", "validation error (%)", top=top_of(lines))
    return Figure("recipes", "Validation error by iteration under each recipe, one line for each seed.", panels(panel))

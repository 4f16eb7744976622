"""Protocols: the same networks by one crop, ten crops, several scales, and as an ensemble (Tables 3 to 5)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from residuum.catalog import member
from residuum.data.manifest import Manifest
from residuum.data.opening import default_workers
from residuum.errors import UserError, shown
from residuum.evaluation.ensemble import ensemble, refuse_other_classes
from residuum.evaluation.metrics import Evaluation
from residuum.evaluation.protocols import Member, choose_protocol
from residuum.inference import Model, load
from residuum.plan import layers_of_depth
from residuum.progress import Reporter
from residuum.run import Run
from residuum.studies import degradation, paper
from residuum.studies.figures import Line, Panel, panels
from residuum.studies.findings import MISSING, Figure, Findings, Table, made_now, mean_and_spread, protocol_of
from residuum.studies.request import Request
from residuum.studies.trial import Trial

NAMES = ("center", "flip", "ten-crop", "fully-convolutional", "multi-scale")
BATCH = 100
TITLE = "Protocols: the same networks, measured in five ways"
QUESTION = (
    "An error says little without its protocol: the paper's ResNet-50 has 22.85% by ten crops and 20.74% at several "
    "scales. Here every model is measured under each protocol on the same pictures, alone and together as an ensemble."
)


def conduct(request: Request) -> Findings:
    """From the model files that were given, else from residual networks trained now."""
    records: list[dict[str, Any]] = []
    paths = list(request.models)
    if not paths:
        records, paths = _train(request)
    models = [load(path) for path in paths]
    refuse_other_classes(models[0].classes, [(shown(p), m.classes) for p, m in zip(paths[1:], models[1:], strict=True)])
    found = {name: _under(name, models, request.manifest, request.reporter) for name in NAMES}
    together = {name: _together(name, models, each) for name, each in found.items()}
    errors = {name: [_error(evaluation) for evaluation in each] for name, each in found.items()}
    best = min(errors, key=lambda name: sum(errors[name]))
    first = sum(errors["center"]) / len(models)
    answer = (
        f"Mean error of {len(models)} models: {first:.2f}% at the centre, lowest "
        f"{sum(errors[best]) / len(models):.2f}% under {best}"
    )
    joined = together[best]
    answer += f"; together {_error(joined):.2f}%." if joined is not None else "."
    rows = tuple(
        (
            name,
            _view(found[name][0]),
            mean_and_spread(errors[name]),
            MISSING if (one := together[name]) is None else f"{_error(one):.2f}",
            paper.CROPS.get(name, MISSING),
        )
        for name in NAMES
    )
    columns = ("protocol", "views", "#error (%), mean ± s.d. over models", "#ensemble (%)",
               "#paper, ResNet-50, ImageNet, top-1 / top-5 (%)")  # fmt: skip
    first_evaluation = found["center"][0]
    return Findings(
        study="protocols",
        title=TITLE,
        question=QUESTION,
        answer=answer,
        tables=(Table(f"{len(first_evaluation.names)} held-out pictures", columns, rows), _models(models, paths)),
        figures=(_figure(errors, together),),
        protocol=(
            ("pictures", f"{first_evaluation.protocol['split']} part of {Path(request.manifest.argument).name}, digest "
             f"{request.manifest.digest[:12]}"),
            ("averaged", "probabilities, over views and over the models of the ensemble; float32"),
            *(protocol_of(records, request.budget.text) or made_now()),
        ),
        notes=("No protocol was chosen on these pictures for later use: all of them are shown.",),
        records=tuple(records),
    )  # fmt: skip


def _train(request: Request) -> tuple[list[dict[str, Any]], list[Path]]:
    """Residual networks of the depths, and their model files."""

    def made(steps: int) -> list[Trial]:
        trials = degradation.trials(request.depths, request.seeds, steps, settings=request.settings, val=request.val)
        return [trial for trial in trials if trial.tags["kind"] == "resnet"]

    records, _ = request.trained(made, models=True)
    folders = [request.place.work / f"{r['label']}-{r['key'][:10]}" for r in records if r["status"] == "finished"]
    if not folders:
        raise UserError("every run diverged: there is no model to measure; use a lower learning rate (--set)")
    return records, [Run(folder).model for folder in folders]


def _under(name: str, models: Sequence[Model], manifest: Manifest, reporter: Reporter) -> list[Evaluation]:
    with reporter.track(f"evaluating, {name}", "models") as update:
        found = []
        for number, model in enumerate(models):
            update(number, len(models))
            protocol = choose_protocol(name, model.artifact.preprocessing)
            part = "val" if "val" in manifest.parts else "test"
            found.append(model.evaluate(manifest, part, BATCH, default_workers(manifest), None, protocol))
    return found


def _together(name: str, models: Sequence[Model], alone: Sequence[Evaluation]) -> Evaluation | None:
    """The ensemble of the models under a protocol; None for one model."""
    if len(models) == 1:
        return None
    members = tuple(
        Member(model.name, model.digest(), choose_protocol(name, model.artifact.preprocessing).view) for model in models
    )
    return ensemble(alone, members)


def _error(evaluation: Evaluation) -> float:
    return 100 * (1 - evaluation.correct(1) / len(evaluation.names))


def _view(evaluation: Evaluation) -> str:
    """What a protocol shows, in words."""
    view = evaluation.protocol["view"]
    resize, size = view["resize"], view["size"]
    sides = ", ".join(map(str, resize)) if isinstance(resize, (list, tuple)) else str(resize)
    if size is None:
        return f"whole picture, shorter side {sides}"
    crops = len(view["crops"]) * (2 if view["mirror"] else 1)
    return f"{crops} of {size[0]} x {size[1]}, shorter side {sides}"


def _models(models: Sequence[Model], paths: Sequence[Path]) -> Table:
    rows = []
    for model, path in zip(models, paths, strict=True):
        training = model.artifact.training
        steps = str(training["length"]["steps"]) if "length" in training else MISSING
        layers, seed = str(layers_of_depth(model.artifact.spec)), str(training.get("seed", MISSING))
        name = member(model.name, model.artifact.spec)
        rows.append((name, layers, seed, steps, shown(path.parent.name), model.digest()[:12]))
    return Table("Models", ("network", "#layers", "#seed", "#steps", "folder", "digest"), tuple(rows))


def _figure(errors: dict[str, list[float]], together: dict[str, Evaluation | None]) -> Figure:
    places = range(1, len(NAMES) + 1)
    lines = [
        Line("each model", places, [errors[name][i] for name in NAMES], "second", points=True)
        for i in range(len(errors["center"]))
    ]
    joined = [_error(one) for name in NAMES if (one := together[name]) is not None]
    if joined:
        lines.append(Line("ensemble", places, joined, "first", points=True))
    return Figure("protocols", "Error by protocol.", panels(Panel("", lines, "", "error (%)", ticks=NAMES)))

"""Responses: are the layers of residual networks quieter than those of plain ones? (Fig. 7)"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from residuum.analysis.responses import layer_responses
from residuum.data.batches import EvalBatches
from residuum.data.manifest import Manifest
from residuum.errors import UserError, shown
from residuum.inference import Model, load
from residuum.plan import layers_of_depth
from residuum.run import Run
from residuum.spec import NetworkSpec
from residuum.studies import degradation
from residuum.studies.figures import Line, Panel, panels, strengths
from residuum.studies.findings import Figure, Findings, Table, made_now, mean_and_spread, protocol_of
from residuum.studies.request import Request

PICTURES = 1000
"""Held-out pictures on which responses are measured at most, the first ones."""
TITLE = "Layer responses: are residual functions small?"
QUESTION = (
    "If shortcuts make the identity the starting point, the residual functions should be close to zero: the paper "
    "measures the standard deviation of every layer's response, after batch norm and before the non-linearity or "
    "addition, and finds it lower in residual networks than in plain ones, and lower the deeper they are."
)


def measure(run: Run, manifest: Manifest) -> list[float]:
    """Standard deviation of the response of each convolution, from the stem on."""
    return stds(load(run.model), manifest)


def stds(model: Model, manifest: Manifest) -> list[float]:
    """The same for any model, on the first held-out pictures (or the first of all, where none are held out)."""
    part = next((name for name in ("val", "test") if name in manifest.parts), None)
    indices = (manifest.part(part) if part else manifest.part("train"))[:PICTURES]
    view = model.artifact.preprocessing
    batches = EvalBatches(manifest, indices, view, min(100, len(indices)), mean_picture=model.mean_picture)
    device = next(model.network.parameters()).device

    def inputs() -> Iterator[torch.Tensor]:
        for batch in batches:
            yield batch.inputs[batch.mask].to(device)

    return [response.std for response in layer_responses(model.network, inputs())]


def conduct(request: Request) -> Findings:
    """From the model files that were given, else from plain and residual networks of each depth."""
    return _of_files(request) if request.models else _of_runs(request)


def _of_runs(request: Request) -> Findings:
    records, _ = request.trained(
        lambda steps: degradation.trials(
            request.depths,
            request.seeds,
            steps,
            settings=request.settings,
            val=request.val,
            measures={"responses": measure},
        )
    )
    found: dict[str, list[list[float]]] = {}
    for record in records:
        if record["status"] == "finished":
            kind = "plain" if record["label"].startswith("plain") else "residual"
            layers = record["label"].split("-")[0].removeprefix("plain").removeprefix("resnet")
            found.setdefault(f"{kind}-{layers}", []).append(record["measured"]["responses"])
    return _findings(found, protocol_of(records, request.budget.text), tuple(records))


def _of_files(request: Request) -> Findings:
    found: dict[str, list[list[float]]] = {}
    facts = []
    for path in request.models:
        model = load(path)
        _same_pictures(model, request.manifest, path)
        name = _name(model)
        found.setdefault(name, []).append(stds(model, request.manifest))
        training = model.artifact.training
        if "length" in training:
            facts.append(f"{name}: {training['length']['steps']} steps, seed {training['seed']}")
    protocol = (
        ("data", f"{Path(request.manifest.argument).name}, digest {request.manifest.digest[:12]}"),
        ("models", "; ".join(facts) or ", ".join(path.name for path in request.models)),
        *made_now(),
    )
    return _findings(found, protocol, ())


def _name(model: Model) -> str:
    spec = model.artifact.spec
    layers = layers_of_depth(spec)
    kind = "plain" if isinstance(spec, NetworkSpec) and spec.shortcut == "none" else "residual"
    return f"{kind}-{layers}"


def _same_pictures(model: Model, manifest: Manifest, path: Path) -> None:
    if model.artifact.preprocessing.channels == 3 and manifest.pictures.grey:
        raise UserError(
            f"{shown(path)} takes coloured pictures and {shown(manifest.argument)} has grey ones; give others"
        )


def _findings(
    found: dict[str, list[list[float]]], protocol: tuple[tuple[str, str], ...], records: tuple[dict[str, Any], ...]
) -> Findings:
    """`found` holds, by network, the layers' standard deviations of each seed."""
    if not found:
        raise UserError("every run diverged: there are no responses to measure; use a lower learning rate (--set)")
    mean = {name: [statistics.fmean(layer) for layer in zip(*seeds, strict=True)] for name, seeds in found.items()}
    inner = {name: [statistics.fmean(stds[1:]) for stds in seeds] for name, seeds in found.items()}
    rows = [
        (
            name,
            str(len(mean[name])),
            str(len(found[name])),
            mean_and_spread(inner[name], 3),
            f"{statistics.median(mean[name][1:]):.3f}",
            f"{min(mean[name][1:]):.3f}",
            f"{max(mean[name][1:]):.3f}",
        )
        for name in mean
    ]
    columns = ("network", "#convolutions", "#seeds", "#mean std", "#median", "#lowest", "#highest")
    note = "Over all convolutions but the first, which has no shortcut; mean ± s.d. over seeds where there are several."
    average = {name: statistics.fmean(values) for name, values in inner.items()}
    answer = "Mean response: " + ", ".join(f"{name} {average[name]:.3f}" for name in _ordered(average)) + "."
    return Findings(
        study="responses",
        title=TITLE,
        question=QUESTION,
        answer=answer,
        tables=(
            Table("Standard deviation of layer responses", columns, tuple(rows), note),
            *_beside_the_paper(average),
        ),
        figures=(_figure(mean),),
        protocol=(
            ("measured on", f"at most {PICTURES} held-out pictures, evaluation mode, mean over seeds"),
            *protocol,
        ),
        records=records,
    )


def _beside_the_paper(average: dict[str, float]) -> tuple[Table, ...]:
    """What the paper reads off its Fig. 7, which has no numbers, and whether it is so here."""
    claims = []
    for name in _ordered(average):
        kind, layers = name.split("-")
        if kind == "residual" and (twin := f"plain-{layers}") in average:
            claims.append((name, twin))
    residual = [name for name in _ordered(average) if name.startswith("residual")]
    claims += [(deep, shallow) for shallow, deep in pairwise(residual)]
    if not claims:
        return ()
    rows = tuple(
        (f"{low} below {high}", "yes" if average[low] < average[high] else "no",
         f"{average[low]:.3f}, {average[high]:.3f}")
        for low, high in claims
    )  # fmt: skip
    return (Table("What the paper finds", ("in the paper's Fig. 7", "so here", "#mean std"), rows),)


def _ordered(names: Iterable[str]) -> list[str]:
    """Plain before residual, shallow before deep."""
    return sorted(names, key=lambda name: (name.split("-")[0], int(name.split("-")[1])))


def _figure(mean: dict[str, list[float]]) -> Figure:
    names = _ordered(mean)
    shades = {}
    for kind in ("plain", "residual"):
        kin = [name for name in names if name.startswith(kind)]
        shades |= dict(zip(kin, strengths(len(kin)), strict=True)) if kin else {}

    def lines(order: bool) -> list[Line]:
        return [
            Line(
                name,
                range(1, len(mean[name]) + 1),
                sorted(mean[name], reverse=True) if order else mean[name],
                "second" if name.startswith("plain") else "first",
                shades[name],
                dashed=name.startswith("plain"),
            )
            for name in names
        ]

    top = 1.08 * max(value for values in mean.values() for value in values)
    shown_panels = (
        Panel("in the order of the layers", lines(False), "layer", "std of the response", top=top),
        Panel("sorted by size", lines(True), "rank", top=top),
    )
    return Figure(
        "responses", "Standard deviation of each layer's response (the paper's Fig. 7).", panels(*shown_panels)
    )

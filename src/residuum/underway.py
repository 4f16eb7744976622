"""A training under way: what was settled, and what is made of the network it comes to."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from residuum import artifact, catalog, cost, finetuning
from residuum.artifact import MEAN_PICTURE, Artifact
from residuum.config import to_dict
from residuum.data.batches import EvalBatches
from residuum.data.manifest import Manifest
from residuum.data.oddness import oddest
from residuum.errors import shown
from residuum.evaluation.evaluate import all_logits, judged, protocol_of
from residuum.evaluation.metrics import Evaluation
from residuum.evaluation.temperature import fit_temperature
from residuum.evaluation.unlike import fit_unlike
from residuum.plan import make_plan
from residuum.processes import ALONE, WHOLE, Pieces, Processes
from residuum.progress import Reporter
from residuum.report import write_report
from residuum.run import Run
from residuum.spec import NetworkSpec
from residuum.training.setup import Setup

ODDEST = 12
"""Pictures unlike the others that the report shows."""


@dataclass
class Session:
    """A run on its way: what was settled, on which data, by which processes, and run.json as it stands."""

    run: Run
    setup: Setup
    manifest: Manifest
    facts: dict[str, Any]
    device: torch.device
    precision: torch.dtype
    reporter: Reporter
    start: Artifact | None = None
    processes: Processes = ALONE
    pieces: Pieces = WHOLE
    views: dict[str, EvalBatches] = field(default_factory=dict)
    """This process's share of the pictures of each part, as evaluation sees them: once brought to size, they stay."""


def logits_on(session: Session, network: nn.Module, part: str) -> np.ndarray:
    """Logits (N, K) float32 of every picture of a part once, computed by all processes; in float32, whatever precision
    training has."""
    indices = session.manifest.part(part)
    own = indices[session.processes.rows(len(indices))]
    found = np.zeros((0, len(session.manifest.classes)), np.float32)
    with session.processes.together():
        if len(own):
            if part not in session.views:
                session.views[part] = EvalBatches(
                    session.manifest, own, session.setup.preprocessing, min(256, len(own)),
                    workers=session.facts["workers"], mean_picture=session.setup.mean_picture,
                    kept=True,
                )  # fmt: skip
            found = all_logits(network, session.views[part])
    return session.processes.all_rows(found, len(indices))


def judge(session: Session, part: str, logits: np.ndarray, temperature: float = 1.0) -> Evaluation:
    """What a network that gives these logits comes to on a part."""
    manifest = session.manifest
    protocol = protocol_of(manifest, part, session.setup.preprocessing.to_dict(), temperature)
    found = judged(logits, manifest, manifest.part(part), manifest.classes, protocol, temperature=temperature)
    costs = session.facts.get("costs")
    return replace(found, costs=np.array(costs["matrix"])) if costs else found


def calibrate(session: Session, logits: np.ndarray) -> dict[str, Any] | None:
    """What makes probabilities trustworthy, from the logits of the validation part, which nothing was trained on."""
    known = fit_unlike(logits)
    found = fit_temperature(judge(session, "val", logits))
    if found is not None:
        session.reporter.say(
            f"probabilities: temperature {found.temperature:.3f} fitted on {found.images} held-out pictures, "
            f"calibration error {100 * found.error_before:.2f}% before, {100 * found.error_after:.2f}% after"
        )
    calibration = ({} if found is None else to_dict(found)) | ({} if known is None else {"energies": known})
    return calibration or None


def save_model(
    session: Session, network: nn.Module, results: list[dict[str, Any]], calibration: dict[str, Any] | None
) -> None:
    tensors = dict(network.state_dict())
    if session.setup.mean_picture is not None:
        tensors[MEAN_PICTURE] = torch.from_numpy(session.setup.mean_picture)
    kept = ("name", "recipe", "length", "data", "seed", "environment", "time", "finetune", "costs")
    content = Artifact(
        spec=session.setup.spec,
        classes=session.manifest.classes,
        preprocessing=session.setup.preprocessing,
        tensors=tensors,
        training={key: session.facts[key] for key in kept if key in session.facts},
        results=results,
        calibration=calibration,
    )
    artifact.save(content, session.run.model)


def make_report(session: Session, evaluation: Evaluation | None) -> None:
    setup, plan = session.setup, make_plan(session.setup.spec)
    write_report(
        session.run.folder,
        run=session.facts,
        history=session.run.history(),
        evaluation=evaluation,
        layers=cost.layer_rows(plan),
        totals=cost.totals(plan, setup.name),
        read=lambda index: session.manifest.pictures.read(index, setup.spec.channels),
        odd=[(index, session.manifest.names[index], measure) for index, measure in oddest(session.manifest, ODDEST)],
    )


def say_choices(setup: Setup, facts: dict[str, Any], reporter: Reporter) -> None:
    """What was chosen, before it is acted on."""
    parameters = make_plan(setup.spec).parameters
    counts = ", ".join(f"{count} {part}" for part, count in facts["data"]["counts"].items())
    height, width = setup.preprocessing.size
    optimizer, muon = setup.recipe.optimizer, setup.recipe.muon
    reporter.say(f"data: {shown(facts['data']['argument'])}: {setup.spec.classes} classes, {counts} pictures")
    reporter.say(
        f"model: {catalog.member(setup.name, setup.spec)}, {parameters:,} parameters, "
        f"input {setup.spec.channels}x{height}x{width}"
        + (f", shortcut {setup.spec.shortcut}" if isinstance(setup.spec, NetworkSpec) else "")
    )
    for line in finetuning.choices(facts):
        reporter.say(line)
    reporter.say(
        f"recipe: {setup.recipe.name}, {setup.length.steps} steps of {setup.length.batch_size} pictures "
        f"({setup.length.steps * setup.length.batch_size / setup.length.images:.1f} epochs), lr {optimizer.lr:g}, "
        + (f"Muon's {muon.lr:g}, " if muon else "")
        + f"seed {facts['seed']}, {facts['environment']['device']} in {facts['environment']['precision']}"
    )

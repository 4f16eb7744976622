"""What fine-tuning adds to a session: weights to begin from, its stages, and what is told of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from residuum import artifact
from residuum.artifact import MEAN_PICTURE, Artifact
from residuum.config import Part
from residuum.data.manifest import Manifest
from residuum.errors import UserError, shown
from residuum.nets.network import Network, make_network
from residuum.plan import make_plan
from residuum.progress import Reporter
from residuum.run import Run
from residuum.training.finetune_stage import HeadStage, criterion_of
from residuum.training.learning import choose_learning
from residuum.training.pretrained import Pretrained, has_features, put_weights, read_pretrained
from residuum.training.recipe import Recipe
from residuum.training.setup import Setup

FROM_NOTHING = (
    "no --weights: this starts from nothing, with random weights, and all layers learn alike; weights trained on other "
    "pictures (--weights MODEL) do better on small data"
)


def pretrained(
    weights: str | Path | None, model: str | None, axes: Mapping[str, Any], recipe: Recipe, heads: bool
) -> Pretrained | None:
    """The weights that were asked for; UserError where they, or what goes with them, make no sense."""
    if weights is None:
        if heads:
            raise UserError("--heads compares classifiers on the features of trained weights: give --weights MODEL")
        return None
    if recipe.finetune is None:
        raise UserError(
            f"recipe {recipe.name} begins from nothing: --weights needs --recipe finetune (--set changes its values)"
        )
    found = read_pretrained(str(weights), model, axes)
    asked = "--heads" if heads else "finetune.stages=0" if recipe.finetune.stages == 0 else None
    if asked is not None and not has_features(make_plan(found.content.spec)):
        raise UserError(
            f"{asked} needs a network that ends in a linear classifier, and {shown(found.name)} ends in a convolution: "
            "leave it out, or choose other weights"
        )
    return found


def refuse_heads_without_validation(heads: bool, manifest: Manifest) -> None:
    if heads and "val" not in manifest.parts:
        raise UserError("--heads compares on held-out pictures, and there are none: leave --val 0 out")


def begin(
    path: Path, setup: Setup, classes: tuple[str, ...], given: Pretrained | None, seed: int, heads: bool
) -> dict[str, Any]:
    """What run.json holds of fine-tuning; the network to begin with becomes a model file at `path`."""
    if given is None:
        return {"weights": None}
    network = make_network(make_plan(setup.spec), generator=torch.Generator().manual_seed(seed))
    kept = put_weights(network, classes, given)
    tensors = dict(network.state_dict())
    if setup.mean_picture is not None:
        tensors[MEAN_PICTURE] = torch.from_numpy(setup.mean_picture)
    path.parent.mkdir(parents=True, exist_ok=True)
    artifact.save(Artifact(setup.spec, classes, setup.preprocessing, tensors, training=given.record()), path)
    assert setup.recipe.finetune is not None
    learning = choose_learning(network.plan, setup.recipe.finetune, setup.length.images, setup.length.batch_size)
    return given.record() | {
        "notes": list(given.notes),
        "kept_classes": kept,
        "head_first": has_features(network.plan),
        "compare_heads": heads,
        "rates": dict(learning.rates),
        "batch_norm": learning.batch_norm,
    }


def start(run: Run, facts: Mapping[str, Any], using: Iterable[type[Part]] = ()) -> Artifact | None:
    """The network that a run begins with; None where it begins from nothing."""
    if not (facts.get("finetune") or {}).get("weights"):
        return None
    if not run.start.is_file():
        raise UserError(f"{shown(run.start)}, which the run began with, is gone: begin a new run with --out")
    return artifact.load(run.start, using)


def put_start(network: Network, content: Artifact) -> None:
    """The weights to begin with, into a network."""
    network.load_state_dict({name: tensor for name, tensor in content.tensors.items() if name != MEAN_PICTURE})


def stages(
    network: Network,
    setup: Setup,
    manifest: Manifest,
    facts: dict[str, Any],
    run: Run,
    reporter: Reporter,
    trained: bool,
) -> dict[str, Any]:
    """The fields of a `Trainer` that a recipe's loss and its fine-tuning settle; `trained` weights have two stages."""
    settings = setup.recipe.finetune
    found: dict[str, Any] = {"criterion": criterion_of(setup.recipe, manifest)}
    if settings is None:
        return found
    if "val" in manifest.parts:
        found["patience"] = settings.patience
    if not trained:
        return found

    def note(record: dict[str, Any]) -> None:
        facts["finetune"] |= record
        run.write(facts)

    found["learning"] = choose_learning(network.plan, settings, setup.length.images, setup.length.batch_size)
    if has_features(network.plan):
        found["prepare"] = HeadStage(
            network, setup, manifest, facts["seed"], facts["workers"], reporter, note,
            facts["finetune"]["compare_heads"],
        )  # fmt: skip
    return found


def choices(facts: Mapping[str, Any]) -> list[str]:
    """What was settled, in sentences."""
    found = facts.get("finetune")
    if found is None:
        return []
    if found["weights"] is None:
        return [FROM_NOTHING]
    kept = found["kept_classes"]
    classifier = f"kept for {', '.join(map(shown, kept[:10]))}" if kept else "new"
    if not found.get("head_first", True):
        classifier += ", a convolution, which learns with the upper stages from the beginning"
    rates = ", ".join(f"{part} x{rate:.3g}" for part, rate in found["rates"].items())
    return [
        *found["notes"],
        f"weights: {shown(found['weights'])} ({shown(found['model'])}), classifier {classifier}",
        f"learning: {rates}; what is below is frozen; batch norm {found['batch_norm']}",
    ]


def kept_sentence(kept: Mapping[str, Any]) -> str:
    """Which weights a run kept, and what follows for its validation figures."""
    before = "from before the first epoch, with the new classifier alone,"
    which = f"after epoch {kept['epoch']} of {kept['of']}" if kept["epoch"] else before
    ended = f"; training ended early, after epoch {kept['of']}" if kept["stopped_early"] else ""
    return (
        f"the weights kept are those {which} whose validation loss was lowest{ended}: validation chose them, so its "
        "figures are optimistic"
    )


def cost_words(result: Mapping[str, Any]) -> str:
    """The costs of a result, as the end of a sentence on it."""
    costs = result.get("costs")
    if not costs:
        return ""
    return (
        f"; mean cost {costs['mean_cost']:.4g} by minimum expected cost ({costs['wrong']} wrong), "
        f"{costs['mean_cost_of_most_probable']:.4g} by highest probability"
    )

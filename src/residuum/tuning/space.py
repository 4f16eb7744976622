"""What is tried: networks, their depth, width and resolution, and the values of the recipe that matter most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from residuum import catalog
from residuum.data.manifest import Manifest
from residuum.errors import UserError
from residuum.recipes.fast import FAST
from residuum.training.recipe import Recipe
from residuum.training.setup import SMALL_SIDE, whole_size

if TYPE_CHECKING:
    import optuna

SMALL_DEPTHS = (8, 14, 20, 32, 44, 56)
"""6n+2, for small pictures."""
WIDTHS = (0.5, 1.0, 2.0)
PHOTO_MODELS = ("resnet18", "resnet34", "resnet50")
PHOTO_SIDES = (96, 128, 160)
SHORTCUTS = ("A", "B", "D")


@dataclass(frozen=True)
class Candidate:
    """A network and a recipe to be tried, and how a person reads it."""

    text: str
    model: str
    axes: Mapping[str, Any]
    recipe: Recipe


def small(manifest: Manifest) -> bool:
    """Whether the data are small pictures of one size, for CIFAR-style networks."""
    size = whole_size(manifest)
    return size is not None and max(size) <= SMALL_SIDE


def candidate(trial: optuna.Trial, manifest: Manifest) -> Candidate:
    """Ask a sampler for a candidate of the space that fits the data."""
    shortcut = trial.suggest_categorical("shortcut", SHORTCUTS)
    attention = trial.suggest_categorical("attention", ("none", "se"))
    axes: dict[str, Any] = {"shortcut": shortcut, "attention": attention}
    if small(manifest):
        depth = trial.suggest_categorical("depth", SMALL_DEPTHS)
        width = trial.suggest_categorical("width", WIDTHS)
        model, text = "resnet20", f"resnet{depth}"
        axes |= {"depth": depth, "width": width}
    else:
        model = trial.suggest_categorical("model", PHOTO_MODELS)
        width = trial.suggest_categorical("width", WIDTHS[:2])
        side = trial.suggest_categorical("size", PHOTO_SIDES)
        axes |= {"size": side, "width": width}
        text = f"{model} at {side} px"
    recipe = replace(
        FAST,
        optimizer=replace(
            FAST.optimizer,
            lr=trial.suggest_float("lr", 0.03, 0.6, log=True),
            weight_decay=trial.suggest_float("weight_decay", 1e-5, 2e-3, log=True),
        ),
        label_smoothing=trial.suggest_categorical("label_smoothing", (0.0, 0.02, 0.1)),
    )
    details = [f"width x{width:g}"] * (width != 1.0) + [f"shortcut {shortcut}"]
    details += ["attention se"] * (attention == "se")
    return Candidate(f"{text} ({', '.join(details)})", model, axes, recipe)


def named(models: Sequence[str]) -> list[Candidate]:
    """Networks of the catalogue, as they are, under the recipe `fast`."""
    if len(set(models)) < len(models):
        raise UserError("--models names a network twice; give each once")
    for name in models:
        catalog.entry(name)
    return [Candidate(name, name, {}, FAST) for name in models]

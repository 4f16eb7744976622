"""What a person may ask of a training, and whether a run that is taken up again is what is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from residuum import catalog
from residuum.config import Part, override
from residuum.data.exclusion import read_exclude_list
from residuum.data.folds import Fold
from residuum.devices import pick_device
from residuum.errors import UserError
from residuum.plan import dilated, layers_of_depth
from residuum.recipes import recipe as recipe_named
from residuum.spec import AnySpec, NetworkSpec, each
from residuum.training.recipe import Recipe


@dataclass(frozen=True)
class Wishes:
    """What a person may ask of a training; None leaves the choice to the data, the recipe or the machine.

    axes     fields of `NetworkSpec`, `depth` and `output_stride`
    using    classes of parts from outside the package that a resumed network was made with
    weights  what to fine-tune: a model file, plain weights of `model`, or hub:OWNER/NAME
    heads    compare other classifiers on the same features
    costs    a CSV of what it costs to take one class for another
    fold     train on all but one of several parts of the data
    exclude  a list of files to leave out, as `residuum check` writes it
    """

    model: str | None = None
    axes: Mapping[str, Any] | None = None
    recipe: str | Recipe | None = None
    epochs: float | None = None
    steps: int | None = None
    batch_size: int | None = None
    lr: float | None = None
    seed: int | None = None
    settings: Sequence[str] = ()
    val: float | None = None
    workers: int | None = None
    device: str | None = None
    deterministic: bool = False
    allow_bad: bool = False
    using: Sequence[type[Part]] = ()
    weights: str | Path | None = None
    heads: bool = False
    costs: str | Path | None = None
    fold: Fold | None = None
    exclude: str | Path | None = None


def check(wanted: Wishes) -> None:
    """UserError for what can be refused before any data are read."""
    if wanted.epochs is not None and wanted.steps is not None:
        raise UserError("give --epochs or --steps, not both")
    if wanted.seed is not None and not 0 <= wanted.seed < 2**63:
        raise UserError(f"--seed must be a whole number from 0 to 2^63 - 1, not {wanted.seed}")
    if wanted.workers is not None and wanted.workers < 0:
        raise UserError(f"--workers must be 0 or more, not {wanted.workers}")


def settled_recipe(wanted: Wishes) -> Recipe:
    """The recipe with the wishes applied, checked."""
    default = "fast" if wanted.weights is None else "finetune"
    recipe = wanted.recipe if isinstance(wanted.recipe, Recipe) else recipe_named(wanted.recipe or default)
    if wanted.epochs is not None or wanted.steps is not None:
        # a length that was asked for is kept, however small the data
        recipe = replace(recipe, epochs=wanted.epochs, steps=wanted.steps, min_steps=0)
    if wanted.batch_size is not None:
        recipe = replace(recipe, batch_size=wanted.batch_size, smallest_batch=0)
    if wanted.lr is not None:
        recipe = recipe.at_lr(wanted.lr)
    return override(recipe, wanted.settings, f"recipe {recipe.name}").check()


def refuse_changes(facts: dict[str, Any], spec: AnySpec, wanted: Wishes) -> None:
    """A resumed run is the same run: what is asked for must be what it was begun with."""
    began = {"model": facts["name"], "seed": facts["seed"], "recipe": facts["recipe"]["name"],
             "batch_size": facts["length"]["batch_size"], "lr": facts["recipe"]["optimizer"]["lr"],
             "epochs": facts["recipe"]["epochs"], "steps": facts["recipe"]["steps"], "workers": facts["workers"],
             "val": facts["data"]["val"],
             "weights": (facts.get("finetune") or {}).get("weights"),
             "costs": (facts.get("costs") or {}).get("file")}  # fmt: skip
    changed = [
        f"--{field.replace('_', '-')} {getattr(wanted, field)} (it has {value})"
        for field, value in began.items()
        if getattr(wanted, field) is not None and _told(getattr(wanted, field)) != value
    ]
    axes = {axis: value for axis, value in (wanted.axes or {}).items() if not _has(facts["name"], spec, axis, value)}
    changed += [f"--{axis.replace('_', '-')}" for axis in axes]
    changed += [f"--set {setting}" for setting in wanted.settings]
    changed += ["--heads"] * (wanted.heads and not (facts.get("finetune") or {}).get("compare_heads"))
    changed += ["--deterministic"] * (wanted.deterministic and not facts["deterministic"])
    changed += ["--allow-bad"] * (wanted.allow_bad and not facts["data"]["allow_bad"])
    if wanted.exclude is not None:
        left_out = dict(facts["data"].get("exclude") or ())
        changed += ["--exclude"] * (read_exclude_list(Path(wanted.exclude)).keys() != left_out.keys())
    if wanted.device not in (None, "auto") and pick_device(wanted.device).type != device_type(facts):
        changed.append(f"--device {wanted.device}")
    if changed:
        raise UserError(f"a resumed run cannot change {', '.join(changed)}; begin a new run with --out")


def _told(value: Any) -> Any:
    """A wish as run.json has it."""
    return str(value) if isinstance(value, Path) else value


def classes_of_parts(wanted: Wishes) -> list[type[Part]]:
    """The classes of parts from outside the package, where the axes are given again."""
    return [type(value) for value in (wanted.axes or {}).values() if isinstance(value, Part)]


def _has(name: str, spec: AnySpec, axis: str, value: Any) -> bool:
    """Whether a spec, made from that of the catalogue's `name`, is what an option of the command line asks for."""
    if axis == "width":
        return isinstance(spec, NetworkSpec) and _widths(catalog.spec(name, width=value)) == _widths(spec)
    if axis == "depth":
        return layers_of_depth(spec) == value
    if axis == "output_stride":
        return dilated(spec, value) == spec
    return spec.input_size() == each(value, spec.ndim) if axis == "size" else getattr(spec, axis, None) == value


def _widths(spec: AnySpec) -> list[int]:
    return [stage.width for stage in spec.stages] if isinstance(spec, NetworkSpec) else []


def device_type(facts: dict[str, Any]) -> str:
    device = facts["environment"]["device"]
    return device if device in ("cpu", "mps") else "cuda"

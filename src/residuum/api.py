"""The four functions most people need: build, train, evaluate, load. The commands call these."""

from __future__ import annotations

import datetime
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from residuum import artifact, catalog, cost
from residuum.artifact import MEAN_PICTURE, Artifact
from residuum.config import from_dict, override, to_dict
from residuum.data.batches import EvalBatches, TrainBatches
from residuum.data.manifest import Manifest
from residuum.data.preprocessing import Preprocessing
from residuum.data.sources import open_data
from residuum.devices import describe_environment, pick_device, pick_precision
from residuum.errors import UserError, shown
from residuum.evaluation.evaluate import evaluate_network
from residuum.evaluation.metrics import Evaluation
from residuum.inference import Model, load, protocol_of
from residuum.nets.network import Network, make_network
from residuum.plan import make_plan
from residuum.progress import Reporter, duration
from residuum.recipes import recipe as recipe_named
from residuum.report import write_report
from residuum.run import Run
from residuum.spec import NetworkSpec
from residuum.training.loop import Trainer
from residuum.training.recipe import Length, Recipe, resolution_at
from residuum.training.setup import Setup, choose_network, settle

__all__ = ["Wishes", "build", "evaluate", "load", "train"]


def build(name: str, num_classes: int | None = None, *, depth: int | None = None, **axes: Any) -> Network:
    """A freshly initialised network of the catalogue, (N, channels, *size) -> logits (N, num_classes).

    `axes` are fields of `NetworkSpec`: build("resnet50", num_classes=10, shortcut="C", stride_in="3x3"). Weights
    come from torch's global random state. Raises UserError for an unknown name or axis, or a spec that is unsound.
    """
    if num_classes is not None:
        axes["classes"] = num_classes
    return make_network(make_plan(catalog.spec(name, depth=depth, **axes)))


@dataclass(frozen=True)
class Wishes:
    """What a person may ask of a training; None leaves the choice to the data, the recipe or the machine."""

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


def train(
    data: str | Path | None = None,
    *,
    out: str | Path | None = None,
    resume: str | Path | None = None,
    reporter: Reporter | None = None,
    **wishes: Any,
) -> Run:
    """Train a network on `data` into the run directory `out`, or go on with the run `resume`.

    `wishes` are the fields of `Wishes`. Returns the finished run. Raises UserError for bad input and for training
    that diverges, `residuum.training.stop.Stopped` after a signal (the state is saved).
    """
    wanted = Wishes(**wishes)
    reporter = reporter or Reporter()
    if resume is not None:
        return _resume(Path(resume), data, wanted, reporter)
    if data is None:
        raise UserError("give the data to train on: a folder of class folders, or digits, cifar10:PATH, csv:FILE, ...")
    if wanted.epochs is not None and wanted.steps is not None:
        raise UserError("give --epochs or --steps, not both")
    recipe = _recipe(wanted)
    if wanted.model is not None:
        catalog.entry(wanted.model)
    if out is not None and (Path(out) / "run.json").exists():
        Run.create(Path(out), {})  # refuses before hours of reading
    device = pick_device(wanted.device or "auto")
    manifest = _open(str(data), wanted.val, wanted.allow_bad, reporter)
    name, spec = choose_network(manifest, wanted.model, dict(wanted.axes or {}), device.type == "cuda")
    setup = settle(manifest, name, spec, recipe)
    folder = Path(out) if out is not None else _new_folder(f"{name}-{Path(manifest.argument).name or 'data'}")
    precision = pick_precision(setup.recipe.precision, device)
    workers = _default_workers(manifest) if wanted.workers is None else wanted.workers
    facts: dict[str, Any] = {
        "name": name,
        "status": "running",
        "command": sys.argv,
        "created": _now(),
        "spec": to_dict(setup.spec),
        "recipe": to_dict(setup.recipe),
        "length": {"images": setup.length.images, "batch_size": setup.length.batch_size, "steps": setup.length.steps},
        "data": _data_facts(manifest, wanted.val, wanted.allow_bad),
        "preprocessing": setup.preprocessing.to_dict(),
        "seed": wanted.seed or 0,
        "workers": workers,
        "deterministic": wanted.deterministic,
        "environment": describe_environment(device, precision),
    }
    run = Run.create(folder, facts)
    _say_choices(setup, manifest, facts, reporter)
    return _train(run, setup, manifest, facts, device, precision, reporter)


def _recipe(wanted: Wishes) -> Recipe:
    """The recipe with the wishes applied, checked."""
    recipe = wanted.recipe if isinstance(wanted.recipe, Recipe) else recipe_named(wanted.recipe or "fast")
    if wanted.epochs is not None or wanted.steps is not None:
        # a length that was asked for is kept, however small the data
        recipe = replace(recipe, epochs=wanted.epochs, steps=wanted.steps)
    if wanted.batch_size is not None:
        recipe = replace(recipe, batch_size=wanted.batch_size)
    if wanted.lr is not None:
        recipe = replace(recipe, optimizer=replace(recipe.optimizer, lr=wanted.lr))
    return override(recipe, wanted.settings, f"recipe {recipe.name}").check()


def _resume(folder: Path, data: str | Path | None, wanted: Wishes, reporter: Reporter) -> Run:
    """Go on from the last checkpoint; from the start where there is none; not at all where it is finished."""
    run = Run.open(folder)
    facts = run.read()
    _refuse_changes(folder, facts, wanted)
    if facts["status"] == "finished":
        reporter.say(f"{shown(folder)} is finished already: {shown(run.model)}, {shown(run.report)}")
        return run
    device = pick_device("cuda" if facts["environment"]["device"] not in ("cpu", "mps") else facts["environment"]["device"])
    precision = getattr(torch, facts["environment"]["precision"])
    if device.type == "cpu":
        torch.set_num_threads(int(facts["environment"]["threads"]))  # sums depend on how they are split
    stored = facts["data"]
    manifest = _open(str(data or stored["argument"]), stored["val"], stored["allow_bad"], reporter)
    if manifest.digest != stored["digest"]:
        raise UserError(
            f"the data at {shown(manifest.argument)} are not those {shown(folder)} was begun on (digest differs); "
            f"give the same data, or begin a new run with --out"
        )
    spec = from_dict(NetworkSpec, facts["spec"], shown(folder / "run.json"))
    recipe = from_dict(Recipe, facts["recipe"], shown(folder / "run.json"))
    setup = replace(settle(manifest, facts["name"], spec, recipe), recipe=recipe, length=Length(**facts["length"]))
    facts["status"] = "running"
    run.write(facts)
    return _train(run, setup, manifest, facts, device, precision, reporter)


def _refuse_changes(folder: Path, facts: dict[str, Any], wanted: Wishes) -> None:
    """A resumed run is the same run: what is asked for must be what it was begun with."""
    began = {"model": facts["name"], "seed": facts["seed"], "recipe": facts["recipe"]["name"],
             "batch_size": facts["length"]["batch_size"], "lr": facts["recipe"]["optimizer"]["lr"],
             "epochs": facts["recipe"]["epochs"], "steps": facts["recipe"]["steps"], "workers": facts["workers"],
             "val": facts["data"]["val"]}  # fmt: skip
    changed = [
        f"--{field.replace('_', '-')} {getattr(wanted, field)} (it has {value})"
        for field, value in began.items()
        if getattr(wanted, field) is not None and getattr(wanted, field) != value
    ]
    changed += [f"--{axis.replace('_', '-')}" for axis, value in (wanted.axes or {}).items() if facts["spec"].get(axis) != value]
    changed += [f"--set {setting}" for setting in wanted.settings]
    if changed:
        raise UserError(f"a resumed run cannot change {', '.join(changed)}; begin a new run with --out")


def _train(
    run: Run, setup: Setup, manifest: Manifest, facts: dict[str, Any], device: torch.device, precision: torch.dtype,
    reporter: Reporter,
) -> Run:  # fmt: skip
    """Train from the run's last checkpoint to the end, then write model file and report."""
    reporter.log = run.log
    plan = make_plan(setup.spec)
    seed = facts["seed"]
    torch.manual_seed(seed)
    if facts["deterministic"]:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    network = make_network(plan, generator=torch.Generator().manual_seed(seed))
    side = max(setup.preprocessing.size)

    def size_at(step: int) -> int:
        return resolution_at(setup.recipe, step / setup.length.steps, side)

    batches = TrainBatches(
        manifest,
        preprocessing=setup.preprocessing,
        augment=setup.recipe.augment,
        batch_size=setup.length.batch_size,
        seed=seed,
        workers=facts["workers"],
        size_at=size_at,
        mean_picture=setup.mean_picture,
    )

    def judge(part: str) -> Evaluation:
        indices = manifest.part(part)
        held_out = EvalBatches(
            manifest, indices, setup.preprocessing, min(256, len(indices)), workers=facts["workers"],
            mean_picture=setup.mean_picture,
        )  # fmt: skip
        protocol = protocol_of(manifest, part, setup.preprocessing.to_dict())
        return evaluate_network(network, manifest, indices, held_out, manifest.classes, protocol)

    trainer = Trainer(
        network, setup.recipe, setup.length, batches, (lambda: judge("val")) if "val" in manifest.parts else None,
        manifest.names.__getitem__, run, reporter, device, precision,
    )  # fmt: skip
    try:
        at = trainer.train()
    except UserError:
        run.write(facts | {"status": "failed"})
        raise
    parts = [part for part in ("val", "test") if part in manifest.parts]
    evaluations = {part: judge(part) for part in parts}
    results = {part: evaluation.summary() for part, evaluation in evaluations.items()}
    shown_part = "test" if "test" in results else "val" if results else None
    facts |= {
        "status": "finished",
        "finished": _now(),
        "results": results[shown_part] if shown_part else {},
        "all_results": results,
        "time": {
            "seconds": round(at.total_seconds, 2),
            "images_per_second": round(at.step * setup.length.batch_size / at.total_seconds, 2),
        },
    }
    tensors = dict(network.state_dict())
    if setup.mean_picture is not None:
        tensors[MEAN_PICTURE] = torch.from_numpy(setup.mean_picture)
    artifact.save(
        Artifact(
            spec=setup.spec,
            classes=manifest.classes,
            preprocessing=setup.preprocessing,
            tensors=tensors,
            training={key: facts[key] for key in ("name", "recipe", "length", "data", "seed", "environment", "time")},
            results=list(results.values()),
        ),
        run.model,
    )
    write_report(
        run.folder,
        run=facts,
        history=run.history(),
        evaluation=evaluations[shown_part] if shown_part else None,
        layers=cost.layer_rows(plan),
        totals=cost.totals(plan, setup.name, setup.length.batch_size),
        read=lambda index: manifest.pictures.read(index, setup.spec.channels),
    )
    run.write(facts)
    for part, result in results.items():
        reporter.say(
            f"{part}: {result['images'] - result['correct_top1']} of {result['images']} pictures wrong "
            f"({result['top1_error']:.2f}%), loss {result['loss']:.4f}"
        )
    reporter.say(f"trained {duration(at.total_seconds)} at {facts['time']['images_per_second']:.0f} images/s")
    return run


def evaluate(
    model: str | Path | Model,
    data: str | Path,
    *,
    split: str | None = None,
    batch_size: int = 64,
    workers: int | None = None,
    device: str = "auto",
    allow_bad: bool = False,
    reporter: Reporter | None = None,
) -> Evaluation:
    """Evaluate a model file (or a loaded model) on a data set, in float32.

    Without `split`: the test part if there is one; else, where the data are those the model was trained on, their
    validation part; else every picture.
    """
    model = model if isinstance(model, Model) else load(model, device)
    reporter = reporter or Reporter()
    trained_on = model.artifact.training.get("data", {})
    manifest = _open(str(data), trained_on.get("val"), allow_bad, reporter)
    part = split
    if part is None and "test" in manifest.parts:
        part = "test"
    elif part is None and manifest.digest == trained_on.get("digest"):
        if "val" not in manifest.parts:
            raise UserError(
                f"this model was trained on every picture of {shown(manifest.argument)}: nothing is held out; "
                f"give other data, or --split train to see the training error"
            )
        part = "val"
    elif part == "all":
        part = None
    with reporter.track("evaluating", "pictures") as update:
        workers = _default_workers(manifest) if workers is None else workers
        return model.evaluate(manifest, part, batch_size, workers, update)


def _open(argument: str, val: float | None, allow_bad: bool, reporter: Reporter) -> Manifest:
    with reporter.track("reading pictures", "files") as update:
        manifest = open_data(_absolute(argument), val=val, allow_bad=allow_bad, progress=update)
    for name, reason in manifest.excluded[:20]:
        reporter.say(f"left out {shown(name)}: {reason}")
    if len(manifest.excluded) > 20:
        reporter.say(f"left out {len(manifest.excluded) - 20} more files: all are in run.json")
    for note in manifest.notes:
        reporter.say(note)
    return manifest


def _absolute(argument: str) -> str:
    """The data argument with its path made absolute, so that a run can be resumed from any folder."""
    if os.path.exists(argument):
        return os.path.abspath(argument)
    name, colon, path = argument.partition(":")
    return f"{name}:{os.path.abspath(path)}" if colon and os.path.exists(path) else argument


def _new_folder(name: str) -> Path:
    """runs/NAME, or runs/NAME-2 and so on where that is taken."""
    for number in range(1, 10_000):
        folder = Path("runs") / (name if number == 1 else f"{name}-{number}")
        if not folder.exists():
            return folder
    raise UserError("runs/ is full of runs of this name; give --out")


def _default_workers(manifest: Manifest) -> int:
    """Decoding threads: none where the pictures are in memory."""
    return 0 if manifest.pictures.in_memory else min(os.cpu_count() or 1, 8)


def _data_facts(manifest: Manifest, val: float | None, allow_bad: bool) -> dict[str, Any]:
    return {
        "argument": manifest.argument,
        "digest": manifest.digest,
        "classes": list(manifest.classes),
        "counts": {part: len(indices) for part, indices in manifest.parts.items()},
        "excluded": [list(item) for item in manifest.excluded],
        "notes": list(manifest.notes),
        "val": val,
        "allow_bad": allow_bad,
    }


def _say_choices(setup: Setup, manifest: Manifest, facts: dict[str, Any], reporter: Reporter) -> None:
    """What was chosen, before it is acted on."""
    plan = make_plan(setup.spec)
    counts = ", ".join(f"{count} {part}" for part, count in facts["data"]["counts"].items())
    height, width = setup.preprocessing.size
    optimizer = setup.recipe.optimizer
    reporter.say(f"data: {shown(manifest.argument)}: {len(manifest.classes)} classes, {counts} pictures")
    reporter.say(
        f"model: {setup.name}, {plan.parameters:,} parameters, input {setup.spec.channels}x{height}x{width}, "
        f"shortcut {setup.spec.shortcut}"
    )
    reporter.say(
        f"recipe: {setup.recipe.name}, {setup.length.steps} steps of {setup.length.batch_size} pictures "
        f"({setup.length.steps * setup.length.batch_size / setup.length.images:.1f} epochs), lr {optimizer.lr:g}, "
        f"seed {facts['seed']}, {facts['environment']['device']} in {facts['environment']['precision']}"
    )


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")

"""A training from beginning to end: begin or resume a run, train, evaluate, write the model file and the report."""

from __future__ import annotations

import datetime
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from residuum import artifact, catalog, cost, finetuning
from residuum.artifact import MEAN_PICTURE, Artifact
from residuum.config import Part, from_dict, override, to_dict
from residuum.data.batches import EvalBatches, TrainBatches
from residuum.data.exclusion import read_exclude_list
from residuum.data.folds import Fold, fold_of
from residuum.data.manifest import Manifest
from residuum.data.oddness import oddest
from residuum.data.opening import default_workers, open_for
from residuum.devices import describe_environment, pick_device, pick_precision
from residuum.errors import UserError, shown
from residuum.evaluation.costs import read_costs
from residuum.evaluation.evaluate import all_logits, evaluate_network, protocol_of
from residuum.evaluation.metrics import Evaluation
from residuum.evaluation.temperature import fit_temperature, temperature_of
from residuum.evaluation.unlike import fit_unlike
from residuum.nets.network import Network, make_network
from residuum.plan import NetworkPlan, dilated, layers_of_depth, make_plan, read_spec
from residuum.progress import Reporter, duration
from residuum.recipes import recipe as recipe_named
from residuum.report import write_report
from residuum.run import Run
from residuum.spec import AnySpec, NetworkSpec, each
from residuum.training.loop import Diverged, Trainer, Watch
from residuum.training.pretrained import fitted_spec, view_of
from residuum.training.recipe import Length, Recipe, resolution_at
from residuum.training.setup import Setup, choose_network, settle
from residuum.training.stop import Stopped

ODDEST = 12
"""Pictures unlike the others that the report shows."""


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
    weights: str | None = None
    heads: bool = False
    costs: Path | None = None
    fold: Fold | None = None
    exclude: str | Path | None = None


@dataclass
class Session:
    """A run on its way: what was settled, on which data, and run.json as it stands."""

    run: Run
    setup: Setup
    manifest: Manifest
    facts: dict[str, Any]
    device: torch.device
    precision: torch.dtype
    reporter: Reporter
    start: Artifact | None = None


def begin(data: str | Manifest, out: Path | None, wanted: Wishes, reporter: Reporter) -> Session:
    """Settle everything, check it, and make the run directory.

    A data set that is open already is taken as it is (`wanted.val` must be what it was opened with).
    """
    if wanted.epochs is not None and wanted.steps is not None:
        raise UserError("give --epochs or --steps, not both")
    if wanted.seed is not None and not 0 <= wanted.seed < 2**63:
        raise UserError(f"--seed must be a whole number from 0 to 2^63 - 1, not {wanted.seed}")
    if wanted.workers is not None and wanted.workers < 0:
        raise UserError(f"--workers must be 0 or more, not {wanted.workers}")
    recipe = settled_recipe(wanted)
    if wanted.model is not None:
        catalog.entry(wanted.model)
    pretrained = finetuning.pretrained(wanted.weights, wanted.model, wanted.axes or {}, recipe, wanted.heads)
    if out is not None and (out / "run.json").exists():
        Run.create(out, {})  # refuses before hours of reading
    device = pick_device(wanted.device or "auto")
    if isinstance(data, Manifest):
        manifest = data
    else:
        manifest = open_for(reporter, data, wanted.val, wanted.allow_bad, wanted.exclude)
    if wanted.fold is not None:
        manifest = fold_of(manifest, wanted.fold)
    costs = read_costs(wanted.costs, manifest.classes) if wanted.costs is not None else None
    view = None
    if pretrained is None:
        name, spec = choose_network(manifest, wanted.model, dict(wanted.axes or {}), device.type == "cuda")
    else:
        view, name, spec = view_of(pretrained.content), pretrained.name, fitted_spec(pretrained, manifest)
        finetuning.refuse_heads_without_validation(wanted.heads, manifest)
    with reporter.track("averaging pictures", "pictures") as update:
        setup = settle(manifest, name, spec, recipe, update, view)
    plan = make_plan(setup.spec)
    make_network(plan, device="meta")  # what cannot be built leaves no run behind
    folder = out if out is not None else _new_folder(f"{name}-{Path(manifest.argument).name or 'data'}")
    precision = pick_precision(setup.recipe.precision, device)
    workers = default_workers(manifest) if wanted.workers is None else wanted.workers
    facts: dict[str, Any] = {
        "name": name,
        "status": "running",
        "command": sys.argv,
        "created": _now(),
        "spec": to_dict(setup.spec),
        "recipe": to_dict(setup.recipe),
        "length": {
            "images": setup.length.images,
            "batch_size": setup.length.batch_size,
            "steps": setup.length.steps,
        },
        "data": _data_facts(manifest, wanted.val, wanted.allow_bad),
        "preprocessing": setup.preprocessing.to_dict(),
        "seed": wanted.seed or 0,
        "workers": workers,
        "deterministic": wanted.deterministic,
        "environment": describe_environment(device, precision),
    }
    if wanted.fold is not None:
        facts["data"]["fold"] = asdict(wanted.fold)
    if costs is not None:
        facts["costs"] = {"file": str(wanted.costs), "matrix": costs.tolist()}
    if setup.recipe.finetune is not None:
        facts["finetune"] = finetuning.begin(
            Run(folder).start, setup, manifest.classes, pretrained, facts["seed"], wanted.heads
        )
    run = Run.create(folder, facts)
    _say_choices(setup, plan, facts, reporter)
    return Session(run, setup, manifest, facts, device, precision, reporter, finetuning.start(run, facts))


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
        recipe = replace(recipe, optimizer=replace(recipe.optimizer, lr=wanted.lr))
    return override(recipe, wanted.settings, f"recipe {recipe.name}").check()


def resume(folder: Path, data: str | Manifest | None, wanted: Wishes, reporter: Reporter) -> Session | None:
    """A run taken up again from its last checkpoint, or from the start; None where it is finished."""
    run = Run.open(folder)
    facts = run.read()
    spec = read_spec(facts["spec"], shown(folder / "run.json"), (*wanted.using, *_classes_of_parts(wanted)))
    _refuse_changes(facts, spec, wanted)
    if facts["status"] == "finished":
        reporter.say(f"{shown(folder)} is finished already: {shown(run.model)}, {shown(run.report)}")
        return None
    device = pick_device(_device_type(facts))
    precision = getattr(torch, facts["environment"]["precision"])
    if device.type == "cpu":
        torch.set_num_threads(int(facts["environment"]["threads"]))  # sums depend on how they are split
    stored = facts["data"]
    if isinstance(data, Manifest):
        manifest = data
    else:
        exclude = dict(stored.get("exclude") or ())
        manifest = open_for(reporter, data or stored["argument"], stored["val"], stored["allow_bad"], exclude)
    if manifest.digest != stored["digest"]:
        raise UserError(
            f"the data at {shown(manifest.argument)} are not those {shown(folder)} was begun on (digest differs); "
            f"give the same data, or begin a new run with --out"
        )
    if stored.get("fold"):
        manifest = fold_of(manifest, Fold(**stored["fold"]))
    recipe = from_dict(Recipe, facts["recipe"], shown(folder / "run.json"))
    start = finetuning.start(run, facts, (*wanted.using, *_classes_of_parts(wanted)))
    with reporter.track("averaging pictures", "pictures") as update:
        setup = settle(manifest, facts["name"], spec, recipe, update, start and view_of(start))
    setup = replace(setup, recipe=recipe, length=Length(**facts["length"]))
    facts["status"] = "running"
    run.write(facts)
    return Session(run, setup, manifest, facts, device, precision, reporter, start)


def _refuse_changes(facts: dict[str, Any], spec: AnySpec, wanted: Wishes) -> None:
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
    changed += [
        f"--{axis.replace('_', '-')}" for axis, value in (wanted.axes or {}).items() if not _has(spec, axis, value)
    ]
    changed += [f"--set {setting}" for setting in wanted.settings]
    changed += ["--heads"] * (wanted.heads and not (facts.get("finetune") or {}).get("compare_heads"))
    changed += ["--deterministic"] * (wanted.deterministic and not facts["deterministic"])
    changed += ["--allow-bad"] * (wanted.allow_bad and not facts["data"]["allow_bad"])
    if wanted.exclude is not None:
        left_out = dict(facts["data"].get("exclude") or ())
        changed += ["--exclude"] * (read_exclude_list(Path(wanted.exclude)).keys() != left_out.keys())
    if wanted.device not in (None, "auto") and pick_device(wanted.device).type != _device_type(facts):
        changed.append(f"--device {wanted.device}")
    if changed:
        raise UserError(f"a resumed run cannot change {', '.join(changed)}; begin a new run with --out")


def _told(value: Any) -> Any:
    """A wish as run.json has it."""
    return str(value) if isinstance(value, Path) else value


def _classes_of_parts(wanted: Wishes) -> list[type[Part]]:
    """The classes of parts from outside the package, where the axes are given again."""
    return [type(value) for value in (wanted.axes or {}).values() if isinstance(value, Part)]


def _has(spec: AnySpec, axis: str, value: Any) -> bool:
    """Whether a spec is what an option of the command line asks for."""
    if axis == "depth":
        return layers_of_depth(spec) == value
    if axis == "output_stride":
        return dilated(spec, value) == spec
    return spec.input_size() == each(value, spec.ndim) if axis == "size" else getattr(spec, axis, None) == value


def _device_type(facts: dict[str, Any]) -> str:
    device = facts["environment"]["device"]
    return device if device in ("cpu", "mps") else "cuda"


def carry_out(session: Session, watch: Watch | None = None, *, report: bool = True) -> Run:
    """Train to the end, evaluate, and write model file, report and results. Raises as `Trainer.train` does."""
    session.reporter.log = session.run.log
    network = _network(session)
    try:
        at = _trainer(session, network, watch).train()
    except UserError as error:
        session.run.write(session.facts | {"status": "failed", "diverged": isinstance(error, Diverged)})
        raise
    except Stopped:
        session.run.write(session.facts | {"status": "stopped"})
        raise
    calibration = _calibrate(session, network)
    parts = [part for part in ("val", "test") if part in session.manifest.parts]
    evaluations = {part: _judge(session, network, part, temperature_of(calibration)) for part in parts}
    results = {part: evaluation.summary() for part, evaluation in evaluations.items()}
    quoted = next((part for part in ("test", "val") if part in results), None)
    session.facts |= {
        "status": "finished",
        "finished": _now(),
        "results": results[quoted] if quoted else {},
        "all_results": results,
        "time": {
            "seconds": round(at.total_seconds, 2),
            "images_per_second": round(at.step * session.setup.length.batch_size / max(at.total_seconds, 1e-9), 2),
        },
    }
    if session.setup.recipe.finetune is not None and at.best_epoch >= 0:
        epochs = len(session.run.history())
        session.facts["finetune"]["kept"] = {"epoch": at.best_epoch, "of": epochs, "stopped_early": at.over}
        session.reporter.say(finetuning.kept_sentence(session.facts["finetune"]["kept"]))
    _save_model(session, network, list(results.values()), calibration)
    if report:
        _write_report(session, evaluations[quoted] if quoted else None)
    session.run.write(session.facts)
    for spare in (session.run.start, session.run.best):
        spare.unlink(missing_ok=True)
    for part, result in results.items():
        session.reporter.say(
            f"{part}: {result['images'] - result['correct_top1']} of {result['images']} pictures wrong "
            f"({result['top1_error']:.2f}%), loss {result['loss']:.4f}" + finetuning.cost_words(result)
        )
    rate = session.facts["time"]["images_per_second"]
    session.reporter.say(f"trained {duration(at.total_seconds)} at {rate:.0f} images/s")
    return session.run


def _network(session: Session) -> Network:
    """The network as the seed gives it; other random numbers (dropout) follow the same seed."""
    seed = session.facts["seed"]
    torch.manual_seed(seed)
    if session.facts["deterministic"]:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    network = make_network(make_plan(session.setup.spec), generator=torch.Generator().manual_seed(seed))
    if session.start is not None:
        finetuning.put_start(network, session.start)
    return network


def trainer_of(session: Session) -> Trainer:
    """The network of a session as it begins, about to be trained."""
    return _trainer(session, _network(session), None)


def _trainer(session: Session, network: Network, watch: Watch | None) -> Trainer:
    setup, manifest = session.setup, session.manifest
    side = max(setup.preprocessing.size)
    batches = TrainBatches(
        manifest,
        preprocessing=setup.preprocessing,
        augment=setup.recipe.augment,
        batch_size=setup.length.batch_size,
        seed=session.facts["seed"],
        workers=session.facts["workers"],
        size_at=lambda step: resolution_at(setup.recipe, step / setup.length.steps, side),
        mean_picture=setup.mean_picture,
        balanced=setup.recipe.balanced_sampling,
    )
    validate = (lambda: _judge(session, network, "val")) if "val" in manifest.parts else None
    return Trainer(
        network, setup.recipe, setup.length, batches, validate, manifest.names.__getitem__, session.run,
        session.reporter, session.device, session.precision, watch,
        **finetuning.stages(
            network, setup, manifest, session.facts, session.run, session.reporter, session.start is not None
        ),
    )  # fmt: skip


def _calibrate(session: Session, network: Network) -> dict[str, Any] | None:
    """What makes probabilities trustworthy, from the validation part, which nothing was trained on."""
    if "val" not in session.manifest.parts:
        return None
    known = fit_unlike(all_logits(network, _views(session, "val")))
    found = fit_temperature(_judge(session, network, "val"))
    if found is not None:
        session.reporter.say(
            f"probabilities: temperature {found.temperature:.3f} fitted on {found.images} held-out pictures, "
            f"calibration error {100 * found.error_before:.2f}% before, {100 * found.error_after:.2f}% after"
        )
    calibration = ({} if found is None else to_dict(found)) | ({} if known is None else {"energies": known})
    return calibration or None


def _views(session: Session, part: str) -> EvalBatches:
    """The pictures of a part as evaluation sees them."""
    indices = session.manifest.part(part)
    return EvalBatches(
        session.manifest, indices, session.setup.preprocessing, min(256, len(indices)),
        workers=session.facts["workers"], mean_picture=session.setup.mean_picture,
    )  # fmt: skip


def _judge(session: Session, network: Network, part: str, temperature: float = 1.0) -> Evaluation:
    """Evaluate on a part, in float32, whatever precision training has."""
    setup, manifest = session.setup, session.manifest
    protocol = protocol_of(manifest, part, setup.preprocessing.to_dict(), temperature)
    found = evaluate_network(
        network, manifest, manifest.part(part), _views(session, part), manifest.classes, protocol,
        temperature=temperature,
    )  # fmt: skip
    costs = session.facts.get("costs")
    return replace(found, costs=np.array(costs["matrix"])) if costs else found


def _save_model(
    session: Session, network: Network, results: list[dict[str, Any]], calibration: dict[str, Any] | None
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


def _write_report(session: Session, evaluation: Evaluation | None) -> None:
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


def _new_folder(name: str) -> Path:
    """runs/NAME, or runs/NAME-2 and so on where that is taken."""
    for number in range(1, 10_000):
        folder = Path("runs") / (name if number == 1 else f"{name}-{number}")
        if not folder.exists():
            return folder
    raise UserError("runs/ is full of runs of this name; give --out")


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
        "exclude": [list(item) for item in manifest.listed_out],
    }


def _say_choices(setup: Setup, plan: NetworkPlan, facts: dict[str, Any], reporter: Reporter) -> None:
    """What was chosen, before it is acted on."""
    counts = ", ".join(f"{count} {part}" for part, count in facts["data"]["counts"].items())
    height, width = setup.preprocessing.size
    optimizer = setup.recipe.optimizer
    reporter.say(f"data: {shown(facts['data']['argument'])}: {setup.spec.classes} classes, {counts} pictures")
    reporter.say(
        f"model: {setup.name}, {plan.parameters:,} parameters, input {setup.spec.channels}x{height}x{width}"
        + (f", shortcut {setup.spec.shortcut}" if isinstance(setup.spec, NetworkSpec) else "")
    )
    for line in finetuning.choices(facts):
        reporter.say(line)
    reporter.say(
        f"recipe: {setup.recipe.name}, {setup.length.steps} steps of {setup.length.batch_size} pictures "
        f"({setup.length.steps * setup.length.batch_size / setup.length.images:.1f} epochs), lr {optimizer.lr:g}, "
        f"seed {facts['seed']}, {facts['environment']['device']} in {facts['environment']['precision']}"
    )


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")

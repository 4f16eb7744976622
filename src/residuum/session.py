"""A training from beginning to end: begin or resume a run, train, evaluate, write the model file and the report."""

from __future__ import annotations

import datetime
import os
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from residuum import catalog, finetuning, underway
from residuum.config import from_dict, to_dict
from residuum.data.batches import TrainBatches
from residuum.data.folds import Fold, fold_of
from residuum.data.manifest import Manifest
from residuum.data.opening import default_workers, open_for, recorded
from residuum.devices import describe_environment, pick_device, pick_precision
from residuum.errors import Elsewhere, UserError, shown
from residuum.evaluation.costs import read_costs
from residuum.evaluation.metrics import Evaluation
from residuum.evaluation.temperature import temperature_of
from residuum.nets.network import Network, make_network
from residuum.plan import make_plan, read_spec
from residuum.processes import ALONE, Processes, pieces_of
from residuum.progress import Reporter, duration
from residuum.run import Run
from residuum.training.engine import refuse_device
from residuum.training.loop import Diverged, Trainer, Watch
from residuum.training.optimizer import make_optimizer
from residuum.training.pretrained import Pretrained, fitted_spec, view_of
from residuum.training.quick import TORCH, pick_kernels
from residuum.training.recipe import Length, Recipe, resolution_at
from residuum.training.setup import Setup, choose_network, settle
from residuum.training.stop import Stopped
from residuum.underway import Session
from residuum.wishes import Wishes, check, classes_of_parts, device_type, refuse_changes, settled_recipe


def begin(
    data: str | Manifest, out: Path | None, wanted: Wishes, reporter: Reporter, processes: Processes = ALONE
) -> Session:
    """Settle everything, check it, and make the run directory.

    A data set that is open already is taken as it is (`wanted.val` must be what it was opened with).
    """
    with processes.together():
        if out is not None and (out / "run.json").exists() and processes.first:
            Run.create(out, {})  # refuses before hours of reading
        device = pick_device(wanted.device or "auto")
        setup, manifest, pretrained = _settle(data, wanted, device, reporter)
        precision = pick_precision(setup.recipe.precision, device)
        pieces = pieces_of(processes, setup.recipe.accumulate * processes.count)
        pieces.cuts(setup.length.batch_size)
        refuse_device(setup.recipe, device)
    _refuse_other_data(manifest, processes)
    recipe, kernels = _alike(setup.recipe, device, precision, processes)
    setup = replace(setup, recipe=recipe)
    facts: dict[str, Any] = {
        "name": setup.name,
        "status": "running",
        "command": sys.argv,
        "created": _now(),
        "spec": to_dict(setup.spec),
        "recipe": to_dict(setup.recipe),
        "length": asdict(setup.length),
        "data": _data_facts(manifest, wanted),
        "preprocessing": setup.preprocessing.to_dict(),
        "seed": wanted.seed or 0,
        "workers": default_workers(manifest) if wanted.workers is None else wanted.workers,
        "deterministic": wanted.deterministic,
        "pieces": pieces.of,
        "lanes": pieces.of,
        "environment": describe_environment(device, precision)
        | {"processes": str(processes.count), "kernels": kernels},
    }
    folder = out if out is not None else _new_folder(f"{setup.name}-{Path(manifest.argument).name or 'data'}")
    with processes.together():
        if wanted.costs is not None:
            facts["costs"] = {
                "file": str(wanted.costs), "matrix": read_costs(wanted.costs, manifest.classes).tolist(),
            }  # fmt: skip
        if processes.first:
            if setup.recipe.finetune is not None:
                facts["finetune"] = finetuning.begin(
                    Run(folder).start, setup, manifest.classes, pretrained, facts["seed"], wanted.heads
                )
            Run.create(folder, facts)
    folder, facts = processes.gather((folder, facts))[0]
    run = Run(folder, processes.first)
    underway.say_choices(setup, facts, reporter)
    start = finetuning.start(run, facts)
    return Session(run, setup, manifest, facts, device, precision, reporter, start, processes, pieces)


def _settle(
    data: str | Manifest, wanted: Wishes, device: torch.device, reporter: Reporter
) -> tuple[Setup, Manifest, Pretrained | None]:
    """The data set, the weights to begin with, and the network, recipe and length that follow."""
    check(wanted)
    recipe = settled_recipe(wanted)
    if wanted.model is not None:
        catalog.entry(wanted.model)
    pretrained = finetuning.pretrained(wanted.weights, wanted.model, wanted.axes or {}, recipe, wanted.heads)
    if isinstance(data, Manifest):
        manifest = data
    else:
        manifest = open_for(reporter, data, wanted.val, wanted.allow_bad, wanted.exclude)
    if wanted.fold is not None:
        manifest = fold_of(manifest, wanted.fold)
    view = None
    if pretrained is None:
        name, spec = choose_network(manifest, wanted.model, dict(wanted.axes or {}), device.type == "cuda")
    else:
        view, name, spec = view_of(pretrained.content), pretrained.name, fitted_spec(pretrained, manifest)
        finetuning.refuse_heads_without_validation(wanted.heads, manifest)
    with reporter.track("averaging pictures", "pictures") as update:
        setup = settle(manifest, name, spec, recipe, update, view)
    # what cannot be built or trained leaves no run behind
    make_optimizer(make_network(make_plan(setup.spec), device="meta"), recipe.optimizer, muon=recipe.muon)
    return setup, manifest, pretrained


def resume(
    folder: Path, data: str | Manifest | None, wanted: Wishes, reporter: Reporter, processes: Processes = ALONE
) -> Session | None:
    """A run taken up again from its last checkpoint, or from the start; None where it is finished."""
    with processes.together():
        run = Run.open(folder, processes.first)
        facts = run.read()
        spec = read_spec(facts["spec"], shown(folder / "run.json"), (*wanted.using, *classes_of_parts(wanted)))
        refuse_changes(facts, spec, wanted)
    if facts["status"] == "finished":
        reporter.say(f"{shown(folder)} is finished already: {shown(run.model)}, {shown(run.report)}")
        return None
    with processes.together():
        device = pick_device(device_type(facts))
        manifest = _data_of(facts, data, folder, reporter)
        recipe = from_dict(Recipe, facts["recipe"], shown(folder / "run.json"))
        precision = getattr(torch, facts["environment"]["precision"])
        begun_with = facts["environment"].get("kernels", TORCH)
        if begun_with == TORCH:
            recipe = replace(recipe, kernels="torch")
        start = finetuning.start(run, facts, (*wanted.using, *classes_of_parts(wanted)))
        with reporter.track("averaging pictures", "pictures") as update:
            setup = settle(manifest, facts["name"], spec, recipe, update, start and view_of(start))
        setup = replace(setup, recipe=recipe, length=Length(**facts["length"]))
        pieces = pieces_of(processes, facts["pieces"])
        pieces.cuts(setup.length.batch_size)
    recipe, kernels = _alike(recipe, device, precision, processes)
    setup = replace(setup, recipe=recipe)
    if kernels != begun_with:
        reporter.say(
            f"begun with routines by {begun_with}; from here on with those by {kernels}, which round otherwise"
        )
    if device.type == "cpu" and facts["environment"]["processes"] == str(processes.count):
        torch.set_num_threads(int(facts["environment"]["threads"]))  # sums depend on how they are split
    if pieces.of != facts["pieces"]:
        reporter.say(
            f"batches are cut into {pieces.of} pieces from here on, not {facts['pieces']}: batch norm sees others"
        )
    facts |= {"status": "running", "pieces": pieces.of}
    run.write(facts)
    return Session(run, setup, manifest, facts, device, precision, reporter, start, processes, pieces)


def _alike(recipe: Recipe, device: torch.device, precision: torch.dtype, processes: Processes) -> tuple[Recipe, str]:
    """The recipe, by torch's operators where not all processes have our routines; and whose routines it then uses."""
    found = processes.gather(pick_kernels(recipe, device, precision))
    if TORCH not in found:
        return recipe, found[0]
    some = len(set(found)) > 1
    return replace(recipe, kernels="torch") if some else recipe, TORCH


def _data_of(facts: dict[str, Any], data: str | Manifest | None, folder: Path, reporter: Reporter) -> Manifest:
    """The data set that a run was begun on; UserError where it is not what it was."""
    stored = facts["data"]
    if isinstance(data, Manifest):
        manifest = data
    else:
        exclude = dict(stored.get("exclude") or ())
        argument = data or recorded(stored["argument"])
        manifest = open_for(reporter, argument, stored["val"], stored["allow_bad"], exclude)
    if manifest.digest != stored["digest"]:
        raise UserError(
            f"the data at {shown(manifest.argument)} are not those {shown(folder)} was begun on (digest differs); "
            f"give the same data, or begin a new run with --out"
        )
    return fold_of(manifest, Fold(**stored["fold"])) if stored.get("fold") else manifest


def carry_out(session: Session, watch: Watch | None = None, *, report: bool = True) -> Run:
    """Train to the end, evaluate, and write model file, report and results. Raises as `Trainer.train` does."""
    run, first = session.run, session.processes.first
    session.reporter.log = run.log if first else None
    network = _network(session)
    try:
        at = _trainer(session, network, watch).train()
    except UserError as error:
        run.write(session.facts | {"status": "failed", "diverged": isinstance(error, Diverged)})
        raise Elsewhere(str(error)) if isinstance(error, Diverged) and not first else error from None
    except Stopped:
        run.write(session.facts | {"status": "stopped"})
        raise
    logits = {
        part: underway.logits_on(session, network, part) for part in ("val", "test") if part in session.manifest.parts
    }
    calibration = underway.calibrate(session, logits["val"]) if "val" in logits else None
    temperature = temperature_of(calibration)
    evaluations = {part: underway.judge(session, part, found, temperature) for part, found in logits.items()}
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
        session.facts["finetune"]["kept"] = {
            "epoch": at.best_epoch, "of": len(run.history()), "stopped_early": at.over,
        }  # fmt: skip
        session.reporter.say(finetuning.kept_sentence(session.facts["finetune"]["kept"]))
    if first:
        underway.save_model(session, network, list(results.values()), calibration)
        if report:
            underway.make_report(session, evaluations[quoted] if quoted else None)
        run.write(session.facts)
        for spare in (run.start, run.best):
            spare.unlink(missing_ok=True)
    _say_results(session, results)
    return run


def _say_results(session: Session, results: dict[str, dict[str, Any]]) -> None:
    for part, result in results.items():
        session.reporter.say(
            f"{part}: {result['images'] - result['correct_top1']} of {result['images']} pictures wrong "
            f"({result['top1_error']:.2f}%), loss {result['loss']:.4f}" + finetuning.cost_words(result)
        )
    time = session.facts["time"]
    session.reporter.say(f"trained {duration(time['seconds'])} at {time['images_per_second']:.0f} images/s")


def _network(session: Session) -> Network:
    """The network as the seed gives it, or with the weights it is to begin with."""
    seed = session.facts["seed"]
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
        pieces=session.pieces,
        lanes=session.facts["lanes"],
    )

    def validate(of: nn.Module) -> Evaluation:
        return underway.judge(session, "val", underway.logits_on(session, of, "val"))

    return Trainer(
        network, setup.recipe, setup.length, batches, validate if "val" in manifest.parts else None,
        manifest.names.__getitem__, session.run, session.reporter, session.device, session.precision, watch,
        processes=session.processes, pieces=session.pieces, seed=session.facts["seed"],
        **finetuning.stages(
            network, setup, manifest, session.facts, session.run, session.reporter, session.start is not None
        ),
    )  # fmt: skip


def _new_folder(name: str) -> Path:
    """runs/NAME, or runs/NAME-2 and so on where that is taken."""
    for number in range(1, 10_000):
        folder = Path("runs") / (name if number == 1 else f"{name}-{number}")
        if not folder.exists():
            return folder
    raise UserError("runs/ is full of runs of this name; give --out")


def _refuse_other_data(manifest: Manifest, processes: Processes) -> None:
    """All processes must have the same pictures."""
    digests = processes.gather(manifest.digest)
    other = next((rank for rank, digest in enumerate(digests) if digest != digests[0]), None)
    if other is not None:
        error = UserError(
            f"process {other + 1} of {processes.count} finds other data at {shown(manifest.argument)} than the first "
            "(digest differs); give all of them the same"
        )
        raise error if processes.first else Elsewhere(str(error))


def _data_facts(manifest: Manifest, wanted: Wishes) -> dict[str, Any]:
    facts = {
        "argument": manifest.argument,
        "digest": manifest.digest,
        "classes": list(manifest.classes),
        "counts": {part: len(indices) for part, indices in manifest.parts.items()},
        "excluded": [list(item) for item in manifest.excluded],
        "notes": list(manifest.notes),
        "val": wanted.val,
        "allow_bad": wanted.allow_bad,
        "exclude": [list(item) for item in manifest.listed_out],
    }
    return facts if wanted.fold is None else facts | {"fold": asdict(wanted.fold)}


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")

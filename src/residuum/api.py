"""The functions most people need: build, train, evaluate, load. The commands call these."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from residuum import catalog, comparison, session
from residuum.analysis.explain import Explanation, Likeness, class_index, explain_mistakes, explain_pictures
from residuum.analysis.neighbours import Neighbours
from residuum.analysis.robustness import Stress
from residuum.analysis.robustness import robustness as measure_robustness
from residuum.analysis.saliency import method_of
from residuum.checking import check
from residuum.comparison import Comparison, check_name, write_page
from residuum.config import Part
from residuum.data.opening import default_workers
from residuum.data.synsets import places
from residuum.deploy.bench import Bench
from residuum.deploy.bench import bench as bench_model
from residuum.deploy.choice import on_data
from residuum.deploy.export import MIN_AGREEMENT, Exported
from residuum.deploy.export import export as export_model
from residuum.errors import UserError, shown
from residuum.evaluation.ensemble import ensemble as joined
from residuum.evaluation.metrics import Evaluation
from residuum.evaluation.protocols import choose_protocol
from residuum.inference import Model, Picture, find_pictures, load
from residuum.judging import members_of, part_of
from residuum.nets.network import Network, make_network
from residuum.plan import make_plan
from residuum.processes import join
from residuum.progress import Reporter
from residuum.report.evaluating import write_evaluation
from residuum.report.explaining import check_folder, write_explanation
from residuum.run import Run
from residuum.wishes import Wishes

__all__ = ["bench", "build", "check", "compare", "evaluate", "explain", "export", "load", "robustness", "train"]


def build(name: str, num_classes: int | None = None, *, depth: int | None = None, **axes: Any) -> Network:
    """A freshly initialised network of the catalogue, (N, channels, *size) -> logits (N, num_classes).

    `axes` are fields of `NetworkSpec`: build("resnet50", num_classes=10, shortcut="C", stride_in="3x3"). Weights
    come from torch's global random state. Raises UserError for an unknown name or axis, or a spec that is unsound.
    """
    if num_classes is not None:
        axes["classes"] = num_classes
    return make_network(make_plan(catalog.spec(name, depth=depth, **axes)))


def train(
    data: str | Path | None = None,
    *,
    out: str | Path | None = None,
    resume: str | Path | None = None,
    reporter: Reporter | None = None,
    **wishes: Any,
) -> Run:
    """Train a network on `data` into the run directory `out`, or go on with the run `resume`.

    `wishes` are the fields of `Wishes`. Processes that torchrun started train together (docs/many-machines.md). Returns
    the finished run. Raises UserError for bad input and for training
    that diverges, `residuum.training.stop.Stopped` after a signal (the state is saved).
    """
    wanted = Wishes(**wishes)
    if resume is not None and out is not None:
        raise UserError("a resumed run goes on in its own folder; leave --out out")
    if resume is None and data is None:
        raise UserError("give the data to train on: a folder of class folders, or digits, cifar10:PATH, csv:FILE, ...")
    with join(wanted.device) as processes:
        reporter = reporter or Reporter(quiet=not processes.first)
        if resume is not None:
            resumed = session.resume(Path(resume), str(data) if data else None, wanted, reporter, processes)
            return session.carry_out(resumed) if resumed else Run(Path(resume))
        begun = session.begin(str(data), Path(out) if out else None, wanted, reporter, processes)
        return session.carry_out(begun)


def evaluate(
    model: str | Path | Model,
    data: str | Path,
    *,
    protocol: str = "center",
    resize: int | None = None,
    crop: int | tuple[int, int] | None = None,
    sides: Sequence[int] | None = None,
    average: str | None = None,
    ensemble: str | Path | Model | Sequence[str | Path | Model] = (),
    split: str | None = None,
    batch_size: int = 64,
    workers: int | None = None,
    device: str = "auto",
    backend: str | None = None,
    allow_bad: bool = False,
    out: str | Path | None = None,
    stressed: Sequence[Stress] = (),
    reporter: Reporter | None = None,
) -> Evaluation:
    """Evaluate a model file (or a loaded model) on a data set under a protocol (docs/protocols.md).

    `resize`, `crop`, `sides` and `average` change the protocol where it takes them; else the model's own are taken.
    The models of `ensemble` join the first: their probabilities are averaged. Without `split`: the test part if there
    is one; else, where the data are those a model was trained on, their validation part; else every picture. Computed
    by torch in float32, or by a `backend`: torch, onnx, openvino, or auto, the fastest that agrees (docs/deploy.md).
    `out` is a page (.html) of all that follows from it, and of what `robustness` found, where that is `stressed`.
    """
    reporter = reporter or Reporter()
    if out is not None:
        check_name(Path(out))  # before everything is read
    if backend is not None and ensemble:
        raise UserError("--backend is chosen for one model; leave --ensemble or --backend out")
    if workers is not None and workers < 0:
        raise UserError(f"--workers must be 0 or more, not {workers}")
    given = (model, *([ensemble] if isinstance(ensemble, (str, Path, Model)) else ensemble))
    models = [each if isinstance(each, Model) else load(each, device) for each in given]
    protocols = [
        choose_protocol(
            protocol, one.artifact.preprocessing, resize=resize, crop=crop, average=average,
            sides=None if sides is None else tuple(sides),
        )
        for one in models
    ]  # fmt: skip
    names = [one.name if isinstance(each, Model) else shown(each) for each, one in zip(given, models, strict=True)]
    members = members_of(models, names, protocols)
    manifest, part = part_of(models, names, str(data), split, allow_bad, reporter)
    if manifest.chiral and protocols[0].view.mirror:
        reporter.say(f"protocol {protocol} shows mirror images, which are other things in these data")
    workers = default_workers(manifest) if workers is None else workers
    if backend is not None:
        models = [on_data(models[0], backend, manifest, part, reporter)]
    with reporter.track("evaluating", "pictures") as update:

        def one(number: int) -> Evaluation:
            def progress(done: int, total: int) -> None:
                update(number * total + done, len(models) * total)

            return models[number].evaluate(manifest, part, batch_size, workers, progress, protocols[number])

        found = one(0) if not members else joined((one(number) for number in range(len(models))), members)
    if out is not None:
        called = " + ".join(each.name for each in models)
        write_evaluation(Path(out), found, lambda index: manifest.pictures.read(index, 3), called, stressed)
    return found


def compare(
    *runs: str | Path,
    out: str | Path | None = None,
    sort: str | None = None,
    across_protocols: bool = False,
    using: Iterable[type[Part]] = (),
) -> Comparison:
    """Put run directories, model files and JSON documents of `residuum evaluate` side by side; `out` is a page (.html).

    Numbers made under different protocols are ranked together only with `across_protocols`: see
    `residuum.comparison.compare`.
    """
    page = None if out is None else Path(out)
    if page is not None:
        check_name(page)  # before everything is read
    compared = comparison.compare(runs, sort=sort, across_protocols=across_protocols, using=using)
    if page is not None:
        write_page(compared, page)
    return compared


def explain(
    model: str | Path | Model,
    images: Picture | Iterable[Picture] | None = None,
    *,
    method: str = "grad-cam",
    of_class: str | None = None,
    mistakes: str | Path | None = None,
    split: str | None = None,
    data: str | Path | None = None,
    out: str | Path | None = None,
    device: str = "auto",
    allow_bad: bool = False,
    reporter: Reporter | None = None,
) -> Explanation:
    """Show where a network looks in `images`, or in its worst mistakes on the data set `mistakes`.

    Images are as for `predict`, folders and globs too. Of each, what speaks for `of_class` is shown, by default for the
    most probable class; of a mistake, for the class said and the true one. `data` are training pictures to show the
    nearest of; `out` is a folder for a page and overlays. Methods: `residuum.analysis.saliency.METHODS`.
    """
    reporter = reporter or Reporter()
    if (images is None) == (mistakes is None):
        raise UserError("give pictures to explain, or a set with --mistakes DATA")
    if mistakes is not None and of_class is not None:
        raise UserError("--class is for pictures: with --mistakes the class said and the true one are explained")
    if mistakes is None and split is not None:
        raise UserError("--split is the part of a set whose mistakes are explained: give the set with --mistakes DATA")
    method_of(method)
    name = "the model" if isinstance(model, Model) else shown(model)
    file, model = (None, model) if isinstance(model, Model) else (shown(model), load(model, device))
    wanted = None if of_class is None else class_index(model, of_class)
    pictures = [] if images is None else _pictures(images)
    if out is not None:
        check_folder(Path(out))  # before everything is read
    likeness, notes = (None, ()) if data is None else _likeness(model, name, str(data), allow_bad, reporter)
    if mistakes is None:
        explanation = explain_pictures(model, pictures, method, wanted, likeness, reporter)
    else:
        manifest, part = part_of([model], [name], str(mistakes), split, allow_bad, reporter)
        with reporter.track("evaluating", "pictures") as update:
            evaluation = model.evaluate(manifest, part, workers=default_workers(manifest), progress=update)
        explanation = explain_mistakes(model, manifest, evaluation, method, likeness, reporter)
    explanation = replace(explanation, notes=notes)
    if out is not None:
        write_explanation(Path(out), explanation, model.name, file)
    return explanation


def _pictures(images: Picture | Iterable[Picture]) -> list[Picture]:
    """Folders and globs replaced by the pictures they hold."""
    items = [images] if isinstance(images, (str, Path, Image.Image, np.ndarray)) else list(images)
    files = [item for item in items if isinstance(item, (str, Path))]
    return list(find_pictures(files)) if len(files) == len(items) else list(items)


def _likeness(
    model: Model, name: str, data: str, allow_bad: bool, reporter: Reporter
) -> tuple[Likeness, tuple[str, ...]]:
    """The training pictures of a data set in the network's features, and what there is to say about its classes."""
    manifest, _ = part_of([model], [name], data, "train", allow_bad, reporter)
    found = zip(manifest.classes, places(manifest.classes, model.classes), strict=True)
    unknown = [shown(each) for each, place in found if place is None]
    notes = () if not unknown else (
        f"{shown(manifest.argument)} has classes the model does not know: {', '.join(unknown[:10])}"
        f"{', ...' if len(unknown) > 10 else ''}; their pictures are among the nearest all the same.",
    )  # fmt: skip
    with reporter.track("looking at the training pictures", "pictures") as update:
        return Likeness(Neighbours.of(model, manifest, progress=update), manifest), notes


def robustness(
    model: str | Path | Model,
    data: str | Path,
    *,
    split: str | None = None,
    seed: int = 0,
    device: str = "auto",
    allow_bad: bool = False,
    reporter: Reporter | None = None,
) -> list[Stress]:
    """The error under corruptions, rotations, JPEG compression and attacks, each a number of its own (docs/trust.md).

    At most 1,000 pictures of the part that `evaluate` takes are used, chosen by the seed.
    """
    reporter = reporter or Reporter()
    name = "the model" if isinstance(model, Model) else shown(model)
    model = model if isinstance(model, Model) else load(model, device)
    manifest, part = part_of([model], [name], str(data), split, allow_bad, reporter)
    with reporter.track("stressing", "changes") as update:
        return measure_robustness(model, manifest, part, seed, update)


def export(
    model: str | Path | Model,
    to: str,
    out: str | Path,
    *,
    data: str | Path | None = None,
    with_preprocessing: bool = False,
    min_agreement: float = MIN_AGREEMENT,
    reporter: Reporter | None = None,
) -> Exported:
    """Write a model for another runtime, once it agrees there with the model (docs/deploy.md).

    `to` is onnx, openvino, torch, int8-onnx or int8-openvino. See `residuum.deploy.export.export`.
    """
    return export_model(
        model if isinstance(model, Model) else load(model, "cpu"), to, Path(out),
        data=None if data is None else str(data), with_preprocessing=with_preprocessing,
        min_agreement=min_agreement, reporter=reporter,
    )  # fmt: skip


def bench(
    model: str | Path | Model,
    batch_sizes: Sequence[int] = (1, 16),
    *,
    data: str | Path | None = None,
    device: str = "auto",
    reporter: Reporter | None = None,
) -> Bench:
    """Measure every runtime and precision of this machine on a model, side by side."""
    model = model if isinstance(model, Model) else load(model, device)
    return bench_model(model, batch_sizes, None if data is None else str(data), reporter or Reporter())

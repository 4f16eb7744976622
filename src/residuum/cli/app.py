"""The commands. Each imports what it needs when it runs, so that `--help` answers at once."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from residuum import __version__
from residuum.cli.options import Axes, given

app = App(
    name="residuum",
    version=__version__,
    help="Deep residual learning for images: build, train, evaluate and use residual networks.",
    help_format="plaintext",
)

Json = Annotated[bool, Parameter(name="--json", negative="", help="Print one JSON document and nothing else.")]
Flag = Parameter(negative="")
Numbers = Annotated[tuple[float, ...], Parameter(consume_multiple=True)]
# file names may begin with a dash (after --), hold anything, and are never options
Files = Annotated[list[str], Parameter(negative="")]


def print_json(value: Any) -> None:
    json.dump(value, sys.stdout, indent=1)
    print()


@app.command
def train(
    data: str | None = None,
    *,
    model: str | None = None,
    recipe: str | None = None,
    out: Path | None = None,
    resume: Path | None = None,
    epochs: float | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    seed: int | None = None,
    val: float | None = None,
    workers: int | None = None,
    device: str | None = None,
    set: Annotated[list[str] | None, Parameter(name="--set", negative="")] = None,
    deterministic: Annotated[bool, Flag] = False,
    allow_bad: Annotated[bool, Flag] = False,
    json: Json = False,
    axes: Axes | None = None,
) -> None:
    """Train a network on pictures: a model file, metrics and a report in one run directory.

    Args:
        data: Class folders (perhaps in train/, val/, test/), digits, cifar10:PATH, cifar100:PATH, mnist:PATH, csv:FILE.
        model: A network of `residuum models`; by default chosen from the data.
        recipe: fast (default), paper-cifar, paper-imagenet or debug.
        out: The run directory to make; by default runs/MODEL-DATA.
        resume: Go on with this run from its last checkpoint.
        epochs: Length in passes over the training pictures.
        steps: Length in steps.
        batch_size: Pictures per step.
        lr: The highest learning rate.
        seed: Same seed, machine, threads and settings: same weights, bit for bit, on the CPU.
        val: Pictures (or share, below 1) held out for validation; 0 trains on everything.
        workers: Threads that decode large pictures; their number changes no result.
        device: auto, cpu, cuda, ...
        set: Change a value of the recipe: --set lr=0.1 --set augment.mirror=false.
        deterministic: On a GPU, bit-for-bit repeatable at the cost of slower algorithms (the CPU always is).
        allow_bad: Train even if more than 1% of the files are unreadable.
    """
    from residuum.api import train as run_training
    from residuum.cli.messages import finished, stopped
    from residuum.training.stop import Stopped

    try:
        run = run_training(
            data, out=out, resume=resume, model=model, recipe=recipe, epochs=epochs, steps=steps,
            batch_size=batch_size, lr=lr, seed=seed, val=val, workers=workers, device=device, settings=set or [],
            deterministic=deterministic, allow_bad=allow_bad, axes=given(axes),
        )  # fmt: skip
    except Stopped as stop:
        stopped(stop, resume or out)
        raise SystemExit(128 + stop.signal_number) from None
    if json:
        print_json(run.read())
    else:
        finished(run)


@app.command
def evaluate(
    model: Path,
    data: str,
    *,
    split: str | None = None,
    batch_size: int = 64,
    workers: int | None = None,
    device: str = "auto",
    allow_bad: Annotated[bool, Flag] = False,
    json: Json = False,
) -> None:
    """Evaluate a model file on pictures with known classes; every picture counts once.

    Args:
        model: A model file.
        data: As for `train`.
        split: train, val, test or all; by default test, else the part held out in training, else every picture.
        batch_size: Pictures at a time; changes no result.
        workers: Threads that decode large pictures.
        device: auto, cpu, cuda, ...
        allow_bad: Go on even if more than 1% of the files are unreadable.
    """
    from residuum.api import evaluate as run_evaluation
    from residuum.cli.messages import print_evaluation

    summary = run_evaluation(
        model, data, split=split, batch_size=batch_size, workers=workers, device=device, allow_bad=allow_bad
    ).summary()
    if json:
        print_json(summary)
    else:
        print_evaluation(summary)


@app.command
def predict(
    model: Path,
    images: Files,
    /,
    *,
    top: int = 5,
    batch_size: int = 64,
    device: str = "auto",
    json: Json = False,
) -> None:
    """Classify pictures: files, folders and globs.

    Args:
        model: A model file.
        images: Picture files, folders of them, or quoted globs; after -- also names that begin with a dash.
        top: Classes to name for each picture.
        batch_size: Pictures at a time.
        device: auto, cpu, cuda, ...
    """
    from residuum.cli.messages import print_predictions
    from residuum.errors import UserError
    from residuum.inference import find_pictures, load

    if top < 1 or batch_size < 1:
        raise UserError("--top and --batch-size must be at least 1")
    unreadable: list[str] = []
    answers = load(model, device).predict(
        find_pictures(images), top=top, batch_size=batch_size, on_unreadable=unreadable.append
    )
    if json:
        print_json(answers)
    else:
        print_predictions(answers)
    if unreadable:
        raise UserError("; ".join(unreadable))


@app.command
def models(
    name: str | None = None,
    *,
    batch_size: int = 1,
    json: Json = False,
    axes: Axes | None = None,
) -> None:
    """List the catalogue, or print the plan of one network.

    Args:
        name: A network; its layers are printed with kernel, stride, output size, parameters and multiply-adds.
        batch_size: Pictures for which activation memory is given.
    """
    from residuum import catalog, cost
    from residuum.cli.messages import print_catalogue, print_plan
    from residuum.errors import UserError
    from residuum.plan import make_plan

    if batch_size < 1:
        raise UserError("--batch-size must be at least 1")
    if name is None:
        if given(axes):
            raise UserError("axes change one network: give its name, as in `residuum models resnet50 --shortcut C`")
        rows = [
            {
                "name": e.name,
                "family": e.family,
                "parameters": plan.parameters,
                "macs": plan.macs,
                "source": e.source,
                "reference": e.reference,
            }
            for e in catalog.CATALOG.values()
            if (plan := make_plan(e.spec))
        ]
        print_json(rows) if json else print_catalogue(rows)
        return
    described = cost.describe(make_plan(catalog.spec(name, **given(axes))), name, batch_size)
    print_json(described) if json else print_plan(described)


@app.command(name="import")
def import_(
    weights: Path,
    *,
    model: str,
    out: Path,
    classes_file: Path | None = None,
    mean: Numbers | None = None,
    std: Numbers | None = None,
    axes: Axes | None = None,
) -> None:
    """Bring in weights trained elsewhere as a model file; nothing in them is executed.

    Args:
        weights: A state dict (.safetensors, .pth, .pt, .th, .bin), or hub:OWNER/NAME[/FILE] of the Hugging Face Hub.
        model: The network of `residuum models` they belong to.
        out: The model file to write.
        classes_file: Class names, one a line, in the order of the classifier.
        mean: Mean per channel on the 0..1 scale (default: the one that such weights expect).
        std: Standard deviation per channel on the 0..1 scale (default: the one that such weights expect).
    """
    from residuum.errors import shown
    from residuum.importing import import_weights

    notes = import_weights(weights, model, out, axes=given(axes), classes_file=classes_file, mean=mean, std=std)
    for note in notes:
        print(note, file=sys.stderr)
    print(f"wrote {shown(out)}")

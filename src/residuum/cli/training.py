"""residuum train."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from residuum.cli.base import Flag, Json, app, print_json
from residuum.cli.options import Axes, given


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
        recipe: fast (default), paper-cifar, paper-imagenet, v1-5 or debug.
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

"""residuum train."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from residuum.cli.base import Flag, Json, app, print_json, speaks, train_on_large_pages
from residuum.cli.options import Axes, given
from residuum.errors import UserError, shown


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
    weights: str | None = None,
    find_lr: Annotated[bool, Flag] = False,
    folds: int | None = None,
    heads: Annotated[bool, Flag] = False,
    costs: Path | None = None,
    exclude: Path | None = None,
    json: Json = False,
    axes: Axes | None = None,
) -> None:
    """Train a network on pictures: a model file, metrics and a report in one run directory.

    Args:
        data: Class folders, digits, csv:FILE, cifar10:PATH, cifar100:PATH, mnist:PATH, imagenet:PATH, shards:PATTERN.
        model: A network of `residuum models`; by default chosen from the data.
        recipe: fast (default), finetune (default with --weights), quickest, paper-cifar, paper-imagenet, v1-5, debug.
        out: The run directory to make; by default runs/MODEL-DATA.
        resume: Go on with this run from its last checkpoint.
        epochs: Length in passes over the training pictures.
        steps: Length in steps.
        batch_size: Pictures per step.
        lr: The highest learning rate; Muon's changes in proportion.
        seed: Same seed, machine, threads and settings: same weights, bit for bit, on the CPU.
        val: Pictures (or share, below 1) held out for validation; 0 trains on everything.
        workers: Threads that decode large pictures; their number changes no result.
        device: auto, cpu, cuda, ...
        set: Change a value of the recipe: --set augment.mirror=false --set muon=null.
        deterministic: On a GPU, bit-for-bit repeatable at the cost of slower algorithms (the CPU always is).
        allow_bad: Train even if more than 1% of the files are unreadable.
        weights: Fine-tune these: a model file, plain weights of --model, or hub:OWNER/NAME.
        find_lr: Propose a learning rate, with a page that shows why; nothing is trained.
        folds: Train so many times, each time holding out another part; mean and spread.
        heads: Compare other classifiers (SVM, neighbours, ridge, Gaussian process) on the same features.
        costs: A CSV of what it costs to take one class (rows) for another (columns); the report shows the cost.
        exclude: A list of files to leave out, as `residuum check --exclude-list` writes it.
    """
    train_on_large_pages()
    from residuum.api import train as run_training
    from residuum.cli.messages import finished, stopped
    from residuum.training.stop import Stopped

    wishes: dict[str, Any] = {
        "model": model, "recipe": recipe, "epochs": epochs, "steps": steps, "batch_size": batch_size, "lr": lr,
        "seed": seed, "val": val, "workers": workers, "device": device, "settings": set or [],
        "deterministic": deterministic, "allow_bad": allow_bad, "axes": given(axes), "weights": weights,
        "heads": heads, "costs": costs, "exclude": exclude,
    }  # fmt: skip
    if find_lr or folds is not None:
        _special(data, out, resume, find_lr, folds, json, wishes)
        return
    try:
        run = run_training(data, out=out, resume=resume, **wishes)
    except Stopped as stop:
        if speaks():
            stopped(stop, resume or out)
        raise SystemExit(128 + stop.signal_number) from None
    if not speaks():
        return
    if json:
        print_json(run.read())
    else:
        finished(run)


def _special(
    data: str | None,
    out: Path | None,
    resume: Path | None,
    find_lr: bool,
    folds: int | None,
    json: bool,
    wishes: dict[str, Any],
) -> None:
    """--find-lr and --folds, which are not one training."""
    from residuum.training.stop import Stopped

    option = "--find-lr" if find_lr else "--folds"
    if find_lr and folds is not None:
        raise UserError("give --find-lr or --folds, not both")
    if resume is not None:
        again = "; folds go on when the same command is given again" if folds is not None else ""
        raise UserError(f"{option} and --resume do not go together{again}")
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise UserError(f"{option} runs in one process: start it without torchrun")
    if data is None:
        raise UserError(f"{option} needs the data to train on")
    if find_lr:
        from residuum.rates import find_lr as propose

        found = propose(data, out=out, **wishes)
        lines = [found["sentence"], f"page    {shown(found['page'])}"]
    else:
        from residuum.folds import cross_validate, sentence

        assert folds is not None
        try:
            found = cross_validate(data, folds, out=out, **wishes)
        except Stopped as stop:
            print(f"residuum: stopped after step {stop.step}; the same command goes on", file=sys.stderr)
            raise SystemExit(128 + stop.signal_number) from None
        lines = [sentence(found), f"page    {shown(found['page'])}"]
    if json:
        print_json(found)
    else:
        print("\n".join(lines))

"""residuum evaluate, predict: a trained model at work."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from residuum.cli.base import Files, Flag, Json, app, print_json


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

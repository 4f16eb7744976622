"""residuum evaluate, predict: a trained model at work."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from residuum.cli.base import Files, Flag, Json, Several, app, print_json
from residuum.cli.options import parse_size
from residuum.errors import UserError, shown


@app.command
def evaluate(
    model: Path,
    data: str,
    *,
    protocol: str = "center",
    resize: int | None = None,
    crop: str | None = None,
    sides: Annotated[tuple[int, ...] | None, Several] = None,
    average: str | None = None,
    ensemble: Annotated[tuple[Path, ...] | None, Several] = None,
    split: str | None = None,
    reject_below: float | None = None,
    robustness: Annotated[bool, Flag] = False,
    out: Path | None = None,
    batch_size: int = 64,
    workers: int | None = None,
    device: str = "auto",
    backend: str | None = None,
    allow_bad: Annotated[bool, Flag] = False,
    json: Json = False,
) -> None:
    """Evaluate a model file on pictures with known classes; every picture counts once.

    Args:
        model: A model file.
        data: As for `train`.
        protocol: center, single-view, flip, ten-crop, fully-convolutional or multi-scale (docs/protocols.md).
        resize: Shorter side of the resized picture; by default the model's own.
        crop: Size of the crops, 224 or 224x192; by default the model's input.
        sides: Shorter sides of multi-scale; by default 224 256 384 480 640, in proportion where the input is not 224.
        average: What is averaged over the views: probabilities (the default) or logits.
        ensemble: Model files that join the first: the mean of all probabilities counts.
        split: train, val, test or all; by default test, else the part held out in training, else every picture.
        reject_below: Leave pictures below this probability to a person: the error on the others, and how many they are.
        robustness: Also the errors under corruptions, rotations, JPEG compression and attacks (docs/trust.md).
        out: A page (.html) with all of it, the worst mistakes as pictures, and the error over the share answered.
        batch_size: Views at a time; changes no result.
        workers: Threads that decode large pictures.
        device: auto, cpu, cuda, ...
        backend: torch, onnx, openvino, or auto, the fastest that agrees; else torch in float32 (docs/deploy.md).
        allow_bad: Go on even if more than 1% of the files are unreadable.
    """
    from residuum.api import evaluate as run_evaluation
    from residuum.api import robustness as stress
    from residuum.cli.messages import print_evaluation, print_groups, print_rejection, print_robustness
    from residuum.comparison import check_name
    from residuum.evaluation.rejection import check_threshold, reject

    if robustness and (protocol != "center" or ensemble or resize is not None or crop is not None):
        raise UserError(
            "--robustness is of one model under protocol center as it stands; leave --protocol, --resize, --crop and "
            "--ensemble out"
        )
    if robustness and backend is not None:
        raise UserError("--robustness needs torch's gradients; leave --backend out")
    if reject_below is not None:
        check_threshold(reject_below)
    if out is not None:
        check_name(out)
    stressed = stress(model, data, split=split, device=device, allow_bad=allow_bad) if robustness else []
    evaluation = run_evaluation(
        model, data, protocol=protocol, resize=resize, crop=None if crop is None else _crop(crop), sides=sides,
        average=average, ensemble=ensemble or (), split=split, batch_size=batch_size, workers=workers, device=device,
        backend=backend, allow_bad=allow_bad, out=out, stressed=stressed,
    )  # fmt: skip
    summary = evaluation.summary()
    if reject_below is not None:
        summary["rejection"] = reject(evaluation, reject_below).to_dict()
    if robustness:
        summary["robustness"] = [each.to_dict() for each in stressed]
    if json:
        print_json(summary)
        return
    print_evaluation(summary)
    if summary["per_group"]:
        print_groups(summary["per_group"])
    if "rejection" in summary:
        print_rejection(summary["rejection"], summary["images"])
    if "robustness" in summary:
        print_robustness(summary["robustness"])
    if out is not None:
        print(f"page  {shown(out)}")


def _crop(text: str) -> tuple[int, int]:
    size = parse_size(text, "--crop")
    if isinstance(size, tuple) and len(size) != 2:
        raise UserError(f'--crop is 224, or 224x192 (height x width), not "{shown(text)}"')
    return (size, size) if isinstance(size, int) else (size[0], size[1])


@app.command
def predict(
    model: Path,
    images: Files,
    /,
    *,
    top: int = 5,
    reject_below: float | None = None,
    batch_size: int = 64,
    device: str = "auto",
    backend: str | None = None,
    json: Json = False,
) -> None:
    """Classify pictures: files, folders and globs.

    Args:
        model: A model file.
        images: Picture files, folders of them, or quoted globs; after -- also names that begin with a dash.
        top: Classes to name for each picture.
        reject_below: Mark pictures whose best class is less probable than this: a person should look at them.
        batch_size: Pictures at a time.
        device: auto, cpu, cuda, ...
        backend: torch, onnx, openvino, or auto, the fastest that agrees; else torch in float32 (docs/deploy.md).
    """
    from residuum.cli.messages import print_predictions
    from residuum.deploy.choice import on_pictures
    from residuum.evaluation.rejection import check_threshold
    from residuum.inference import find_pictures, load
    from residuum.progress import Reporter

    if top < 1 or batch_size < 1:
        raise UserError("--top and --batch-size must be at least 1")
    unreadable: list[str] = []
    if reject_below is not None:
        check_threshold(reject_below)
    pictures, classifier = find_pictures(images), load(model, device)
    if backend is not None:
        classifier = on_pictures(classifier, backend, pictures, Reporter())
    answers = classifier.predict(pictures, top=top, batch_size=batch_size, on_unreadable=unreadable.append)
    if classifier.runtime is not None:
        for answer in answers:
            answer |= {"backend": classifier.runtime.backend, "precision": classifier.runtime.precision}
    if reject_below is not None:
        for answer in answers:
            answer["rejected"] = answer["predictions"][0]["probability"] < reject_below
    if json:
        print_json(answers)
    else:
        print_predictions(answers)
    if unreadable:
        raise UserError("; ".join(unreadable))

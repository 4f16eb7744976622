"""Pictures explained: what a network says of each, where it looks for that, and the training pictures alike to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from residuum.analysis import sanity
from residuum.analysis.neighbours import Neighbours
from residuum.analysis.overlay import at_viewing_size, overlay
from residuum.analysis.saliency import Method, grad_cam, last_map_size, method_of
from residuum.analysis.sanity import Sanity
from residuum.data.decoding import decode_native, of_image
from residuum.data.manifest import Manifest
from residuum.errors import UserError, nearest, shown
from residuum.evaluation.calibration import most_wrong
from residuum.evaluation.metrics import Evaluation
from residuum.inference import Model, Picture
from residuum.progress import Reporter

TOP = 5
"""Classes named for each picture."""
NEAREST = 6
MISTAKES = 12
CLOSE_CALLS = 6
"""Explained where there is no mistake."""
MOST = 200
"""Pictures in one go: more fill no page that anyone reads."""


@dataclass(frozen=True, eq=False)
class Look:
    """Where the evidence for a class lies: `heat` float32 (h, w) in 0..1 over the network's view, and drawn."""

    of: str
    probability: float
    heat: np.ndarray
    overlay: Image.Image


@dataclass(frozen=True)
class Near:
    """A training picture: its place in the manifest, name and class, and 1 - cos of the angle between the features."""

    index: int
    name: str
    of: str
    distance: float


@dataclass(frozen=True, eq=False)
class Explained:
    """One picture. `predictions` are as `Model.predict` gives them; `true` is None where it is not known."""

    image: str
    picture: np.ndarray
    "uint8 (H, W, 3), at the size of its overlays."
    predictions: list[dict[str, Any]]
    looks: tuple[Look, ...]
    "For the class asked for or said first; of a mistake also for the true class."
    neighbours: tuple[Near, ...] = ()
    true: str | None = None
    unlike: float | None = None
    "How unlike the training pictures it is, as `Model.predict` says."


@dataclass(frozen=True, eq=False)
class Explanation:
    """Pictures explained by one method, and whether its maps can be believed."""

    method: str
    pictures: tuple[Explained, ...]
    sanity: Sanity
    map_size: tuple[int, int] | None
    "Of the map that Grad-CAM weighs; None for other methods."
    evaluation: Evaluation | None = None
    "Of the set whose mistakes are explained."
    likeness: Likeness | None = None
    "The training pictures compared with."
    unreadable: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Likeness:
    """Training pictures to compare with."""

    neighbours: Neighbours
    manifest: Manifest

    def of(self, picture: np.ndarray) -> tuple[Near, ...]:
        manifest = self.manifest
        return tuple(
            Near(index, manifest.names[index], manifest.classes[manifest.labels[index]], distance)
            for index, distance in self.neighbours.nearest(picture, NEAREST)
        )


@dataclass(frozen=True)
class _Task:
    """A picture to explain: its name, how to read it, and its classes where they are given beforehand."""

    image: str
    read: Callable[[], np.ndarray]
    wanted: int | None = None
    true: int | None = None


def explain_pictures(
    model: Model,
    pictures: Iterable[Picture],
    method: str,
    wanted: int | None = None,
    likeness: Likeness | None = None,
    reporter: Reporter | None = None,
) -> Explanation:
    """Explain the first choice for each picture, or the class `wanted`. What cannot be read is told in `unreadable`.

    Raises UserError for an unknown method, more than 200 pictures, and where none can be read.
    """
    tasks = [_Task(_name_of(item), _reader(item), wanted) for item in pictures]
    if len(tasks) > MOST:
        raise UserError(
            f"{len(tasks)} pictures are more than one page can show ({MOST}): name fewer, or see a whole set's worst "
            "mistakes with --mistakes DATA"
        )
    return _explain(model, tasks, method, likeness, reporter or Reporter())


def explain_mistakes(
    model: Model,
    manifest: Manifest,
    evaluation: Evaluation,
    method: str,
    likeness: Likeness | None = None,
    reporter: Reporter | None = None,
) -> Explanation:
    """Explain the 12 costliest mistakes of an evaluation of `manifest`; where there is none, the 6 closest calls."""
    order = most_wrong(evaluation, len(evaluation.names))
    wrong = order[evaluation.predicted[order] != evaluation.labels[order]]
    tasks = [
        _Task(
            evaluation.names[row],
            lambda index=int(evaluation.indices[row]): manifest.pictures.read(index, 3),
            true=int(evaluation.labels[row]),
        )
        for row in (wrong[:MISTAKES] if len(wrong) else order[:CLOSE_CALLS])
    ]
    return _explain(model, tasks, method, likeness, reporter or Reporter(), evaluation)


def class_index(model: Model, name: str) -> int:
    """The place of a class; UserError with the nearest right name where the model has none of this one."""
    if name not in model.classes:
        raise UserError(f"the model has no class {shown(name)}; {nearest(name, model.classes)}")
    return model.classes.index(name)


def _explain(
    model: Model,
    tasks: Sequence[_Task],
    method: str,
    likeness: Likeness | None,
    reporter: Reporter,
    evaluation: Evaluation | None = None,
) -> Explanation:
    way = method_of(method)
    found: list[tuple[_Task, Explained]] = []
    unreadable: list[str] = []
    with reporter.track("explaining", "pictures") as update:
        for number, task in enumerate(tasks):
            update(number, len(tasks))
            try:
                pixels = task.read()
            except UserError as error:
                unreadable.append(str(error))
                continue
            found.append((task, _explained(model, task, pixels, way, likeness)))
    if not found:
        raise UserError("; ".join(unreadable) or "there are no pictures to explain")
    return Explanation(
        method,
        tuple(explained for _, explained in found),
        _checked(model, found[: way.comparisons], way, reporter),
        last_map_size(model) if way.maps is grad_cam else None,
        evaluation,
        likeness,
        tuple(unreadable),
    )


def _explained(model: Model, task: _Task, pixels: np.ndarray, way: Method, likeness: Likeness | None) -> Explained:
    said = model.predict(pixels, top=len(model.classes))[0]
    answer = said["predictions"]
    classes = [answer[0]["index"] if task.wanted is None else task.wanted]
    if task.true is not None and task.true not in classes:
        classes.append(task.true)
    probabilities = {each["index"]: each["probability"] for each in answer}
    maps = way.maps(model, [pixels] * len(classes), classes)
    view = model.artifact.preprocessing
    looks = [
        Look(model.classes[index], probabilities[index], heat, overlay(pixels, heat, view))
        for index, heat in zip(classes, maps, strict=True)
    ]
    return Explained(
        task.image,
        at_viewing_size(pixels),
        answer[:TOP],
        tuple(looks),
        () if likeness is None else likeness.of(pixels),
        None if task.true is None else model.classes[task.true],
        said["unlike"],
    )


def _checked(model: Model, found: list[tuple[_Task, Explained]], way: Method, reporter: Reporter) -> Sanity:
    """The first maps against those of the same pictures for the same classes at random weights."""

    def explain(other: Model, number: int) -> np.ndarray:
        task, explained = found[number]
        return way.maps(other, [task.read()], [model.classes.index(explained.looks[0].of)])[0]

    with reporter.track("comparing with random weights", "maps") as update:
        return sanity.check(explain, model, [each.looks[0].heat for _, each in found], way.comparisons, update)


def _name_of(item: Picture) -> str:
    return str(item) if isinstance(item, (str, Path)) else ""


def _reader(item: Picture) -> Callable[[], np.ndarray]:
    """The pixels as the person gave them: in colour, too, where the network takes grey ones."""

    def read() -> np.ndarray:
        if isinstance(item, (str, Path)):
            try:
                return decode_native(Path(item))
            except UserError as error:
                raise UserError(f"{shown(item)}: {error}") from None
        if isinstance(item, Image.Image):
            return of_image(item)
        return item[..., None] if item.ndim == 2 else item

    return read

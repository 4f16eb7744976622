"""The pictures on which an exported model or a runtime is compared with the model itself."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from residuum.data.folds import Fold, fold_of
from residuum.data.manifest import Manifest
from residuum.data.opening import open_as_trained, open_for, recorded
from residuum.data.preprocessing import view
from residuum.data.tensors import Normaliser
from residuum.data.views import Views
from residuum.errors import UserError, shown
from residuum.inference import Model, Picture
from residuum.progress import Reporter

CHECKED = 1000
"""Pictures compared, at most."""
CALIBRATION = 300
"""Pictures over which int8 ranges are found, at most."""
SYNTHETIC = 64


@dataclass(frozen=True)
class Sample:
    """Evaluation views of pictures, uint8 (n, H, W, C).

    labels    int64 (n,), indices into the model's classes, or None where there are none
    source    what they are, in words
    real      False for synthetic ones
    """

    views: np.ndarray
    labels: np.ndarray | None
    source: str
    real: bool = True

    def __len__(self) -> int:
        return len(self.views)


@dataclass(frozen=True)
class Samples:
    """Pictures to compare on, others to calibrate on (None where none were asked for), and what to tell the person."""

    checked: Sample
    calibration: Sample | None = None
    notes: tuple[str, ...] = ()


def gather(model: Model, data: str | None, calibrate: bool, reporter: Reporter, most: int = CHECKED) -> Samples:
    """Pictures of `data`; else of the source the model was trained on, where it is readable; else synthetic ones.

    Compared are those of the test part, else (of its own data) of the part held out in training, else all. The
    pictures for calibration are never among them. Raises UserError for data that cannot be read, with classes the
    model does not know, or too few; and where there is nothing to calibrate on.
    """
    trained = model.artifact.training.get("data", {})
    notes: tuple[str, ...] = ()
    if data is not None or "argument" in trained:
        try:
            argument = recorded(trained["argument"]) if data is None else data
            manifest = _open(reporter, argument, trained)
            return _of(model, manifest, model.labels(manifest), trained.get("digest"), calibrate, most)
        except UserError as error:
            if data is not None:
                raise
            reporter.say(f"the pictures it was trained on cannot be read: {error}")
            notes = (f"the pictures it was trained on ({short(trained['argument'])}) are not to be had",)
    if calibrate:
        raise UserError("; ".join((*notes, "int8 needs real pictures to calibrate on: give them with --data")))
    return Samples(_synthetic(model), notes=(*notes, f"checked on {SYNTHETIC} synthetic pictures, for want of --data"))


def _open(reporter: Reporter, argument: str, recorded: dict) -> Manifest:
    """The data set; where it is the one the model was trained on, cut as it was then."""
    allow_bad = bool(recorded.get("allow_bad"))
    manifest = open_as_trained(reporter, argument, [recorded], allow_bad)
    if manifest.digest != recorded.get("digest"):
        return manifest
    if recorded.get("val") is not None:
        manifest = open_for(reporter, argument, recorded["val"], allow_bad, dict(manifest.listed_out))
    return fold_of(manifest, Fold(**recorded["fold"])) if recorded.get("fold") else manifest


def _of(
    model: Model, manifest: Manifest, labels: np.ndarray, trained_on: str | None, calibrate: bool, most: int
) -> Samples:
    every, own = np.arange(len(manifest)), manifest.digest == trained_on
    part = "test" if "test" in manifest.parts else "val" if own and "val" in manifest.parts else "all"
    checked = every if part == "all" else manifest.part(part)
    notes = ("these pictures were trained on: nothing of them was held out",) if own and part == "all" else ()
    rest = np.setdiff1d(every, checked) if "train" not in manifest.parts else manifest.part("train")
    chosen = np.empty(0, np.int64)
    if calibrate:
        if len(every) < 2:
            raise UserError(f"{shown(manifest.argument)} has {len(every)} picture: int8 needs one to calibrate on too")
        # where all are to be compared, up to half of them calibrate instead
        chosen = _spread(rest, CALIBRATION) if part != "all" else _spread(every, min(CALIBRATION, len(every) // 2))
        checked = np.setdiff1d(checked, chosen)
    where = f"{part} part" if part != "all" else "all parts"
    calibration = "train part" if part != "all" else "others"
    return Samples(
        sample_of(model, manifest, checked, most, where, labels),
        sample_of(model, manifest, chosen, CALIBRATION, calibration, labels) if calibrate else None,
        notes,
    )


def sample_of(
    model: Model, manifest: Manifest, indices: np.ndarray, most: int, where: str, labels: np.ndarray | None = None
) -> Sample:
    """At most so many of the pictures `indices` of a data set; `labels` are of all its pictures."""
    indices = _spread(indices, most)
    views = Views(manifest.pictures, indices, model.artifact.preprocessing)
    pixels = np.stack([views.one(i, model.artifact.preprocessing) for i in range(len(indices))])
    source = f"{len(indices)} pictures of {short(manifest.argument)} ({where})"
    return Sample(pixels, None if labels is None else labels[indices], source)


def sample_given(model: Model, pictures: Sequence[Picture], most: int) -> Sample | None:
    """At most so many of the pictures given, without those that cannot be read; None where none can."""
    views = []
    for index in _spread(np.arange(len(pictures)), most):
        with suppress(UserError):  # who reads them all says so
            views.append(view(model.read(pictures[index]), model.artifact.preprocessing))
    return Sample(np.stack(views), None, f"{len(views)} of the pictures given") if views else None


def short(argument: str) -> str:
    """A data argument or path without the folders of the machine it is from: cifar10:/a/b as cifar10:b."""
    name, colon, path = argument.partition(":")
    return shown(f"{name}:{Path(path).name}" if colon and path else Path(argument).name)


def _spread(indices: np.ndarray, most: int) -> np.ndarray:
    """At most so many of them, evenly spread, so that every class has its share."""
    if len(indices) <= most:
        return indices
    return indices[np.linspace(0, len(indices) - 1, most).round().astype(np.int64)]


def _synthetic(model: Model) -> Sample:
    """Noise of many brightnesses and contrasts, always the same."""
    preprocessing, draws = model.artifact.preprocessing, np.random.default_rng(0)
    level, contrast = draws.uniform(0, 255, (2, SYNTHETIC, 1, 1, preprocessing.channels))
    noise = draws.uniform(-0.5, 0.5, (SYNTHETIC, *preprocessing.size, preprocessing.channels))
    pixels = np.clip(level + contrast * noise, 0, 255).astype(np.uint8)
    return Sample(pixels, None, f"{SYNTHETIC} synthetic pictures", real=False)


def normalised(model: Model, views: np.ndarray) -> Tensor:
    """Views as the network's input: float32 (n, C, H, W)."""
    return Normaliser(model.artifact.preprocessing, model.mean_picture)(views).permute(0, 3, 1, 2)


def graph_inputs(model: Model, views: np.ndarray, with_preprocessing: bool) -> np.ndarray:
    """Views as the exported graph takes them."""
    if with_preprocessing:
        return np.ascontiguousarray(views)
    return normalised(model, views).contiguous(memory_format=torch.contiguous_format).numpy()

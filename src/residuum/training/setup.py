"""What a training settles before its first step: network, size, preprocessing and recipe, from data and wishes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from residuum import catalog
from residuum.data.manifest import Manifest
from residuum.data.preprocessing import Preprocessing
from residuum.data.scan import Progress
from residuum.data.statistics import channel_statistics, mean_picture
from residuum.errors import UserError
from residuum.plan import layers_of_depth
from residuum.spec import AnySpec
from residuum.training.recipe import Length, Recipe, fit

SMALL_SIDE = 64
"""Pictures all of one size up to this many pixels are for CIFAR-style nets, at their own size."""
LARGEST_WHOLE_SIDE = 128
"""Pictures all of one size up to this many pixels are fed whole, without a margin around a centre crop."""
SMALLEST_SIDE = 16
"""Smaller pictures are enlarged, so that a CIFAR-style net's last map is at least 4 x 4 (docs/decisions/0003)."""
PHOTO_SIZE = 128
"""The default input of photos where there is no GPU: a third of the cost of 224."""


@dataclass(frozen=True)
class Setup:
    """Everything decided; nothing random."""

    name: str
    spec: AnySpec
    preprocessing: Preprocessing
    mean_picture: np.ndarray | None
    recipe: Recipe
    length: Length


def choose_network(manifest: Manifest, model: str | None, axes: dict[str, Any], gpu: bool) -> tuple[str, AnySpec]:
    """The network's name and spec for a data set; `axes` may hold `depth`, and what is given wins."""
    axes = dict(axes)
    native = whole_size(manifest)
    if model is None:
        model = "resnet20" if native and max(native) <= SMALL_SIDE else "resnet18"
        if not native and not gpu:
            axes.setdefault("size", PHOTO_SIZE)
    axes.setdefault("classes", len(manifest.classes))
    axes.setdefault("channels", 1 if manifest.pictures.grey else 3)
    if native:
        axes.setdefault("size", native[0] if native[0] == native[1] else native)
    spec = catalog.spec(model, **axes)
    if spec.classes != len(manifest.classes):
        raise UserError(f"--classes is {spec.classes} but the data have {len(manifest.classes)}; leave --classes out")
    if spec.ndim != 2 or spec.channels not in (1, 3):
        raise UserError(f"pictures need ndim 2 and 1 or 3 channels, not ndim {spec.ndim} and {spec.channels} channels")
    return model, spec


def whole_size(manifest: Manifest) -> tuple[int, int] | None:
    """The input (height, width) at which small pictures, all of one size, are fed whole; None for other data."""
    size = manifest.pictures.uniform
    if size is None or max(size) > LARGEST_WHOLE_SIDE:
        return None
    times = max(1, -(-SMALLEST_SIDE // min(size)))
    return size[0] * times, size[1] * times


def choose_preprocessing(
    manifest: Manifest, spec: AnySpec, per_pixel: bool, progress: Progress | None = None
) -> tuple[Preprocessing, np.ndarray | None]:
    """Size from the spec, statistics from the training part; the usual margin of 8/7 around photos' centre crop."""
    height, width = spec.input_size()
    whole = whole_size(manifest) is not None
    resize = max(height, width) if whole else round(max(height, width) * 8 / 7)
    neutral = (0.0,) * spec.channels, (1.0,) * spec.channels
    view = Preprocessing((height, width), resize, spec.channels, *neutral)
    mean, std = channel_statistics(manifest, "train", channels=spec.channels, size=view.size)
    if not per_pixel:
        return replace(view, mean=mean, std=std), None
    # the paper subtracts and does not divide; the first batch norm takes care of the scale
    return replace(view, mean=mean, per_pixel=True), mean_picture(manifest, "train", view, progress)


def settle(
    manifest: Manifest,
    name: str,
    spec: AnySpec,
    recipe: Recipe,
    progress: Progress | None = None,
    view: tuple[Preprocessing, np.ndarray | None] | None = None,
) -> Setup:
    """Network, preprocessing, recipe and length for a data set; `progress` is that of the mean picture.

    `view` is the preprocessing, with its mean picture, that weights from elsewhere are used to.
    """
    preprocessing, mean = view or choose_preprocessing(manifest, spec, recipe.per_pixel_mean, progress)
    settled, length = fit(
        recipe,
        images=len(manifest.part("train")),
        size=preprocessing.size,
        whole=whole_size(manifest) is not None if view is None else whole_size(manifest) == preprocessing.size,
        layers=layers_of_depth(spec),
        chiral=manifest.chiral,
    )
    if view is not None and settled.finetune is not None and settled.finetune.stages == 0:
        length = replace(length, steps=0)  # the classifier alone, on features
    return Setup(name, spec, preprocessing, mean, settled, length)

"""Oddness: how unlike the others a picture is, by simple measures of its pixels that need no network.

A placeholder, a blank frame, a screenshot or a picture of another kind stands out in brightness, colour, detail, number
of grey levels or shape long before anyone looks at all pictures.
"""

from __future__ import annotations

import numpy as np

from residuum.data.manifest import Manifest
from residuum.data.sampling import sample
from residuum.errors import UserError

SAMPLE = 5_000
"""Pictures that are looked at; of larger sets a fixed random sample."""
MEASURES = ("brightness", "contrast", "colour", "detail", "variety of grey levels", "shape")
LARGEST_SIDE = 256


def measures(picture: np.ndarray) -> np.ndarray:
    """The `MEASURES` of a uint8 picture (H, W, 1 or 3), as six numbers."""
    step = max(1, max(picture.shape[:2]) // LARGEST_SIDE)
    pixels = picture[::step, ::step].astype(np.float64) / 255
    grey = pixels.mean(2)
    levels = np.bincount((grey * 255).astype(np.int64).ravel(), minlength=256) / grey.size
    entropy = -(levels[levels > 0] * np.log2(levels[levels > 0])).sum()
    edges = [np.abs(np.diff(grey, axis=axis)).mean() if grey.shape[axis] > 1 else 0.0 for axis in (0, 1)]
    colour = (pixels.max(2) - pixels.min(2)).mean()
    return np.array([grey.mean(), grey.std(), colour, sum(edges), entropy, np.log(grey.shape[1] / grey.shape[0])])


def oddest(manifest: Manifest, count: int) -> list[tuple[int, str]]:
    """The `count` pictures least like the others, the oddest first: (manifest index, the measure that says so).

    The score is the largest of the picture's `deviations`. Files that have gone in the meantime are skipped.
    """
    indices = sample(manifest, np.arange(len(manifest)), SAMPLE)
    channels = 1 if manifest.pictures.grey else 3
    found: dict[int, np.ndarray] = {}
    for index in indices.tolist():
        try:
            found[index] = measures(manifest.pictures.read(index, channels))
        except UserError:
            continue
    scores = deviations(np.array(list(found.values())))
    order = np.argsort(-scores.max(1), kind="stable")[:count]
    return [(list(found)[place], MEASURES[int(scores[place].argmax())]) for place in order]


def deviations(table: np.ndarray) -> np.ndarray:
    """How far each measure of each picture, (n, measures), is from its median, in robust standard deviations.

    The unit is 1.4826 times the median absolute deviation (that of a normal distribution is then 1); a measure that
    hardly varies counts 0.
    """
    deviation = np.abs(table - np.median(table, axis=0))
    spread = 1.4826 * np.median(deviation, axis=0)
    return np.where(spread > 1e-6, deviation / np.maximum(spread, 1e-6), 0.0)

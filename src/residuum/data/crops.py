"""Random crops of whole photos: the part of the picture is chosen at random, then resized in one step."""

from __future__ import annotations

import math

import numpy as np

from residuum.data.augment import Augment
from residuum.data.preprocessing import resized

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels of the picture; fractions allowed."""


def random_box(height: int, width: int, size: tuple[int, int], augment: Augment, chance: np.ndarray) -> Box:
    """The part of a (height, width) picture that becomes the input of `size`; `chance` is four numbers in [0,
    1).

    With `augment.area`: a share of the area and an aspect ratio, log-uniform in 3/4..4/3 times that of
    `size`; where such a box does not fit, it is shrunk until it does. With `augment.shorter_side`: the picture is
    thought resized so that its shorter side is an integer of the range, each equally likely, and a window of `size`
    cut from its whole pixels, every position equally likely; the box is that window in pixels of the picture.
    """
    if augment.area is not None:
        low, high = augment.area
        area = (low + (high - low) * chance[0]) * height * width
        aspect = size[1] / size[0] * math.exp((2 * chance[1] - 1) * math.log(4 / 3))
        w, h = math.sqrt(area * aspect), math.sqrt(area / aspect)
        fit = min(1.0, width / w, height / h)
        w, h = min(max(w * fit, 1.0), width), min(max(h * fit, 1.0), height)
        left, top = chance[2] * (width - w), chance[3] * (height - h)
        return left, top, min(left + w, width), min(top + h, height)
    assert augment.shorter_side is not None
    low, high = augment.shorter_side
    new_height, new_width = resized(height, width, low + int(chance[0] * (high - low + 1)))
    left, top = int(chance[2] * (new_width - size[1] + 1)), int(chance[3] * (new_height - size[0] + 1))
    x, y = width / new_width, height / new_height
    return left * x, top * y, min((left + size[1]) * x, width), min((top + size[0]) * y, height)

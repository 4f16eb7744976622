"""Random crops of whole photos: the part of the picture is chosen at random, then resized in one step."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F

from residuum.data.augment import Augment
from residuum.data.preprocessing import resample, resized

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels of the picture; fractions allowed."""


def random_box(height: int, width: int, size: tuple[int, int], augment: Augment, chance: np.ndarray) -> Box:
    """The part of a (height, width) picture that becomes the input of `size`; `chance` is four numbers in [0,
    1).

    With `augment.area`: a share of the area and an aspect ratio, log-uniform in 3/4..4/3 times that of `size`, in whole
    pixels; where such a box does not fit, it is shrunk until it does. With `augment.shorter_side`: the picture is
    thought resized so that its shorter side is an integer of the range, each equally likely, and a window of `size` cut
    from its whole pixels, every position equally likely; the box is that window in pixels of the picture.
    """
    if augment.area is not None:
        low, high = augment.area
        area = (low + (high - low) * chance[0]) * height * width
        aspect = size[1] / size[0] * math.exp((2 * chance[1] - 1) * math.log(4 / 3))
        w, h = math.sqrt(area * aspect), math.sqrt(area / aspect)
        fit = min(1.0, width / w, height / h)
        w, h = min(max(int(w * fit), 1), width), min(max(int(h * fit), 1), height)
        left, top = int(chance[2] * (width - w + 1)), int(chance[3] * (height - h + 1))
        return left, top, left + w, top + h
    assert augment.shorter_side is not None
    low, high = augment.shorter_side
    new_height, new_width = resized(height, width, low + int(chance[0] * (high - low + 1)))
    left, top = int(chance[2] * (new_width - size[1] + 1)), int(chance[3] * (new_height - size[0] + 1))
    x, y = width / new_width, height / new_height
    return left * x, top * y, min((left + size[1]) * x, width), min((top + size[0]) * y, height)


def shrunk(box: Box, by: int) -> Box:
    """The box in a picture whose sides are divided by `by` and rounded up, in whole pixels, at least one."""
    if by == 1:
        return box
    left, top = int(box[0] / by), int(box[1] / by)
    return left, top, max(round(box[2] / by), left + 1), max(round(box[3] / by), top + 1)


def crop(picture: np.ndarray, size: tuple[int, int], box: Box) -> np.ndarray:
    """The box of a uint8 (H, W, C) picture, antialiased bilinear, as uint8 (*size, C).

    Boxes of whole pixels are cut out and resized by torch, whose kernels for bytes are several times as fast as
    Pillow's and agree with it to a grey level; Pillow knows boxes with fractions.
    """
    left, top, right, bottom = box
    if any(edge != int(edge) for edge in box):
        return resample(picture, size, box)
    cut = np.array(picture[int(top) : int(bottom), int(left) : int(right)])
    if cut.shape[:2] == size:
        return cut
    image = torch.from_numpy(cut).permute(2, 0, 1)[None]
    fitted = F.interpolate(image, size=size, mode="bilinear", antialias=True, align_corners=False)
    return fitted[0].permute(1, 2, 0).contiguous().numpy()

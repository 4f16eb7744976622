"""The pixels of a protocol's views, and the size of each before any picture is read."""

from __future__ import annotations

import numpy as np

from residuum.data.preprocessing import resample, resized, resized_crop, windows
from residuum.evaluation.protocols import Crop, View


def passes(view: View) -> tuple[int | None, ...]:
    """The shorter sides to which every picture is resized, one after the other; None: to the view's size as it is."""
    return view.sides or (None,)


def seen_sizes(side: int, sizes: np.ndarray) -> np.ndarray:
    """(n, 2) heights and widths of whole pictures of `sizes` (n, 2) whose shorter side is resized to `side`."""
    return np.array([resized(height, width, side) for height, width in sizes.tolist()])


def views(picture: np.ndarray, view: View, side: int | None) -> np.ndarray:
    """What the network is shown of a uint8 (H, W, C) picture in one pass: uint8 (views, height, width, C).

    Mirror images are not among them: they are made of what the mean has been subtracted from, as in training.
    """
    height, width = picture.shape[:2]
    if side is None or view.size is None:  # the picture whole
        size = view.size if side is None else resized(height, width, side)
        assert size is not None
        return (picture if (height, width) == size else resample(picture, size))[None]
    if view.crops == ("center",):
        return resized_crop(picture, side, view.size)[None]
    whole = resized(height, width, side)
    return np.stack(windows(picture, whole, [_corner(crop, whole, view.size) for crop in view.crops], view.size))


def _corner(crop: Crop, whole: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    """The upper left corner of a crop; the centre's as torchvision rounds it."""
    bottom, right = whole[0] - size[0], whole[1] - size[1]
    if crop == "center":
        return round(bottom / 2.0), round(right / 2.0)
    vertical, horizontal = crop.split("-")
    return bottom * (vertical == "bottom"), right * (horizontal == "right")

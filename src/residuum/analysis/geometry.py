"""From the cells of a map to the pixels of the network's view, and from there to the picture as it was given.

The network sees a picture resized and cropped at the centre (`data.preprocessing.view`). A map over that view belongs
to a box of the picture; what lies outside was never seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from residuum.data.preprocessing import Preprocessing, resized


@dataclass(frozen=True)
class Grid:
    """Where the cells of a map lie: along dimension d, cell i is at pixel `start[d] + step[d] * i`.

    Pixels are counted from 0 at their centres.
    """

    start: tuple[float, ...]
    step: tuple[float, ...]


@dataclass(frozen=True)
class Box:
    """A part of a picture in its pixels, counted from its top left corner; edges may lie between pixels."""

    top: float
    left: float
    bottom: float
    right: float

    def scaled(self, down: float, across: float) -> Box:
        """The same part of the picture at another size."""
        return Box(self.top * down, self.left * across, self.bottom * down, self.right * across)


def spread(cells: np.ndarray, grid: Grid, size: tuple[int, int]) -> np.ndarray:
    """A map (h, w) at every pixel of `size` (height, width): bilinear, the outer cells reaching to the edge."""
    for axis in (0, 1):
        last = cells.shape[axis] - 1
        places = np.clip((np.arange(size[axis]) - grid.start[axis]) / grid.step[axis], 0, last)
        low = np.floor(places).astype(np.int64)
        share = np.expand_dims((places - low).astype(np.float32), 1 - axis)
        cells = cells.take(low, axis) * (1 - share) + cells.take(np.minimum(low + 1, last), axis) * share
    return cells


def seen(height: int, width: int, preprocessing: Preprocessing) -> Box:
    """The part of a picture of this size that is the network's view of it."""
    crop_height, crop_width = preprocessing.size
    if (height, width) == preprocessing.size and preprocessing.resize == max(preprocessing.size):
        return Box(0, 0, height, width)
    new_height, new_width = resized(height, width, preprocessing.resize)
    top, left = round((new_height - crop_height) / 2.0), round((new_width - crop_width) / 2.0)
    view = Box(top, left, top + crop_height, left + crop_width)
    return view.scaled(height / new_height, width / new_width)


def on_picture(view_map: np.ndarray, box: Box, size: tuple[int, int]) -> np.ndarray:
    """A map (h, w) over `box`, float32 over a whole picture of `size` (height, width); NaN where its view ends.

    A picture's pixel is in the view where its centre is.
    """
    edges = ((box.top, box.bottom), (box.left, box.right))
    steps = [(high - low) / count for (low, high), count in zip(edges, view_map.shape, strict=True)]
    starts = [low + step / 2 - 0.5 for (low, _), step in zip(edges, steps, strict=True)]
    spread_out = spread(view_map.astype(np.float32), Grid(tuple(starts), tuple(steps)), size)
    for axis, (low, high) in enumerate(edges):
        centres = np.arange(size[axis]) + 0.5
        outside = np.flatnonzero((centres < low) | (centres > high))
        spread_out[(slice(None),) * axis + (outside,)] = np.nan
    return spread_out

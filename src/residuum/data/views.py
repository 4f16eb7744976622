"""Views: the network-sized uint8 pixels of chosen pictures, computed once where memory allows it."""

from __future__ import annotations

import numpy as np

from residuum.data.pictures import ArrayPictures, Pictures
from residuum.data.preprocessing import Preprocessing, view
from residuum.data.scan import KEPT_BYTES


class Views:
    """The evaluation views of the pictures at `indices`, by position in `indices`.

    `cheap` says that stacking needs no decoding or resizing: the pictures are in memory and have the
    network's size, or are brought to it at first use and kept (up to a gibibyte).
    """

    def __init__(self, pictures: Pictures, indices: np.ndarray, preprocessing: Preprocessing) -> None:
        self._pictures = pictures
        self._indices = indices
        self._preprocessing = preprocessing
        self._cache: np.ndarray | None = None
        height, width = preprocessing.size
        fits = len(indices) * height * width * preprocessing.channels <= KEPT_BYTES
        same = pictures.uniform == preprocessing.size and preprocessing.resize == max(preprocessing.size)
        self._direct = pictures if same and isinstance(pictures, ArrayPictures) else None
        self.cheap = self._direct is not None or (pictures.in_memory and fits)

    def one(self, position: int, preprocessing: Preprocessing) -> np.ndarray:
        """The view of one picture under any preprocessing, computed now: uint8 (H, W, C)."""
        return view(self.picture(position), preprocessing)

    def picture(self, position: int, rows: int | None = None) -> np.ndarray:
        """The whole picture, or at least so many rows of it: uint8 (H, W, C)."""
        return self._pictures.read(int(self._indices[position]), self._preprocessing.channels, rows)

    def sides(self, position: int) -> tuple[int, int]:
        """Height and width of the whole picture."""
        height, width = self._pictures.sizes[int(self._indices[position])]
        return int(height), int(width)

    def stack(self, positions: np.ndarray) -> np.ndarray:
        """The views at `positions`: uint8 (n, H, W, C). Only where `cheap`."""
        if self._direct is not None:
            return self._direct.stack(self._indices[positions], self._preprocessing.channels)
        if self._cache is None:
            shape = (len(self._indices), *self._preprocessing.size, self._preprocessing.channels)
            cache = np.empty(shape, np.uint8)
            for position in range(len(self._indices)):
                cache[position] = self.one(position, self._preprocessing)
            self._cache = cache
        return self._cache[positions]

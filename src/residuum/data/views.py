"""Views: the uint8 pixels of chosen pictures, decoded and brought to size once where memory allows it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from residuum.data.jpeg import REDUCTIONS, WHOLE, Need
from residuum.data.pictures import ArrayPictures, Pictures
from residuum.data.preprocessing import Preprocessing, view
from residuum.data.scan import KEPT_BYTES


class Views:
    """The evaluation views of the pictures at `indices`, by position in `indices`.

    `cheap` says that stacking needs no decoding or resizing: the pictures are in memory and have the
    network's size, or are brought to it at first use and kept (up to a gibibyte). Threads may share it.
    """

    def __init__(self, pictures: Pictures, indices: np.ndarray, preprocessing: Preprocessing) -> None:
        self._pictures = pictures
        self._indices = indices
        self._preprocessing = preprocessing
        self._cache: np.ndarray | None = None
        self._kept = _Kept()
        height, width = preprocessing.size
        self._enough = 2 * max(preprocessing.size)
        self._keeps = len(indices) * self._enough**2 * preprocessing.channels <= KEPT_BYTES
        self._fits = len(indices) * height * width * preprocessing.channels <= KEPT_BYTES
        same = pictures.uniform == preprocessing.size and preprocessing.resize == max(preprocessing.size)
        self._direct = pictures if same and isinstance(pictures, ArrayPictures) else None
        self.cheap = self._direct is not None or (pictures.in_memory and self._fits)

    def one(self, position: int, preprocessing: Preprocessing) -> np.ndarray:
        """The view of one picture under any preprocessing, computed now: uint8 (H, W, C)."""
        return view(self.picture(position), preprocessing)

    def own(self, position: int) -> np.ndarray:
        """The view of one picture under the preprocessing of all, kept for the next time if there is room for all."""
        if not self._fits:
            return self.one(position, self._preprocessing)
        return self._kept.get(("view", position), lambda: self.one(position, self._preprocessing))

    def picture(self, position: int, need: Need = WHOLE) -> np.ndarray:
        """The picture, or what is needed of it: uint8 (H, W, C)."""
        return self._pictures.read(int(self._indices[position]), self._preprocessing.channels, need)

    def part(self, position: int, need: Need) -> np.ndarray:
        """As `picture`; of a set that is small enough all rows, kept for the next time while there is room."""
        if not self._keeps or (self._pictures.in_memory and need.reduced == 1):
            return self.picture(position, need)
        whole = Need(reduced=need.reduced)
        return self._kept.get(("picture", position), lambda: self.picture(position, whole))

    def reduction(self, position: int) -> int:
        """The largest reduction that leaves the shorter side twice the longer side of the network's input."""
        return next(by for by in REDUCTIONS if by == 1 or min(self.sides(position)) >= by * self._enough)

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


class _Kept:
    """Pixels that were made once, up to a gibibyte of them."""

    def __init__(self) -> None:
        self._pixels: dict[tuple[str, int], np.ndarray] = {}
        self._room = KEPT_BYTES

    def get(self, key: tuple[str, int], make: Callable[[], np.ndarray]) -> np.ndarray:
        found = self._pixels.get(key)
        if found is not None:
            return found
        made = make()
        # where two threads make the same or find the same room, the limit is not kept to the byte; the pixels are right
        if made.size <= self._room:
            self._room -= made.size
            self._pixels[key] = made
        return made

"""Pictures: the decoded pixels of a data set by index, in memory or from files."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from residuum.data.decoding import Unreadable, as_channels, decode
from residuum.errors import UserError, shown


class Pictures(Protocol):
    """The pictures of a data set.

    `sizes` is int32 (n, 2), height and width; `grey` says that every picture is stored without colour;
    `uniform` is the (height, width) of all of them, if they agree; `in_memory` that reading costs no
    decoding.
    """

    sizes: np.ndarray
    grey: bool
    uniform: tuple[int, int] | None
    in_memory: bool

    def __len__(self) -> int: ...

    def read(self, index: int, channels: int) -> np.ndarray:
        """Picture `index` as uint8 (H, W, channels). Raises UserError naming a file that cannot be read."""
        ...


class ArrayPictures:
    """Pictures of one size in one uint8 array (n, H, W, 1 or 3)."""

    in_memory = True

    def __init__(self, array: np.ndarray) -> None:
        self._array = array
        n, height, width, channels = array.shape
        self.uniform: tuple[int, int] | None = (height, width)
        self.sizes = np.broadcast_to(np.array([height, width], np.int32), (n, 2))
        self.grey = channels == 1

    def __len__(self) -> int:
        return len(self._array)

    def read(self, index: int, channels: int) -> np.ndarray:
        return as_channels(self._array[index], channels)

    def stack(self, indices: np.ndarray, channels: int) -> np.ndarray:
        """The pictures at `indices` as one uint8 array (n, H, W, channels)."""
        return as_channels(self._array[indices], channels)


class ListPictures:
    """Small pictures of several sizes, decoded once and kept: uint8 (H, W, 1 or 3) each."""

    in_memory = True

    def __init__(self, arrays: Sequence[np.ndarray]) -> None:
        self._arrays = arrays
        self.sizes = np.array([a.shape[:2] for a in arrays], np.int32).reshape(-1, 2)
        self.grey = all(a.shape[-1] == 1 for a in arrays)
        self.uniform: tuple[int, int] | None = None

    def __len__(self) -> int:
        return len(self._arrays)

    def read(self, index: int, channels: int) -> np.ndarray:
        return as_channels(self._arrays[index], channels)


class FilePictures:
    """Pictures decoded from their files at each reading, which must still hold what was scanned."""

    in_memory = False

    def __init__(self, paths: Sequence[Path], digests: Sequence[bytes], sizes: np.ndarray, grey: bool) -> None:
        self._paths = paths
        self._digests = digests
        self.sizes = sizes
        self.grey = grey
        first = tuple(int(n) for n in sizes[0])
        self.uniform: tuple[int, int] | None = (first[0], first[1]) if (sizes == sizes[0]).all() else None

    def __len__(self) -> int:
        return len(self._paths)

    def read(self, index: int, channels: int) -> np.ndarray:
        path = self._paths[index]
        try:
            data = path.read_bytes()
        except OSError as error:
            reason = error.strerror or str(error)
            raise UserError(
                f"{shown(path)} was there when the data were scanned and cannot be read now: {reason}"
            ) from error
        if hashlib.sha256(data).digest() != self._digests[index]:
            raise UserError(f"{shown(path)} has changed since the data were scanned; start again to scan them anew")
        try:
            return decode(data, channels)
        except Unreadable as error:
            raise UserError(f"{shown(path)} cannot be decoded: {error}") from error

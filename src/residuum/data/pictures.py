"""Pictures: the decoded pixels of a data set by index, in memory or from files."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from residuum.data.decoding import Unreadable, as_channels, decode, reduced, size_of
from residuum.data.jpeg import WHOLE, Need
from residuum.errors import UserError, shown


class Sizes(Protocol):
    """Height and width of every picture, int32 (n, 2), by any index of its first dimension."""

    def __getitem__(self, index: Any, /) -> np.ndarray: ...


class Pictures(Protocol):
    """The pictures of a data set.

    `sizes` are heights and widths; `grey` says that every picture is stored without colour;
    `uniform` is the (height, width) of all of them, if they agree; `in_memory` that reading costs no
    decoding.
    """

    sizes: Sizes
    grey: bool
    uniform: tuple[int, int] | None
    in_memory: bool

    def __len__(self) -> int: ...

    def read(self, index: int, channels: int, need: Need = WHOLE) -> np.ndarray:
        """Picture `index`, or what is needed of it, as uint8 (H, W, channels). Raises UserError naming a file that
        cannot be read."""
        ...


class ArrayPictures:
    """Pictures of one size in one uint8 array (n, H, W, 1 or 3)."""

    in_memory = True

    def __init__(self, array: np.ndarray) -> None:
        self._array = array
        n, height, width, channels = array.shape
        self.uniform: tuple[int, int] | None = (height, width)
        self.sizes: Sizes = np.broadcast_to(np.array([height, width], np.int32), (n, 2))
        self.grey = channels == 1

    def __len__(self) -> int:
        return len(self._array)

    def read(self, index: int, channels: int, need: Need = WHOLE) -> np.ndarray:
        return reduced(as_channels(self._array[index], channels), need.reduced)

    def stack(self, indices: np.ndarray, channels: int) -> np.ndarray:
        """The pictures at `indices` as one uint8 array (n, H, W, channels)."""
        return as_channels(self._array[indices], channels)


class ListPictures:
    """Small pictures of several sizes, decoded once and kept: uint8 (H, W, 1 or 3) each."""

    in_memory = True

    def __init__(self, arrays: Sequence[np.ndarray]) -> None:
        self._arrays = arrays
        self.sizes: Sizes = np.array([a.shape[:2] for a in arrays], np.int32).reshape(-1, 2)
        self.grey = all(a.shape[-1] == 1 for a in arrays)
        self.uniform: tuple[int, int] | None = None

    def __len__(self) -> int:
        return len(self._arrays)

    def read(self, index: int, channels: int, need: Need = WHOLE) -> np.ndarray:
        return reduced(as_channels(self._arrays[index], channels), need.reduced)


class FilePictures:
    """Pictures decoded from their files at each reading, which must still hold what was scanned."""

    in_memory = False

    def __init__(self, paths: Sequence[Path], digests: Sequence[bytes], sizes: np.ndarray, grey: bool) -> None:
        self._paths = paths
        self._digests = digests
        self.sizes: Sizes = sizes
        self.grey = grey
        first = tuple(int(n) for n in sizes[0])
        self.uniform: tuple[int, int] | None = (first[0], first[1]) if (sizes == sizes[0]).all() else None

    def __len__(self) -> int:
        return len(self._paths)

    def read(self, index: int, channels: int, need: Need = WHOLE) -> np.ndarray:
        path = self._paths[index]
        data = _bytes_of(path)
        if hashlib.sha256(data).digest() != self._digests[index]:
            raise _changed(path)
        return _decoded(path, data, channels, need)


class ListedPictures:
    """Pictures decoded from files of which only name and length in bytes were listed.

    `lengths` is int64 (n,). They count as coloured and of several sizes: who wants to know better has to open them all.
    """

    in_memory = False
    grey = False
    uniform: tuple[int, int] | None = None

    def __init__(self, root: Path, names: Sequence[str], lengths: np.ndarray) -> None:
        self._root = root
        self._names = names
        self._lengths = lengths
        self.sizes: Sizes = _HeaderSizes(root, names)

    def __len__(self) -> int:
        return len(self._names)

    def read(self, index: int, channels: int, need: Need = WHOLE) -> np.ndarray:
        path = self._root / self._names[index]
        data = _bytes_of(path)
        if len(data) != self._lengths[index]:
            raise _changed(path)
        return _decoded(path, data, channels, need)


class _HeaderSizes:
    """Sizes read from the headers of those files that are asked for, once."""

    def __init__(self, root: Path, names: Sequence[str]) -> None:
        self._root = root
        self._names = names
        self._known = np.zeros((len(names), 2), np.int32)

    def __getitem__(self, index: Any, /) -> np.ndarray:
        asked = np.atleast_1d(np.arange(len(self._names))[index])
        for i in map(int, asked[self._known[asked, 0] == 0]):
            path = self._root / self._names[i]
            try:
                self._known[i] = size_of(path)
            except Unreadable as error:
                raise _undecodable(path, error) from error
        return self._known[index]


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(
            f"{shown(path)} was there when the data were scanned and cannot be read now: {reason}"
        ) from error


def _changed(path: Path) -> UserError:
    return UserError(f"{shown(path)} has changed since the data were scanned; start again to scan them anew")


def _decoded(path: Path, data: bytes, channels: int, need: Need) -> np.ndarray:
    try:
        return decode(data, channels, need)
    except Unreadable as error:
        raise _undecodable(path, error) from error


def _undecodable(path: Path, error: Unreadable) -> UserError:
    return UserError(f"{shown(path)} cannot be decoded: {error}; repair it, or remove it and begin again")

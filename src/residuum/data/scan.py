"""Scanning: every file is read once - hashed, fully decoded, measured - and small pictures are kept in
memory."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from residuum.data.decoding import Unreadable, decode_native
from residuum.data.pictures import ArrayPictures, FilePictures, ListPictures, Pictures
from residuum.errors import UserError, shown

Progress = Callable[[int, int], None]

KEPT_BYTES = 2**30
"""Decoded bytes of a whole data set up to which its pictures stay in memory ..."""
KEPT_SIDE = 128
"""... if no side of any of them is longer than this."""

_CHUNK = 64


@dataclass(frozen=True)
class Scan:
    """What came of scanning n files: `kept` are the indices of the readable ones, in order; `pictures` and
    `contents` (SHA-256 of each file) follow `kept`; `excluded` pairs the other names with reasons."""

    kept: np.ndarray
    pictures: Pictures
    contents: tuple[bytes, ...]
    excluded: tuple[tuple[str, str], ...]


@dataclass(slots=True)
class _Read:
    content: bytes
    height: int
    width: int
    grey: bool
    pixels: np.ndarray | None


def scan(
    paths: Sequence[Path], names: Sequence[str], *, allow_bad: bool = False, progress: Progress | None = None
) -> Scan:
    """Reads every file once. `names` stand for the files in messages and in `excluded`.

    Raises UserError where more than one file and more than 1% of them are unreadable (unless `allow_bad`), or
    all are.
    """
    memory = _Memory(len(paths))
    reads: list[_Read | str] = []
    # Pillow releases the GIL while it decodes; more threads than this only wait for it.
    workers = min(4, os.cpu_count() or 1)
    chunks = [paths[i : i + _CHUNK] for i in range(0, len(paths), _CHUNK)]
    pool = ThreadPoolExecutor(workers, thread_name_prefix="residuum-scan")
    try:
        remaining = iter(chunks)
        waiting = [pool.submit(_read_all, chunk, memory.side) for chunk in islice(remaining, 2 * workers)]
        while waiting:
            done = waiting.pop(0).result()
            for chunk in islice(remaining, 1):
                waiting.append(pool.submit(_read_all, chunk, memory.side))
            for result in done:
                if isinstance(result, _Read):
                    memory.keep(len(reads), result.pixels)
                    result.pixels = None
                reads.append(result)
            if progress is not None:
                progress(len(reads), len(paths))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)

    excluded = tuple((name, read) for name, read in zip(names, reads, strict=True) if isinstance(read, str))
    refuse_too_many(excluded, len(paths), allow_bad)
    kept = np.array([i for i, read in enumerate(reads) if not isinstance(read, str)], np.int64)
    good = [read for read in reads if isinstance(read, _Read)]
    contents = tuple(read.content for read in good)
    pictures = memory.pictures(kept)
    if pictures is None:
        sizes = np.array([(read.height, read.width) for read in good], np.int32)
        pictures = FilePictures([paths[i] for i in kept], contents, sizes, all(read.grey for read in good))
    return Scan(kept, pictures, contents, excluded)


def refuse_too_many(excluded: Sequence[tuple[str, str]], total: int, allow_bad: bool) -> None:
    """The UserError of `scan`, naming the number, the first three files with their reasons, and the way
    out."""
    bad = len(excluded)
    if bad <= max(1, total // 100) and bad < total:
        return
    first = "; ".join(f"{shown(name)} ({reason})" for name, reason in excluded[:3]) + ("; ..." if bad > 3 else "")
    if bad == total:
        raise UserError(f"none of the {total} pictures can be read: {first}")
    if not allow_bad:
        raise UserError(
            f"{bad} of {total} pictures cannot be read: {first}; repair or remove them, "
            "or leave them out with --allow-bad"
        )


def _read_all(paths: Sequence[Path], side: int) -> list[_Read | str]:
    return [_read(path, side) for path in paths]


def _read(path: Path, side: int) -> _Read | str:
    try:
        if not path.is_file():
            path.stat()
            return "not a regular file"
        data = path.read_bytes()
        pixels = decode_native(data)
    except Unreadable as error:
        return str(error)
    except (OSError, ValueError) as error:
        return f"cannot be read: {getattr(error, 'strerror', None) or error}"
    height, width, channels = pixels.shape
    kept = pixels if max(height, width) <= side else None
    return _Read(hashlib.sha256(data).digest(), height, width, channels == 1, kept)


class _Memory:
    """Collects small pictures: in one array while they agree in size, in a list from the first one that does
    not.

    The array has room for RGB of all files from the start (the system commits its pages only when they are
    written), so that no second copy is ever made of it.
    """

    def __init__(self, total: int) -> None:
        self.side = KEPT_SIDE
        self._total = total
        self._bytes = 0
        self._array: np.ndarray | None = None
        self._list: list[np.ndarray | None] | None = None
        self._grey = np.zeros(total, bool)

    def keep(self, index: int, pixels: np.ndarray | None) -> None:
        """Keeps picture `index`, or forgets all of them if this one is large (None) or memory would be too
        much."""
        if self.side == 0:
            return
        self._bytes += 0 if pixels is None else pixels.size
        if pixels is None or self._bytes > KEPT_BYTES:
            self.side, self._array, self._list = 0, None, None
            return
        height, width, channels = pixels.shape
        self._grey[index] = channels == 1
        if self._array is None and self._list is None:
            if self._total * height * width <= KEPT_BYTES:
                self._array = np.empty((self._total, height, width, 3), np.uint8)
            else:
                self._list = []
        if self._array is not None and self._array.shape[1:3] != (height, width):
            rows = zip(self._array, self._grey[:index], strict=False)
            self._list = [row[..., :1] if grey else row for row, grey in rows]
            self._array = None
        if self._array is not None:
            self._array[index] = pixels
        elif self._list is not None:
            self._list.extend([None] * (index - len(self._list)))
            self._list.append(pixels)

    def pictures(self, kept: np.ndarray) -> Pictures | None:
        """The pictures at `kept`, the indices that were given to `keep`; None if they were forgotten."""
        if self._list is not None:
            return ListPictures([pixels for i in kept if (pixels := self._list[i]) is not None])
        if self._array is None:
            return None
        array = self._array
        if len(kept) < self._total:
            for to, source in enumerate(kept):
                array[to] = array[source]
            array = array[: len(kept)]
        return ArrayPictures(array[..., :1].copy() if self._grey[kept].all() else array)

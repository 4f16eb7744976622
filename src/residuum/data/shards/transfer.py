"""Bytes of shards: a command's output as a whole, and ranges of files of which a few stay open."""

from __future__ import annotations

import os
import subprocess
import threading
from collections import OrderedDict

from residuum.data.shards.pattern import Place
from residuum.errors import UserError, one_line, shown

OPEN_FILES = 64
"""Files that are kept open for reading."""
_SAID = 300
"""Characters of a failed command's last words that are quoted."""


def fetch(place: Place) -> bytes:
    """Everything that a shard's command writes. Raises UserError with what it says where it fails."""
    try:
        done = subprocess.run(place.text, shell=True, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{place.name} cannot be run: {one_line(error)}") from error
    if done.returncode:
        said = shown(one_line(done.stderr.decode("utf-8", "backslashreplace")))[-_SAID:]
        ended = f"ended with {done.returncode}" if done.returncode > 0 else f"was killed by signal {-done.returncode}"
        raise UserError(f"{place.name} {ended}" + (f": {said}" if said else " and said nothing"))
    if not done.stdout:
        raise UserError(f"{place.name} wrote nothing; it must write a tar to its standard output")
    return done.stdout


class Files:
    """Files read by ranges, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: OrderedDict[str, _File] = OrderedDict()

    def read(self, path: str, offset: int, length: int, whole: int) -> bytes:
        """`length` bytes from `offset` on of a file that must have `whole`. Raises UserError."""
        try:
            data = os.pread(self._file(path, whole).number, length, offset)
        except OSError as error:
            raise UserError(
                f"{shown(path)} was there when the data were listed and cannot be read now: {error.strerror}"
            ) from error
        if len(data) != length:
            raise _changed(path)
        return data

    def _file(self, path: str, whole: int) -> _File:
        with self._lock:
            if path in self._open:
                self._open.move_to_end(path)
                return self._open[path]
            file = _File(path)
            if os.fstat(file.number).st_size != whole:
                raise _changed(path)
            self._open[path] = file
            if len(self._open) > OPEN_FILES:
                self._open.popitem(last=False)
            return file


class _File:
    """A file that is open as long as someone holds this, so that none is closed while another thread reads it."""

    def __init__(self, path: str) -> None:
        self.number = -1
        self.number = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        if self.number >= 0:
            os.close(self.number)


def _changed(path: str) -> UserError:
    return UserError(f"{shown(path)} has changed since the data were listed; start again to list them anew")

"""Originals: the data set that is written as shards, picture by picture, and whether what came back is the same."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image

from residuum.data.checks.contents import Contents
from residuum.data.checks.look import SUFFIXES
from residuum.data.decoding import Unreadable, decode_native, opened, pixels_of
from residuum.data.manifest import Manifest
from residuum.errors import UserError, shown


@dataclass(frozen=True)
class Source:
    """The data set that is written: what a picture's file is, by its number in `manifest`."""

    manifest: Manifest
    contents: Contents

    @cached_property
    def _places(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.contents.names)}

    def file(self, index: int) -> tuple[bytes, str]:
        """The bytes of a picture's file, and the extension of its format; an array becomes PNG."""
        if self.contents.bytes_of is None:
            pixels = self.pixels(index)
            stream = io.BytesIO()
            Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(stream, "PNG")
            return stream.getvalue(), "png"
        with self.naming(index):
            data = self.contents.bytes_of(self._places[self.manifest.names[index]])
            return data, SUFFIXES[opened(data).format or ""][0].removeprefix(".")

    def pixels(self, index: int) -> np.ndarray:
        """A picture that has no file."""
        return self.contents.read(self._places[self.manifest.names[index]], None)

    def refuse_difference(self, index: int, data: bytes, label: int | str) -> None:
        """UserError unless the bytes that came back are a picture that can be decoded, the same one, of its class."""
        with self.naming(index):
            if self.contents.bytes_of is None:
                same = np.array_equal(decode_native(data), self.pixels(index))
            else:
                pixels_of(opened(data), side=1)
                same = data == self.file(index)[0]
        if not same or label != int(self.manifest.labels[index]):
            raise UserError(
                f"{shown(self.manifest.names[index])} came back changed from its shard: the disk cannot be trusted, or "
                "the data changed while they were copied; nothing was kept"
            )

    @contextlib.contextmanager
    def naming(self, index: int) -> Iterator[None]:
        """A block in which what is `Unreadable` is said to be this picture."""
        try:
            yield
        except Unreadable as error:
            raise UserError(
                f"{shown(self.manifest.names[index])} cannot be read: {error}; repair it or remove it, then begin again"
            ) from error

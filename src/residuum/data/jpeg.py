"""Ordinary JPEG files, decoded by libjpeg-turbo without a detour: the same pixels as through Pillow, in less time.

Where only the upper part of a picture is needed, as for a random crop, the decoder is told that the picture ends there:
what lies below costs nothing. Where less detail is, it makes one pixel of 2 x 2, 4 x 4 or 8 x 8.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import simplejpeg
from PIL import ExifTags, Image

_HEIGHT_AT = 5
"""Where a frame header has its height, counted from the marker (ITU-T T.81, B.2.2)."""
_BLOCK = 32
"""Rows are cut at multiples of this: whole units of every subsampling, and as much again."""
_END = b"\xff\xd9"
_ALONE = frozenset((0x01, *range(0xD0, 0xD8)))
"""Markers without a segment."""


REDUCTIONS = (8, 4, 2, 1)


@dataclass(frozen=True)
class Need:
    """What of a picture is needed; the default is all of it.

    rows     so many from the top are enough: further ones may be missing
    reduced  1, 2, 4 or 8: one pixel, their mean, for so many by so many; both sides are divided and rounded up
    """

    rows: int | None = None
    reduced: int = 1


WHOLE = Need()


@dataclass(frozen=True)
class Frame:
    """What an ordinary JPEG says of itself.

    Its sides, 1 or 3 components, EXIF orientation 1 to 8, where its frame header stands, and whether rows come one
    after the other (not so in progressive files).
    """

    height: int
    width: int
    components: int
    orientation: int
    header: int
    sequential: bool


def frame_of(data: bytes) -> Frame | None:
    """The frame of a JPEG of 8-bit grey or YCbCr; None for anything else, or where the file looks odd."""
    if data[:3] != b"\xff\xd8\xff":
        return None
    at, orientation, found = 2, 1, None
    try:
        while True:
            if data[at] != 0xFF:
                return None
            marker = data[at + 1]
            if marker == 0xFF or marker in _ALONE:  # fill bytes
                at += 1 if marker == 0xFF else 2
                continue
            (length,) = struct.unpack_from(">H", data, at + 2)
            segment = data[at + 4 : at + 2 + length]
            if marker == 0xDA:
                return found and Frame(*found[:3], orientation, *found[3:])
            if marker == 0xE1 and segment[:4] == b"Exif":
                orientation = _orientation(segment)
            elif marker == 0xEE and segment[:5] == b"Adobe" and segment[11] != 1:
                return None
            elif marker in (0xC0, 0xC1, 0xC2):
                precision, height, width, components = struct.unpack_from(">BHHB", segment)
                if precision != 8 or components not in (1, 3) or not height or not width or found:
                    return None
                found = (height, width, components, at, marker != 0xC2)
            elif 0xC3 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
                return None  # lossless, hierarchical or arithmetic
            at += 2 + length
    except (IndexError, struct.error):
        return None


def decoded(data: bytes, frame: Frame, need: Need = WHOLE) -> np.ndarray | None:
    """The pixels as they lie in the file, not turned: uint8 (H, W, 1 or 3); None where the decoder complains.

    Rows are left out of upright sequential files.
    """
    colours = "GRAY" if frame.components == 1 else "RGB"
    cut = None if need.rows is None else (-(-need.rows // _BLOCK) + 1) * _BLOCK
    # the decoder takes the smallest size of its own that is not below these
    width = -(-frame.width // need.reduced)
    try:
        # a file without its end is cut off somewhere: decoded whole, so that it is found out
        whole = data.endswith(_END)
        if cut is None or cut >= frame.height or not frame.sequential or frame.orientation != 1 or not whole:
            height = -(-frame.height // need.reduced)
            return simplejpeg.decode_jpeg(data, colours, min_height=height, min_width=width)
        # bytes behind the last row are a complaint in strict reading
        shorter = bytearray(data)
        struct.pack_into(">H", shorter, frame.header + _HEIGHT_AT, cut)
        height = -(-cut // need.reduced)
        return simplejpeg.decode_jpeg(shorter, colours, min_height=height, min_width=width, strict=False)
    except ValueError:
        return None


def _orientation(segment: bytes) -> int:
    exif = Image.Exif()
    try:
        exif.load(segment)
        found = exif.get(ExifTags.Base.Orientation, 1)
    except Exception:
        return 1
    return found if found in range(1, 9) else 1

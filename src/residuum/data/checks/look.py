"""A look at one picture file: read once, decoded as small as its format allows, and remembered in a kilobyte."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from PIL import Image

from residuum.data.checks.candidates import SIDE
from residuum.data.decoding import opened, orientation_of, pixels_of
from residuum.data.oddness import measures

MEASURED_SIDE = 96
"""Pixels of the longer side at which oddness is measured, so that it does not depend on resolution."""
ALIKE = 3
"""Grey levels between red, green and blue up to which a pixel has no colour that could be seen."""
SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png", ".apng"),
    "GIF": (".gif",),
    "BMP": (".bmp", ".dib"),
    "DIB": (".dib", ".bmp"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "JPEG2000": (".jp2",),
    "AVIF": (".avif",),
}
"""The formats that are read, by Pillow's names, and the endings of their files' names."""
COLOUR_KINDS = {"1": "grey", "L": "grey", "LA": "grey", "I;16": "grey", "RGB": "RGB", "RGBA": "RGB", "P": "palette"}


@dataclass(frozen=True, slots=True)
class Look:
    """What is remembered of a picture.

    digest        SHA-256 of the file, or of the pixels of a picture that has none
    length        bytes of the file
    format, mode  Pillow's names; "" without a file
    height, width upright, in pixels
    orientation   of EXIF; 1 is upright
    frames        more than 1 in an animation or a file of several pages
    transparent   whether something in it may be transparent
    colourless    whether hardly any of its pixels has a colour
    span          grey levels between its darkest and lightest hundredth, in miniature
    miniature     uint8 (32, 32), grey, whatever its shape
    measures      as of `oddness.measures`
    """

    digest: bytes
    length: int
    format: str
    mode: str
    height: int
    width: int
    orientation: int
    frames: int
    transparent: bool
    colourless: bool
    span: float
    miniature: np.ndarray
    measures: np.ndarray


def look_at(data: bytes) -> Look:
    """A look at the bytes of a file. Raises `Unreadable` for the reasons for which training leaves a file out."""
    picture = opened(data)
    file_format, mode = picture.format or "", picture.mode
    transparent = mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in picture.info
    said = orientation_of(picture)
    orientation = said if said in range(1, 9) else 1  # files say anything
    width, height = picture.size if orientation < 5 else picture.size[::-1]
    pixels = pixels_of(picture, SIDE)
    frames = _frames(picture)
    return Look(
        hashlib.sha256(data).digest(), len(data), file_format, mode, height, width, orientation, frames, transparent,
        *_seen(pixels),
    )  # fmt: skip


def look_at_pixels(pixels: np.ndarray) -> Look:
    """A look at a picture that has no file: uint8 (height, width, 1 or 3)."""
    digest = hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).digest()
    height, width, channels = pixels.shape
    return Look(digest, 0, "", "L" if channels == 1 else "RGB", height, width, 1, 1, False, *_seen(pixels))


def miniature(picture: Image.Image, side: int) -> Image.Image:
    """A picture squeezed into a square of `side` pixels, each the mean of what it covers."""
    filtered = Image.Resampling.BOX if min(picture.size) >= side else Image.Resampling.BILINEAR
    return picture.resize((side, side), filtered)


def _seen(pixels: np.ndarray) -> tuple[bool, float, np.ndarray, np.ndarray]:
    """colourless, span, miniature and measures."""
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    factor = max(picture.size) / MEASURED_SIDE
    if factor > 1:
        smaller = (max(1, round(picture.width / factor)), max(1, round(picture.height / factor)))
        picture = picture.resize(smaller, Image.Resampling.BOX)
    small = np.asarray(picture).reshape(picture.height, picture.width, -1)
    spread = small.max(2).astype(np.int16) - small.min(2)
    grey = np.asarray(picture.convert("L"))
    span = float(np.subtract(*np.percentile(grey, (99, 1))))
    colourless = bool((spread > ALIKE).mean() < 0.01)
    return colourless, span, np.array(miniature(picture.convert("L"), SIDE)), measures(small)


def _frames(picture: Image.Image) -> int:
    try:
        return int(getattr(picture, "n_frames", 1))
    except Exception:  # a damaged second frame is nobody's loss: the first is used
        return 1

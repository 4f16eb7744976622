"""Pictures as data URIs, small enough for a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from PIL import Image

from residuum.errors import UserError

LARGEST_SIDE = 160
PIXELATED_BELOW = 80
"""Pictures smaller than this many pixels are enlarged with visible pixels: smoothing would invent detail."""


@dataclass(frozen=True)
class Thumbnail:
    """A picture for an `img` element."""

    uri: Markup
    pixelated: bool


def data_uri(content: bytes, media_type: str) -> Markup:
    """Bytes as a `data:` address."""
    return Markup(f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}")


def thumbnail(read: Callable[[int], np.ndarray], index: int) -> Thumbnail | None:
    """The picture `read(index)`, uint8 (H, W, 1 or 3), at most 160 pixels a side; None if unreadable."""
    try:
        pixels = read(index)
    except UserError:
        return None
    return embedded(Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels), LARGEST_SIDE)


def embedded(picture: Image.Image, largest: int) -> Thumbnail:
    """A picture, at most `largest` pixels a side: small ones as PNG, others as JPEG."""
    small = max(picture.size) < PIXELATED_BELOW
    picture = picture.copy()
    picture.thumbnail((largest, largest), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    if small:
        picture.save(file, "PNG", optimize=True)
        return Thumbnail(data_uri(file.getvalue(), "image/png"), pixelated=True)
    picture.save(file, "JPEG", quality=82)
    return Thumbnail(data_uri(file.getvalue(), "image/jpeg"), pixelated=False)

"""Decoding: the bytes of any picture people have become uint8 pixels, in one way for every use.

Training, evaluation and prediction all come through here, so they see the same pixels. The rules:

- the EXIF orientation is applied;
- transparent pixels (palette, LA, PA, RGBA, colour keys) are composited on `BACKGROUND`, which is white;
- CMYK and other colour spaces become RGB;
- 16-bit samples are divided by 257, so 65535 becomes 255; 32-bit integers that fit into 16 bits likewise,
  others and floating point samples are stretched from their own minimum..maximum to 0..255;
- of an animation the first frame is taken;
- a truncated file is refused rather than filled with grey;
- a picture of more than `MAX_PIXELS` (2**27, about 134 million) is refused from its header, before anything
  of its size is allocated.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageFile

from residuum.data import jpeg
from residuum.data.jpeg import WHOLE, Need
from residuum.errors import UserError, one_line

MAX_PIXELS = 128 * 2**20
BACKGROUND = (255, 255, 255)

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".gif", ".bmp", ".dib", ".tif", ".tiff"}
    | {".webp", ".pbm", ".pgm", ".ppm", ".pnm", ".jp2", ".avif"}
)
"""Suffixes of files taken for pictures, in lower case; compare `name.lower()`."""

Image.init()
_FORMATS = tuple(
    name
    for name in ("JPEG", "PNG", "GIF", "BMP", "DIB", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF")
    if name in Image.OPEN
)

_TRANSPOSED = (5, 6, 7, 8)
"""EXIF orientations of pictures that lie on their side."""

_DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    AttributeError,
    OverflowError,
    EOFError,
    RuntimeError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)
"""What Pillow's plugins are known to raise on damaged input."""


class Unreadable(UserError):
    """A file that cannot be decoded; the message is a short reason without the file's name."""


def is_picture_name(name: str) -> bool:
    """Whether a file name has one of `SUFFIXES` (in any case) and is not hidden."""
    stem, dot, suffix = name.rpartition(".")
    return bool(stem) and not name.startswith(".") and (dot + suffix).lower() in SUFFIXES


def decode(source: Path | bytes, channels: int, need: Need = WHOLE) -> np.ndarray:
    """The picture of a file, or of a file's bytes, as uint8 of shape (height, width, channels).

    `channels` is 1 (grey, ITU-R 601 luma) or 3 (RGB); `need` what of it is needed. Raises `Unreadable` with a short
    reason.
    """
    return as_channels(decode_native(source, need), channels)


def decode_native(source: Path | bytes, need: Need = WHOLE) -> np.ndarray:
    """As `decode`, with one channel where the file stores a grey picture and three where it stores
    colours."""
    data = source if isinstance(source, bytes) else bytes_of(source)
    frame = jpeg.frame_of(data)
    if frame is not None and frame.height * frame.width <= MAX_PIXELS:
        pixels = jpeg.decoded(data, frame, need)
        if pixels is not None:
            return upright(pixels, frame.orientation)
    return reduced(pixels_of(opened(data)), need.reduced)


def reduced(pixels: np.ndarray, by: int) -> np.ndarray:
    """uint8 (H, W, 1 or 3) with one pixel, the mean, for each `by` by `by`; sides are rounded up."""
    if by == 1:
        return pixels
    grey = pixels.shape[-1] == 1
    small = np.asarray(Image.fromarray(pixels[..., 0] if grey else pixels).reduce(by))
    return small[..., None] if grey else small


def opened(data: bytes) -> ImageFile.ImageFile:
    """The picture of a file's bytes, of which no more than the header has been read. Raises `Unreadable`."""
    if not data:
        raise Unreadable("empty file")
    with _refusing():
        picture = _open(io.BytesIO(data))
        width, height = picture.size
        if width * height > MAX_PIXELS:
            raise Unreadable(f"{width} x {height} pixels are over the limit of {MAX_PIXELS // 2**20} x 2^20")
        return picture


def pixels_of(picture: ImageFile.ImageFile, side: int | None = None) -> np.ndarray:
    """The pixels of an opened picture: uint8 of shape (height, width, 1 or 3). Raises `Unreadable`.

    With `side`, a JPEG is decoded at 1/2, 1/4 or 1/8 of its size as long as both sides keep `side` pixels, which is
    quicker and finds the same damage: all of the file is still read.
    """
    with _refusing():
        if side is not None:
            picture.draft(None, (side, side))
        picture.load()
        return of_image(picture)


@contextmanager
def _refusing() -> Iterator[None]:
    """Whatever a decoder raises on damaged input becomes `Unreadable`."""
    try:
        yield
    except Unreadable:
        raise
    except _DECODER_ERRORS as error:
        raise Unreadable(_reason(error)) from error


def size_of(path: Path) -> tuple[int, int]:
    """(height, width) of the picture that `decode` makes of a file, from the file's header alone.

    Raises `Unreadable`; what is wrong behind the header stays unseen.
    """
    try:
        stream = path.open("rb")
    except OSError as error:
        raise Unreadable(f"cannot be read: {_os_reason(error)}") from error
    with stream, _refusing():
        picture = _open(stream)
        if picture.format == "TIFF":  # Pillow turns these itself, some versions of it before they are loaded
            height, width = decode_native(path).shape[:2]
            return height, width
        width, height = picture.size
        return (width, height) if orientation_of(picture) in _TRANSPOSED else (height, width)


def of_image(picture: Image.Image) -> np.ndarray:
    """The pixels of a Pillow picture, treated as those of a file: uint8 of shape (height, width, 1 or 3)."""
    return upright(_eight_bits(picture), orientation_of(picture))


def as_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    """Grey or RGB pixels of shape (..., 1 or 3), uint8, with `channels` channels; unchanged if they have
    them."""
    if channels not in (1, 3):
        raise UserError(f"pictures are decoded to 1 or 3 channels, not {channels}")
    if pixels.shape[-1] == channels:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=-1)
    flat = np.ascontiguousarray(pixels).reshape(-1, pixels.shape[-2], 3)
    return np.array(Image.fromarray(flat).convert("L")).reshape(*pixels.shape[:-1], 1)


def bytes_of(path: Path) -> bytes:
    """All of a file. Raises `Unreadable` where it is gone, forbidden, or no regular file."""
    try:
        if not path.is_file():
            path.stat()
            raise Unreadable("not a regular file")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise Unreadable(f"cannot be read: {_os_reason(error)}") from error


def _os_reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or one_line(error)


def _open(stream: BinaryIO) -> ImageFile.ImageFile:
    """Pillow's `Image.open` without its process-wide pixel limit, which is not ours to change or to obey."""
    data = stream.read(512)
    for name in _FORMATS:
        factory, accept = Image.OPEN[name]
        try:
            if accept is not None and accept(data[:16]) is True:
                stream.seek(0)
                return factory(stream, "")
        except (SyntaxError, IndexError, TypeError, struct.error):
            continue
    raise Unreadable(_looks_like(data))


def _looks_like(data: bytes) -> str:
    """What a file is that is not a picture, by its first 512 bytes."""
    head = data.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if data.startswith((b"\xff\xd8", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*")):
        return "truncated or damaged before the pixels begin"
    if b"<svg" in head:
        return "not a picture of pixels: looks like SVG"
    if head.startswith((b"<html", b"<!doctype html", b"<head", b"<body", b"<script")):
        return "not a picture: looks like HTML"
    if head.startswith(b"<"):
        return "not a picture: looks like XML or HTML"
    if data[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1"):
        return "HEIC is not read: convert it to JPEG or PNG"
    for magic, what in ((b"%PDF", "PDF"), (b"PK\x03\x04", "a zip archive"), (b"\x1f\x8b", "a gzip archive")):
        if data.startswith(magic):
            return f"not a picture: looks like {what}"
    return "not a picture in a known format"


def _reason(error: BaseException) -> str:
    text = one_line(error)
    if "truncated" in text.lower() or isinstance(error, EOFError):
        return "truncated"
    if isinstance(error, struct.error):
        return "truncated or damaged"
    if isinstance(error, MemoryError):
        return "not enough memory to decode it"
    return f"damaged: {text}" if text else f"damaged ({type(error).__name__})"


def _eight_bits(picture: Image.Image) -> np.ndarray:
    """Pixels as stored, uint8 (height, width, 1 or 3)."""
    mode = picture.mode
    if mode == "F" or mode.startswith("I"):
        return _scaled(np.asarray(picture))[..., None]
    transparent = mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in picture.info
    grey = mode in ("1", "L", "LA", "La")
    if transparent:
        picture = _composited(picture)
    elif mode == "P" or not grey:
        picture = picture if mode == "RGB" else picture.convert("RGB")
    if grey:
        return np.asarray(picture.convert("L"))[..., None]
    pixels = np.asarray(picture)
    if mode in ("P", "PA") and (pixels == pixels[..., :1]).all():
        return pixels[..., :1]
    return pixels


def _composited(picture: Image.Image) -> Image.Image:
    picture = picture.convert("RGBA")
    background = Image.new("RGBA", picture.size, (*BACKGROUND, 255))
    return Image.alpha_composite(background, picture).convert("RGB")


def _scaled(samples: np.ndarray) -> np.ndarray:
    """Samples of more than eight bits, (height, width), scaled to uint8."""
    if samples.dtype.kind == "f":
        samples = np.nan_to_num(samples.astype(np.float64), posinf=0.0, neginf=0.0)
    low, high = samples.min(), samples.max()
    if samples.dtype.kind != "f" and low >= 0 and high <= 65535:
        # (v + 128) // 257 rounds v / 257 to the nearest integer.
        return ((samples.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if high == low:
        return np.zeros(samples.shape, np.uint8)
    return np.rint((samples.astype(np.float64) - low) * (255.0 / (float(high) - float(low)))).astype(np.uint8)


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """`pixels` turned as the EXIF orientation, 1 to 8, says."""
    if orientation in _TRANSPOSED:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def orientation_of(picture: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; unreadable EXIF data mean 1, upright."""
    try:
        return picture.getexif().get(ExifTags.Base.Orientation, 1)
    except _DECODER_ERRORS:
        return 1

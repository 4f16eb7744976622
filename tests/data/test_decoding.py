"""Decoding is right for what people have, and refuses the rest with a reason."""

from __future__ import annotations

import io
import struct
import tracemalloc
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from residuum.data.decoding import MAX_PIXELS, Unreadable, as_channels, decode, decode_native, is_picture_name, size_of
from residuum.errors import UserError

Noise = Callable[..., np.ndarray]


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def decoded_or_reason(data: bytes) -> np.ndarray | str:
    try:
        return decode(data, 3)
    except Unreadable as error:
        return str(error)


def png_header(width: int, height: int, body: bytes = b"") -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "PPM"])
@pytest.mark.parametrize("channels", [1, 3])
def test_lossless_forms_give_their_pixels(form: str, channels: int, noise: Noise) -> None:
    pixels = noise(7, 5, channels)
    got = decode(encoded(Image.fromarray(pixels), form), channels)
    np.testing.assert_array_equal(got, pixels.reshape(7, 5, channels))
    assert got.dtype == np.uint8


def test_grey_is_known_from_the_file_and_equals_its_colour_version(noise: Noise) -> None:
    grey = encoded(Image.fromarray(noise(6, 6, 1)), "PNG")
    colour = encoded(Image.fromarray(noise(6, 6, 3)), "PNG")
    assert decode_native(grey).shape == (6, 6, 1)
    assert decode_native(colour).shape == (6, 6, 3)
    np.testing.assert_array_equal(decode(grey, 3), np.repeat(decode(grey, 1), 3, axis=2))
    luma = np.asarray(Image.open(io.BytesIO(colour)).convert("L"))
    np.testing.assert_array_equal(decode(colour, 1)[..., 0], luma)
    np.testing.assert_array_equal(as_channels(decode(grey, 3), 1), decode(grey, 1))


def test_channels_other_than_one_and_three_are_refused(noise: Noise) -> None:
    with pytest.raises(UserError, match="1 or 3 channels, not 4"):
        decode(encoded(Image.fromarray(noise()), "PNG"), 4)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_exif_orientation_is_applied(orientation: int, form: str) -> None:
    quarters = np.zeros((16, 32, 3), np.uint8)
    quarters[:8, :16], quarters[:8, 16:], quarters[8:, :16] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    turn = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),  # the camera was turned: undone by a clockwise turn
        7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 95, "subsampling": 0} if form == "JPEG" else {"lossless": True} if form == "WEBP" else {}
    stored = Image.fromarray(np.ascontiguousarray(turn(quarters)))
    got = decode(encoded(stored, form, exif=exif, **options), 3)
    assert got.shape == quarters.shape
    assert np.abs(got.astype(int) - quarters).mean() < 3


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "WEBP", "GIF", "BMP", "PPM"])
def test_the_header_tells_the_size_of_the_decoded_picture(
    orientation: int, form: str, noise: Noise, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = tmp_path / "picture"
    file.write_bytes(encoded(Image.fromarray(noise(7, 5)), form, exif=exif))
    assert size_of(file) == decode(file, 3).shape[:2]
    for content, reason in (
        (b"", "not a picture"),
        (b"<html>", "HTML"),
        (file.read_bytes()[:6], "truncated|damaged|not a"),
    ):
        file.write_bytes(content)
        with pytest.raises(Unreadable, match=reason):
            size_of(file)
    with pytest.raises(Unreadable, match="cannot be read: No such file"):
        size_of(tmp_path / "missing.png")


def test_damaged_exif_means_no_orientation(noise: Noise) -> None:
    image = Image.fromarray(noise(8, 16))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        got = decode(encoded(image, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f"), 3)
    assert got.shape == (8, 16, 3)


def test_cmyk_becomes_rgb() -> None:
    image = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    for data in (encoded(image, "JPEG", quality=100), encoded(image, "TIFF")):
        got = decode(data, 3)
        assert (got[..., 0] > 245).all()
        assert (got[..., 1:] < 10).all()


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_transparency_is_composited_on_white(mode: str) -> None:
    black = (0,) * (len(mode) - 1)
    image = Image.new(mode, (3, 1))
    for x, alpha in enumerate((0, 128, 255)):
        image.putpixel((x, 0), (*black, alpha))
    got = decode(encoded(image, "PNG"), 3)
    assert got[0, :, 0].tolist() == [255, 127, 0]
    assert decode_native(encoded(image, "PNG")).shape[-1] == (1 if mode == "LA" else 3)


def test_palettes_with_and_without_transparency() -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.putdata([0, 1, 2])
    plain = decode(encoded(image, "PNG"), 3)
    assert plain[0].tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
    for form, transparency in (("PNG", 1), ("GIF", 1), ("PNG", bytes([255, 0, 255]))):
        got = decode(encoded(image, form, transparency=transparency), 3)
        assert got[0].tolist() == [[255, 0, 0], [255, 255, 255], [0, 0, 255]]
    pa = Image.new("PA", (1, 1))
    assert pa.mode == "PA"


def test_palette_of_greys_is_grey(noise: Noise) -> None:
    grey = Image.fromarray(noise(8, 8, 1))
    data = encoded(grey, "GIF")
    np.testing.assert_array_equal(decode_native(data), np.asarray(grey)[..., None])


def test_colour_key_of_rgb_and_grey_png() -> None:
    rgb = Image.new("RGB", (2, 1), (10, 20, 30))
    rgb.putpixel((1, 0), (1, 2, 3))
    got = decode(encoded(rgb, "PNG", transparency=(10, 20, 30)), 3)
    assert got[0].tolist() == [[255, 255, 255], [1, 2, 3]]
    grey = Image.new("L", (2, 1), 7)
    grey.putpixel((1, 0), 9)
    assert decode(encoded(grey, "PNG", transparency=7), 1)[0, :, 0].tolist() == [255, 9]


@pytest.mark.parametrize("form", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_are_scaled_not_saturated(form: str) -> None:
    values = np.array([[0, 128, 257, 300, 32768, 65535]], np.uint16)
    got = decode(encoded(Image.fromarray(values), form), 1)
    assert got[0, :, 0].tolist() == [0, 0, 1, 1, 128, 255]


def test_sixteen_bit_rgb_png() -> None:
    row = b"\0" + struct.pack(">6H", 65535, 32768, 0, 257, 514, 65535)
    data = bytearray(png_header(2, 1, zlib.compress(row)))
    data[24] = 16  # bit depth
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    assert decode(bytes(data), 3)[0].tolist() == [[255, 128, 0], [1, 2, 255]]


def test_wide_integers_and_floats_are_stretched() -> None:
    wide = Image.fromarray(np.array([[-100, 0, 10**6]], np.int32))
    assert decode(encoded(wide, "TIFF"), 1)[0, :, 0].tolist() == [0, 0, 255]
    narrow = Image.fromarray(np.array([[0, 257, 65535]], np.int32))
    assert decode(encoded(narrow, "TIFF"), 1)[0, :, 0].tolist() == [0, 1, 255]
    floats = Image.fromarray(np.array([[-1.0, 0.0, 1.0, np.nan]], np.float32))
    assert decode(encoded(floats, "TIFF"), 1)[0, :, 0].tolist() == [0, 128, 255, 128]
    flat = Image.fromarray(np.full((2, 2), 0.5, np.float32))
    assert decode(encoded(flat, "TIFF"), 1).max() == 0


def test_one_bit_pictures() -> None:
    bits = np.array([[True, False]])
    assert decode(encoded(Image.fromarray(bits), "PNG"), 1)[0, :, 0].tolist() == [255, 0]


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF"])
def test_first_frame_of_animations(form: str) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    lossless = {"lossless": True} if form == "WEBP" else {}
    data = encoded(frames[0], form, save_all=True, append_images=frames[1:], **lossless)
    assert decode(data, 3)[0, 0].tolist() == [255, 0, 0]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM"]), st.floats(0.001, 0.999))
def test_truncated_files_are_refused_or_complete(form: str, share: float) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(pixels), form)
    whole = decode(data, 3)
    got = decoded_or_reason(data[: int(len(data) * share)])
    if isinstance(got, str):
        assert got
        assert "\n" not in got
    else:
        np.testing.assert_array_equal(got, whole)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM"]), st.data())
def test_damaged_files_never_raise_anything_else(form: str, data: st.DataObject) -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    raw = bytearray(encoded(Image.fromarray(pixels), form))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        got = decoded_or_reason(bytes(raw))
    assert got if isinstance(got, str) else got.shape[-1] == 3


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(Unreadable):
        decode(data, 3)


def test_half_a_jpeg_says_truncated(noise: Noise) -> None:
    data = encoded(Image.fromarray(noise(64, 64)), "JPEG")
    with pytest.raises(Unreadable, match=r"^truncated$"):
        decode(data[: len(data) // 2], 3)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"<html><body>404</body></html>", "looks like HTML"),
        (b"\xef\xbb\xbf \n<!DOCTYPE html><p>", "looks like HTML"),
        (b"<?xml version='1.0'?><svg xmlns='x'/>", "looks like SVG"),
        (b"%PDF-1.7 ...", "looks like PDF"),
        (b"\x89PNG\r\n", "truncated"),
        (b"\xff\xd8", "truncated"),
        (b"hello", "not a picture"),
    ],
)
def test_reasons(data: bytes, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        decode(data, 3)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="No such file"):
        decode(tmp_path / "missing.png", 3)
    with pytest.raises(Unreadable, match="not a regular file"):
        decode(tmp_path, 3)


def test_a_huge_picture_is_refused_from_its_header(tmp_path: Path) -> None:
    file = tmp_path / "huge.png"
    file.write_bytes(png_header(13300, 13300, zlib.compress(bytes(3 * 13300 + 1))))
    tracemalloc.start()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(Unreadable, match="13300 x 13300 pixels are over the limit"):
            decode(file, 3)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20


def test_pillows_own_pixel_limit_neither_trips_nor_changes(monkeypatch: pytest.MonkeyPatch, noise: Noise) -> None:
    assert MAX_PIXELS > 90e6
    data = encoded(Image.fromarray(noise(64, 64)), "JPEG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode(data, 3).shape == (64, 64, 3)
    assert Image.MAX_IMAGE_PIXELS == 100


def test_one_pixel_and_one_row(noise: Noise) -> None:
    assert decode(encoded(Image.fromarray(noise(1, 1)), "PNG"), 3).shape == (1, 1, 3)
    assert decode(encoded(Image.fromarray(noise(1, 20000)), "PNG"), 3).shape == (1, 20000, 3)


@pytest.mark.parametrize(
    ("name", "picture"),
    [("a.JPG", True), ("a.b.png", True), (".a.png", False), ("._a.jpg", False), ("jpg", False), ("a.txt", False)],
)
def test_picture_names(name: str, picture: bool) -> None:
    assert is_picture_name(name) is picture


@pytest.mark.realdata
def test_real_photos_equal_pillows_own_reading(realdata: Path) -> None:
    files = sorted((realdata / "imagenet_sample").glob("*.JPEG"))[:10]
    assert files
    for file in files:
        with Image.open(file) as image:
            np.testing.assert_array_equal(decode(file, 3), np.asarray(image.convert("RGB")))


@pytest.mark.realdata
def test_the_palette_gif_decodes(realdata: Path) -> None:
    got = decode(realdata / "hymenoptera" / "train" / "ants" / "imageNotFound.gif", 3)
    assert got.shape == (300, 300, 3)
    assert got.std() > 5

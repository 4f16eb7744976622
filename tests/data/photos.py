"""Real photos and what people do to copies of them."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageEnhance, ImageOps


def photos(realdata: Path) -> dict[str, list[Path]]:
    """The photos by set: ants and bees, ImageNet's, microscope fields, raccoons."""
    folders = {
        "hymenoptera": "hymenoptera/train",
        "imagenet": "imagenet_sample",
        "bccd": "bccd/JPEGImages",
        "raccoon": "raccoon/images",
    }
    found = {
        name: sorted(p for p in (realdata / folder).rglob("*") if p.suffix.lower() in (".jpg", ".jpeg"))
        for name, folder in folders.items()
    }
    return {name: files for name, files in found.items() if files}


def upright(path: Path) -> Image.Image:
    return ImageOps.exif_transpose(Image.open(path)).convert("RGB")


def cropped(picture: Image.Image, share: float) -> Image.Image:
    """Without `share` of the picture on each side."""
    width, height = picture.size
    return picture.crop(
        (round(width * share), round(height * share), round(width * (1 - share)), round(height * (1 - share)))
    )


def recompressed(picture: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


ALTERATIONS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "resized": lambda p: p.resize((p.width // 2, p.height // 2), Image.Resampling.LANCZOS),
    "recompressed": lambda p: recompressed(p, 60),
    "mirrored": ImageOps.mirror,
    "cropped": lambda p: cropped(p, 0.05),
    "one side cropped": lambda p: p.crop((0, 0, round(p.width * 0.95), p.height)),
    "lighter": lambda p: ImageEnhance.Brightness(p).enhance(1.3),
    "darker": lambda p: ImageEnhance.Brightness(p).enhance(0.7),
    "turned by 90": lambda p: p.transpose(Image.Transpose.ROTATE_90),
    "turned by 180": lambda p: p.transpose(Image.Transpose.ROTATE_180),
    "turned by 270": lambda p: p.transpose(Image.Transpose.ROTATE_270),
    "upside down": ImageOps.flip,
    "turned, cropped, recompressed": lambda p: recompressed(cropped(p.transpose(Image.Transpose.ROTATE_90), 0.05), 60),
    "mirrored, cropped, recompressed": lambda p: recompressed(cropped(ImageOps.mirror(p), 0.05), 60),
}

"""Preprocessing: what a network is fed - size, channels, mean and standard deviation - and the view of a
picture.

The evaluation view is the field's usual one: the shorter side is resized, then the centre is cropped, with
the integer rounding of torchvision's Resize and CenterCrop, so that published weights see the pixels they
were judged on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from PIL import Image

from residuum.data.decoding import as_channels
from residuum.errors import UserError, nearest, shown

_LARGEST_RESIZED = 2**24
"""Pixels of a resized picture above which only the part that is kept is computed."""


@dataclass(frozen=True)
class Preprocessing:
    """How a picture becomes the network's input.

    `size` is (height, width) fed to the network; `resize` is what the shorter side becomes before the centre
    crop; `mean` and `std` are per channel on the 0..1 scale. With `per_pixel` a mean picture takes the place
    of `mean` (the paper's per-pixel mean). Raises UserError where the fields contradict each other.
    """

    size: tuple[int, int]
    resize: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    per_pixel: bool = False

    def __post_init__(self) -> None:
        problems = []
        if len(self.size) != 2 or any(not isinstance(n, int) or n < 1 for n in self.size):
            problems.append(f"size must be two positive integers (height, width), not {self.size}")
        elif not isinstance(self.resize, int) or self.resize < max(self.size):
            problems.append(
                f"resize {self.resize} must be an integer of at least the crop's larger side {max(self.size)}"
            )
        if self.channels not in (1, 3):
            problems.append(f"channels must be 1 or 3, not {self.channels}")
        for name in ("mean", "std"):
            values = getattr(self, name)
            if len(values) != self.channels or not all(math.isfinite(v) for v in values):
                problems.append(f"{name} must be {self.channels} finite numbers, not {values}")
        if any(not v > 0 for v in self.std):
            problems.append(f"std must be positive, not {self.std}")
        if problems:
            raise UserError("preprocessing: " + "; ".join(problems))

    def to_dict(self) -> dict[str, Any]:
        """A dictionary of plain JSON values; `from_dict` inverts it."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preprocessing:
        """Inverts `to_dict`. Unknown and missing keys are UserErrors."""
        names = [field.name for field in fields(cls)]
        for key in values:
            if key not in names:
                raise UserError(f"preprocessing has an unknown key {shown(key)}; {nearest(str(key), names)}")
        missing = [name for name in names if name not in values and name != "per_pixel"]
        if missing:
            raise UserError(f"preprocessing lacks {', '.join(missing)}")
        try:
            height, width = values["size"]
            return cls(
                size=(int(height), int(width)),
                resize=int(values["resize"]),
                channels=int(values["channels"]),
                mean=tuple(float(v) for v in values["mean"]),
                std=tuple(float(v) for v in values["std"]),
                per_pixel=bool(values.get("per_pixel", False)),
            )
        except (TypeError, ValueError) as error:
            raise UserError(f"preprocessing has a value of the wrong kind: {error}") from error


def view(picture: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """The deterministic evaluation view of a uint8 (H, W, 1 or 3) picture: uint8 of shape (*size, channels).

    Equals torchvision's Resize(resize, antialiased bilinear on PIL pictures) and CenterCrop(size); where
    the resized picture would have more than 2**24 pixels, to within two grey levels (Pillow's boxes are float32). One
    deviation: where the resize leaves no margin (resize == max(size)), a picture that already has the crop's
    size passes unchanged, also when it is not square.
    """
    return resized_crop(as_channels(picture, preprocessing.channels), preprocessing.resize, preprocessing.size)


def resized_crop(picture: np.ndarray, resize: int, size: tuple[int, int]) -> np.ndarray:
    """`view` without the change of channels."""
    height, width = picture.shape[:2]
    if (height, width) == size and resize == max(size):
        return picture
    new_height, new_width = resized(height, width, resize)
    center = round((new_height - size[0]) / 2.0), round((new_width - size[1]) / 2.0)
    return windows(picture, (new_height, new_width), [center], size)[0]


def windows(
    picture: np.ndarray, whole: tuple[int, int], corners: Sequence[tuple[int, int]], size: tuple[int, int]
) -> list[np.ndarray]:
    """The windows of `size` whose upper left corners (row, column) these are in the picture resized to `whole`."""
    height, width = picture.shape[:2]
    if whole[0] * whole[1] <= _LARGEST_RESIZED:
        if whole != (height, width):
            picture = resample(picture, whole)
        return [np.ascontiguousarray(picture[top : top + size[0], left : left + size[1]]) for top, left in corners]
    # A strip of 1 x 20,000 pixels would become 256 x 5,120,000: only what is kept of it is computed.
    found = []
    for top, left in corners:
        y, y_box = _needed(height, whole[0], top, size[0])
        x, x_box = _needed(width, whole[1], left, size[1])
        box = (x_box[0], y_box[0], x_box[1], y_box[1])
        found.append(resample(np.ascontiguousarray(picture[y, x]), size, box))
    return found


def _needed(length: int, new_length: int, start: int, count: int) -> tuple[slice, tuple[float, float]]:
    """Along one side: the pixels that `count` resized ones from `start` on depend on, and the box these cover there."""
    scale = length / new_length
    low, high = start * scale, (start + count) * scale
    reach = max(scale, 1.0) + 1
    first, last = max(int(low - reach), 0), min(math.ceil(high + reach), length)
    return slice(first, last), (low - first, min(high - first, last - first))


def resized(height: int, width: int, shorter: int) -> tuple[int, int]:
    """(height, width) once the shorter side is `shorter`; the longer one is rounded down, as torchvision
    does."""
    if width <= height:
        return int(shorter * height / width), shorter
    return shorter, int(shorter * width / height)


def resample(
    picture: np.ndarray, size: tuple[int, int], box: tuple[float, float, float, float] | None = None
) -> np.ndarray:
    """Antialiased bilinear resizing of a uint8 (H, W, 1 or 3) picture, or of its `box` (left, top, right,
    bottom)."""
    grey = picture.shape[-1] == 1
    image = Image.fromarray(picture[..., 0] if grey else picture)
    out = np.asarray(image.resize((size[1], size[0]), Image.Resampling.BILINEAR, box=box))
    return out[..., None] if grey else out

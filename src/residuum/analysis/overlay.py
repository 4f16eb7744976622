"""Maps drawn on pictures: warm colours where there is evidence, dimmed what the network never saw."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from residuum.analysis.geometry import on_picture, seen
from residuum.data.decoding import as_channels
from residuum.data.preprocessing import Preprocessing

SMALLEST, LARGEST = 256, 768
"""Pixels of the longer side between which pictures are drawn; smaller ones are enlarged with visible pixels."""

HEAT = np.array([[0.0, 120, 28, 109], [0.4, 206, 58, 76], [0.75, 250, 141, 30], [1.0, 255, 236, 110]])
"""Rising heat (first column) as red, green and blue: lightness rises too, so that it reads without colours."""
OPACITY = 0.85
"""Of the hottest place; the coldest shows the picture alone."""
COLOUR_KEPT = 0.3
"""How far the picture below the map is from grey: its own colours must not be taken for heat."""
DIMMED = 0.3
"""The brightness left of what the network never saw."""
FRAME = (150, 150, 150)
"""The line around what it saw."""


def overlay(picture: np.ndarray, heat: np.ndarray, preprocessing: Preprocessing) -> Image.Image:
    """A map drawn on the picture it explains, at a size to be looked at (`at_viewing_size`).

    `picture` is uint8 (H, W, 1 or 3) as it was given, `heat` float (h, w) in 0..1 over the network's view of it, as the
    functions of `saliency` give it; `preprocessing` is the model's, and says which part of the picture the view is.
    """
    height, width = picture.shape[:2]
    below = at_viewing_size(picture)
    size = below.shape[0], below.shape[1]
    box = seen(height, width, preprocessing).scaled(size[0] / height, size[1] / width)
    drawn = Image.fromarray(painted(below, on_picture(heat, box, size)))
    frame = round(box.left) - 1, round(box.top) - 1, round(box.right), round(box.bottom)
    ImageDraw.Draw(drawn).rectangle(frame, outline=FRAME)
    return drawn


def painted(picture: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Heat (H, W), NaN where the network never looked, on an RGB picture (H, W, 3) of its size: uint8 (H, W, 3)."""
    grey = as_channels(picture, 1).astype(np.float32)
    below = grey + COLOUR_KEPT * (picture - grey)
    strength = np.nan_to_num(heat)
    paint = np.stack([np.interp(strength, HEAT[:, 0], HEAT[:, channel]) for channel in (1, 2, 3)], axis=-1)
    mixed = below + OPACITY * strength[..., None] * (paint - below)
    mixed = np.where(np.isnan(heat)[..., None], DIMMED * below, mixed)
    return np.rint(mixed).clip(0, 255).astype(np.uint8)


def at_viewing_size(picture: np.ndarray) -> np.ndarray:
    """The picture with a longer side of 256 to 768 pixels, if it has not; uint8 (H, W, 3)."""
    colours = as_channels(picture, 3)
    longer = max(colours.shape[:2])
    if longer < SMALLEST:
        times = -(-SMALLEST // longer)
        return colours.repeat(times, 0).repeat(times, 1)
    if longer <= LARGEST:
        return colours
    height, width = (max(round(side * LARGEST / longer), 1) for side in colours.shape[:2])
    image = Image.fromarray(np.ascontiguousarray(colours))
    return np.array(image.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0))

"""Whole batches of pictures on tensors: normalisation, padding, random crop, mirror, colour and resizing.

Batches are (B, H, W, C) in memory here, which is what torch calls channels_last once the axes are named (B,
C, H, W).
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from residuum.data.preprocessing import Preprocessing
from residuum.errors import UserError

_IN_CACHE = 2**18
"""Values that are normalised together: what is read twice should not have to come from main memory twice."""


class Normaliser:
    """(x / 255 - mean) / std on uint8 (B, H, W, C), with the mean picture instead of the mean where asked
    for."""

    def __init__(self, preprocessing: Preprocessing, mean_picture: np.ndarray | None) -> None:
        if preprocessing.per_pixel != (mean_picture is not None):
            needs = "needs a mean picture" if preprocessing.per_pixel else "takes no mean picture"
            raise UserError(f"this preprocessing {needs} (per_pixel is {preprocessing.per_pixel})")
        expected = (preprocessing.channels, *preprocessing.size)
        if mean_picture is not None and mean_picture.shape != expected:
            raise UserError(f"the mean picture has shape {mean_picture.shape}, and the input {expected}")
        self._std = torch.tensor(preprocessing.std, dtype=torch.float32)
        if mean_picture is None:
            self._mean = torch.tensor(preprocessing.mean, dtype=torch.float32)[:, None, None].expand(expected)
        else:
            self._mean = torch.from_numpy(np.ascontiguousarray(mean_picture, dtype=np.float32))
        self.level = mean_picture is None
        """Whether all places of a picture are treated alike, so that it may be mirrored before as well as after."""
        self._rows: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}

    def __call__(self, pixels: np.ndarray) -> Tensor:
        """float32 (B, H, W, C)."""
        batch, height, width, _ = pixels.shape
        scale, offset = self._row(height, width)
        flat = torch.from_numpy(np.ascontiguousarray(pixels)).view(batch, -1)
        out = torch.empty(flat.shape, dtype=torch.float32)
        together = max(1, _IN_CACHE // flat.shape[1])
        for start in range(0, batch, together):
            part = slice(start, start + together)
            out[part].copy_(flat[part]).mul_(scale).add_(offset)
        return out.view(pixels.shape)

    def _row(self, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Scale and offset of one whole picture laid out in a row: one multiplication and one addition per
        value."""
        if (height, width) not in self._rows:
            mean = self._mean
            if mean.shape[1:] != (height, width):
                mean = shrink(mean[None], (height, width))[0]
            std = self._std[:, None, None].expand_as(mean)
            row = [t.permute(1, 2, 0).reshape(-1).contiguous() for t in (1 / (255 * std), -mean / std)]
            self._rows[height, width] = (row[0], row[1])
        return self._rows[height, width]


def shrink(batch: Tensor, size: tuple[int, int]) -> Tensor:
    """Antialiased bilinear resizing of float (B, C, H, W)."""
    return F.interpolate(batch, size=size, mode="bilinear", antialias=True, align_corners=False)


def add_colour(batch: Tensor, shift: np.ndarray) -> Tensor:
    """Adds a shift (B, C), already divided by the standard deviation, to each pixel of (B, H, W, C), in
    place."""
    return batch.add_(torch.from_numpy(shift.astype(np.float32))[:, None, None, :])


def mirror(pixels: np.ndarray, mirrored: np.ndarray) -> None:
    """Mirrors those of uint8 (B, H, W, C) that `mirrored`, bool (B,), names, in place; torch has a kernel for bytes."""
    for index in np.flatnonzero(mirrored):
        picture = torch.from_numpy(pixels[index])
        picture.copy_(picture.flip(1))


def crop_and_mirror(
    batch: Tensor, padding: int, reflect: bool, offsets: np.ndarray | None, mirrored: np.ndarray | None
) -> Tensor:
    """Pads (B, H, W, C) by `padding` pixels, takes the (H, W) window at `offsets` and mirrors.

    `offsets` is int64 (B, 2), row and column in 0..2 * padding, or None for no crop; `mirrored` bool (B,) or
    None.
    """
    count, height, width, channels = batch.shape
    if offsets is not None and padding:
        if reflect:
            rows = _reflected(height, padding)
            columns = _reflected(width, padding)
            padded = batch.index_select(1, rows).index_select(2, columns)
        else:
            padded = F.pad(batch, (0, 0, padding, padding, padding, padding))
        # Every window of a row is contiguous, so one gather of whole rows crops all pictures.
        windows = padded.view(count, height + 2 * padding, -1).unfold(2, width * channels, channels)
        at = torch.from_numpy(offsets)
        picture = torch.arange(count)[:, None]
        row = at[:, :1] + torch.arange(height)
        batch = windows[picture, row, at[:, 1:]].view(count, height, width, channels)
    if mirrored is not None and mirrored.any():
        which = torch.from_numpy(np.flatnonzero(mirrored))
        batch[which] = batch[which].flip(2)
    return batch


def _reflected(length: int, padding: int) -> Tensor:
    position = torch.arange(-padding, length + padding).abs()
    return torch.minimum(position, 2 * (length - 1) - position)

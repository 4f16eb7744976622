"""Random erasing, mixup and CutMix on whole batches; every random number is given."""

from __future__ import annotations

import numpy as np
import torch
from scipy.special import betaincinv
from torch import Tensor

ERASED = (0.02, 1 / 3)
"""The share of a picture that is erased (Zhong et al. 2017, section 3.2), and the aspect ratio of the rectangle."""
ASPECT = (0.3, 1 / 0.3)


def erase(inputs: Tensor, share: float, chances: np.ndarray) -> Tensor:
    """A rectangle of `share` of the pictures becomes 0, the mean of normalised input.

    `inputs` (B, C, H, W); `chances` (B, 5) in 0..1: whether, area, aspect, row, column.
    """
    height, width = inputs.shape[2:]
    area = (ERASED[0] + (ERASED[1] - ERASED[0]) * chances[:, 1]) * height * width
    aspect = np.exp(np.log(ASPECT[0]) + (np.log(ASPECT[1]) - np.log(ASPECT[0])) * chances[:, 2])
    tall = np.clip(np.rint(np.sqrt(area * aspect)), 1, height)
    wide = np.clip(np.rint(np.sqrt(area / aspect)), 1, width)
    top = np.floor(chances[:, 3] * (height - tall + 1))
    left = np.floor(chances[:, 4] * (width - wide + 1))
    inside = _rectangles(height, width, top, left, top + tall, left + wide)
    inside &= torch.from_numpy(chances[:, 0] < share)[:, None, None]
    return inputs.masked_fill(inside[:, None], 0.0)


def mix(inputs: Tensor, mixup: float, cutmix: float, chances: np.ndarray) -> tuple[Tensor, Tensor]:
    """Each picture with the one after it, and its share in the result: (B, C, H, W) and float32 (B,).

    `inputs` (B + 1, C, H, W), the last of which is only mixed into the one before it; `mixup` and `cutmix` are Beta's
    alpha, 0 being off; with both, `chances[:, 0]` says which.
    `chances` (B, 4) in 0..1: which, share, row and column of the patch's middle.
    """
    patch = chances[:, 0] < 0.5 if mixup and cutmix else np.full(len(chances), cutmix > 0)
    alpha = np.where(patch, cutmix or 1.0, mixup or 1.0)
    shares = betaincinv(alpha, alpha, chances[:, 1])
    inputs, others = inputs[:-1], inputs[1:]
    height, width = inputs.shape[2:]
    # the patch has the other's share of the area; what falls off the picture is its own again (Yun et al. 2019, eq. 2)
    side = np.sqrt(1 - shares)
    middle, half = chances[:, 2:4] * (height, width), side[:, None] * (height / 2, width / 2)
    low = np.clip(np.rint(middle - half), 0, (height, width))
    high = np.clip(np.rint(middle + half), 0, (height, width))
    inside = _rectangles(height, width, low[:, 0], low[:, 1], high[:, 0], high[:, 1])
    inside &= torch.from_numpy(patch)[:, None, None]
    own = 1 - inside.float().mean((1, 2))
    kept = torch.where(torch.from_numpy(patch), own, torch.from_numpy(shares.astype(np.float32)))
    weights = torch.where(torch.from_numpy(patch)[:, None, None], 1 - inside.float(), kept[:, None, None])
    mixed = others.lerp(inputs, weights[:, None])
    return mixed.contiguous(memory_format=torch.channels_last), kept


def _rectangles(
    height: int, width: int, top: np.ndarray, left: np.ndarray, bottom: np.ndarray, right: np.ndarray
) -> Tensor:
    """bool (B, H, W): the pixels of one rectangle in each picture, the ends excluded."""
    rows, columns = np.arange(height), np.arange(width)
    vertical = (rows >= top[:, None]) & (rows < bottom[:, None])
    horizontal = (columns >= left[:, None]) & (columns < right[:, None])
    return torch.from_numpy(vertical[:, :, None] & horizontal[:, None, :])

"""RandAugment (Cubuk et al. 2019, arXiv 1909.13719): operations drawn for each picture, on uint8 batches.

The fourteen operations of the paper; strength m of 10 means what AutoAugment's tables mean by it. Each random number
is given, and an operation is carried out on all its pictures at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

FILL = 0.5
"""What comes in from outside of a picture that is turned or moved: middle grey."""


def rand_augment(pixels: np.ndarray, count: int, strength: float, chances: np.ndarray) -> np.ndarray:
    """`count` operations of `strength` (0..10), one after the other, on each of uint8 (B, H, W, C).

    `chances` (B, 2 * n) in 0..1, two numbers for each operation: which, and its sign.
    """
    batch = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float() / 255
    names = list(OPERATIONS)
    for turn in range(count):
        chosen = np.floor(chances[:, 2 * turn] * len(names)).astype(np.int64)
        signs = torch.from_numpy(np.where(chances[:, 2 * turn + 1] < 0.5, -1.0, 1.0).astype(np.float32))
        for place, name in enumerate(names):
            rows = torch.from_numpy(np.flatnonzero(chosen == place))
            if len(rows):
                batch[rows] = OPERATIONS[name](batch[rows], strength / 10, signs[rows]).clamp(0, 1)
    return (batch * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def _identity(x: Tensor, m: float, sign: Tensor) -> Tensor:
    return x


def _autocontrast(x: Tensor, m: float, sign: Tensor) -> Tensor:
    low, high = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    return torch.where(high > low, (x - low) / (high - low).clamp(min=1e-6), x)


def _equalize(x: Tensor, m: float, sign: Tensor) -> Tensor:
    """Each channel's levels spread so that they are equally frequent."""
    flat = (x * 255).round().long().flatten(2)
    counts = torch.zeros(*flat.shape[:2], 256).scatter_add_(2, flat, torch.ones(flat.shape))
    cumulated = counts.cumsum(2)
    total = flat.shape[2]
    first = cumulated.gather(2, (counts > 0).float().argmax(2, keepdim=True))  # pixels of the darkest level
    table = (cumulated - first) / (total - first).clamp(min=1)
    return torch.where(total > first, table.gather(2, flat), x.flatten(2)).view_as(x)


def _solarize(x: Tensor, m: float, sign: Tensor) -> Tensor:
    return torch.where(x >= 1 - m, 1 - x, x)


def _posterize(x: Tensor, m: float, sign: Tensor) -> Tensor:
    levels = 2 ** (8 - round(4 * m))
    return torch.floor(x * 255 / (256 / levels)) * (256 / levels) / 255


def _blend(x: Tensor, other: Tensor, m: float, sign: Tensor) -> Tensor:
    """x * f + other * (1 - f) with f = 1 +- 0.9 m: towards the other picture, or away from it."""
    factor = (1 + 0.9 * m * sign)[:, None, None, None]
    return other + (x - other) * factor


def _grey(x: Tensor) -> Tensor:
    if x.shape[1] == 1:
        return x
    return (x * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True).expand_as(x)


def _colour(x: Tensor, m: float, sign: Tensor) -> Tensor:
    return _blend(x, _grey(x), m, sign)


def _contrast(x: Tensor, m: float, sign: Tensor) -> Tensor:
    return _blend(x, _grey(x).mean((1, 2, 3), keepdim=True).expand_as(x), m, sign)


def _brightness(x: Tensor, m: float, sign: Tensor) -> Tensor:
    return _blend(x, torch.zeros_like(x), m, sign)


def _sharpness(x: Tensor, m: float, sign: Tensor) -> Tensor:
    kernel = torch.ones(3, 3)
    kernel[1, 1] = 5
    smooth = F.conv2d(
        F.pad(x, (1, 1, 1, 1), mode="replicate"), (kernel / 13).expand(x.shape[1], 1, 3, 3), groups=x.shape[1]
    )
    return _blend(x, smooth, m, sign)


def _moved(x: Tensor, matrix: Tensor) -> Tensor:
    """x through affine maps (N, 2, 3) of the output's coordinates (-1..1) to the input's."""
    grid = F.affine_grid(matrix, list(x.shape), align_corners=False)
    return F.grid_sample(x - FILL, grid, mode="bilinear", padding_mode="zeros", align_corners=False) + FILL


def _matrices(sign: Tensor, values: tuple[Callable[[Tensor], Tensor | float], ...]) -> Tensor:
    """(N, 2, 3), each entry a function of the sign."""
    return torch.stack([value(sign) * torch.ones_like(sign) for value in values], 1).view(-1, 2, 3)


def _rotate(x: Tensor, m: float, sign: Tensor) -> Tensor:
    angle, ratio = math.radians(30 * m), x.shape[2] / x.shape[3]
    cosine, sine = math.cos(angle), math.sin(angle)
    entries = (
        lambda s: cosine, lambda s: -sine * ratio * s, lambda s: 0.0,
        lambda s: sine / ratio * s, lambda s: cosine, lambda s: 0.0,
    )  # fmt: skip
    return _moved(x, _matrices(sign, entries))


def _affine(x: Tensor, sign: Tensor, *, shear_x: float = 0, shear_y: float = 0, dx: float = 0, dy: float = 0) -> Tensor:
    entries = (
        lambda s: 1.0, lambda s: shear_x * s, lambda s: 2 * dx * s,
        lambda s: shear_y * s, lambda s: 1.0, lambda s: 2 * dy * s,
    )  # fmt: skip
    return _moved(x, _matrices(sign, entries))


OPERATIONS: dict[str, Callable[[Tensor, float, Tensor], Tensor]] = {
    "identity": _identity,
    "autocontrast": _autocontrast,
    "equalize": _equalize,
    "rotate": _rotate,
    "solarize": _solarize,
    "colour": _colour,
    "posterize": _posterize,
    "contrast": _contrast,
    "brightness": _brightness,
    "sharpness": _sharpness,
    "shear-x": lambda x, m, sign: _affine(x, sign, shear_x=0.3 * m),
    "shear-y": lambda x, m, sign: _affine(x, sign, shear_y=0.3 * m),
    "translate-x": lambda x, m, sign: _affine(x, sign, dx=0.45 * m),
    "translate-y": lambda x, m, sign: _affine(x, sign, dy=0.45 * m),
}
"""By name: (N, C, H, W) in 0..1, strength in 0..1, signs (N,) to the changed pictures."""

"""Two pictures looked at closely: whether more pixels, colours and the amount of detail bear out that they are copies."""

from __future__ import annotations

import numpy as np

from residuum.data.checks.align import likeness_of, textured, through

CLOSE_SIDE = 64
FIELDS = 8
COLOUR_DIFFERENCE = 40.0
"""Levels between the colours of two copies in the worst of 8 x 8 fields, saturation and cast allowed for."""
PALE = 2.0
"""Levels of colour that a grey picture may have, which may be the copy of a coloured one."""
PLAIN = 0.3
"""Share of a picture with contrast below which there is so little in it - a shape on a plain ground - that it could be
moved and scaled onto many others. Of real photos one in a hundred is below, of drawings of one or two shapes all are."""
MOVE = 0.05
"""Scale and shift that a plain picture may have against its copy."""
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def look_closely(first: np.ndarray, second: np.ndarray, warp: np.ndarray) -> tuple[float, np.ndarray]:
    """Likeness of two pictures, float32 (64, 64, 3), aligned from `warp` (4,), and the better warp."""
    likeness, warps = likeness_of((first @ LUMA)[None], (second @ LUMA)[None], warp[None], steps=3)
    return float(likeness[0]), warps[0]


def plausible(first: np.ndarray, second: np.ndarray, warp: np.ndarray) -> bool:
    """Whether colours agree, and there is enough in the pictures for the warp between them to mean anything."""
    moved = np.abs(warp - np.array([1, 0, 1, 0], np.float32)).max() > MOVE
    if moved and min(textured(first @ LUMA), textured(second @ LUMA)) < PLAIN:
        return False
    return _colours_agree(first, second, warp)


def _colours_agree(first: np.ndarray, second: np.ndarray, warp: np.ndarray) -> bool:
    """Whether colours differ by no more than saturation and a cast."""
    seen, inside = through(second[None], warp[None])
    size = CLOSE_SIDE // FIELDS
    weight = inside[0].reshape(FIELDS, size, FIELDS, size).sum((1, 3))
    fields = []
    for picture in (first, seen[0]):
        opponent = (picture[..., [0, 2]] - picture[..., [1]]) * inside[0][..., None]
        sums = opponent.reshape(FIELDS, size, FIELDS, size, 2).sum((1, 3))
        fields.append(sums[weight > size] / weight[weight > size][:, None])
    one, other = fields
    if min(np.abs(one).max(), np.abs(other).max()) <= PALE:
        return True
    one, other = one - one.mean(0), other - other.mean(0)
    gain = np.clip((one * other).sum() / max(float((other * other).sum()), 1e-6), 0, 3)
    return float(np.abs(one - gain * other).max()) <= COLOUR_DIFFERENCE

"""Two pictures looked at closely: whether more pixels, colours and detail bear out that they are copies."""

from __future__ import annotations

import numpy as np

from residuum.data.checks.align import FAINT, contrasts, likeness_of, through

CLOSE_SIDE = 64
FIELDS = 8
COLOUR_DIFFERENCE = 64.0
"""Levels between the colours of two copies in the worst of 8 x 8 fields, saturation and cast allowed for: strong
colours that are overexposed stay below, other colours do not."""
PALE = 2.0
"""Levels of colour that a grey picture may have, which may be the copy of a coloured one."""
FLAT, DRAWN = 1.0, 0.45
"""Contrast of a flat place, in levels, and the share that has more, below which a picture is a drawing: so little is in
it that it could be moved and scaled onto others. Of 433 photos none is, of drawings of up to three shapes all are. A
drawing is no crop of another."""
SPARSE = 0.5
"""Share with edges below which a crop must lie within the other picture, not only overlap it."""
SLACK = 0.03
"""By how much, in half sides, a warp may be more than that."""
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def look_closely(first: np.ndarray, second: np.ndarray, warp: np.ndarray) -> tuple[float, np.ndarray]:
    """Likeness of two pictures, float32 (64, 64, 3), aligned from `warp` (4,), and the better warp."""
    likeness, warps = likeness_of((first @ LUMA)[None], (second @ LUMA)[None], warp[None], steps=3)
    return float(likeness[0]), warps[0]


def plausible(first: np.ndarray, second: np.ndarray, warp: np.ndarray) -> bool:
    """Whether colours agree, and there is enough in the pictures for the warp between them to mean anything."""
    scaled, shifted = np.abs(warp[0::2] - 1), np.abs(warp[1::2])
    for picture in (first, second):
        levels, edges = contrasts(picture @ LUMA)
        if (levels > FLAT).mean() < DRAWN and max(scaled.max(), shifted.max()) > SLACK:
            return False
        if (edges > FAINT).mean() < SPARSE and (shifted > scaled + SLACK).any():
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

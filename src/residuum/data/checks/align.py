"""Aligning one small grey picture with another, many pairs at a time.

The Lucas-Kanade method (Baker and Matthews: Lucas-Kanade 20 years on, IJCV 56, 2004) for a change of scale and place in
each direction, which is what cropping and resizing do, solved together with gain and offset, so that brightness and
contrast do not matter.
"""

from __future__ import annotations

import numpy as np

LARGEST_SCALE = 1.6
LARGEST_SHIFT = 0.4
"""Of half a side."""
STEP = 0.15
LEAST_OVERLAP = 0.4
"""Share of the picture that must remain in view."""
FAINT = 5.0
"""Grey levels of contrast below which there is more noise than texture."""


def aligned(
    first: np.ndarray, second: np.ndarray, start: np.ndarray, steps: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Find the part of each `second` that `first` shows.

    `first` and `second` are float32 (pairs, n, n). A warp is (scale x, shift x, scale y, shift y): the point x of
    `first`, from -1 to 1 across the picture, is the point `scale x * x + shift x` of `second`; `start` holds one for
    each pair, float32 (pairs, 4). Returns the best warps met in `steps` steps, the correlation of what both show
    (pairs,), `second` seen through the warps (pairs, n, n) and where it lies within `second`, bool (pairs, n, n).
    """
    n = first.shape[1]
    place = _places(n)
    flat = first.reshape(len(first), -1, 1)
    warp, best = start.copy(), start.copy()
    likeness = np.full(len(first), -1.0, np.float32)
    for step in range(steps + 1):
        seen, inside = through(second, warp)
        now = correlation(first, seen, inside)
        better = now > likeness
        likeness[better], best[better] = now[better], warp[better]
        if step == steps:
            break
        down, across = (np.gradient(seen, axis=axis) * (n / 2) for axis in (1, 2))
        columns = [across * place, across, down * place[:, None], down, seen, np.ones_like(seen)]
        jacobian = np.stack(columns, -1).reshape(len(first), n * n, 6) * inside.reshape(len(first), -1, 1)
        transposed = jacobian.transpose(0, 2, 1)
        normal = transposed @ jacobian
        # a little damping: a picture without detail in a direction says nothing about moves along it
        normal += 1e-4 * normal * np.eye(6, dtype=np.float32) + 1e-3 * np.eye(6, dtype=np.float32)
        solved = np.linalg.solve(normal, transposed @ flat)[:, :, 0]
        move = solved[:, :4] / np.maximum(np.abs(solved[:, 4:5]), 0.2)
        warp = warp + np.clip(move, -STEP, STEP)
        warp[:, 0::2] = np.clip(warp[:, 0::2], 1 / LARGEST_SCALE, LARGEST_SCALE)
        warp[:, 1::2] = np.clip(warp[:, 1::2], -LARGEST_SHIFT, LARGEST_SHIFT)
    seen, inside = through(second, best)
    return best, likeness, seen, inside


def likeness_of(first: np.ndarray, second: np.ndarray, warps: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Correlation of the texture of pictures (pairs, n, n), aligned from `warps` in `steps` steps, and the warps."""
    warps, _, seen, inside = aligned(first, second, warps, steps)
    return correlation(texture(first), texture(seen), inside), warps


def through(pictures: np.ndarray, warps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (pairs, n, n) or (pairs, n, n, channels) seen through warps, bilinearly, and where that is inside."""
    n = pictures.shape[1]
    place = _places(n)
    across = warps[:, 0:1] * place + warps[:, 1:2]
    down = warps[:, 2:3] * place + warps[:, 3:4]
    inside = (np.abs(down) <= 1)[:, :, None] & (np.abs(across) <= 1)[:, None, :]
    rows, columns = _weights(down, n), _weights(across, n).transpose(0, 2, 1)
    if pictures.ndim == 4:
        return np.stack([rows @ plane @ columns for plane in np.moveaxis(pictures, 3, 0)], -1), inside
    return rows @ pictures @ columns, inside


def correlation(first: np.ndarray, second: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Pearson's correlation of pictures (pairs, n, n) where `inside`; -1 where too little of them is."""
    count = inside.sum((1, 2))
    shares = np.maximum(count, 1)[:, None, None]
    one, other = (
        np.where(inside, each - (each * inside).sum((1, 2))[:, None, None] / shares, 0) for each in (first, second)
    )
    scale = np.sqrt(np.maximum((one * one).sum((1, 2)) * (other * other).sum((1, 2)), 1e-6))
    return np.where(count < LEAST_OVERLAP * first[0].size, -1, (one * other).sum((1, 2)) / scale)


def texture(pictures: np.ndarray) -> np.ndarray:
    """Pictures (pairs, n, n) less their mean over 5 x 5 pixels, divided by their contrast there.

    Edges and texture then count alike wherever they are, and one strong outline or a frame does not decide alone
    (local contrast normalisation; Jarrett et al., What is the best multi-stage architecture for object recognition?,
    ICCV 2009, section 2.1).
    """
    edges = pictures - _mean(pictures)
    return edges / (np.sqrt(_mean(edges * edges)) + FAINT)


def contrasts(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The standard deviation over 5 x 5 pixels around each of a picture (n, n): of its levels, and of its edges alone,
    which a smooth gradient has none of."""
    mean = _mean(picture[None])
    edges = picture[None] - mean
    levels = np.maximum(_mean(picture[None] ** 2) - mean**2, 0)
    return np.sqrt(levels)[0], np.sqrt(_mean(edges * edges))[0]


def _mean(pictures: np.ndarray) -> np.ndarray:
    """The mean over 5 x 5 pixels around each."""
    n = pictures.shape[1]
    padded = np.pad(pictures, ((0, 0), (2, 2), (2, 2)), mode="edge")
    rows = np.add.reduce([padded[:, i : i + n, :] for i in range(5)])
    return np.add.reduce([rows[:, :, i : i + n] for i in range(5)]) / 25


def _places(n: int) -> np.ndarray:
    return ((np.arange(n, dtype=np.float32) + 0.5) / n) * 2 - 1


def _weights(place: np.ndarray, n: int) -> np.ndarray:
    """Bilinear weights (pairs, n, n): row i mixes the pixels around place i."""
    pixel = np.clip((place + 1) * (n / 2) - 0.5, 0, n - 1)
    return np.maximum(0, 1 - np.abs(pixel[:, :, None] - np.arange(n, dtype=np.float32)))

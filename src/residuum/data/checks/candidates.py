"""Candidates: pairs of pictures that may be copies, found among all pairs by their coarse structure.

A picture is known by its lowest frequencies (the discrete cosine transform of its 32 x 32 grey miniature, as in
perceptual hashing: Zauner, Implementation and benchmarking of perceptual image hash functions, 2010), but kept as
numbers, not bits: the comparison of all pairs is then a matrix product. Mirror images and turned pictures only change
signs and places. A crop by more than a few percent is met by asking also for the middle of each picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from residuum.data.checks.align import through
from residuum.data.checks.turns import AS_IS, MIRRORED, WAYS, back, turned_frequencies

SIDE = 32
"""Pixels a side of a miniature."""
FREQUENCIES = 8
EMPHASIS = 0.75
"""Frequency to this power weighs it: in photos amplitude falls about as 1 / frequency, so that coarse shading, alike in
many pictures, would decide alone."""
SIMILAR = 0.68
"""Cosine of two pictures' coarse structure from which on they are compared closely. Of 593 photos cropped by 5% on all
sides, 99% are above it; of pairs of different photos 0.1 in a thousand."""
FAINTEST = 2.0
"""Standard deviation in grey levels below which there is nothing to compare."""
MOST = 16
"""Candidates kept for one picture in one view ..."""
MOST_IN_ALL = 12
"""... and for each picture on average: where more are alike, they are alike among themselves."""
ZOOM = 0.84
"""Share of each side that the middle of a picture has."""
BLOCK = 1024
SCORES = 2**23
"""Scores that are in memory at a time."""


@dataclass(frozen=True)
class Candidates:
    """Pairs: picture `first`, turned the way `way`, may show what `second` shows through the warp `start`.

    int64, int64, int64 as `turns` has it, float32 (n, 4) as `align.aligned` has it, and the cosine `score`.
    """

    first: np.ndarray
    second: np.ndarray
    way: np.ndarray
    start: np.ndarray
    score: np.ndarray


def find_candidates(
    miniatures: np.ndarray, sizes: np.ndarray, turn: bool, progress: Callable[[float], None] = lambda share: None
) -> Candidates:
    """Pairs of `miniatures`, uint8 (n, 32, 32), of pictures of `sizes`, int (n, 2) height and width.

    With `turn` mirror images and turned pictures are sought too, the turned ones as wholes only. `progress` is told
    the share that is done.
    """
    strong = np.flatnonzero(miniatures.std((1, 2)) >= FAINTEST)
    whole = np.tile(np.array([1, 0, 1, 0], np.float32), (len(strong), 1))
    gallery = coarse(miniatures, strong)
    none = np.zeros(0, np.int64)
    found = [(none, none, none, whole[:0], np.zeros(0, np.float32))]
    views = [whole, *_middles(sizes[strong])]
    for done, warp in enumerate(views):
        asked = gallery if warp is whole else coarse(miniatures, strong, warp)
        # a picture without a middle of its own asks nothing
        changed = (warp != whole).any(1) | (warp is whole)
        for way in (WAYS if warp is whole else (AS_IS, MIRRORED)) if turn else (AS_IS,):
            query = turned_frequencies(asked.reshape(-1, FREQUENCIES, FREQUENCIES), way).reshape(asked.shape)
            for rows, columns, score in _similar(query, gallery, changed, only_later=warp is whole):
                # the picture that was zoomed into is the larger one: the other is sought in it
                found.append((strong[columns], strong[rows], np.full(len(rows), back(way)), warp[rows], score))
                progress((done + (int(rows[-1]) / len(strong) if len(rows) else 0)) / len(views))
    first, second, ways, start, score = (np.concatenate(part) for part in zip(*found, strict=True))
    order = np.argsort(-score, kind="stable")[: MOST_IN_ALL * len(miniatures)]
    return Candidates(first[order], second[order], ways[order], start[order], score[order])


def coarse(miniatures: np.ndarray, chosen: np.ndarray, warps: np.ndarray | None = None) -> np.ndarray:
    """The weighted low frequencies of the `chosen` miniatures (n, 32, 32), as unit vectors: float32 (chosen, 64).

    With `warps`, of what is seen through them.
    """
    u = np.arange(FREQUENCIES)
    basis = np.cos(np.pi * np.outer(u, np.arange(SIDE) + 0.5) / SIDE).astype(np.float32)
    basis[0] /= np.sqrt(2)
    radius = np.hypot(u[:, None], u)
    weights = np.where((radius > 0) & (u[:, None] + u < 12), radius**EMPHASIS, 0).astype(np.float32)
    result = np.empty((len(chosen), FREQUENCIES**2), np.float32)
    for begin in range(0, len(chosen), BLOCK):
        places = slice(begin, begin + BLOCK)
        pictures = miniatures[chosen[places]].astype(np.float32)
        if warps is not None:
            pictures, _ = through(pictures, warps[places])
        result[places] = ((basis @ pictures @ basis.T) * weights).reshape(len(pictures), -1)
    return result / np.maximum(np.linalg.norm(result, axis=1, keepdims=True), 1e-6)


def _middles(sizes: np.ndarray) -> Iterator[np.ndarray]:
    """Warps (n, 4) to the middle of each picture, and to its middle square where it is not square itself."""
    zoom = np.zeros((len(sizes), 4), np.float32)
    zoom[:, 0::2] = ZOOM
    yield zoom
    square = np.zeros((len(sizes), 4), np.float32)
    short = sizes.min(1)
    square[:, 0], square[:, 2] = short / sizes[:, 1], short / sizes[:, 0]
    square[(square[:, 0::2] < 0.5).any(1)] = (1, 0, 1, 0)
    if (square[:, 0::2] < 1).any():
        yield square


def _similar(
    query: np.ndarray, gallery: np.ndarray, asks: np.ndarray, only_later: bool
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Rows of `query` and of `gallery` whose cosine is at least `SIMILAR`, at most `MOST` for a row."""
    n = len(gallery)
    block = max(1, min(BLOCK, SCORES // max(n, 1)))
    for begin in range(0, n, block):
        left = begin if only_later else 0
        scores = query[begin : begin + block] @ gallery[left:].T
        rows, columns = np.divmod(np.flatnonzero(scores.ravel() >= SIMILAR), n - left)
        score = scores[rows, columns]
        rows, columns = rows + begin, columns + left
        keep = (columns > rows if only_later else columns != rows) & asks[rows]
        rows, columns, score = rows[keep], columns[keep], score[keep]
        order = np.lexsort((-score, rows))
        rank = np.arange(len(order)) - np.searchsorted(rows[order], rows[order])
        order = order[rank < MOST]
        yield rows[order], columns[order], score[order]

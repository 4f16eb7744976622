"""Pairs of pictures that show the same: candidates looked at more and more closely, up to the files themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image

from residuum.data.checks.align import likeness_of
from residuum.data.checks.candidates import SIDE, Candidates, find_candidates
from residuum.data.checks.closely import CLOSE_SIDE, look_closely, plausible
from residuum.data.checks.groups import Groups
from residuum.data.checks.look import miniature
from residuum.data.checks.turns import AS_IS, each_turned, turned
from residuum.data.decoding import as_channels
from residuum.data.parallel import ordered
from residuum.errors import UserError

Read = Callable[[int, int | None], np.ndarray]
"""read(index, side): picture `index`, uint8 (H, W, 1 or 3), reduced to no less than `side` pixels where that is quick;
None asks for all pixels. Raises UserError where the file is gone."""
Progress = Callable[[int, int], None]

GLANCE = 0.6
"""Correlation of texture at 16 x 16 pixels from which on a pair is looked at closely; of copies it is above 0.74."""
DEMAND = 0.75
"""The same at 32 x 32 from which on two pictures are taken for copies ..."""
CLOSE_DEMAND = 0.65
"""... and at 64 x 64, which decides where both have so many pixels. Of 866 photos no two different are
above 0.35; of their copies, cropped by 5% on each side, 99.5% lie above 0.8."""
RAISED = (0.85, 0.92, 0.96, 0.98, 0.99)
"""Demands for sets whose pictures are much alike (digits, parts before a fixed camera) ..."""
BELOW, CROWD = 0.12, 0.02
"""... raised until less than this share of the pictures has its best likeness just below the demand."""
CHUNK = 512


@dataclass(frozen=True)
class Pair:
    """Picture `first`, turned the way `way` (`turns`), shows what `second` shows through `warp` (`align.aligned`).

    `likeness` is the correlation of their texture, 1 where `same_pixels`.
    """

    first: int
    second: int
    likeness: float
    way: int
    warp: tuple[float, float, float, float]
    same_pixels: bool


@dataclass(frozen=True)
class Pairs:
    """The copies that were found; `raised` says that more likeness than usual was demanded of them."""

    pairs: tuple[Pair, ...]
    raised: bool


def find_pairs(
    miniatures: np.ndarray,
    sizes: np.ndarray,
    read: Read,
    *,
    turn: bool = True,
    workers: int = 0,
    progress: Progress | None = None,
) -> Pairs:
    """The pairs of copies among pictures, as many as join all copies of a picture in one group.

    `miniatures` are uint8 (n, 32, 32), `sizes` int (n, 2) heights and widths. `turn` says that mirror images and
    turned pictures are copies too.
    """

    def told(phase: int, share: float) -> None:
        if progress is not None:
            progress(round(100 * (phase + share) / 3), 100)

    candidates = find_candidates(miniatures, sizes, turn, partial(told, 0))
    total = len(candidates.first)
    likeness, warps = np.full(total, -1.0, np.float32), candidates.start.copy()
    glance = _glance(miniatures)
    for places in _chunks(np.arange(total)):
        seen, warps[places] = _compared(glance, candidates, places, warps[places], steps=4)
        promising = places[seen >= GLANCE]
        if len(promising):
            likeness[promising], warps[promising] = _compared(miniatures, candidates, promising, warps[promising], 3)
        told(1, int(places[-1]) / total)
    demand = _demand(candidates, likeness, len(miniatures))
    order = np.argsort(-likeness, kind="stable")
    # what is close to the demand is decided by more pixels
    order = order[likeness[order] >= (demand - 0.15 if demand == DEMAND else demand)]
    confirmed = _confirm(candidates, likeness, warps, order, demand, sizes, read, workers, partial(told, 2))
    return Pairs(tuple(confirmed), demand > DEMAND)


def _glance(miniatures: np.ndarray) -> np.ndarray:
    n, half = len(miniatures), SIDE // 2
    return miniatures.reshape(n, half, 2, half, 2).mean((2, 4), dtype=np.float32)


def _chunks(places: np.ndarray) -> Iterator[np.ndarray]:
    for begin in range(0, len(places), CHUNK):
        yield places[begin : begin + CHUNK]


def _compared(
    pictures: np.ndarray, candidates: Candidates, places: np.ndarray, warps: np.ndarray, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """Likeness and warps of the candidates at `places`."""
    first = each_turned(pictures[candidates.first[places]].astype(np.float32), candidates.way[places])
    second = pictures[candidates.second[places]].astype(np.float32)
    return likeness_of(first, second, warps, steps)


def _demand(candidates: Candidates, likeness: np.ndarray, n: int) -> float:
    """The likeness to demand in this set: where different pictures come near it, more."""
    best = np.zeros(n, np.float32)
    for side in (candidates.first, candidates.second):
        np.maximum.at(best, side, likeness)
    for demand in (DEMAND, *RAISED):
        if ((best >= demand - BELOW) & (best < demand)).sum() <= max(4, CROWD * n):
            return demand
    return RAISED[-1]


def _confirm(
    candidates: Candidates,
    likeness: np.ndarray,
    warps: np.ndarray,
    order: np.ndarray,
    demand: float,
    sizes: np.ndarray,
    read: Read,
    workers: int,
    told: Callable[[float], None],
) -> Iterator[Pair]:
    """Pairs that hold when the files are looked at again, the likest first; pairs within a group are passed over."""
    groups = Groups(len(sizes))
    first, second = candidates.first.tolist(), candidates.second.tolist()
    large = sizes.min(1) >= CLOSE_SIDE
    close_demand = CLOSE_DEMAND if demand == DEMAND else demand
    for done, places in enumerate(_chunks(order)):
        left = [place for place in places.tolist() if not groups.joined(first[place], second[place])]
        work = ((place, [partial(_squeezed, read, side[place]) for side in (first, second)]) for place in left)
        for place, (one, other) in ordered(work, workers, ahead=8):
            i, j = first[place], second[place]
            if one is None or other is None or groups.joined(i, j):
                continue
            way = int(candidates.way[place])
            one = turned(one, way)
            found, warp = float(likeness[place]), warps[place]
            if large[i] and large[j]:
                found, warp = look_closely(one, other, warp)
            enough = close_demand if large[i] and large[j] else demand
            if found < enough or not plausible(one, other, warp):
                continue
            groups.join(i, j)
            same = way == AS_IS and found > 0.9 and (sizes[i] == sizes[j]).all() and _same_pixels(read, i, j)
            scale_x, shift_x, scale_y, shift_y = warp.tolist()
            yield Pair(i, j, 1.0 if same else found, way, (scale_x, shift_x, scale_y, shift_y), same)
        told(min(1.0, (done + 1) * CHUNK / len(order)))


def _squeezed(read: Read, index: int) -> np.ndarray | None:
    """A picture as float32 (64, 64, 3), squeezed; None where it is gone."""
    try:
        pixels = as_channels(read(index, CLOSE_SIDE), 3)
    except UserError:
        return None
    return np.asarray(miniature(Image.fromarray(pixels), CLOSE_SIDE), np.float32)


def _same_pixels(read: Read, first: int, second: int) -> bool:
    try:
        one, other = (as_channels(read(index, None), 3) for index in (first, second))
    except UserError:
        return False
    return bool(np.array_equal(one, other))

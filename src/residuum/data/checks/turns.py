"""Ways: the eight in which a picture can lie - as it is, turned by quarters, and the mirror images of these.

Way w is the mirror image (left and right change places) where w >= 4, then w % 4 quarter turns counter-clockwise: the
symmetries of the square. Miniatures are square, so a picture on its side is compared like any other.
"""

from __future__ import annotations

import numpy as np

AS_IS, MIRRORED = 0, 4
WAYS = tuple(range(8))


def turned(picture: np.ndarray, way: int) -> np.ndarray:
    """A picture (height, width, ...) in another way."""
    return np.rot90(picture[:, ::-1] if way >= MIRRORED else picture, way % 4)


def each_turned(pictures: np.ndarray, ways: np.ndarray) -> np.ndarray:
    """Square pictures (n, side, side), each in its own way."""
    result = pictures.copy()
    for way in np.unique(ways[ways != AS_IS]).tolist():
        own = ways == way
        result[own] = np.moveaxis(turned(np.moveaxis(pictures[own], 0, -1), way), -1, 0)
    return result


def turned_frequencies(vectors: np.ndarray, way: int) -> np.ndarray:
    """Cosine transforms (n, frequencies, frequencies) of the pictures in another way.

    A mirror image changes the sign of odd frequencies, and a turn is a transposition and a mirror image.
    """
    sign = np.where(np.arange(vectors.shape[1]) % 2, -1, 1).astype(vectors.dtype)
    result = vectors * sign if way >= MIRRORED else vectors
    for _ in range(way % 4):
        result = result.transpose(0, 2, 1) * sign[:, None]
    return result


def after(first: int, second: int) -> int:
    """The one way that is `first`, then `second`."""
    seen = turned(turned(_CORNERS, first), second)
    return next(way for way in WAYS if np.array_equal(turned(_CORNERS, way), seen))


def back(way: int) -> int:
    """The way that undoes another."""
    return next(other for other in WAYS if after(way, other) == AS_IS)


def lies_across(way: int) -> bool:
    """Whether height and width change places."""
    return way % 2 == 1


def words(way: int) -> list[str]:
    """How a person says it."""
    if way == MIRRORED + 2:
        return ["mirrored top to bottom"]
    quarters = way % 4
    return ["mirrored"] * (way >= MIRRORED) + [f"turned by {180 if quarters == 2 else 90}°"] * (quarters > 0)


_CORNERS = np.arange(4).reshape(2, 2)

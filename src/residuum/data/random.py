"""Randomness that is a pure function of (seed, epoch, index): a counter-based hash instead of a stateful
generator.

Each picture's augmentation depends on nothing but these three, so the number of workers, the order of work
and an interruption change nothing. The mixing function is SplitMix64's finaliser (Steele, Lea, Flood: Fast
Splittable Pseudorandom Number Generators, OOPSLA 2014).
"""

from __future__ import annotations

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_PERMUTATION = 0x7065726D
"""Keeps the numbers that order an epoch apart from those that augment its pictures."""


def uniforms(seed: int, epoch: np.ndarray | int, indices: np.ndarray, count: int) -> np.ndarray:
    """`count` numbers in [0, 1) for each picture: float64 of shape (n, count).

    `indices` has shape (n,); `epoch` is one number or one per picture.
    """
    state = _hash(_hash(_word(seed), np.asarray(epoch)), np.asarray(indices))
    state = np.broadcast_to(state, np.shape(indices))
    words = _hash(state[:, None], np.arange(count))
    return (words >> np.uint64(11)) * 2.0**-53


def permutation(seed: int, epoch: int, n: int) -> np.ndarray:
    """The order of 0..n-1 in an epoch: int64 of shape (n,)."""
    keys = _hash(_hash(_hash(_word(seed), np.asarray(_PERMUTATION)), np.asarray(epoch)), np.arange(n))
    return np.argsort(keys, kind="stable")


def _word(seed: int) -> np.ndarray:
    return _mix(np.asarray([seed & 0xFFFFFFFFFFFFFFFF], dtype=np.uint64))


def _hash(state: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Combines states with integers, element by element with broadcasting; uint64."""
    with np.errstate(over="ignore"):
        return _mix(state ^ _mix((value.astype(np.uint64) + np.uint64(1)) * _GOLDEN))


def _mix(z: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))

"""In which order pictures are drawn: an endless stream, each place of it a pure function of the seed.

A place of the stream gives a position in the training part, and the round in which the picture is seen: rounds keep the
random changes of one picture apart.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from residuum.data.random import permutation

_CLASSES = 0x636C6173
"""Keeps the orders within classes apart from those of epochs."""
_ROUNDS = 0x726F756E


class Order(Protocol):
    """Which picture stands at a place of the stream."""

    def at(self, stream: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Positions in the part and rounds, int64 (n,) each, of the places `stream`, int64 (n,)."""
        ...


class Shuffled:
    """One permutation of all `n` pictures after the other; a picture's round is the epoch."""

    def __init__(self, seed: int, n: int) -> None:
        self._seed, self._n = seed, n
        self._orders: dict[int, np.ndarray] = {}

    def at(self, stream: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        epochs, places = stream // self._n, stream % self._n
        positions = np.empty(len(stream), np.int64)
        for epoch in np.unique(epochs).tolist():
            positions[epochs == epoch] = self._order(epoch)[places[epochs == epoch]]
        return positions, epochs

    def _order(self, epoch: int) -> np.ndarray:
        if epoch not in self._orders:
            self._orders = {e: order for e, order in self._orders.items() if e == epoch - 1}
            self._orders[epoch] = permutation(self._seed, epoch, self._n)
        return self._orders[epoch]


class Balanced:
    """Every class once in each round of as many pictures as there are classes, whatever their sizes.

    Within a class its pictures follow one permutation after the other, so the pictures of a rare class come again
    sooner, each time in a new round.
    """

    def __init__(self, seed: int, labels: np.ndarray) -> None:
        self._seed = seed
        self._members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
        self._orders: dict[int, tuple[int, np.ndarray]] = {}

    def at(self, stream: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        count = len(self._members)
        positions, rounds = np.empty(len(stream), np.int64), np.empty(len(stream), np.int64)
        for turn in np.unique(stream // count).tolist():
            classes = permutation(self._seed ^ _ROUNDS, turn, count)
            for row in np.flatnonzero(stream // count == turn).tolist():
                chosen = int(classes[stream[row] % count])
                members = self._members[chosen]
                rounds[row] = turn // len(members)
                positions[row] = members[self._order(chosen, turn // len(members))[turn % len(members)]]
        return positions, rounds

    def _order(self, chosen: int, time: int) -> np.ndarray:
        """The order of a class's pictures when it is gone through for the time `time`, from 0."""
        if self._orders.get(chosen, (-1,))[0] != time:
            seed = self._seed ^ _CLASSES ^ (chosen << 32)
            self._orders[chosen] = (time, permutation(seed, time, len(self._members[chosen])))
        return self._orders[chosen][1]

"""The order of pictures that lie in shards: every picture once an epoch, each shard read about once, by one lane.

An epoch permutes the shards and lays their pictures end to end. That row is cut into as many ranges as there are lanes,
and each lane is shuffled by moving no picture further than `WINDOW` shards, so that only a few shards are in use at a
time. Rows l * B // L to (l + 1) * B // L of a batch of B belong to lane l of L: a process that takes these rows reads
this lane's shards and no others.

The ranges are as long as the lanes have rows in the epoch's places of the stream, so an epoch is a permutation for any
numbers of pictures, rows and lanes. All of it is a function of the seed and the place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from residuum.data.manifest import Manifest
from residuum.data.order import Balanced, Order, Shuffled
from residuum.data.random import permutation, uniforms
from residuum.data.shards.reading import ShardPictures
from residuum.errors import UserError

WINDOW = 4
"""Mean shards by which a picture may move. More of them mix better and hold more shards in memory."""
_SHARDS, _PICTURES = 0x73686172, 0x6C616E65
"""Keep the orders of shards and of pictures apart from each other and from other orders."""
_BEHIND = 4
"""Batches that may still be read after they were planned."""


def order_of(
    manifest: Manifest,
    indices: np.ndarray,
    seed: int,
    batch_size: int,
    balanced: bool = False,
    lanes: int = 1,
    rows: Sequence[slice] | None = None,
) -> Order:
    """The order in which the pictures at `indices` are drawn: through `lanes` where they lie in shards.

    `rows` are those of a batch that this process reads; None is all of them. Raises UserError.
    """
    pictures = manifest.pictures
    if not isinstance(pictures, ShardPictures):
        return Balanced(seed, manifest.labels[indices]) if balanced else Shuffled(seed, len(indices))
    if balanced and pictures.piped:
        raise UserError(
            "drawing every class equally often needs pictures from anywhere, and pipes give them shard by shard; "
            "give shards as files, or leave balanced out"
        )
    if balanced:
        return Balanced(seed, manifest.labels[indices])
    return Lanes(seed, pictures.shard_of[indices], batch_size, lanes, rows, pictures.expect)


class Lanes:
    """An `Order` of pictures of which number i lies in shard `shard_of[i]`, int (n,); their order within a shard is
    that of their numbers.

    `expect` is told the shards that the `rows` will be read from next, in the order in which they are needed.
    """

    def __init__(
        self,
        seed: int,
        shard_of: np.ndarray,
        batch_size: int,
        lanes: int = 1,
        rows: Sequence[slice] | None = None,
        expect: Callable[[list[int]], None] | None = None,
    ) -> None:
        if not 1 <= lanes <= batch_size:
            raise UserError(
                f"a batch of {batch_size} pictures cannot be drawn from {lanes} lanes; take 1 to {batch_size}"
            )
        self._seed, self._shard_of, self._batch = seed, shard_of, batch_size
        self._n = len(shard_of)
        self._shards, sizes = np.unique(shard_of, return_counts=True)
        self._members = np.split(np.argsort(shard_of, kind="stable"), np.cumsum(sizes)[:-1])
        self._mean = self._n / len(self._shards)
        self.window = max(1, round(WINDOW * self._mean))
        self._bounds = np.arange(lanes + 1) * batch_size // lanes
        own = range(batch_size) if rows is None else [row for part in rows for row in range(part.start, part.stop)]
        self._own = np.unique(self._lane_of(np.array(own, np.int64)))
        self._expect = expect
        self._epochs: dict[int, _Epoch] = {}

    def at(self, stream: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `Order.at`; a round is an epoch."""
        epochs = stream // self._n
        lane = self._lane_of(stream % self._batch)
        passed = self._passed(stream, lane)
        positions = np.empty(len(stream), np.int64)
        for number in np.unique(epochs).tolist():
            here = epochs == number
            epoch = self._epoch(number)
            positions[here] = epoch.order[epoch.starts[lane[here]] + passed[here] - epoch.passed[lane[here]]]
        if self._expect is not None and len(stream):
            self._expect(self._soon(int(stream[0])))
        return positions, epochs

    def lane_sizes(self, epoch: int) -> np.ndarray:
        """The number of pictures of each lane in an epoch, int64 (lanes,)."""
        return np.diff(self._epoch(epoch).starts)

    def _lane_of(self, rows: np.ndarray) -> np.ndarray:
        return np.searchsorted(self._bounds, rows, "right") - 1

    def _passed(self, stream: np.ndarray | int, lane: np.ndarray) -> np.ndarray:
        """How many places of each lane lie before the places `stream`."""
        batches, rows = np.divmod(stream, self._batch)
        first, many = self._bounds[lane], np.diff(self._bounds)[lane]
        return batches * many + np.clip(rows - first, 0, many)

    def _epoch(self, number: int) -> _Epoch:
        if number not in self._epochs:
            self._epochs = {e: epoch for e, epoch in self._epochs.items() if abs(e - number) == 1}
            self._epochs[number] = self._make(number)
        return self._epochs[number]

    def _make(self, number: int) -> _Epoch:
        every = np.arange(len(self._bounds) - 1)
        passed = self._passed(number * self._n, every)
        starts = np.append(0, np.cumsum(self._passed((number + 1) * self._n, every) - passed))
        shards = permutation(self._seed ^ _SHARDS, number, len(self._members))
        row = np.concatenate([self._members[shard] for shard in shards])
        sizes = np.diff(starts)
        lane = np.repeat(every, sizes)
        moved = self.window * uniforms(self._seed ^ _PICTURES, number, row, 1)[:, 0]
        # sorted by its place plus a random part of the window, a picture moves by less than the window;
        # a lane that is no longer than that is shuffled altogether
        key = np.where(sizes[lane] > self.window, np.arange(self._n) + moved, moved)
        return _Epoch(row[np.lexsort((key, lane))], starts, passed)

    def _soon(self, place: int) -> list[int]:
        """The shards that own lanes read from now to a mean shard further on."""
        needed: dict[int, float] = {}
        number = place // self._n
        passed = self._passed(place, self._own)
        reach = np.diff(self._bounds)[self._own] * (1 + _BEHIND)
        for lane, done, rows in zip(self._own.tolist(), passed.tolist(), reach.tolist(), strict=True):
            epoch = self._epoch(number)
            begin = done - int(epoch.passed[lane])
            end = begin + rows + round(self._mean)
            length = int(epoch.starts[lane + 1] - epoch.starts[lane])
            found = [(begin - rows, epoch.uses(lane, self._shard_of))]
            if end > length:
                found.append((begin - rows - length, self._epoch(number + 1).uses(lane, self._shard_of)))
            for at, (shards, first, last) in found:
                now = (first < at + (end - begin) + rows) & (last >= at)
                for shard, when in zip(shards[now].tolist(), (first[now] - at).tolist(), strict=True):
                    needed[shard] = min(when, needed.get(shard, when))
        return sorted(needed, key=lambda shard: (needed[shard], shard))


class _Epoch:
    """Positions in the `order` of an epoch, lane l's from `starts[l]` on; `passed` are the lanes' places before it."""

    def __init__(self, order: np.ndarray, starts: np.ndarray, passed: np.ndarray) -> None:
        self.order, self.starts, self.passed = order, starts, passed
        self._uses: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}

    def uses(self, lane: int, shard_of: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The shards of a lane, and the first and the last place in the lane where each is read."""
        if lane not in self._uses:
            read = shard_of[self.order[self.starts[lane] : self.starts[lane + 1]]]
            shards, first = np.unique(read, return_index=True)
            last = len(read) - 1 - np.unique(read[::-1], return_index=True)[1]
            self._uses[lane] = shards, first, last
        return self._uses[lane]

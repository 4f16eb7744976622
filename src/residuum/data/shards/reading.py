"""Pictures in shards: read by place from files, or out of whole shards that come through pipes."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future

import numpy as np

from residuum.data.decoding import Unreadable, decode
from residuum.data.jpeg import WHOLE, Need
from residuum.data.pictures import Sizes
from residuum.data.shards.listing import Shard, Shards
from residuum.data.shards.transfer import Files, fetch
from residuum.errors import UserError, shown

SPARE = 2
"""Shards from pipes that are kept beside those that are expected to be read."""
AHEAD = 2
"""Pipes that are read ahead of need at a time."""


class ShardPictures:
    """Pictures decoded from shards (`pictures.Pictures`); of each, int (n,): `shard_of` numbers its shard, and
    `lengths` are the bytes of its file."""

    in_memory = False

    def __init__(self, found: Shards) -> None:
        self._shards = found.shards
        self._names = found.names
        self._offsets = found.offsets
        self.lengths = found.lengths
        self.shard_of = found.shard_of
        self.sizes: Sizes = found.sizes
        self.grey = found.grey
        alike = len(found.sizes) and (found.sizes == found.sizes[0]).all()
        self.uniform: tuple[int, int] | None = (int(found.sizes[0, 0]), int(found.sizes[0, 1])) if alike else None
        self.piped = any(shard.place.piped for shard in found.shards)
        self._files = Files()
        self._pipes = Pipes(found.shards)

    def __len__(self) -> int:
        return len(self._names)

    def read(self, index: int, channels: int, need: Need = WHOLE) -> np.ndarray:
        """As `Pictures.read`."""
        try:
            return decode(self.bytes_of(index), channels, need)
        except Unreadable as error:
            where = self._shards[self.shard_of[index]].place.name
            raise UserError(
                f"{shown(self._names[index])} in {where} cannot be decoded: {error}; write that shard again without it"
            ) from error

    def bytes_of(self, index: int) -> bytes:
        """The file of a picture. Raises UserError naming a shard that cannot be read."""
        number = int(self.shard_of[index])
        shard = self._shards[number]
        offset, length = int(self._offsets[index]), int(self.lengths[index])
        if not shard.place.piped:
            return self._files.read(shard.place.text, offset, length, shard.length)
        return self._pipes.get(number)[offset : offset + length]

    def expect(self, shards: Sequence[int]) -> None:
        """These are read from soon, the first ones first; a hint that changes nothing but the time."""
        if self.piped:
            self._pipes.expect([number for number in shards if self._shards[number].place.piped])


class Pipes:
    """Whole shards out of pipes: those that are expected stay, and of the others the last few used."""

    def __init__(self, shards: Sequence[Shard]) -> None:
        self._shards = shards
        self._lock = threading.Lock()
        self._held: OrderedDict[int, Future[bytes]] = OrderedDict()
        self._expected: list[int] = []
        self._ahead = 0

    def get(self, number: int) -> bytes:
        """The bytes of a shard, waiting for them if they are under way."""
        with self._lock:
            mine = number not in self._held
            future = self._begin(number) if mine else self._held[number]
            self._held.move_to_end(number)
        if mine:
            self._load(number, future)
        return future.result()

    def expect(self, shards: list[int]) -> None:
        """Begin to read those of `shards` that are not there, a few at a time."""
        with self._lock:
            self._expected = shards
            self._forget()
            absent = [number for number in shards if number not in self._held][: max(0, AHEAD - self._ahead)]
            begun = [(number, self._begin(number)) for number in absent]
            self._ahead += len(begun)
        for number, future in begun:
            threading.Thread(target=self._load_ahead, args=(number, future), daemon=True, name="residuum-pipe").start()

    def _begin(self, number: int) -> Future[bytes]:
        self._held[number] = future = Future()
        self._forget()
        return future

    def _forget(self) -> None:
        expected = set(self._expected)
        spare = [number for number, future in self._held.items() if number not in expected and future.done()]
        for number in spare[: max(0, len(spare) - SPARE)]:
            del self._held[number]

    def _load_ahead(self, number: int, future: Future[bytes]) -> None:
        self._load(number, future)
        with self._lock:
            self._ahead -= 1

    def _load(self, number: int, future: Future[bytes]) -> None:
        try:
            future.set_result(_checked(self._shards[number]))
        except BaseException as error:  # whoever waits for the shard must not wait for ever
            future.set_exception(error)


def _checked(shard: Shard) -> bytes:
    content = fetch(shard.place)
    if len(content) != shard.length:
        raise UserError(
            f"{shard.place.name} gave {len(content):,} bytes instead of {shard.length:,}: it is cut off or has changed"
        )
    if shard.sha256 is not None and hashlib.sha256(content).hexdigest() != shard.sha256:
        raise UserError(f"{shard.place.name} gave other bytes than were written (SHA-256 differs); write it again")
    return content

"""Survey: one look at every picture of a data set, and what training would do with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from residuum.data.checks.contents import Contents
from residuum.data.checks.finding import Member
from residuum.data.checks.look import Look, look_at, look_at_pixels
from residuum.data.manifest import PARTS
from residuum.data.parallel import ordered
from residuum.data.splits import cut, validation_count
from residuum.errors import UserError

CHUNK = 32


@dataclass(frozen=True)
class Survey:
    """The `looks` at the pictures of `contents`; for those that cannot be read, why."""

    contents: Contents
    looks: tuple[Look | str, ...]

    @cached_property
    def readable(self) -> np.ndarray:
        """Places of the readable pictures, int64."""
        return np.array([i for i, look in enumerate(self.looks) if isinstance(look, Look)], np.int64)

    @cached_property
    def good(self) -> list[Look]:
        """The looks at `readable`, in its order."""
        return [look for look in self.looks if isinstance(look, Look)]

    def look(self, index: int) -> Look:
        """The look at a readable picture."""
        found = self.looks[index]
        assert isinstance(found, Look)
        return found

    def label(self, index: int) -> str:
        return self.contents.classes[int(self.contents.labels[index])]

    def member(self, index: int, remark: str = "") -> Member:
        """A picture as a finding names it."""
        part = self.contents.splits[index] or None
        return Member(index, self.contents.names[index], self.label(index), part, remark)

    @cached_property
    def given(self) -> tuple[str, ...]:
        """The given parts, in the order train, val, test; train where nothing is given."""
        there = {split or "train" for split in self.contents.splits}
        return tuple(part for part in PARTS if part in there)

    def part(self, index: int) -> str:
        """The given part of a picture; train where nothing is given."""
        return self.contents.splits[index] or "train"

    @cached_property
    def counts(self) -> dict[str, dict[str, int]]:
        """Readable pictures by class and part."""
        table = {name: dict.fromkeys(self.given, 0) for name in self.contents.classes}
        for index in self.readable.tolist():
            table[self.label(index)][self.part(index)] += 1
        return table

    @cached_property
    def held_out(self) -> frozenset[int]:
        """The pictures that training would hold out by itself, as no validation part is given."""
        train = np.array([i for i in self.readable.tolist() if self.part(i) == "train"], np.int64)
        if "val" in self.given or len(train) < 2:
            return frozenset()
        contents = self.contents
        groups = None
        if contents.groups is not None:
            numbers = {name: number for number, name in enumerate(dict.fromkeys(contents.groups))}
            groups = np.array([numbers[name] for name in contents.groups], np.int64)
        count = validation_count(None, len(train), contents.held_out)
        return frozenset(cut(contents.names, contents.labels, train, count, groups)[1].tolist())


def survey(contents: Contents, workers: int, progress: Callable[[int, int], None] | None = None) -> Survey:
    """Look at every picture once, on `workers` threads; `progress` is told how many of how many are done."""
    looks: list[Look | str] = []
    for _, found in ordered(_work(contents), workers, ahead=4):
        looks += [look for chunk in found for look in chunk]
        if progress is not None:
            progress(len(looks), len(contents))
    return Survey(contents, tuple(looks))


def _work(contents: Contents) -> Iterator[tuple[int, list[Callable[[], list[Look | str]]]]]:
    for begin in range(0, len(contents), CHUNK):
        places = range(begin, min(begin + CHUNK, len(contents)))
        yield begin, [partial(_looks, contents, places)]


def _looks(contents: Contents, places: range) -> list[Look | str]:
    return [_look(contents, index) for index in places]


def _look(contents: Contents, index: int) -> Look | str:
    try:
        if contents.bytes_of is None:
            return look_at_pixels(contents.read(index, None))
        return look_at(contents.bytes_of(index))
    except UserError as error:
        return str(error)

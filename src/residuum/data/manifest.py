"""Manifest: what a data set holds - names, labels, classes, parts, pictures - and the digest that identifies
it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from residuum.data.pictures import Pictures
from residuum.errors import UserError, shown

PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class Manifest:
    """A data set. Pictures are ordered by name, bytewise (archives: in their own order).

    `argument` is what the user gave; `labels` int64 (n,) indexes `classes`; `parts` maps "train", "val" and
    "test" to sorted, disjoint index arrays and lacks those that do not exist; `digest` is described at
    `digest_of`; `excluded` lists files left out, with reasons, first those that a list named, which are
    `listed_out` as well; `groups` int64 (n,) numbers what must not
    straddle parts, or is None; `notes` are sentences to tell the user; `chiral` says that a mirror image is
    another thing (handwriting), so that training must not mirror.
    """

    argument: str
    names: tuple[str, ...]
    labels: np.ndarray
    classes: tuple[str, ...]
    parts: dict[str, np.ndarray]
    pictures: Pictures
    digest: str
    excluded: tuple[tuple[str, str], ...] = ()
    groups: np.ndarray | None = None
    group_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    chiral: bool = False
    listed_out: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def groups_of(self, indices: np.ndarray) -> tuple[str, ...] | None:
        """The names of the groups that pictures belong to; None where the data have no groups."""
        return None if self.groups is None else tuple(self.group_names[g] for g in self.groups[indices])

    def part(self, name: str) -> np.ndarray:
        """The indices of a part; a UserError that lists the parts there are if it does not exist."""
        if name not in self.parts:
            there = ", ".join(self.parts) or "none"
            raise UserError(f"{shown(self.argument)} has no {shown(name)} part; its parts: {there}")
        return self.parts[name]


def digest_of(
    classes: Sequence[str],
    names: Sequence[str],
    labels: Iterable[int],
    splits: Sequence[str],
    contents: Sequence[bytes],
) -> str:
    """SHA-256, in hexadecimal, over the class names and, by name, each picture's name, label, given split and
    content.

    `splits` are the given ones ("" where none was given) and `contents` the SHA-256 of each file or of each picture's
    pixels (of `imagenet:` only the length of each file, in 8 bytes), so neither the folder's place on disk nor the way
    validation is cut changes the digest.
    """
    total = hashlib.sha256(b"residuum data 1\0")

    def add(*values: bytes) -> None:
        for value in values:
            total.update(len(value).to_bytes(8, "little"))
            total.update(value)

    add(len(classes).to_bytes(8, "little"), *(os.fsencode(c) for c in classes))
    rows = sorted(zip((os.fsencode(n) for n in names), labels, splits, contents, strict=True))
    for name, label, split, content in rows:
        add(name, int(label).to_bytes(8, "little"), split.encode(), content)
    return total.hexdigest()

"""Contents: everything a data argument names, before any picture is read, also what training would pass over."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from residuum.data.archives import Arrays
from residuum.data.decoding import bytes_of, is_picture_name, opened, pixels_of
from residuum.data.folders import Listing
from residuum.data.imagenet import Listed
from residuum.data.shards.listing import Shards
from residuum.data.shards.reading import ShardPictures
from residuum.data.sources import list_data
from residuum.errors import UserError

BY_CONTENT, BESIDE, OUTSIDE = (
    "a picture by its content, not by its name",
    "beside train, val and test",
    "outside of the class folders",
)
MISPLACED = (BY_CONTENT, BESIDE, OUTSIDE)
"""Why pictures are passed over that were probably meant to be seen."""


@dataclass(frozen=True)
class Contents:
    """The pictures of a data set by place, and the other files beside them.

    folder       the folder that must stay as it is, or None
    labels       int64 (n,) into `classes`, which may have classes without pictures
    splits       the given parts, "" where none is given
    groups       what belongs together, by name; None where nothing is said
    held_out     share of the training pictures that training holds out where no validation part is given
    chiral       a mirror image is another thing
    bytes_of     the content of a picture's file; None where pictures have no files. Raises UserError
    arrays       the pixels of pictures without files, uint8 (n, H, W, C)
    passed_over  files that are in the folder and not among the pictures: (path relative to it, why)
    """

    argument: str
    folder: Path | None
    names: Sequence[str]
    labels: np.ndarray
    splits: Sequence[str]
    classes: Sequence[str]
    groups: Sequence[str] | None
    held_out: float
    chiral: bool
    bytes_of: Callable[[int], bytes] | None
    arrays: np.ndarray | None
    notes: Sequence[str]
    passed_over: Sequence[tuple[str, str]]

    def __len__(self) -> int:
        return len(self.names)

    def read(self, index: int, side: int | None) -> np.ndarray:
        """A picture, uint8 (H, W, 1 or 3); with `side`, reduced as far as `decoding.pixels_of` does. Raises
        UserError."""
        if self.bytes_of is None:
            assert self.arrays is not None
            return self.arrays[index]
        return pixels_of(opened(self.bytes_of(index)), side)


def find_contents(argument: str) -> Contents:
    """What `argument` (as for `sources.open_data`) names. Raises UserError."""
    found, held_out = list_data(argument)
    if isinstance(found, Arrays):
        return Contents(
            argument, None, found.names, found.labels, found.splits, found.classes, None, held_out, found.chiral,
            None, found.pixels, found.notes, (),
        )  # fmt: skip
    if isinstance(found, Listed):
        paths = [found.root / name for name in found.names]
        return Contents(
            argument, found.root, found.names, found.labels, found.splits, found.classes, None, held_out, False,
            _reader(paths), None, found.notes, (),
        )  # fmt: skip
    if isinstance(found, Shards):
        return Contents(
            argument, None, found.names, found.labels, found.splits, found.classes, found.groups, held_out,
            found.chiral, ShardPictures(found).bytes_of, None, found.notes, (),
        )  # fmt: skip
    index = {name: i for i, name in enumerate(found.classes)}
    folder = Path(argument) if os.path.isdir(argument) else None
    return Contents(
        argument, folder, found.names, np.array([index[label] for label in found.labels], np.int64), found.splits,
        found.classes, found.groups, held_out, False, _reader(found.paths), None, found.notes,
        tuple(_passed_over(folder, found)) if folder else (),
    )  # fmt: skip


def _reader(paths: Sequence[Path]) -> Callable[[int], bytes]:
    return lambda index: bytes_of(paths[index])


def _passed_over(root: Path, listing: Listing) -> list[tuple[str, str]]:
    """Every file below `root` that training does not look at, with the reason; of a hidden folder the folder only."""
    known = set(listing.names)
    parts = {name.split("/")[0] for name in known} if any(listing.splits) else set()
    found: list[tuple[str, str]] = []
    for above, folders, files in os.walk(root):
        hidden = [name for name in folders if _is_hidden(name)]
        found += [(os.path.relpath(os.path.join(above, name), root) + os.sep, "hidden") for name in hidden]
        folders[:] = sorted(set(folders).difference(hidden), key=os.fsencode)
        for name in (*folders, *files):
            path = os.path.join(above, name)
            relative = os.path.relpath(path, root)
            if relative not in known and (why := _why(name, path, relative, name in folders, parts)):
                found.append((relative, why))
    return sorted(found, key=lambda item: os.fsencode(item[0]))


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _why(name: str, path: str, relative: str, is_folder: bool, parts: set[str]) -> str | None:
    """Why a file, or a link to a folder, is not among the pictures; None of a folder that is."""
    if is_folder:
        own = os.path.join(os.path.realpath(os.path.dirname(path)), "")
        circle = os.path.islink(path) and own.startswith(os.path.join(os.path.realpath(path), ""))
        return "a link that leads in a circle" if circle else None
    if not os.path.exists(path):
        return "a link that leads nowhere"
    if _is_hidden(name):
        return "hidden"
    if not is_picture_name(name):
        return BY_CONTENT if _is_picture(path) else "no picture"
    if parts and relative.split(os.sep)[0] not in parts:
        return BESIDE
    return OUTSIDE


def _is_picture(path: str) -> bool:
    try:
        if not os.path.isfile(path):
            return False
        with open(path, "rb") as stream:
            opened(stream.read(2**20))
    except (UserError, OSError):
        return False
    return True

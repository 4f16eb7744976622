"""Listing: everything that is known of a data set in shards before one of its pictures is read."""

from __future__ import annotations

import io
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from residuum.data.folders import SPLITS
from residuum.data.shards.index import INDEX, Index, Rows, read_index
from residuum.data.shards.pattern import Place, find_places, split_beside
from residuum.data.shards.tars import Sample, list_tar
from residuum.data.shards.transfer import fetch
from residuum.errors import UserError, nearest, shown

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Shard:
    """A tar: where it is, and its length in bytes and SHA-256 where an index says them."""

    place: Place
    length: int
    sha256: str | None = None


@dataclass(frozen=True)
class Shards:
    """The pictures of tars, shard after shard, each in its tar's order.

    Of picture i: `shard_of` numbers its shard, `offsets` and `lengths` say where its bytes are within it, `sizes` are
    height and width, all as `index.Rows` has them; `splits` are parts ("" where none is known). `excluded` are pictures
    that cannot be read, with reasons. `digest` is that of the data set that was written, if these are all its shards.
    """

    shards: Sequence[Shard]
    names: Sequence[str]
    labels: np.ndarray
    splits: Sequence[str]
    classes: Sequence[str]
    groups: Sequence[str] | None
    shard_of: np.ndarray
    offsets: np.ndarray
    lengths: np.ndarray
    sizes: np.ndarray
    grey: bool
    chiral: bool = False
    digest: str | None = None
    excluded: Sequence[tuple[str, str]] = ()
    notes: Sequence[str] = ()


def list_shards(pattern: str, progress: Progress | None = None) -> Shards:
    """What a pattern (`pattern.py`) names. Without an index every tar is gone through once; `progress` is told the
    number of tars and of all. Raises UserError."""
    beside, pattern = split_beside(pattern)
    places = find_places(pattern)
    folders = {os.path.dirname(place.text) for place in places if not place.piped}
    indices = [file for folder in folders if os.path.isfile(file := os.path.join(folder, INDEX))]
    if beside is not None and beside.suffix == ".json":
        return _indexed(beside, places)
    if beside is None and indices:
        if len(folders) > 1:
            raise UserError(
                f"{shown(indices[0])} is the index of one of several folders; give one folder's shards at a time"
            )
        return _indexed(Path(indices[0]), places, whole=os.path.isdir(pattern))
    return _scanned(places, None if beside is None else _read_classes(beside), progress)


def _indexed(file: Path, places: Sequence[Place], whole: bool = False) -> Shards:
    index, rows = read_index(file)
    numbers = list(_numbers(file, index, places))
    twice, times = Counter(numbers).most_common(1)[0]
    if times > 1:
        raise UserError(f"two of the given shards are {shown(index.shards[twice].name)}; each can be given once")
    if whole and len(numbers) < len(index.shards):
        lost = next(shard.name for n, shard in enumerate(index.shards) if n not in set(numbers))
        raise UserError(f"{shown(file.with_name(lost))} is missing, which {INDEX} lists; fetch it, or name the others")
    shards = []
    for number, place in zip(numbers, places, strict=True):
        said = index.shards[number]
        if not place.piped and (length := os.path.getsize(place.text)) != said.bytes:
            raise UserError(
                f"{place.name} has {length:,} bytes and should have {said.bytes:,}, as {shown(file)} says: "
                "it is cut off or has changed; fetch or write it again"
            )
        shards.append(Shard(place, said.bytes, said.sha256))
    counts = np.array([shard.pictures for shard in index.shards])
    ends = np.cumsum(counts)
    chosen = np.concatenate([np.arange(ends[n] - counts[n], ends[n]) for n in numbers])
    everything = sorted(numbers) == list(range(len(index.shards)))
    return Shards(
        shards=shards,
        names=list(map(rows.names.__getitem__, chosen.tolist())),
        labels=rows.labels[chosen],
        splits=[index.shards[n].part for n in numbers for _ in range(counts[n])],
        classes=index.classes,
        groups=_groups(index, rows, chosen),
        shard_of=np.repeat(np.arange(len(numbers)), counts[numbers]),
        offsets=rows.offsets[chosen],
        lengths=rows.lengths[chosen],
        sizes=rows.sizes[chosen],
        grey=index.grey,
        chiral=index.chiral,
        digest=index.digest if everything else None,
    )


def _numbers(file: Path, index: Index, places: Sequence[Place]) -> Iterator[int]:
    """Which shard of an index each place is: a file by its name, a command by the name in it."""
    known = {shard.name: number for number, shard in enumerate(index.shards)}
    for place in places:
        words = set(re.findall(r"[\w.-]+", place.text)) if place.piped else {os.path.basename(place.text)}
        found = words & known.keys()
        if len(found) != 1:
            raise UserError(
                f"{place.name} names {'several' if found else 'none'} of the {len(index.shards)} shards that "
                f"{shown(file)} lists, {shown(index.shards[0].name)} and so on"
            )
        yield known[found.pop()]


def _groups(index: Index, rows: Rows, chosen: np.ndarray) -> list[str] | None:
    if index.groups is None or rows.groups is None:
        return None
    return [index.groups[group] for group in rows.groups[chosen].tolist()]


def _scanned(places: Sequence[Place], classes: Sequence[str] | None, progress: Progress | None) -> Shards:
    """Tars of other tools: each is gone through once."""
    shards, rows, excluded = [], [], []
    titles = _titles(places)
    for number, place in enumerate(places):
        length, samples = _samples(place)
        if not samples:
            raise UserError(f"{place.name} holds no pictures with labels, KEY.jpg and KEY.cls")
        shards.append(Shard(place, length))
        for sample in samples:
            name = f"{titles[number]}/{sample.key}.{sample.extension}"
            if sample.problem:
                excluded.append((name, sample.problem))
            else:
                rows.append((name, number, sample))
        if progress is not None:
            progress(number + 1, len(places))
    parts = [_part(place) for place in places]
    said = [sample.label for _, _, sample in rows]
    classes, labels = _classes(said, classes)
    sizes = np.array([(sample.height, sample.width) for _, _, sample in rows], np.int32).reshape(-1, 2)
    return Shards(
        shards=shards,
        names=[name for name, _, _ in rows],
        labels=labels,
        splits=[parts[number] for _, number, _ in rows],
        classes=classes,
        groups=None,
        shard_of=np.array([number for _, number, _ in rows], np.int64),
        offsets=np.array([sample.offset for _, _, sample in rows], np.int64),
        lengths=np.array([sample.length for _, _, sample in rows], np.int64),
        sizes=sizes,
        grey=all(sample.grey for _, _, sample in rows),
        excluded=excluded,
        notes=[f"the shards have no {INDEX}, so each was gone through once; residuum shard writes one"],
    )


def _samples(place: Place) -> tuple[int, list[Sample]]:
    if place.piped:
        content = fetch(place)
        return len(content), list_tar(io.BytesIO(content), place.name)
    try:
        with open(place.text, "rb") as stream:
            return os.fstat(stream.fileno()).st_size, list_tar(stream, place.name)
    except OSError as error:
        raise UserError(f"{place.name} cannot be read: {error.strerror}") from error


def _titles(places: Sequence[Place]) -> list[str]:
    """A short name for each shard, for the names of its pictures, which must be different."""
    words = [place.text.rpartition("/")[2].split()[0] if "/" in place.text else place.text for place in places]
    short = [word.removesuffix(".tar") for word in words]
    if len(set(short)) == len(short):
        return short
    return [f"{number:06d}" for number in range(len(places))]


def _part(place: Place) -> str:
    """The part that a shard's name speaks of, as folders' names do: train-0001.tar, imagenet-val-00.tar."""
    name = place.text.rpartition("/")[2].lower()
    words = "".join(c if c.isalnum() else " " for c in name).split()
    parts = {SPLITS[word] for word in words if word in SPLITS}
    return parts.pop() if len(parts) == 1 else ""


def _classes(said: Sequence[int | str], given: Sequence[str] | None) -> tuple[Sequence[str], np.ndarray]:
    """The classes and each picture's: the given names, or the numbers or names that the labels are."""
    numbers = [label for label in said if isinstance(label, int)]
    if numbers and len(numbers) < len(said):
        name = next(label for label in said if isinstance(label, str))
        raise UserError(f'labels are numbers in some shards and names such as "{shown(name)}" in others; use one')
    if given is None:
        distinct = sorted(set(numbers)) if numbers else sorted({str(label) for label in said}, key=os.fsencode)
        index = {label: i for i, label in enumerate(distinct)}
        return [str(label) for label in distinct], np.array([index[label] for label in said], np.int64)
    if numbers and max(numbers) >= len(given):
        raise UserError(f"a picture has class {max(numbers)}, and the given list has {len(given)} classes, 0 and up")
    index = {name: i for i, name in enumerate(given)}
    unknown = next((label for label in said if isinstance(label, str) and label not in index), None)
    if unknown is not None:
        raise UserError(
            f'a picture has class "{shown(unknown)}", which the given list has not; {nearest(unknown, given)}'
        )
    return given, np.array([label if isinstance(label, int) else index[label] for label in said], np.int64)


def _read_classes(file: Path) -> list[str]:
    try:
        lines = [line.strip() for line in file.read_text("utf-8-sig").splitlines()]
    except (OSError, ValueError) as error:
        raise UserError(f"{shown(file)} is no list of class names, one a line: {error}") from error
    names = [line for line in lines if line]
    if len(set(names)) < len(names):
        raise UserError(f"{shown(file)} names a class twice; number k of the labels is line k, from 0")
    return names

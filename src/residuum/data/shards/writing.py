"""Writing: any data set becomes shards, which are read back from the disk and compared before they get their name.

The pictures of the training part are written in a fixed random order, so that the few shards that are in use at a time
are a fair sample, and the validation part that training would cut lies in shards of its own. The same data give the
same bytes.
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from residuum.data.checks.contents import find_contents
from residuum.data.manifest import PARTS, Manifest
from residuum.data.opening import open_for
from residuum.data.parallel import ordered
from residuum.data.random import permutation
from residuum.data.shards.folder import refuse_full, refuse_inside, whole_folder
from residuum.data.shards.index import Index, IndexedShard, Rows, pack, write_index
from residuum.data.shards.originals import Source
from residuum.data.shards.reading import ShardPictures
from residuum.data.shards.tars import Sample, list_tar, measure
from residuum.data.shards.transfer import Files
from residuum.errors import UserError
from residuum.progress import Reporter

SHARD_BYTES = 100 * 10**6
"""Bytes of pictures in a shard where their number is not given."""
_GUESSED = 100
"""Pictures of which the mean length is taken for that of all."""
_MEMBER = tarfile.BLOCKSIZE


@dataclass(frozen=True)
class _Written:
    """A shard, the numbers of its pictures in the source, and what was written of each."""

    shard: IndexedShard
    indices: np.ndarray
    samples: list[Sample]


def write_shards(
    argument: str, out: Path, *, pictures_per_shard: int | None = None, allow_bad: bool = False, reporter: Reporter
) -> Index:
    """Write the data set that `argument` names as shards into the folder `out`, which must be empty or not there.

    Everything is written into a hidden folder beside it, read back, compared with the source, and then renamed: on any
    error nothing is left. Without `pictures_per_shard` a shard has about `SHARD_BYTES`. Raises UserError.
    """
    if pictures_per_shard is not None and pictures_per_shard < 1:
        raise UserError(f"--pictures-per-shard must be at least 1, not {pictures_per_shard}")
    refuse_full(out)
    contents = find_contents(argument)
    refuse_inside(out, contents.folder)
    manifest = open_for(reporter, argument, None, allow_bad)
    source = Source(manifest, contents)
    many = pictures_per_shard or _many(source)
    with whole_folder(out) as folder:
        written: list[_Written] = []
        with reporter.track("writing shards", "pictures") as update:
            for part, indices, start, number in _cuts(manifest, many):
                written.append(_write(source, folder / f"{part}-{number:06d}.tar", part, start, indices))
                update(sum(len(each.indices) for each in written), len(manifest))
        with reporter.track("comparing shards", "pictures") as update:
            for done, _ in ordered(_comparisons(source, folder, written), min(4, os.cpu_count() or 1), ahead=1):
                update(done, len(manifest))
        return _index(source, folder, written)


def _cuts(manifest: Manifest, many: int) -> Iterator[tuple[str, np.ndarray, int, int]]:
    """Part, pictures, number of the first picture in its part, and number of each shard."""
    for part in (part for part in PARTS if part in manifest.parts):
        indices = _ordered(manifest, part)
        for number, start in enumerate(range(0, len(indices), many)):
            yield part, indices[start : start + many], start, number


def _ordered(manifest: Manifest, part: str) -> np.ndarray:
    indices = manifest.part(part)
    pictures = manifest.pictures
    if part != "train" or (isinstance(pictures, ShardPictures) and pictures.piped):
        return indices
    return indices[permutation(0, 0, len(indices))]


def _many(source: Source) -> int:
    pictures = source.manifest.pictures
    if isinstance(pictures, ShardPictures):
        return max(1, round(SHARD_BYTES / pictures.lengths.mean()))
    some = np.linspace(0, len(source.manifest) - 1, min(_GUESSED, len(source.manifest))).astype(int)
    mean = sum(len(source.file(int(index))[0]) for index in some) / len(some)
    return max(1, round(SHARD_BYTES / mean))


def _write(source: Source, path: Path, part: str, start: int, indices: np.ndarray) -> _Written:
    """One tar; keys count the pictures of a part."""
    samples = []
    with path.open("wb") as raw:
        stream = _Hashed(raw)
        with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar:  # type: ignore[arg-type]
            for number, index in enumerate(indices.tolist(), start):
                data, extension = source.file(index)
                with source.naming(index):
                    height, width, grey = measure(data)
                label = int(source.manifest.labels[index])
                key = f"{number:08d}"
                offset = stream.tell() + _MEMBER
                _add(tar, f"{key}.{extension}", data)
                _add(tar, f"{key}.cls", str(label).encode())
                samples.append(Sample(key, extension, offset, len(data), label, height, width, grey))
        raw.flush()
        os.fsync(raw.fileno())
        _forget_cached(raw.fileno())
    shard = IndexedShard(path.name, part, len(samples), stream.tell(), stream.digest())  # type: ignore[arg-type]
    return _Written(shard, indices, samples)


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """A member that looks the same whoever writes it and when."""
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(data), 0o644
    tar.addfile(member, io.BytesIO(data))


def _comparisons(
    source: Source, folder: Path, written: list[_Written]
) -> Iterator[tuple[int, list[Callable[[], None]]]]:
    """Every shard is read as a stranger would, without what is known of it from writing."""
    files, done = Files(), 0
    for each in written:
        path, said = folder / each.shard.name, each.shard
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            samples = list_tar(stream, said.name)
        if digest != said.sha256 or samples != each.samples:
            raise UserError(f"{said.name} came back changed from a disk that cannot be trusted; nothing was kept")

        def check(index: int, sample: Sample, path: str = os.fspath(path), whole: int = said.bytes) -> None:
            data = files.read(path, sample.offset, sample.length, whole)
            source.refuse_difference(index, data, sample.label)

        done += len(samples)
        yield done, [partial(check, *pair) for pair in zip(each.indices.tolist(), samples, strict=True)]


def _index(source: Source, folder: Path, written: list[_Written]) -> Index:
    manifest = source.manifest
    indices = np.concatenate([each.indices for each in written])
    samples = [sample for each in written for sample in each.samples]
    listing = pack(
        Rows(
            names=[manifest.names[i] for i in indices.tolist()],
            labels=manifest.labels[indices],
            offsets=np.array([sample.offset for sample in samples]),
            lengths=np.array([sample.length for sample in samples]),
            sizes=np.array([(sample.height, sample.width) for sample in samples]),
            groups=None if manifest.groups is None else manifest.groups[indices],
        )
    )
    index = Index(
        format="residuum shards",
        format_version=1,
        classes=manifest.classes,
        digest=manifest.digest,
        grey=manifest.pictures.grey,
        chiral=manifest.chiral,
        groups=None if manifest.groups is None else manifest.group_names,
        pictures_sha256=hashlib.sha256(listing).hexdigest(),
        shards=tuple(each.shard for each in written),
    )
    write_index(folder, index, listing)
    return index


class _Hashed:
    """A file that is written, and the SHA-256 of what was written."""

    def __init__(self, file: io.BufferedWriter) -> None:
        self._file, self._hash, self._length = file, hashlib.sha256(), 0

    def write(self, data: bytes) -> int:
        self._hash.update(data)
        self._length += len(data)
        return self._file.write(data)

    def tell(self) -> int:
        return self._length

    def digest(self) -> str:
        return self._hash.hexdigest()


def _forget_cached(file: int) -> None:
    """What is read back shall come from the disk, where the system can be told so."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)

"""The index beside shards that were written here: index.json for people, pictures.npz for each picture.

The listing is apart because a million pictures are some 20 MB compressed and would be slow to read as JSON.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from residuum.config import STRICT, from_dict, to_dict
from residuum.errors import UserError, shown
from residuum.files import write_atomic, write_json

INDEX = "index.json"
LISTING = "pictures.npz"


@dataclass(frozen=True)
class IndexedShard:
    """A shard: its file's name, the part (train, val or test) and number of its pictures, its length in bytes and
    SHA-256."""

    __pydantic_config__ = STRICT

    name: str
    part: Literal["train", "val", "test"]
    pictures: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Index:
    """What index.json holds.

    `digest` is that of the data set that was written (`manifest.digest_of`), `pictures_sha256` that of pictures.npz;
    `grey` and `chiral` are as `Pictures` and `Manifest` have them, and `groups` names the groups.
    """

    __pydantic_config__ = STRICT

    format: Literal["residuum shards"]
    format_version: Literal[1]
    classes: tuple[str, ...]
    digest: str
    grey: bool
    chiral: bool
    groups: tuple[str, ...] | None
    pictures_sha256: str
    shards: tuple[IndexedShard, ...]


@dataclass(frozen=True)
class Rows:
    """The pictures of all shards, in their order: names, labels int64 (n,), offsets and lengths in bytes within the
    shard int64 (n,), heights and widths int32 (n, 2), numbers of groups int64 (n,) or None."""

    names: Sequence[str]
    labels: np.ndarray
    offsets: np.ndarray
    lengths: np.ndarray
    sizes: np.ndarray
    groups: np.ndarray | None


def pack(rows: Rows) -> bytes:
    """The content of pictures.npz; the same rows give the same bytes."""
    arrays = {
        "names": np.frombuffer(b"\0".join(map(os.fsencode, rows.names)), np.uint8),
        "labels": rows.labels.astype(np.int32),
        "offsets": rows.offsets.astype(np.int64),
        "lengths": rows.lengths.astype(np.int64),
        "sizes": rows.sizes.astype(np.int32),
    }
    if rows.groups is not None:
        arrays["groups"] = rows.groups.astype(np.int32)
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **arrays)
    return stream.getvalue()


def write_index(folder: Path, index: Index, listing: bytes) -> None:
    write_atomic(folder / LISTING, listing)
    write_json(folder / INDEX, to_dict(index))


def read_index(file: Path) -> tuple[Index, Rows]:
    """The index and its listing, which lies beside it. Raises UserError where they do not hold together."""
    listing = file.with_name(LISTING)
    text, packed = _read(file), _read(listing)
    try:
        value = json.loads(text)
    except ValueError as error:
        raise UserError(f"{shown(file)} is not an index of shards: {error}; write the shards again") from error
    version = value.get("format_version") if isinstance(value, dict) else None
    if isinstance(version, int) and version > 1:
        raise UserError(f"{shown(file)} has format version {version}, which is newer than this program; update it")
    index = from_dict(Index, value, shown(file))
    if hashlib.sha256(packed).hexdigest() != index.pictures_sha256:
        raise UserError(f"{shown(listing)} is not what {shown(file)} says (SHA-256 differs); write the shards again")
    try:
        rows = _unpack(packed)
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{shown(listing)} is damaged: {error}; write the shards again") from error
    n = sum(shard.pictures for shard in index.shards)
    inside = not n or (rows.labels.min() >= 0 and rows.labels.max() < len(index.classes))
    if {len(rows.names), len(rows.labels), len(rows.offsets), len(rows.lengths), len(rows.sizes)} != {n} or not inside:
        raise UserError(f"{shown(listing)} does not list the pictures of {shown(file)}; write the shards again")
    return index, rows


def _unpack(packed: bytes) -> Rows:
    with np.load(io.BytesIO(packed), allow_pickle=False) as arrays:
        text = os.fsdecode(arrays["names"].tobytes())
        return Rows(
            names=text.split("\0"),
            labels=arrays["labels"].astype(np.int64),
            offsets=arrays["offsets"],
            lengths=arrays["lengths"],
            sizes=arrays["sizes"],
            groups=arrays["groups"].astype(np.int64) if "groups" in arrays else None,
        )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{shown(path)} cannot be read: {error.strerror}; it belongs to the shards") from error

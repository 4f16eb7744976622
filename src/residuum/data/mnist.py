"""MNIST: the IDX files of LeCun, Cortes and Burges, gzipped or not, and anything else in the same four
files."""

from __future__ import annotations

import gzip
import math
import re
import zlib
from pathlib import Path

import numpy as np

from residuum.data.archives import Arrays, members, numbered
from residuum.errors import UserError, one_line, shown

_FILE = re.compile(r"(train|t10k)-(images|labels)[.-]idx([31])-ubyte(\.gz)?")


def read_mnist(path: Path) -> Arrays:
    """The train files are the training part, the t10k files the test part. Raises UserError naming what is
    missing."""
    found: dict[tuple[str, str], np.ndarray] = {}
    for name, data in members(path, lambda name: _FILE.fullmatch(name) is not None).items():
        if match := _FILE.fullmatch(name):
            where = f"{shown(name)} in {shown(path)}"
            array = read_idx(gunzipped(data, where) if match[4] else data, where)
            if array.ndim != (3 if match[2] == "images" else 1):
                raise UserError(f"{where} has {array.ndim} dimensions, which is wrong for {match[2]}")
            found[match[1], match[2]] = array
    for key in (("train", "images"), ("train", "labels")):
        if key not in found:
            raise UserError(f"{shown(path)} holds no {'-'.join(key)} IDX file; give the folder of MNIST's files")
    pixels, labels, names, splits = [], [], [], []
    for prefix, part in (("train", "train"), ("t10k", "test")):
        if (prefix, "images") not in found and (prefix, "labels") not in found:
            continue
        images, targets = found.get((prefix, "images")), found.get((prefix, "labels"))
        if images is None or targets is None or len(images) != len(targets):
            raise UserError(f"{shown(path)}: the {prefix} files must be as many images as labels")
        pixels.append(images)
        labels.append(targets.astype(np.int64))
        names += numbered(part, len(images))
        splits += [part] * len(images)
    if len({array.shape[1:] for array in pixels}) != 1:
        raise UserError(f"{shown(path)}: the train and t10k pictures differ in size")
    target = np.concatenate(labels)
    classes = [str(i) for i in range(max(10, int(target.max(initial=0)) + 1))]
    return Arrays(np.concatenate(pixels)[..., None], target, names, splits, classes, chiral=True)


def gunzipped(data: bytes, where: str) -> bytes:
    """The content of gzipped bytes; UserError where they are damaged."""
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{where} is not a whole gzip file: {one_line(error)}") from error


def read_idx(data: bytes, where: str) -> np.ndarray:
    """The uint8 array of an IDX file: two zero bytes, type 8, number of dimensions, big-endian sizes,
    values."""
    if len(data) < 4 or data[:3] != b"\0\0\x08" or len(data) < 4 + 4 * data[3]:
        raise UserError(f"{where} is not an IDX file of bytes")
    shape = [int.from_bytes(data[4 + 4 * i : 8 + 4 * i], "big") for i in range(data[3])]
    start = 4 + 4 * data[3]
    if math.prod(shape) != len(data) - start or 0 in shape:
        raise UserError(f"{where} is truncated or empty: {len(data) - start} values for shape {tuple(shape)}")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)

"""CIFAR-10 and CIFAR-100: the official archives, python or binary, extracted or as .tar or .tar.gz.

Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images". The python archives are pickles;
they are read by an unpickler that can build numpy arrays and nothing else, so a file made to run code is
refused.
"""

from __future__ import annotations

import io
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from residuum.data.archives import Arrays, members, numbered
from residuum.errors import UserError, one_line, shown

_PIXELS = 3 * 32 * 32
_BATCH = re.compile(r"data_batch_(\d+)(\.bin)?")


def read_cifar10(path: Path) -> Arrays:
    """CIFAR-10: `data_batch_1`, ... are the training part and `test_batch` the test part."""
    wanted = {"batches.meta", "batches.meta.txt", "test_batch", "test_batch.bin"}
    files = members(path, lambda name: name in wanted or _BATCH.fullmatch(name) is not None)
    batches = sorted((int(m[1]), name) for name in files if (m := _BATCH.fullmatch(name)))
    if [number for number, _ in batches] != list(range(1, len(batches) + 1)):
        raise UserError(f"{shown(path)} lacks some data_batch files; it has {', '.join(name for _, name in batches)}")
    notes = [] if len(batches) in (0, 5) else [f"only {len(batches)} of CIFAR-10's 5 training batches are there"]
    parts = [("train", name) for _, name in batches] + [("test", n) for n in files if n.startswith("test_batch")]
    return _assemble(path, files, parts, "batches.meta", "batches.meta.txt", "label_names", "labels", 1, notes)


def read_cifar100(path: Path) -> Arrays:
    """CIFAR-100 with its fine labels: `train` and `test`."""
    wanted = {"meta", "train", "test", "fine_label_names.txt", "train.bin", "test.bin"}
    files = members(path, wanted.__contains__)
    parts = [(part, name) for part in ("train", "test") for name in (part, f"{part}.bin") if name in files]
    return _assemble(path, files, parts, "meta", "fine_label_names.txt", "fine_label_names", "fine_labels", 2, [])


def _assemble(
    path: Path,
    files: dict[str, bytes],
    parts: list[tuple[str, str]],
    meta: str,
    text_meta: str,
    names_key: str,
    labels_key: str,
    label_bytes: int,
    notes: list[str],
) -> Arrays:
    if not any(part == "train" for part, _ in parts):
        raise UserError(f"{shown(path)} holds no CIFAR training files; give the official archive or its folder")
    where = lambda name: f"{shown(name)} in {shown(path)}"  # noqa: E731
    if meta in files:
        classes = _strings(unpickle(files[meta], where(meta)).get(names_key), where(meta))
    elif text_meta in files:
        classes = files[text_meta].decode("utf-8", "surrogateescape").split()
    else:
        raise UserError(f"{shown(path)} lacks {meta} (or {text_meta}), which names the classes")
    read: list[tuple[str, np.ndarray, np.ndarray]] = []
    for part, name in parts:
        if name.endswith(".bin"):
            rows, labels = _binary(files[name], label_bytes, where(name))
        else:
            rows, labels = _pickled(files[name], labels_key, where(name))
        if labels.size and not 0 <= labels.min() <= labels.max() < len(classes):
            raise UserError(f"{where(name)} has labels outside of the {len(classes)} classes")
        read.append((part, rows, labels))

    splits = [part for part, rows, _ in read for _ in range(len(rows))]
    pixels = np.empty((len(splits), 32, 32, 3), np.uint8)
    start = 0
    for _, rows, _ in read:
        pixels[start : start + len(rows)] = rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        start += len(rows)
    names = numbered("train", splits.count("train")) + numbered("test", splits.count("test"))
    return Arrays(pixels, np.concatenate([labels for _, _, labels in read]), names, splits, classes, notes)


def _binary(data: bytes, label_bytes: int, where: str) -> tuple[np.ndarray, np.ndarray]:
    record = label_bytes + _PIXELS
    if not data or len(data) % record:
        raise UserError(f"{where} is truncated: {len(data)} bytes are not a multiple of {record}")
    rows = np.frombuffer(data, np.uint8).reshape(-1, record)
    # CIFAR-100 has the coarse label first, then the fine one.
    return rows[:, label_bytes:], rows[:, label_bytes - 1].astype(np.int64)


def _pickled(data: bytes, labels_key: str, where: str) -> tuple[np.ndarray, np.ndarray]:
    batch = unpickle(data, where)
    rows, labels = batch.get("data"), batch.get(labels_key)
    if not isinstance(rows, np.ndarray) or rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape[1] != _PIXELS:
        raise UserError(f"{where} has no uint8 array of {_PIXELS} values per picture under data")
    if not isinstance(labels, list) or len(labels) != len(rows) or not all(type(x) is int for x in labels):
        raise UserError(f"{where} has no list of {len(rows)} whole numbers under {labels_key}")
    return rows, np.array(labels, np.int64)


def _strings(value: object, where: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(x, str) for x in value):
        raise UserError(f"{where} has no list of class names")
    return value


def unpickle(data: bytes, where: str) -> dict[str, Any]:
    """A pickled dictionary of numbers, text, lists and numpy arrays. Anything else is refused, unexecuted."""
    try:
        value = _Unpickler(io.BytesIO(data), encoding="latin1").load()
    except UserError as error:
        raise UserError(f"{where} {error}") from None
    except Exception as error:  # damaged pickles raise nearly anything
        raise UserError(f"{where} is not a whole pickle of arrays: {one_line(error)}") from error
    if not isinstance(value, dict):
        raise UserError(f"{where} holds no dictionary")
    return value


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Callable[..., object]:
        allowed: dict[tuple[str, str], Callable[..., object]] = {
            ("numpy.core.multiarray", "_reconstruct"): _empty_array,
            ("numpy._core.multiarray", "_reconstruct"): _empty_array,
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): _plain_dtype,
            ("_codecs", "encode"): _latin1,
        }
        if (module, name) not in allowed:
            raise UserError(
                f"asks for {shown(module)}.{shown(name)}, which is refused: only arrays are read from pickles"
            )
        return allowed[module, name]


def _empty_array(kind: object, shape: object, code: object) -> np.ndarray:
    """What numpy's `_reconstruct` makes: an array that the pickle then gives its shape, type and bytes."""
    return np.ndarray((0,), np.uint8)


def _plain_dtype(name: object, *_: object) -> np.dtype:
    if name not in ("u1", "|u1"):
        raise UserError(f"holds an array of {shown(name)}, where uint8 is expected")
    return np.dtype(np.uint8)


def _latin1(text: str, encoding: str) -> bytes:
    return text.encode("latin1")

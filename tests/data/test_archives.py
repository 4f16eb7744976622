"""The official archives in all their forms give the same pictures; pickles can do nothing but hold arrays."""

from __future__ import annotations

import gzip
import os
import pickle
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from residuum.data.cifar import unpickle
from residuum.data.mnist import read_idx
from residuum.data.sources import open_data
from residuum.errors import UserError

LABELS10 = ["plane", "car", "bird"]
LABELS100 = [f"fine{i}" for i in range(4)]


def batch(seed: int, classes: int, n: int = 12) -> tuple[np.ndarray, list[int]]:
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (n, 3072), dtype=np.uint8), [int(i) % classes for i in range(n)]


def dump(value: object, old: bool) -> bytes:
    """A pickle; `old` as numpy 1 on Python 2 wrote the official ones."""
    data = pickle.dumps(value, protocol=2)
    return data.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n") if old else data


def cifar(root: Path, hundred: bool, binary: bool, old: bool = True) -> Path:
    classes = LABELS100 if hundred else LABELS10
    folder = root / f"cifar-{hundred}-{binary}"
    folder.mkdir(parents=True)
    stems = ["train", "test"] if hundred else [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    for seed, stem in enumerate(stems):
        pixels, labels = batch(seed, len(classes))
        if binary:
            coarse = [b"\x09"] * len(labels) if hundred else [b""] * len(labels)
            rows = zip(coarse, labels, pixels, strict=True)
            (folder / f"{stem}.bin").write_bytes(b"".join(c + bytes([i]) + p.tobytes() for c, i, p in rows))
        else:
            key = "fine_labels" if hundred else "labels"
            extra = {"coarse_labels": [9] * len(labels)} if hundred else {}
            (folder / stem).write_bytes(dump({"data": pixels, key: labels, "batch_label": "x", **extra}, old))
    if binary:
        name = "fine_label_names.txt" if hundred else "batches.meta.txt"
        (folder / name).write_text("\n".join(classes) + "\n\n")
    else:
        name, key = ("meta", "fine_label_names") if hundred else ("batches.meta", "label_names")
        (folder / name).write_bytes(dump({key: classes}, old))
    return folder


def packed(folder: Path, mode: Literal["w", "w:gz"]) -> Path:
    out = folder.parent / f"{folder.name}.tar{'.gz' if mode == 'w:gz' else ''}"
    with tarfile.open(out, mode) as archive:
        archive.add(folder, folder.name)
    return out


@pytest.mark.parametrize("hundred", [False, True])
def test_cifar_in_all_forms(hundred: bool, tmp_path: Path) -> None:
    name = "cifar100" if hundred else "cifar10"
    forms = []
    for binary in (False, True):
        folder = cifar(tmp_path, hundred, binary)
        forms += [folder, packed(folder, "w:gz"), packed(folder, "w")]
    forms.append(cifar(tmp_path / "new", hundred, binary=False, old=False))
    forms.append(tmp_path / "new")  # a folder that holds the archive's folder
    manifests = [open_data(f"{name}:{form}") for form in forms]
    first = manifests[0]
    assert first.classes == tuple(LABELS100 if hundred else LABELS10)
    per_batch, batches = 12, 1 if hundred else 5
    assert len(first) == per_batch * (batches + 1)
    assert len(first.parts["test"]) == per_batch
    assert len(first.parts["val"]) == max(1, round(per_batch * batches / 10))
    pixels, labels = batch(0, len(first.classes))
    np.testing.assert_array_equal(first.pictures.read(3, 3), pixels[3].reshape(3, 32, 32).transpose(1, 2, 0))
    assert first.labels[:12].tolist() == labels
    assert first.names[0] == "train/00000"
    assert first.names[-1] == "test/00011"
    assert {m.digest for m in manifests} == {first.digest}


class Bomb:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.system, (f"touch '{self.marker}'",)


def test_a_pickle_bomb_is_refused_unexecuted(tmp_path: Path) -> None:
    folder = cifar(tmp_path, hundred=False, binary=False)
    (folder / "data_batch_2").write_bytes(pickle.dumps({"data": Bomb(tmp_path / "pwned")}, protocol=2))
    with pytest.raises(UserError, match=r"data_batch_2 .* refused"):
        open_data(f"cifar10:{folder}")
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    "data",
    [
        pickle.dumps({"a": np.array([object()])}, protocol=2),
        pickle.dumps({"a": np.zeros(3)}, protocol=2),
        pickle.dumps({"a": np.zeros(3, [("x", "u1")])}, protocol=2),
        pickle.dumps({"a": eval}, protocol=2),
        pickle.dumps({"a": np.load}, protocol=2),
        pickle.dumps({"a": Path("x")}, protocol=2),
        pickle.dumps([1, 2], protocol=2),
        b"cos\nsystem\n(S'true'\ntR.",
        b"\x80\x02",
        b"",
        b"hello",
    ],
)
def test_pickles_of_anything_else_are_refused(data: bytes) -> None:
    with pytest.raises(UserError, match=r"^here "):
        unpickle(data, "here")


def test_damaged_cifar(tmp_path: Path) -> None:
    binary = cifar(tmp_path, hundred=False, binary=True)
    whole = (binary / "data_batch_1.bin").read_bytes()
    (binary / "data_batch_1.bin").write_bytes(whole[:-5])
    with pytest.raises(UserError, match=r"data_batch_1\.bin .* truncated"):
        open_data(f"cifar10:{binary}")
    (binary / "data_batch_1.bin").write_bytes(b"\x7f" + whole[1:])
    with pytest.raises(UserError, match="labels outside of the 3 classes"):
        open_data(f"cifar10:{binary}")
    (binary / "data_batch_1.bin").unlink()
    with pytest.raises(UserError, match=r"lacks some data_batch files"):
        open_data(f"cifar10:{binary}")
    python = cifar(tmp_path, hundred=False, binary=False)
    archive = packed(python, "w:gz")
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    with pytest.raises(UserError, match="not a folder or a whole tar file"):
        open_data(f"cifar10:{archive}")
    (python / "batches.meta").unlink()
    with pytest.raises(UserError, match=r"lacks batches\.meta"):
        open_data(f"cifar10:{python}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no CIFAR training files"):
        open_data(f"cifar100:{tmp_path / 'empty'}")
    with pytest.raises(UserError, match="there is nothing at"):
        open_data(f"cifar10:{tmp_path / 'missing'}")


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("separator", ["-", "."])
def test_mnist_files(zipped: bool, separator: str, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (80, 6, 5), dtype=np.uint8)
    labels = (np.arange(80) % 10).astype(np.uint8)
    for prefix, part in (("train", slice(0, 60)), ("t10k", slice(60, 80))):
        for kind, array in (("images", images[part]), ("labels", labels[part])):
            data = idx(array)
            name = f"{prefix}-{kind}{separator}idx{array.ndim}-ubyte"
            (tmp_path / f"{name}{'.gz' if zipped else ''}").write_bytes(gzip.compress(data) if zipped else data)
    manifest = open_data(f"mnist:{tmp_path}")
    assert {k: len(v) for k, v in manifest.parts.items()} == {"train": 55, "val": 5, "test": 20}
    assert manifest.pictures.grey
    np.testing.assert_array_equal(manifest.pictures.read(61, 1)[..., 0], images[61])
    assert manifest.classes == tuple("0123456789")
    np.testing.assert_array_equal(manifest.labels, labels)
    label_file = next(tmp_path.glob("train-labels*"))
    label_file.unlink()
    with pytest.raises(UserError, match="no train-labels"):
        open_data(f"mnist:{tmp_path}")


@pytest.mark.parametrize(
    "data", [b"", b"hello world", idx(np.zeros((3, 2, 2), np.uint8))[:-1], b"\0\0\x08\xff", b"\0\0\x0d\x01\0\0\0\0"]
)
def test_damaged_idx(data: bytes) -> None:
    with pytest.raises(UserError, match=r"^here "):
        read_idx(data, "here")


def test_damaged_gzip(tmp_path: Path) -> None:
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(np.ones((9, 9, 9), np.uint8)))[:-9])
    with pytest.raises(UserError, match="not a whole gzip file"):
        open_data(f"mnist:{tmp_path}")

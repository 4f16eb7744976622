"""Archives: data sets that come as a few files of raw pixels, in a folder or a tar file."""

from __future__ import annotations

import os
import tarfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from residuum.errors import UserError, one_line, shown


@dataclass(frozen=True)
class Arrays:
    """A data set of decoded pictures: `pixels` uint8 (n, H, W, C), `labels` int64 (n,) into `classes`, and
    for each picture its name and its given part ("train", "val" or "test")."""

    pixels: np.ndarray
    labels: np.ndarray
    names: Sequence[str]
    splits: Sequence[str]
    classes: Sequence[str]
    notes: Sequence[str] = ()
    chiral: bool = False


def numbered(split: str, count: int) -> list[str]:
    """Names for pictures that have none: train/00000, train/00001, ..."""
    return [f"{split}/{i:05d}" for i in range(count)]


def members(path: Path, wanted: Callable[[str], bool]) -> dict[str, bytes]:
    """Base name -> bytes of the wanted files of a folder (or of its first subfolder that has any) or of a tar
    file."""
    try:
        if path.is_dir():
            folders = [path, *sorted((p for p in path.iterdir() if p.is_dir()), key=os.fsencode)]
            for folder in folders:
                found = {p.name: p for p in folder.iterdir() if wanted(p.name) and p.is_file()}
                if found:
                    return {name: found[name].read_bytes() for name in sorted(found)}
            return {}
        with tarfile.open(path, mode="r|*") as archive:
            return {
                name: stream.read()
                for member in archive
                if member.isfile()
                and wanted(name := os.path.basename(member.name))
                and (stream := archive.extractfile(member)) is not None
            }
    except FileNotFoundError as error:
        raise UserError(f"there is nothing at {shown(path)}") from error
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise UserError(f"{shown(path)} is not a folder or a whole tar file: {one_line(error)}") from error
    except OSError as error:
        raise UserError(f"{shown(path)} cannot be read: {error.strerror or one_line(error)}") from error

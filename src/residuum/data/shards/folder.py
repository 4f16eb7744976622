"""The folder that shards are written into: whole, or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from residuum.errors import UserError, shown
from residuum.files import make_folder


def refuse_full(out: Path) -> None:
    """UserError where `out` is neither an empty folder nor free."""
    try:
        if out.is_dir() and not any(out.iterdir()):
            return
    except OSError as error:
        raise UserError(f"{shown(out)} cannot be listed: {error.strerror}; choose another --out") from error
    if out.exists() or out.is_symlink():
        what = "is not empty" if out.is_dir() else "is there already and is no folder"
        raise UserError(f"{shown(out)} {what}; choose another --out")


def refuse_inside(out: Path, folder: Path | None) -> None:
    """UserError where `out` would be among the data."""
    if folder is not None and out.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"{shown(out)} is inside of the data, where nothing is written; choose another --out")


@contextlib.contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """A hidden folder beside `out` that becomes `out` at the end, and is removed on any error.

    Raises UserError where something cannot be written.
    """
    target = out.absolute()
    make_folder(target.parent)
    folder = None
    try:
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        yield folder
        mask = os.umask(0)
        os.umask(mask)
        folder.chmod(0o777 & ~mask)  # mkdtemp's are for their owner alone
        folder.rename(target)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"cannot write {shown(out)}: {reason}; make room or choose another --out") from error
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

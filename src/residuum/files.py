"""Files written whole or not at all: temporary file, fsync, rename."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from residuum.errors import UserError, shown


def write_atomic(path: Path, content: bytes | str) -> None:
    """Replace `path` by `content`; on any failure the old file stays as it was and UserError says why.

    The mode follows the umask, as an ordinary new file's does.
    """
    data = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        if temporary:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        raise UserError(
            f"cannot write {shown(path)}: {error.strerror or error}; make room or choose another --out"
        ) from None


def write_json(path: Path, value: Any) -> None:
    write_atomic(path, json.dumps(value, indent=1, ensure_ascii=True) + "\n")


def make_folder(path: Path, option: str = "--out") -> None:
    """The folder and its parents; UserError naming the option to change where that is not allowed."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot make the folder {shown(path)}: {error.strerror or error}; choose another {option}"
        ) from None


def cache_folder() -> Path | None:
    """Where things are kept that can be made again; None for a user without a home."""
    with contextlib.suppress(RuntimeError):
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "residuum"
    return None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable; not every system lets a folder be opened for that."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

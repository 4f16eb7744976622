"""Files are written whole or not at all, with the mode of an ordinary new file."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from residuum.errors import UserError
from residuum.files import make_folder, write_atomic, write_json


@given(first=st.binary(max_size=300), second=st.binary(max_size=300))
def test_the_second_content_replaces_the_first(
    first: bytes, second: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("files") / "a"
    for content in (first, second):
        write_atomic(path, content)
        assert path.read_bytes() == content
    assert os.listdir(path.parent) == ["a"]


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_the_mode_follows_the_umask(mask: int, tmp_path: Path) -> None:
    before = os.umask(mask)
    try:
        write_atomic(tmp_path / "a", b"x")
        (tmp_path / "ordinary").write_bytes(b"x")
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


@pytest.mark.parametrize("function", ["fsync", "replace", "chmod"])
def test_on_failure_the_old_file_stays_and_nothing_is_left_over(
    function: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_atomic(tmp_path / "a", b"old")

    def full(*_args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, function, full)
        with pytest.raises(UserError, match="No space left on device") as error:
            write_atomic(tmp_path / "a", b"new")
    assert str(tmp_path / "a") in str(error.value)
    assert (tmp_path / "a").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file/a"):
        write_atomic(tmp_path / "file" / "a", b"x")
    with pytest.raises(UserError, match="missing/a"):
        write_atomic(tmp_path / "missing" / "a", b"x")
    with pytest.raises(UserError, match="file/a/b"):
        make_folder(tmp_path / "file" / "a" / "b")
    with pytest.raises(UserError, match="file"):
        make_folder(tmp_path / "file")


def test_json_is_ascii_so_any_name_can_be_in_it(tmp_path: Path) -> None:
    write_json(tmp_path / "a", {"name": "caf\u00e9 \udcff \U0001f600"})
    assert (tmp_path / "a").read_bytes().isascii()


def test_folders_are_made_with_their_parents(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()

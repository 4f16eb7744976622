"""Fixtures shared by all tests."""

from __future__ import annotations

import os

# before torch is imported: several test processes share the cores, and small networks need no more
os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder of real pictures; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("RESIDUUM_TEST_DATA", PROJECT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no folder of real pictures at {folder}")
    return folder

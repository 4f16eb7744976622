"""Helpers for tests of data: real picture files in a temporary folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

MakeFolder = Callable[..., Path]


@pytest.fixture
def noise() -> Callable[..., np.ndarray]:
    """noise(height, width, channels, seed): uint8 pixels without structure."""

    def make(height: int = 16, width: int = 16, channels: int = 3, seed: int = 0) -> np.ndarray:
        shape = (height, width, channels) if channels > 1 else (height, width)
        return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)

    return make


@pytest.fixture
def folder(tmp_path: Path, noise: Callable[..., np.ndarray]) -> MakeFolder:
    """folder({"cat": 3, "dog": 2}, size=(h, w), ...): class folders of PNG files of noise."""
    seed = iter(range(10**9))

    def make(
        classes: dict[str, int], size: tuple[int, int] = (16, 16), channels: int = 3, name: str = "pictures"
    ) -> Path:
        root = tmp_path / name
        for label, count in classes.items():
            (root / label).mkdir(parents=True, exist_ok=True)
            for i in range(count):
                Image.fromarray(noise(*size, channels, next(seed))).save(root / label / f"{i:03d}.png")
        return root

    return make

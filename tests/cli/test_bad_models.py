"""Model files that are not whole, not ours or not of this version are refused by every command that takes one."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from commands import refused


@pytest.fixture(params=["predict", "evaluate"])
def uses(request: pytest.FixtureRequest, folder: Path) -> tuple[str, str]:
    """A command that takes a model file, and its other argument."""
    return request.param, str(folder / "ant" / "000.png" if request.param == "predict" else folder)


def with_model(uses: tuple[str, str], path: Path) -> str:
    message = refused(uses[0], path, uses[1])
    assert path.name in message
    return message


def test_truncated(uses: tuple[str, str], model: Path, tmp_path: Path) -> None:
    whole = model.read_bytes()
    for length in (0, 5, 5000, len(whole) - 1):
        (tmp_path / "cut.safetensors").write_bytes(whole[:length])
        with_model(uses, tmp_path / "cut.safetensors")


def test_one_bit_flipped(uses: tuple[str, str], model: Path, tmp_path: Path) -> None:
    whole = model.read_bytes()
    for position in (9, 300, 5000, len(whole) // 2, len(whole) - 100):
        flipped = bytearray(whole)
        flipped[position] ^= 1
        (tmp_path / "flip.safetensors").write_bytes(flipped)
        with_model(uses, tmp_path / "flip.safetensors")


def test_plain_weights_are_pointed_to_import(uses: tuple[str, str], tmp_path: Path) -> None:
    save_file({"fc.weight": torch.zeros(2, 2)}, tmp_path / "plain.safetensors")
    assert "residuum import" in with_model(uses, tmp_path / "plain.safetensors")


def test_missing_or_a_folder(uses: tuple[str, str], tmp_path: Path) -> None:
    with_model(uses, tmp_path / "missing.safetensors")
    with_model(uses, tmp_path)


class Bomb:
    def __init__(self, folder: Path) -> None:
        self.folder = os.fspath(folder)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.folder,)


def test_a_pickle_bomb(uses: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(Bomb(tmp_path / "pwned")))
    torch.save({"state_dict": Bomb(tmp_path / "pwned")}, tmp_path / "evil.pth")
    for name in ("evil.pkl", "evil.pth"):
        with_model(uses, tmp_path / name)
        refused("import", tmp_path / name, "--model", "resnet20", "--out", tmp_path / "out.safetensors")
    assert not (tmp_path / "pwned").exists()
    assert not (tmp_path / "out.safetensors").exists()

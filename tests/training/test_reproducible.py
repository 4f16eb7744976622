"""Same seed, same weights, bit for bit; other seed, other weights; the number of workers changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from commands import TINY, run
from runs import Case, different_tensors, metrics, record

DIGITS = ("train", "digits", *TINY, "--recipe", "debug", "--steps", "8")


def test_the_seed_decides_everything(tmp_path: Path) -> None:
    for name, seed in (("one", "7"), ("same", "7"), ("other", "8")):
        assert run(*DIGITS, "--seed", seed, "--out", tmp_path / name).code == 0
    assert different_tensors(tmp_path / "one", tmp_path / "same") == []
    assert metrics(tmp_path / "one") == metrics(tmp_path / "same")
    changed = different_tensors(tmp_path / "one", tmp_path / "other")
    assert {"stem.conv1.weight", "head.fc.weight"} <= set(changed)


def test_the_seed_decides_the_first_weights(tmp_path: Path) -> None:
    """A step so small that the weights stay what they were drawn as."""
    drawn = []
    for seed in ("0", "1"):
        out = tmp_path / seed
        assert run(*DIGITS[:-2], "--steps", "1", "--lr", "1e-12", "--seed", seed, "--out", out).code == 0
        drawn.append(load_file(out / "model.safetensors"))
    for name in ("stem.conv1.weight", "stage3.block1.branch.conv2.weight", "head.fc.weight"):
        one, other = (tensors[name].flatten() for tensors in drawn)
        assert abs(torch.corrcoef(torch.stack([one, other]))[0, 1]) < 0.4


def test_no_seed_is_seed_0(tmp_path: Path) -> None:
    assert run(*DIGITS, "--out", tmp_path / "none").code == 0
    assert run(*DIGITS, "--seed", "0", "--out", tmp_path / "zero").code == 0
    assert different_tensors(tmp_path / "none", tmp_path / "zero") == []


@pytest.mark.parametrize("case", ["photos"], indirect=True)
@pytest.mark.parametrize("workers", ["0", "5"])
def test_workers_change_nothing(case: Case, workers: str, tmp_path: Path) -> None:
    arguments = list(case.arguments)
    arguments[arguments.index("--workers") + 1] = workers
    outcome = run("train", *arguments, "--out", tmp_path / "run")
    assert outcome.code == 0, outcome.err
    assert record(tmp_path / "run")["workers"] == int(workers) != record(case.uninterrupted)["workers"]
    assert different_tensors(tmp_path / "run", case.uninterrupted) == []
    assert metrics(tmp_path / "run") == metrics(case.uninterrupted)

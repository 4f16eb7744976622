"""A training that diverges stops with one sentence, and leaves the last good checkpoint."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from commands import TINY, run, sentence
from residuum.training.engine import Engine
from runs import metrics, record


def test_a_learning_rate_of_1e20(tmp_path: Path) -> None:
    outcome = run("train", "digits", *TINY, "--recipe", "debug", "--lr", "1e20", "--out", tmp_path / "run")
    assert outcome.code == 2
    assert outcome.out == ""
    message = sentence(outcome)
    assert re.search(r"the loss of step \d+ is (nan|inf)", message)
    assert len(re.findall(r"train/\d{5}", message)) == 8
    assert "and 24 more" in message
    assert "--lr" in message
    assert record(tmp_path / "run")["status"] == "failed"
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_outputs_that_are_not_finite_are_divergence_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss of an epoch's steps may be finite where the network it leaves is not usable."""
    update = Engine.update

    def spoil(engine: Engine, lr: float) -> None:
        update(engine, lr)
        with torch.no_grad():
            next(engine.network.parameters()).fill_(float("inf"))

    monkeypatch.setattr(Engine, "update", spoil)
    outcome = run("train", "digits", *TINY, "--recipe", "debug", "--steps", "1", "--out", tmp_path / "run")
    assert outcome.code == 2
    assert re.search(r"diverged after step 1\. .* not a finite number .* lower learning rate", sentence(outcome))
    assert record(tmp_path / "run")["diverged"] is True


def test_the_last_good_checkpoint_is_finite_and_kept(tmp_path: Path) -> None:
    late = ("--recipe", "paper-cifar", "--set", "schedule.factor=1e25", "--steps", "24", "--batch-size", "128")
    outcome = run("train", "digits", *TINY, *late, "--out", tmp_path / "run")
    assert outcome.code == 2, outcome
    assert "diverged" in sentence(outcome)
    tensors = load_file(tmp_path / "run" / "checkpoints" / "last.safetensors")
    assert all(tensor.isfinite().all() for tensor in tensors.values() if tensor.is_floating_point())
    assert [row["epoch"] for row in metrics(tmp_path / "run")] == [1]
    again = run("train", "--resume", tmp_path / "run")
    assert again.code == 2
    assert "going on after step 10 of 24" in again.err
    assert sentence(again) == sentence(outcome)

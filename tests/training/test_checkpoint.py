"""A checkpoint holds weights, momentum, schedule and position, and is written whole or not at all."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import asdict
from pathlib import Path

import parts
import pytest
import torch
from safetensors import safe_open

from commands import TINY, run, sentence
from residuum.errors import UserError
from residuum.training.checkpoint import load_checkpoint, save_checkpoint
from residuum.training.loop import Position
from residuum.training.optimizer import make_optimizer
from residuum.training.recipe import SGD
from runs import different_tensors, record

NO_ROOM = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def trained(steps: int) -> tuple[torch.nn.Module, torch.optim.SGD]:
    """A network and its optimizer after some steps."""
    network = parts.network().train()
    optimizer = make_optimizer(network, SGD(nesterov=True))
    for _, batch in zip(range(steps), parts.stream().from_step(0), strict=False):
        optimizer.zero_grad()
        network(batch.inputs).logsumexp(1).sum().backward()
        optimizer.step()
    return network, optimizer


@pytest.mark.parametrize("steps", [0, 2])
def test_everything_comes_back(steps: int, tmp_path: Path) -> None:
    network, optimizer = trained(steps)
    at = Position(step=7, loss_sum=0.1 + 0.2, wrong=3, images=48, seconds=1.5, total_seconds=9.25)
    at.schedule.recent_error, at.schedule.best_error, at.schedule.drops = 100 / 3, 12.5, 2
    save_checkpoint(tmp_path / "c", network, optimizer, asdict(at))

    other = parts.network()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    fresh = make_optimizer(other, SGD(nesterov=True))
    assert Position.restore(load_checkpoint(tmp_path / "c", other, fresh)) == at
    assert parts.different(parts.state(other), parts.state(network)) == []
    ours, theirs = optimizer.state_dict(), fresh.state_dict()
    assert ours["param_groups"] == theirs["param_groups"]
    assert ours["state"].keys() == theirs["state"].keys()
    assert len(ours["state"]) == (len(list(network.parameters())) if steps else 0)
    for key, slots in ours["state"].items():
        assert torch.equal(slots["momentum_buffer"], theirs["state"][key]["momentum_buffer"])


def test_an_infinite_best_error_survives(tmp_path: Path) -> None:
    network, optimizer = trained(0)
    save_checkpoint(tmp_path / "c", network, optimizer, asdict(Position()))
    assert Position.restore(load_checkpoint(tmp_path / "c", network, optimizer)) == Position()


def test_it_is_a_safetensors_file_with_json(tmp_path: Path) -> None:
    network, optimizer = trained(1)
    save_checkpoint(tmp_path / "c", network, optimizer, asdict(Position(step=5)))
    with safe_open(tmp_path / "c", framework="pt") as file:
        assert json.loads(file.metadata()["state"])["step"] == 5


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_checkpoint_before_it(
    function: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = parts.trainer(tmp_path, parts.recipe(3))
    first.train()
    before = first.run.checkpoint.read_bytes()
    network, optimizer = trained(2)

    def full(*_args: object, **_named: object) -> None:
        raise NO_ROOM

    with monkeypatch.context() as patched:
        patched.setattr(os, function, full)
        with pytest.raises(UserError, match="No space left"):
            save_checkpoint(first.run.checkpoint, network, optimizer, {})
    assert first.run.checkpoint.read_bytes() == before
    assert os.listdir(first.run.checkpoint.parent) == ["last.safetensors"]
    assert parts.trainer(tmp_path, parts.recipe(6)).train().step == 6


def test_a_full_disk_during_training_is_one_sentence_and_the_run_can_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("train", "digits", *TINY, "--recipe", "debug", "--steps", "12", "--batch-size", "256", "--seed", "2")
    assert run(*arguments, "--out", tmp_path / "whole").code == 0
    replace, calls = os.replace, 0

    def full_after_a_while(source: str, target: str) -> None:
        nonlocal calls
        calls += 1
        if calls > 3:  # run.json, metrics.jsonl, the first checkpoint
            raise NO_ROOM
        replace(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", full_after_a_while)
        outcome = run(*arguments, "--out", tmp_path / "run")
    assert outcome.code == 2
    assert "No space left" in sentence(outcome)
    assert not list((tmp_path / "run").rglob(".*"))
    assert run("train", "--resume", tmp_path / "run").code == 0
    assert different_tensors(tmp_path / "run", tmp_path / "whole") == []
    assert record(tmp_path / "run")["status"] == "finished"

"""The training step is plain PyTorch; a loss that is not finite stops before the update."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import parts
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from residuum.data.batches import Batch
from residuum.errors import UserError
from residuum.training import loop
from residuum.training.recipe import SGD, Drops, OneCycle, Plateau, WarmUp


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("paper", [True, False])
def test_steps_equal_plain_pytorch_written_out(channels_last: bool, paper: bool, tmp_path: Path) -> None:
    of = parts.recipe(3, channels_last=channels_last)
    if paper:
        of = replace(of, optimizer=SGD(), schedule=Drops(at=(0.34,)), label_smoothing=0.0)
    trainer = parts.trainer(tmp_path, of)
    trainer.train()

    network = parts.network().train()
    if channels_last:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if paper:
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    else:
        named = dict(network.named_parameters())
        weights = [p for name, p in named.items() if "norm" not in name and not name.endswith("bias")]
        others = [p for name, p in named.items() if "norm" in name or name.endswith("bias")]
        optimizer = torch.optim.SGD(
            [{"params": weights, "weight_decay": 1e-3}, {"params": others, "weight_decay": 0.0}],
            lr=0.1,
            momentum=0.9,
            nesterov=True,
        )
    rise = 0.4 * 3
    one_cycle = [0.1 * (0.5 / rise), 0.1 * ((3 - 1.5) / (3 - rise)), 0.1 * ((3 - 2.5) / (3 - rise))]
    batches = parts.stream().from_step(0)
    for rate in [0.1, 0.1 * 0.1, 0.1 * 0.1] if paper else one_cycle:
        batch = next(batches)
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = F.cross_entropy(network(batch.inputs), batch.targets, label_smoothing=of.label_smoothing)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert parts.different(parts.state(trainer.network), parts.state(network)) == []


def poisoned(at: int) -> parts.Changed:
    def change(step: int, batch: Batch) -> Batch:
        if step == at:
            batch.inputs[3, 0, 2, 2] = float("nan")
        return batch

    return parts.Changed(parts.stream(), change)


def test_a_poisoned_batch_stops_before_the_update(tmp_path: Path) -> None:
    healthy = parts.trainer(tmp_path / "healthy", parts.recipe(5))
    healthy.length = replace(healthy.length, images=10**6)  # one long epoch, so only the stop can save
    stopped = parts.trainer(tmp_path / "stopped", parts.recipe(5), batches=poisoned(3))
    with pytest.raises(UserError) as error:
        stopped.train()
    message = str(error.value)
    assert "step 4" in message
    assert "nan" in message
    assert "--lr" in message
    assert "\n" not in message
    named = [parts.digits().names[i] for i in next(parts.stream().from_step(3)).indices]
    assert ", ".join(named[:8]) in message
    assert f"{len(named) - 8} more" in message

    # parameters are those of the run that took the same three steps and no fourth
    three = parts.trainer(tmp_path / "three", parts.recipe(5))
    three.batches = parts.Changed(parts.stream(), lambda step, batch: batch if step < 3 else _stop())
    with pytest.raises(Enough):
        three.train()
    here, there = dict(stopped.network.named_parameters()), dict(three.network.named_parameters())
    assert all(torch.equal(here[name], there[name]) for name in here)


class Enough(Exception):
    pass


def _stop() -> Batch:
    raise Enough


def test_the_last_good_checkpoint_is_left_and_loads(tmp_path: Path) -> None:
    stopped = parts.trainer(tmp_path, parts.recipe(9), batches=poisoned(7))
    with pytest.raises(UserError):
        stopped.train()
    tensors = load_file(stopped.run.checkpoint)
    assert all(tensor.isfinite().all() for tensor in tensors.values() if tensor.is_floating_point())
    again = parts.trainer(tmp_path, parts.recipe(9))
    assert again.train().step == 9
    whole = parts.trainer(tmp_path / "whole", parts.recipe(9))
    whole.train()
    assert parts.different(parts.state(again.network), parts.state(whole.network)) == []


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_weights_that_are_not_finite_are_never_saved(value: float, tmp_path: Path) -> None:
    trainer = parts.trainer(tmp_path, parts.recipe(6))
    trainer.train()
    before = trainer.run.checkpoint.read_bytes()
    longer = parts.trainer(tmp_path, parts.recipe(9))
    parameter = next(longer.network.buffers())

    def spoil(step: int, batch: Batch) -> Batch:
        if step == 7:
            parameter.fill_(value)  # a running statistic is not used in training, so the loss stays finite
        return batch

    longer.batches = parts.Changed(parts.stream(), spoil)
    with pytest.raises(UserError, match="no longer finite"):
        longer.train()
    assert trainer.run.checkpoint.read_bytes() == before


def test_metrics_have_one_line_for_each_epoch(tmp_path: Path) -> None:
    trainer = parts.trainer(tmp_path, parts.recipe(12))  # 192 pictures in epochs of 40
    at = trainer.train()
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5]
    assert [row["step"] for row in rows] == [3, 5, 8, 10, 12]
    assert rows[-1]["lr"] == pytest.approx(0.1 * 0.5 / 7.2)
    for row in rows:
        assert row["val_loss"] is None
        assert row["val_top1_error"] is None
        assert row["train_loss"] > 0
        assert 0 <= row["train_top1_error"] <= 100
        assert row["images_per_second"] > 0
    assert [row["seconds"] for row in rows] == sorted(row["seconds"] for row in rows)
    assert at.total_seconds == pytest.approx(rows[-1]["seconds"], abs=1e-3)


def test_train_loss_is_the_mean_over_the_epochs_pictures(tmp_path: Path) -> None:
    seen: list[torch.Tensor] = []
    trainer = parts.trainer(tmp_path, parts.recipe(3), images=48)
    trainer.network.register_forward_hook(lambda _m, _i, logits: seen.append(logits.detach()))
    trainer.train()
    batches = parts.stream().from_step(0)
    losses = [F.cross_entropy(logits, next(batches).targets, label_smoothing=0.1).item() for logits in seen]
    (row,) = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert row["train_loss"] == pytest.approx(sum(losses) / 3, rel=1e-6)


@pytest.mark.parametrize(
    "schedule",
    [
        OneCycle(),
        Plateau(factor=0.5, patience=1),
        Drops(at=(0.5,), warmup=WarmUp(lr=0.01, until_error=99.0, from_layers=8)),
    ],
    ids=lambda schedule: schedule.kind,
)
@pytest.mark.parametrize("save_seconds", [-1.0, 120.0], ids=["saved each step", "saved each epoch"])
def test_interrupted_at_every_step_equals_uninterrupted(
    schedule: OneCycle | Plateau | Drops, save_seconds: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "SAVE_SECONDS", save_seconds)
    of = parts.recipe(8, schedule=schedule)
    whole = parts.trainer(tmp_path / "whole", of, images=20)
    whole.train()
    rows = (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()
    for at in range(8):
        folder = tmp_path / str(at)
        cut = parts.trainer(folder, of, images=20)
        cut.batches = parts.Changed(parts.stream(), lambda step, batch, at=at: batch if step < at else _stop())
        with pytest.raises(Enough):
            cut.train()
        resumed = parts.trainer(folder, of, images=20)
        resumed.train()
        assert parts.different(parts.state(resumed.network), parts.state(whole.network)) == []
        assert rates(folder / "metrics.jsonl") == rates(tmp_path / "whole" / "metrics.jsonl")
        assert len((folder / "metrics.jsonl").read_text().splitlines()) == len(rows)


def rates(path: Path) -> list[tuple[int, float, float]]:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [(row["step"], row["lr"], row["train_loss"]) for row in rows]

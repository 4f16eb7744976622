"""Processes that train together give what one of them gives alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import parts
import pytest
import torch
from safetensors.torch import load_file
from together import VIEW, alone, gradients, in_processes

from commands import TINY, refused, run
from residuum.data.augment import Augment
from residuum.data.batches import TrainBatches
from residuum.errors import UserError
from residuum.processes import Pieces, Processes, piece, pieces_of
from runs import metrics, record

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone")
DIGITS = ("train", "digits", *TINY, "--recipe", "debug", "--batch-size", "64", "--seed", "3", "--device", "cpu",
          "--set", "precision=float32")  # fmt: skip


def torchrun(count: int, log: Path, *arguments: object) -> subprocess.Popen[bytes]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [*TORCHRUN, "--nproc-per-node", str(count), "-m", "residuum", *map(str, arguments)]
    with log.open("ab") as file:
        return subprocess.Popen(command, stdout=file, stderr=file, env=environment)


CASES: dict[str, tuple[str, int, int, dict[str, Any]]] = {
    "without batch statistics, as one process": ("group", 2, 24, {}),
    "of uneven shares": ("group", 2, 17, {"weighted": True}),
    "pictures mixed across the cut": ("group", 2, 16, {"augment": {"mixup": 0.4, "cutmix": 1.0, "erasing": 0.5}}),
    "with batch norm, as one process over the same pieces": ("batch", 2, 24, {}),
    "with batch norm, four pieces": ("batch", 4, 26, {"weighted": True}),
    "with dropped branches": ("batch", 2, 24, {"axes": {"merge": "stochastic_depth"}}),
}


@pytest.mark.parametrize("case", CASES)
def test_gradients_are_those_of_one_process(case: str, tmp_path: Path) -> None:
    norm, pieces, batch_size, extra = CASES[case]
    expected = alone(norm, 1 if norm == "group" else pieces, batch_size, **extra)
    for found in in_processes(2, partial(gradients, **extra), tmp_path, norm, pieces, batch_size):
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert torch.allclose(found[name].double(), value.double(), rtol=1e-10, atol=1e-12), name


@pytest.mark.parametrize("augment", [Augment(crop_padding=1), Augment(mixup=0.3), Augment(cutmix=1.0, erasing=0.4)])
def test_pieces_of_a_batch_are_its_rows(augment: Augment) -> None:
    def batches(pieces: Pieces) -> TrainBatches:
        return TrainBatches(parts.digits(), preprocessing=VIEW, augment=augment, batch_size=21, seed=1, pieces=pieces)

    whole = next(batches(Pieces()).from_step(5))
    for of in (2, 3, 21):
        stream = batches(Pieces(0, of, of)).from_step(5)
        cut = [next(stream) for _ in range(of)]
        assert torch.equal(torch.cat([each.inputs for each in cut]), whole.inputs)
        assert torch.equal(torch.cat([each.targets for each in cut]), whole.targets)
        if whole.shares is not None:
            assert torch.equal(torch.cat([each.shares for each in cut]), whole.shares)  # type: ignore[misc]
            assert torch.equal(torch.cat([each.partners for each in cut]), whole.partners)  # type: ignore[misc,arg-type]


def test_more_pieces_than_pictures_are_refused() -> None:
    with pytest.raises(UserError, match="cannot be cut into 9 pieces"):
        Pieces(0, 9, 9).cuts(8)


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_every_piece_and_every_row_is_somebodys_once(count: int) -> None:
    for of in (1, 2, 6, 7):
        shares = [pieces_of(Processes(rank, count), of) for rank in range(count)]
        owned = [number for each in shares for number in range(each.first, each.first + each.own)]
        assert owned == list(range(shares[0].of))
        assert shares[0].of == of or shares[0].of == count
    for n in (0, 1, 5, 100):
        rows = Counter(row for rank in range(count) for row in range(n)[piece(n, rank, count)])
        assert rows == Counter(range(n))


def together(processes: Processes, n: int) -> torch.Tensor:
    rows = np.arange(n)[processes.rows(n)]
    return torch.from_numpy(processes.all_rows(np.stack((rows, rows**2), 1), n))


def test_rows_of_all_processes_come_together(tmp_path: Path) -> None:
    for n in (0, 1, 2, 5):
        for found in in_processes(3, together, tmp_path, n):
            assert np.array_equal(found.numpy(), np.stack((np.arange(n), np.arange(n) ** 2), 1))


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two processes that torchrun started."""
    folder = tmp_path_factory.mktemp("two")
    process = torchrun(2, folder / "log", *DIGITS, "--steps", "24", "--out", folder / "run")
    assert process.wait(300) == 0, (folder / "log").read_text()
    return folder


def test_a_run_of_two_processes_is_that_of_one_in_two_pieces(two: Path, tmp_path: Path) -> None:
    found = record(two / "run")
    assert found["pieces"] == 2
    assert found["environment"]["processes"] == "2"
    same = run(*DIGITS, "--steps", "24", "--set", "accumulate=2", "--out", tmp_path / "one")
    assert same.code == 0, same.err
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (two / "run", tmp_path / "one"))
    for name, tensor in theirs.items():
        if not name.endswith(("running_mean", "running_var", "num_batches_tracked")):
            assert torch.allclose(ours[name], tensor, rtol=1e-3, atol=1e-4), name
    for mine, other in zip(metrics(two / "run"), metrics(tmp_path / "one"), strict=True):
        assert mine["step"] == other["step"]
        assert mine["train_loss"] == pytest.approx(other["train_loss"], rel=1e-3)
    assert found["results"]["images"] == record(tmp_path / "one")["results"]["images"] == 359


def test_one_process_speaks_and_writes(two: Path) -> None:
    said = (two / "log").read_text()
    assert said.count("model: resnet20") == 1
    assert said.count("test: ") == 1
    assert (two / "run" / "report.html").exists()
    judged = run("evaluate", two / "run" / "model.safetensors", "digits", "--json").json()
    assert judged["correct_top1"] == record(two / "run")["results"]["correct_top1"]


def test_bad_input_is_said_once(tmp_path: Path) -> None:
    process = torchrun(2, tmp_path / "log", "train", tmp_path / "nowhere", "--out", tmp_path / "run")
    assert process.wait(120) != 0
    assert (tmp_path / "log").read_text().count("nowhere") >= 1
    spoken = [line for line in (tmp_path / "log").read_text().splitlines() if line.startswith("residuum: ")]
    assert len(spoken) == 1
    assert not (tmp_path / "run").exists()


def test_a_killed_worker_ends_all_and_the_run_goes_on_with_any_number(two: Path, tmp_path: Path) -> None:
    log, folder = tmp_path / "log", tmp_path / "run"
    process = torchrun(2, log, *DIGITS, "--steps", "4000", "--out", folder)
    end = time.monotonic() + 120
    while not (folder / "checkpoints" / "last.safetensors").exists():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.05)
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True)
    os.kill(int(children.stdout.split()[-1]), signal.SIGKILL)
    assert process.wait(120) != 0
    said = log.read_text()
    assert "another process of this training has ended" in said or "go on with `residuum train --resume" in said, said
    facts = record(folder)
    facts["length"]["steps"] = len(metrics(folder)) * 20 + 60  # a shorter way to the end
    (folder / "run.json").write_text(json.dumps(facts))
    outcome = run("train", "--resume", folder)
    assert outcome.code == 0, outcome.err
    assert "going on after step" in outcome.err
    assert record(folder)["pieces"] == 2


@pytest.mark.parametrize("told", ["torchrun", "one of them"])
def test_a_signal_stops_all_after_the_same_step_saved(told: str, tmp_path: Path) -> None:
    log, folder = tmp_path / "log", tmp_path / "run"
    process = torchrun(2, log, *DIGITS, "--steps", "4000", "--out", folder)
    end = time.monotonic() + 120
    while not (folder / "checkpoints" / "last.safetensors").exists():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.05)
    if told == "torchrun":
        process.send_signal(signal.SIGINT)
    else:
        children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True)
        os.kill(int(children.stdout.split()[-1]), signal.SIGTERM)
    assert process.wait(120) != 0
    assert record(folder)["status"] == "stopped", log.read_text()
    assert log.read_text().count("residuum: stopped after step") == 1


def test_a_run_begun_alone_goes_on_with_two(tmp_path: Path) -> None:
    begun = subprocess.Popen(
        [sys.executable, "-m", "residuum", *DIGITS, "--steps", "4000", "--out", str(tmp_path / "run")],
        stderr=subprocess.DEVNULL,
    )
    end = time.monotonic() + 120
    while not (tmp_path / "run" / "checkpoints" / "last.safetensors").exists():
        assert begun.poll() is None
        assert time.monotonic() < end
        time.sleep(0.05)
    begun.terminate()
    assert begun.wait(60) == 128 + signal.SIGTERM
    facts = record(tmp_path / "run")
    steps = len(metrics(tmp_path / "run")) * 20
    facts["length"]["steps"] = steps + 60
    (tmp_path / "run" / "run.json").write_text(json.dumps(facts))
    process = torchrun(2, tmp_path / "log", "train", "--resume", tmp_path / "run")
    assert process.wait(200) == 0, (tmp_path / "log").read_text()
    said = (tmp_path / "log").read_text()
    assert "cut into 2 pieces from here on" in said
    assert record(tmp_path / "run")["status"] == "finished"


def test_folds_and_rates_need_one_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "one process" in refused("train", "digits", "--folds", "3", "--out", tmp_path / "f")
    assert "one process" in refused("train", "digits", "--find-lr", "--out", tmp_path / "f")

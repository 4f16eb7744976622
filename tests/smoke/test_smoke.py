"""From pictures to answers in three commands, as a person types them: real processes, one folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from runs import different_tensors
from samples import picture_folder

RESIDUUM = [sys.executable, "-m", "residuum"]


def residuum(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*RESIDUUM, *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=300)


def test_train_evaluate_predict(tmp_path: Path) -> None:
    picture_folder(tmp_path / "leaves", {"ash": 20, "oak": 20})
    trained = residuum(
        tmp_path, "train", "leaves", "--model", "resnet20", "--depth", "8", "--epochs", "4", "--out", "run"
    )
    assert trained.returncode == 0, trained.stderr
    assert "Traceback" not in trained.stderr
    report = (tmp_path / "run" / "report.html").read_text()
    assert "http://" not in report.replace("http://www.w3.org", "")
    assert all(name in report for name in ("ash", "oak"))
    held_out = residuum(tmp_path, "evaluate", "run/model.safetensors", "leaves", "--json")
    assert json.loads(held_out.stdout)["images"] == 4
    answer = residuum(tmp_path, "predict", "run/model.safetensors", "leaves/oak/003.png", "--json")
    assert json.loads(answer.stdout)[0]["image"] == "leaves/oak/003.png"
    assert answer.stderr == ""


def test_the_run_can_be_moved_and_resumed_from_elsewhere(tmp_path: Path) -> None:
    """Stopped by SIGTERM in one working folder, gone on with in another."""
    picture_folder(tmp_path / "a" / "leaves", {"ash": 20, "oak": 20})
    (tmp_path / "b").mkdir()
    options = ["leaves", "--model", "resnet20", "--depth", "8", "--epochs", "12", "--batch-size", "4"]
    assert residuum(tmp_path / "a", "train", *options, "--out", "whole").returncode == 0
    process = subprocess.Popen(
        [*RESIDUUM, "train", *options, "--out", "run"], cwd=tmp_path / "a", stderr=subprocess.PIPE, text=True
    )
    metrics, end = tmp_path / "a" / "run" / "metrics.jsonl", time.monotonic() + 300
    while not (metrics.exists() and metrics.read_text().count("\n") >= 1):
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=300)
    assert process.returncode == 143
    assert "Traceback" not in told
    assert "--resume run" in told
    os.rename(tmp_path / "a" / "run", tmp_path / "b" / "elsewhere")
    resumed = residuum(tmp_path / "b", "train", "--resume", "elsewhere")
    assert resumed.returncode == 0, resumed.stderr
    assert different_tensors(tmp_path / "b" / "elsewhere", tmp_path / "a" / "whole") == []


def test_from_python(tmp_path: Path) -> None:
    code = """
import residuum
run = residuum.train("digits", model="resnet20", axes={"depth": 8}, recipe="debug", steps=4, out="run")
print(run.model, residuum.evaluate(run.model, "digits").summary()["images"])
import numpy
print(len(residuum.load(run.model).predict(numpy.zeros((8, 8), numpy.uint8), top=2)[0]["predictions"]))
print(residuum.build("resnet20", num_classes=3)(__import__("torch").zeros(2, 3, 32, 32)).shape)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["run/model.safetensors 359", "2", "torch.Size([2, 3])"]

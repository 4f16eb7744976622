"""What a resumed run refuses, and what a finished one says."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

from commands import TINY, Death, Outcome, refused, run, sentence, start
from runs import metrics, record
from samples import picture_folder

STEPS = ("--recipe", "debug", "--steps", "12", "--batch-size", "8", "--val", "0.2")


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run killed after the first of three epochs, beside its data."""
    folder = tmp_path_factory.mktemp("unfinished")
    data = picture_folder(folder / "data", {"ant": 20, "bee": 20})
    death = Death("replace", 3, after=True)
    command = start(folder / "log", "train", data, *TINY, *STEPS, "--seed", "3", "--out", folder / "run", death=death)
    assert command.wait() == -9, command.text()
    return folder


@pytest.fixture
def copy(unfinished: Path, tmp_path: Path) -> Path:
    """A copy of the run, to be used up."""
    return Path(shutil.copytree(unfinished / "run", tmp_path / "run"))


@pytest.mark.parametrize(
    "changed",
    [
        ("--model", "resnet32"), ("--depth", "14"), ("--seed", "4"), ("--recipe", "fast"), ("--set", "momentum=0.5"),
        ("--lr", "0.01"), ("--steps", "13"), ("--epochs", "2"), ("--batch-size", "4"), ("--val", "0"),
        ("--shortcut", "B"), ("--size", "32"), ("--workers", "3"), ("--deterministic",), ("--allow-bad",),
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_resumed_run_is_the_same_run(unfinished: Path, changed: tuple[str, ...]) -> None:
    message = refused("train", "--resume", unfinished / "run", *changed)
    assert "cannot change" in message
    assert changed[0] in message
    assert "--out" in message


def test_another_folder_is_refused(unfinished: Path, tmp_path: Path) -> None:
    assert "--out" in refused("train", "--resume", unfinished / "run", "--out", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_saying_again_what_the_run_has_is_no_change(copy: Path, unfinished: Path) -> None:
    again = ("--model", "resnet20", "--depth", "8", "--size", "16", "--seed", "3", "--steps", "12", "--device", "cpu")
    assert run("train", "--resume", copy, unfinished / "data", *again).code == 0
    assert record(copy)["status"] == "finished"


def test_other_data_are_refused(copy: Path, unfinished: Path, tmp_path: Path) -> None:
    other = picture_folder(tmp_path / "other", {"ant": 20, "bee": 20}, seed=1)
    assert "not those" in unfinished_refusal(copy, other)
    assert "not those" in unfinished_refusal(copy, "digits")
    changed = Path(shutil.copytree(unfinished / "data", tmp_path / "changed"))
    assert (changed / "bee" / "000.png").exists()
    with Image.open(changed / "bee" / "000.png") as picture:
        edited = picture.copy()
    edited.putpixel((3, 3), (0, 0, 0))
    edited.save(changed / "bee" / "000.png")
    assert "not those" in unfinished_refusal(copy, changed)
    moved = Path(shutil.copytree(unfinished / "data", tmp_path / "moved"))
    assert run("train", "--resume", copy, moved).code == 0


def unfinished_refusal(folder: Path, data: object) -> str:
    before = (folder / "checkpoints" / "last.safetensors").read_bytes()
    message = refused("train", "--resume", folder, data)
    assert (folder / "checkpoints" / "last.safetensors").read_bytes() == before
    return message


def test_a_finished_run_says_so(copy: Path) -> None:
    assert run("train", "--resume", copy).code == 0
    written = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    outcome = run("train", "--resume", copy)
    assert outcome.code == 0
    assert "finished already" in outcome.err
    assert "model.safetensors" in outcome.out
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == written
    assert run("train", "--resume", copy, "--json").json() == record(copy)


def test_a_line_cut_off_by_a_crash_is_written_again(copy: Path) -> None:
    with (copy / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 2, "st')
    assert run("train", "--resume", copy).code == 0
    assert [row["epoch"] for row in metrics(copy)] == [1, 2, 3]


def test_a_damaged_checkpoint_is_refused(copy: Path) -> None:
    checkpoint = copy / "checkpoints" / "last.safetensors"
    whole = checkpoint.read_bytes()
    for damaged in (b"", whole[:1000], whole[: len(whole) // 2], b"x" * 5000):
        checkpoint.write_bytes(damaged)
        outcome: Outcome = run("train", "--resume", copy)
        assert outcome.code == 2
        assert "checkpoint" in sentence(outcome)
    checkpoint.write_bytes(whole)
    assert run("train", "--resume", copy).code == 0


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", '{"status": "finished"}', "not json", "\ufeff{}"])
def test_a_run_json_of_something_else_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    assert "run.json" in refused("train", "--resume", tmp_path)


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    assert "no run" in refused("train", "--resume", tmp_path)
    assert "no run" in refused("train", "--resume", tmp_path / "missing")

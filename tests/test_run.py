"""The run directory: made once, never written over, readable after a crash."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from residuum.errors import UserError
from residuum.run import RECORDED, Run

FACTS = dict.fromkeys(RECORDED, 1)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "a" / "run", FACTS)
    assert run.read() == FACTS
    run.write(FACTS | {"status": "finished"})
    assert Run.open(tmp_path / "a" / "run").read()["status"] == "finished"


@pytest.mark.parametrize("name", ["run.json", "model.safetensors", "metrics.jsonl", "checkpoints"])
def test_a_folder_that_holds_a_run_is_refused_untouched(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("precious")
    with pytest.raises(UserError, match="--out"):
        Run.create(tmp_path, FACTS)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "precious"


def test_other_files_in_the_folder_stay(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    Run.create(tmp_path, FACTS)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_run_without_its_checkpoint_folder_opens(tmp_path: Path) -> None:
    run = Run.create(tmp_path, FACTS)
    run.checkpoint.parent.rmdir()
    assert Run.open(tmp_path).checkpoint.parent.is_dir()


@pytest.mark.parametrize("key", sorted(RECORDED))
def test_a_record_that_lacks_something_is_refused(key: str, tmp_path: Path) -> None:
    Run.create(tmp_path, {name: value for name, value in FACTS.items() if name != key})
    with pytest.raises(UserError, match=r"run\.json"):
        Run.open(tmp_path).read()


@given(steps=st.lists(st.integers(1, 10), min_size=1, max_size=8), at=st.integers(0, 80), cut=st.integers(0, 40))
def test_history_forgets_what_came_after_and_lines_cut_off(
    steps: list[int], at: int, cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    run = Run.create(tmp_path_factory.mktemp("run"), FACTS)
    rows = [{"epoch": i + 1, "step": sum(steps[: i + 1]), "loss": 1 / 3} for i in range(len(steps))]
    for row in rows:
        run.append(row)
    assert run.history() == rows
    path = run.folder / "metrics.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - cut])
    seen = run.history()
    assert seen == rows[: len(seen)]
    assert len(seen) >= len(rows) - 1 - cut // 20
    run.forget_after(at)
    assert run.history() == [row for row in seen if row["step"] <= at]
    assert path.read_bytes() == b"" or path.read_bytes().endswith(b"\n")


def test_no_history_yet(tmp_path: Path) -> None:
    run = Run.create(tmp_path, FACTS)
    assert run.history() == []
    run.forget_after(0)
    assert run.history() == []

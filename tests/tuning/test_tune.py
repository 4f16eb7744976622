"""A search goes on where it was, judges what it tried, and shows a front that nothing beats."""

from __future__ import annotations

import shlex
import signal
from pathlib import Path

import pytest

import residuum
from commands import refused, run, start
from residuum.config import changed
from residuum.data.sources import open_data
from residuum.plan import read_spec
from residuum.progress import Reporter
from residuum.tuning.page import front
from residuum.tuning.search import Tried
from residuum.tuning.space import named, small
from runs import record
from samples import picture_folder


def tried(error: float | None, macs: int) -> Tried:
    record = None if error is None else {"status": "finished", "results": {"val": {"top1_error": error}}}
    return Tried(named(["resnet20"])[0], record, macs, 1, 10)


def test_nothing_on_the_front_is_beaten() -> None:
    every = [
        tried(9.0, 10),
        tried(8.0, 20),
        tried(8.5, 30),
        tried(5.0, 40),
        tried(9.5, 5),
        tried(None, 1),
        tried(8.0, 25),
    ]
    kept = front(every)
    assert [each.macs for each in kept] == [5, 10, 20, 40]


def test_networks_are_compared_over_seeds(tmp_path: Path) -> None:
    arguments = (
        "tune",
        "digits",
        "--models",
        "resnet20,plain20",
        "--seeds",
        2,
        "--budget",
        "40s",
        "--out",
        tmp_path / "o",
    )
    outcome = run(*arguments, "--json")
    assert outcome.code == 0, outcome.err
    table = outcome.json()["tables"][0]
    assert {row[0] for row in table["rows"]} == {"resnet20", "plain20"}
    assert all("±" in row[1] for row in table["rows"])
    assert len(list((tmp_path / "o" / "runs").iterdir())) == 4
    again = run(*arguments)
    assert again.code == 0
    assert "trained" not in again.err, "finished runs are not done again"
    page, following = again.out.splitlines()[-2:]
    assert page.endswith("tune.html")
    assert following == f"next  residuum train digits --model {table['rows'][0][0]}"


def test_a_search_tries_candidates_and_goes_on(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    arguments = ("tune", "digits", "--budget", "30s", "--out", tmp_path / "o")
    first = start(tmp_path / "log", *arguments)
    first.until(lambda: "trial 2:" in first.text())
    first.send(signal.SIGTERM)
    assert first.wait() in (128 + signal.SIGTERM, -signal.SIGTERM, 0), first.text()
    outcome = run(*arguments, "--json")
    assert outcome.code == 0, outcome.err
    front_table, every = outcome.json()["tables"]
    assert len(every["rows"]) >= 2
    assert front_table["rows"][-1][0] == every["rows"][0][0], "the best in error ends the front"
    assert (tmp_path / "o" / "tune.html").exists()
    best = outcome.json()["runs"][0]["trial"]["network"]
    command = shlex.split(outcome.json()["next"])
    assert command[:3] == ["residuum", "train", "digits"]
    assert run(*command[1:], "--steps", "1", "--out", tmp_path / "longer").code == 0
    spec = read_spec(record(tmp_path / "longer")["spec"], "run.json")
    assert changed(spec) in [each["trial"]["network"] for each in outcome.json()["runs"]], best
    finished = run(*arguments, "--json")
    assert "trial " not in finished.err, "the budget is used up"
    assert finished.json()["tables"][1]["rows"] == every["rows"]


def test_files_to_leave_out_are_left_out_of_a_comparison(tmp_path: Path) -> None:
    data = picture_folder(tmp_path / "data", {"ant": 20, "bee": 20})
    (tmp_path / "list.txt").write_text("ant/000.png\n")
    assert (data / "ant" / "000.png").exists()
    found = residuum.tune(
        data, models=["resnet20"], budget="5s", exclude=tmp_path / "list.txt", out=tmp_path / "o",
        reporter=Reporter(quiet=True),
    )  # fmt: skip
    assert dict(found.protocol)["pictures"] == "35 train, 4 val"
    assert found.next is not None
    assert shlex.split(found.next[1])[-2:] == ["--exclude", str(tmp_path / "list.txt")]
    assert (tmp_path / "o" / "tune.html").exists()
    assert "there is no picture" in refused("tune", data, "--exclude", _list(tmp_path, "ant/none.png"))


def _list(folder: Path, name: str) -> Path:
    (folder / "other.txt").write_text(f"{name}\n")
    return folder / "other.txt"


def test_what_is_too_slow_is_still_told_when_the_search_is_opened_again(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    arguments = ("tune", "digits", "--budget", "1s", "--out", tmp_path / "o", "--json")
    first, again = run(*arguments).json(), run(*arguments).json()
    rows = first["tables"][1]["rows"]
    assert "too slow" in {row[1] for row in rows}
    assert again["tables"][1]["rows"] == rows
    assert first["next"] is None
    assert "give a longer one" in first["answer"]


def test_the_space_follows_the_pictures(tmp_path: Path) -> None:
    assert small(open_data("digits"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--budget", "full"), "is a duration like 30m"),
        (("--budget", "soon"), "is a duration like 30m or 2h, not soon"),
        (("--models", " , "), "names no network"),
        (("--models", "resnet20,resnet20"), "names a network twice"),
        (("--models", "resnet21"), 'did you mean "resnet20"'),
        (("--sampler", "random"), "--sampler is one of tpe, gp, nsga2"),
        (("--seeds", "3"), "--seeds is for the comparison of --models"),
        (("--models", "resnet20,resnet110,resnet1202,wrn28_10", "--seeds", "99", "--budget", "1s"), "give at least"),
    ],
)
def test_misuse_is_one_sentence(arguments: tuple[str, ...], said: str, tmp_path: Path) -> None:
    assert said in refused("tune", "digits", *arguments, "--out", tmp_path / "o")

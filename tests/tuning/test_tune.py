"""A search goes on where it was, judges what it tried, and shows a front that nothing beats."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from commands import refused, run, start
from residuum.data.sources import open_data
from residuum.tuning.page import front
from residuum.tuning.search import Tried
from residuum.tuning.space import named, small


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
    assert again.out.rstrip().endswith("tune.html")


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
    finished = run(*arguments, "--json")
    assert "trial " not in finished.err, "the budget is used up"
    assert finished.json()["tables"][1]["rows"] == every["rows"]


def test_the_space_follows_the_pictures(tmp_path: Path) -> None:
    assert small(open_data("digits"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--budget", "full"), "is a duration like 30m"),
        (("--models", "resnet20,resnet20"), "names a network twice"),
        (("--models", "resnet21"), 'did you mean "resnet20"'),
        (("--sampler", "random"), "--sampler is one of tpe, gp, nsga2"),
        (("--seeds", "3"), "--seeds is for the comparison of --models"),
        (("--models", "resnet20,resnet110,resnet1202,wrn28_10", "--seeds", "99", "--budget", "1s"), "give at least"),
    ],
)
def test_misuse_is_one_sentence(arguments: tuple[str, ...], said: str, tmp_path: Path) -> None:
    assert said in refused("tune", "digits", *arguments, "--out", tmp_path / "o")

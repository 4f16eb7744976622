"""Studies from the command line: run once, stopped and killed at any moment, shared by processes, never repeated."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest

import commands
from commands import refused, run, start
from residuum.studies.records import key_of

SMALL = ("--depths", 8, "--seeds", 1, "--budget", "12steps", "--set", "batch_size=16")


def records(folder: Path) -> dict[str, dict[str, Any]]:
    return {path.name: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


def told(record: dict[str, Any]) -> dict[str, Any]:
    """A record without what the clock and the command line decide."""
    history = [{k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in record["history"]]
    kept = ("key", "label", "status", "trial", "curve", "results", "measured", "parameters", "macs")
    return {name: record[name] for name in kept} | {"history": history}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A degradation study that nothing interrupted."""
    out = tmp_path_factory.mktemp("study") / "whole"
    outcome = run("study", "degradation", *SMALL, "--out", out)
    assert outcome.code == 0, outcome.err
    return out


def test_a_study_leaves_a_page_records_and_no_checkpoints(whole: Path) -> None:
    found = records(whole / "runs")
    assert [name.split("-")[0] for name in found] == ["plain8", "resnet8"]
    plain, residual = found.values()
    assert plain["parameters"] == residual["parameters"], "shortcut A has no parameters"
    for record in found.values():
        assert record["key"] == key_of(record["trial"])
        assert [point["step"] for point in record["curve"]] == list(range(1, 13))
        assert record["results"]["val"]["images"] == 180
        assert record["command"][:3] == ["residuum", "study", "degradation"] or record["command"][0] == "residuum"
        assert not Path(record["results"]["val"]["protocol"]["data"]).is_absolute()
    assert not list(whole.glob("work/*/checkpoints"))
    page = (whole / "study.html").read_text()
    assert "<img" in page
    assert "http" not in re.sub(r"http://www\.w3\.org\S*", "", page).replace("http-equiv", "")
    assert (whole / "study.md").read_text().startswith("# Degradation")
    assert (whole / "plots" / "curves.svg").exists()


def test_a_pair_starts_from_the_same_weights_on_the_same_pictures(whole: Path) -> None:
    from safetensors.torch import load_file

    plain, residual = (load_file(path) for path in sorted(whole.glob("work/*/model.safetensors")))
    assert plain.keys() == residual.keys()
    histories = [record["trial"] for record in records(whole / "runs").values()]
    assert histories[0]["seed"] == histories[1]["seed"]
    assert histories[0]["data"] == histories[1]["data"]
    assert histories[0]["recipe"] == histories[1]["recipe"]


def test_what_is_finished_is_not_done_again(whole: Path, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (whole / "runs").iterdir()}
    outcome = run("study", "degradation", *SMALL, "--out", tmp_path / "other", "--runs", whole / "runs", "--json")
    assert outcome.code == 0
    assert outcome.json()["tables"][0]["rows"]
    assert {path: path.stat().st_mtime_ns for path in (whole / "runs").iterdir()} == before
    assert not (tmp_path / "other" / "work").exists()


def test_another_study_uses_the_same_runs(whole: Path, tmp_path: Path) -> None:
    """Plain and option A are two of the five options of `shortcuts`."""
    for record in (whole / "runs").iterdir():
        (tmp_path / "runs").mkdir(exist_ok=True)
        (tmp_path / "runs" / record.name).write_bytes(record.read_bytes())
    outcome = run("study", "shortcuts", *SMALL, "--out", tmp_path / "s", "--runs", tmp_path / "runs", "--json")
    assert outcome.code == 0, outcome.err
    assert "2 of 5 runs are done already" in outcome.err
    assert len(records(tmp_path / "runs")) == 5
    rows = outcome.json()["tables"][0]["rows"]
    parameters = [int(row[1].replace(",", "")) for row in rows]
    assert parameters[0] == parameters[1] < parameters[2] < parameters[3]
    assert parameters[2] == parameters[4], "D is B with a pool before the projection"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_interrupted_it_goes_on_to_the_same_records(whole: Path, tmp_path: Path, number: int) -> None:
    arguments = ("study", "degradation", *SMALL, "--out", tmp_path / "out")
    first = start(tmp_path / "log", *arguments)
    first.until(lambda: any((tmp_path / "out").glob("work/*/steps.jsonl")))
    first.send(number)
    assert first.wait() in (128 + number, -number, 0)
    second = start(tmp_path / "log2", *arguments)
    assert second.wait() == 0, second.text()
    expected = {name: told(record) for name, record in records(whole / "runs").items()}
    assert {name: told(record) for name, record in records(tmp_path / "out" / "runs").items()} == expected


def test_two_processes_share_the_runs(whole: Path, tmp_path: Path) -> None:
    arguments = ("study", "degradation", *SMALL, "--out", tmp_path / "out")
    both = [start(tmp_path / f"log{i}", *arguments) for i in range(2)]
    assert [one.wait() for one in both] == [0, 0], [one.text() for one in both]
    expected = {name: told(record) for name, record in records(whole / "runs").items()}
    assert {name: told(record) for name, record in records(tmp_path / "out" / "runs").items()} == expected
    trained = [line for one in both for line in one.text().splitlines() if line.startswith("trained ")]
    assert len(trained) == 2, "a run was done twice"


def test_a_run_that_diverged_is_shown(tmp_path: Path) -> None:
    arguments = ("--depths", 8, "--seeds", 1, "--budget", "12steps", "--set", "optimizer.lr=1e30")
    outcome = run("study", "shortcuts", *arguments, "--out", tmp_path / "s", "--json")
    assert outcome.code == 0, outcome.err
    assert all("diverged" in row[3] for row in outcome.json()["tables"][0]["rows"])
    assert {record["status"] for record in records(tmp_path / "s" / "runs").values()} == {"diverged"}
    assert "diverged" in (tmp_path / "s" / "study.html").read_text()


def test_a_record_that_was_changed_is_refused(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    for path in (whole / "runs").iterdir():
        record = json.loads(path.read_text())
        record["trial"]["seed"] = 5
        (tmp_path / "runs" / path.name).write_text(json.dumps(record))
    message = refused("study", "degradation", *SMALL, "--out", tmp_path / "o", "--runs", tmp_path / "runs")
    assert "was changed after it was written; delete it" in message


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("degredation",), 'did you mean "degradation"?'),
        (("identity", "--data", "digits"), "takes no --data"),
        (("identity", "--budget", "1h", "--set", "a=b"), "takes no --budget, --set"),
        (("degradation", "--budget", "soon"), "--budget is a duration"),
        (("degradation", "--seeds", "0"), "--seeds is the number of runs"),
        (("degradation", "--depths", "21", "--budget", "5steps"), "20"),
        (("responses", "--models", "nowhere.safetensors"), "cannot read the model file"),
        (("degradation", "--data", "nowhere"), "nowhere"),
        (("degradation", "--val", "0", "--budget", "5steps"), "has no held-out part"),
        (("degradation", "--depths"), "--depths requires at least 1"),
        (("degradation", "--depths", "100000004", "--budget", "5steps"), "more than the 20,000 layers"),
    ],
)
def test_misuse_is_one_sentence(arguments: tuple[str, ...], said: str, tmp_path: Path) -> None:
    assert said in refused("study", *arguments, "--out", tmp_path / "o")


@pytest.mark.parametrize("option", ["--out", "--runs"])
def test_where_nothing_can_be_written_nothing_is_trained(option: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    places = {"--out": tmp_path / "o", option: tmp_path / "file"}
    arguments = [part for place in places.items() for part in place]
    message = refused("study", "degradation", *SMALL, *arguments)
    assert "cannot make the folder" in message
    assert message.rstrip().endswith(f"choose another {option}")


def test_a_duration_is_settled_once(tmp_path: Path) -> None:
    arguments = (
        "study",
        "degradation",
        "--depths",
        8,
        "--seeds",
        1,
        "--budget",
        "4s",
        "--out",
        tmp_path / "o",
        "--json",
    )
    first, second = run(*arguments), run(*arguments)
    assert first.code == second.code == 0, first.err + second.err
    assert "timing the networks" not in second.err
    steps = [{row["trial"]["steps"] for row in outcome.json()["runs"]} for outcome in (first, second)]
    assert steps[0] == steps[1]
    assert commands.run(*arguments[:-1]).out.rstrip().endswith("study.html")

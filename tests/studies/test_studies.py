"""The other studies, small and whole: what their tables must say whatever the numbers are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from commands import run
from residuum.report.plots import LIGHT
from residuum.studies.figures import Line, Panel, panels, top_of
from residuum.studies.identity import attempt

TINY = ("--seeds", 1, "--budget", "12steps", "--set", "batch_size=16")


def conduct(out: Path, *arguments: object) -> dict[str, Any]:
    outcome = run("study", *arguments, "--out", out, "--json")
    assert outcome.code == 0, outcome.err
    assert (out / "study.html").exists()
    return outcome.json()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records that the studies here share."""
    return tmp_path_factory.mktemp("runs")


def test_responses_from_runs_and_from_their_files_are_the_same(runs: Path, tmp_path: Path) -> None:
    fresh = conduct(tmp_path / "a", "responses", "--depths", 8, *TINY, "--runs", runs)
    files = sorted((tmp_path / "a").glob("work/*/model.safetensors"))
    read = conduct(tmp_path / "b", "responses", "--data", "digits", "--models", *files)
    assert fresh["tables"][0]["rows"] == read["tables"][0]["rows"]
    assert [row[:2] for row in read["tables"][0]["rows"]] == [["plain-8", "7"], ["residual-8", "7"]]
    (claim,) = read["tables"][1]["rows"]
    residual, plain = map(float, claim[2].split(", "))
    assert claim[0] == "residual-8 below plain-8"
    assert residual <= plain if claim[1] == "yes" else residual >= plain


def test_gradients_are_seen_from_the_first_step_to_the_last(tmp_path: Path) -> None:
    found = conduct(tmp_path, "gradients", "--depths", 8, *TINY)
    assert [row[0] for row in found["tables"][0]["rows"]] == [
        "plain",
        "residual",
        "plain, no norm",
        "residual, no norm",
    ]
    for path in (tmp_path / "runs").glob("*.json"):
        record = json.loads(path.read_text())
        if record["status"] == "finished":
            rows = record["measured"]["gradients"]
            assert (rows[0]["step"], rows[-1]["step"]) == (1, 12)
            assert len(rows[0]["norms"]) == 7
            normed = "norm" not in record["trial"]["network"]
            assert all(norm > 0 for norm in rows[0]["norms"].values()) or not normed


def test_protocols_measure_the_same_models(runs: Path, tmp_path: Path) -> None:
    found = conduct(tmp_path, "protocols", "--depths", 8, "--seeds", 2, *TINY[2:], "--runs", runs)
    rows = found["tables"][0]["rows"]
    assert [row[0] for row in rows] == ["center", "flip", "ten-crop", "fully-convolutional", "multi-scale"]
    assert all(row[3] != "–" for row in rows), "two models make an ensemble"
    assert rows[2][1].startswith("10 of 16 x 16")
    assert {row[0] for row in found["tables"][1]["rows"]} == {"resnet20 of 8 layers"}


def test_depth_says_what_does_not_fit(tmp_path: Path) -> None:
    found = conduct(tmp_path, "depth", "--depths", 8, 302, "--seeds", 1, "--budget", "3s", *TINY[4:])
    costs, errors = found["tables"]
    assert [row[0] for row in costs["rows"]] == ["8", "302"]
    assert errors["rows"][0][2] != "–"
    assert errors["rows"][1][1] == "–"
    assert "Not run: this budget leaves" in errors["note"]


def test_replay_takes_out_one_ingredient_at_a_time(tmp_path: Path) -> None:
    found = conduct(tmp_path, "replay", "--depths", 8, *TINY)
    whole, ingredients = found["tables"]
    assert [row[0] for row in whole["rows"]] == ["2015", "v1.5", "fast", "modern"]
    assert len(ingredients["rows"]) == 13
    recipes = [json.loads(path.read_text())["trial"]["recipe"] for path in (tmp_path / "runs").glob("*.json")]
    assert len({json.dumps(recipe, sort_keys=True) for recipe in recipes}) == 16, "each is another recipe"
    alike = {row[1]: row[2] for row in ingredients["rows"]}["SGD, which is recipe fast"]
    assert alike == whole["rows"][2][1], "and none is trained twice"


def test_an_axis_ends_above_what_lines_reach_after_their_beginning() -> None:
    falling = Line("", range(20), [95.0, 90.0, *[30.0] * 18])
    assert 30 < top_of([falling]) < 40
    assert top_of([Line("", [1, 2], [91.0, 93.0])]) == 100


def test_lines_of_the_same_names_in_all_panels_have_one_legend() -> None:
    names = [Line(name, [1, 2], [1.0, 2.0]) for name in ("plain", "residual")]
    shared = panels(Panel("a", names, "x"), Panel("b", names, "x"))(LIGHT)
    assert len(shared.legends) == 1
    assert not any(axes.get_legend() for axes in shared.axes)
    own = panels(Panel("a", names, "x"), Panel("b", names[:1], "x"))(LIGHT)
    assert [bool(axes.get_legend()) for axes in own.axes] == [True, False]


def test_zero_is_learned_sooner_than_the_identity() -> None:
    beside, without = attempt(16, True, 0), attempt(16, False, 0)
    assert beside.epochs is not None
    assert beside.losses[-1] < 0.01 <= beside.losses[-2]
    assert without.epochs is None or without.epochs > beside.epochs

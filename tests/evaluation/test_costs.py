"""Costs of mistakes: what a file of them must be, what decisions they lead to, and that the report shows them."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands import TINY, refused, run
from residuum.errors import UserError
from residuum.evaluation.costs import cheapest, mean_cost, read_costs
from residuum.evaluation.metrics import Evaluation
from residuum.report.mistakes import confusion
from runs import record
from samples import picture_folder

CLASSES = ("ant", "bee", "cat")


def test_a_table_is_read_by_name_in_any_order(tmp_path: Path) -> None:
    file = tmp_path / "costs.csv"
    file.write_text("true,cat,ant,bee\nbee,1,2,0\nant,5,0,7\n\ncat,0,3,4\n")
    assert read_costs(file, CLASSES).tolist() == [[0, 7, 5], [2, 0, 1], [3, 4, 0]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no table"),
        (",ant,bee\nant,0,1\nbee,1,0\n", "lack cat"),
        (",ant,bee,cat\nant,0,1,1\nbee,1,0,1\n", "rows"),
        (",ant,bee,cat\nant,0,1,1\nbee,1,0\ncat,1,1,0\n", "square"),
        (",ant,bee,cat\nant,0,1,1,1\nbee,1,0,1\ncat,1,1,0\n", "square"),
        (",ant,bee,cat\nant,0,-1,1\nbee,1,0,1\ncat,1,1,0\n", "not negative"),
        (",ant,bee,cat\nant,0,inf,1\nbee,1,0,1\ncat,1,1,0\n", "finite"),
        (",ant,bee,cat\nant,0,much,1\nbee,1,0,1\ncat,1,1,0\n", "not a number"),
        (",ant,bee,cat\nant,0,,1\nbee,1,0,1\ncat,1,1,0\n", "not a number"),
        (",ant,bee,cart\nant,0,1,1\nbee,1,0,1\ncat,1,1,0\n", 'did you mean "cat"?'),
        (",ant,bee,cat,cat\nant,0,1,1,1\nbee,1,0,1,1\ncat,1,1,0,0\n", "more than once"),
        (",ant,bee,cat\nant,1,1,1\nbee,2,2,2\ncat,0,0,0\n", "costs the same"),
    ],
)
def test_what_is_no_table_of_costs_is_refused(text: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "costs.csv"
    file.write_text(text)
    with pytest.raises(UserError, match="costs") as caught:
        read_costs(file, CLASSES)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.integers(0, 2**32 - 1))
def test_no_decision_is_expected_to_cost_less_than_the_cheapest(seed: int) -> None:
    draws = np.random.default_rng(seed)
    probabilities = draws.dirichlet(np.ones(4), 20)
    costs = draws.uniform(0, 5, (4, 4))
    chosen = cheapest(probabilities, costs)
    for row, decision in itertools.product(range(20), range(4)):
        expected = [
            sum(probabilities[row, true] * costs[true, said] for true in range(4)) for said in (chosen[row], decision)
        ]
        assert expected[0] <= expected[1] + 1e-12
    even = 1 - np.eye(4)
    assert (cheapest(probabilities, even) == probabilities.argmax(1)).all()
    assert mean_cost(chosen, chosen, even) == 0


def test_the_pairs_of_a_report_cost_together_what_all_decisions_do() -> None:
    draws = np.random.default_rng(0)
    costs = draws.uniform(0, 5, (4, 4)) * (1 - np.eye(4))
    labels, logits = draws.integers(0, 4, 200), draws.normal(size=(200, 4))
    names = tuple(map(str, range(200)))
    free = Evaluation.from_logits(("a", "b", "c", "d"), names, np.arange(200), labels, logits, {})
    evaluation = replace(free, costs=costs)
    pairs = confusion(evaluation).pairs
    assert sum(pair.cost or 0 for pair in pairs) == pytest.approx(200 * mean_cost(labels, evaluation.predicted, costs))
    assert [pair.cost for pair in pairs] == sorted((pair.cost or 0 for pair in pairs), reverse=True)
    uncosted = confusion(free).pairs
    assert {pair.cost for pair in uncosted} == {None}
    assert [pair.count for pair in uncosted] == sorted((pair.count for pair in uncosted), reverse=True)


def test_a_run_decides_by_cost_and_so_does_its_model(tmp_path: Path) -> None:
    """A mistake that costs a thousand times as much as the other is not made, whatever is more probable."""
    data = picture_folder(tmp_path / "data", {"ant": 20, "bee": 20})
    (tmp_path / "costs.csv").write_text(",ant,bee\nant,0,1000000\nbee,1,0\n")
    arguments = ("train", data, *TINY, "--recipe", "debug", "--steps", "2", "--val", "0.3", "--lr", "1e-6")
    outcome = run(*arguments, "--costs", tmp_path / "costs.csv", "--out", tmp_path / "run")
    assert outcome.code == 0, outcome
    found = record(tmp_path / "run")["results"]
    assert [row[1] for row in found["confusion"]] == [0, 0], "nothing is taken for a bee"
    assert found["costs"]["wrong"] == 6
    assert found["costs"]["mean_cost"] == 0.5
    assert "lowest expected cost" in (tmp_path / "run" / "report.html").read_text()
    page = (tmp_path / "run" / "report.html").read_text()
    assert '<th class="n">cost</th>' in page, "each pair of classes has what its mistakes cost"
    again = run("evaluate", tmp_path / "run" / "model.safetensors", data, "--json").json()
    assert again["costs"] == found["costs"]
    message = refused(*arguments, "--costs", tmp_path / "none.csv", "--out", tmp_path / "other")
    assert "cannot read the costs" in message
    assert not (tmp_path / "other").exists()

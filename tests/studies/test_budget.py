"""Budgets: durations, steps and the paper's full length."""

from __future__ import annotations

import pytest

from residuum.errors import UserError
from residuum.studies.budget import MARGIN, TooSmall, parse_budget, steps_within


@pytest.mark.parametrize(
    ("text", "seconds", "steps"),
    [("10m", 600, None), ("2h", 7200, None), ("1h30m", 5400, None), ("full", None, 64_000), ("2000steps", None, 2000),
     ("90s", 90, None), ("1 step", None, 1)],
)  # fmt: skip
def test_what_a_budget_means(text: str, seconds: float | None, steps: int | None) -> None:
    budget = parse_budget(text)
    assert (budget.seconds, budget.steps) == (seconds, steps)


@pytest.mark.parametrize("text", ["", "10", "ten", "10x", "-5m", "0m", "0steps", "1h-", "nan", "m10", "1e999h"])
def test_other_words_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="--budget is a duration like 10m"):
        parse_budget(text)


def test_steps_fill_the_budget_without_passing_it() -> None:
    seconds = [0.2, 0.2, 0.5, 0.5]
    steps = steps_within(3600, seconds)
    assert 0.85 * 3600 < steps * sum(seconds) * MARGIN <= 3600
    assert str(steps).rstrip("0") == str(steps)[:2].rstrip("0")


def test_a_budget_of_a_few_steps_is_refused_with_one_that_would_do() -> None:
    with pytest.raises(TooSmall, match=r"give at least 22s"):
        steps_within(5, [1.0, 1.0])
    assert steps_within(22, [1.0, 1.0]) == 10

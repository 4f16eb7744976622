"""The range test: a rate is proposed below where training breaks, and nothing is left but its page."""

from __future__ import annotations

import math
from pathlib import Path

from commands import TINY, refused, run
from residuum.training.range_test import HIGHEST, LOWEST, STEPS, propose
from samples import picture_folder


def curve(loss_at: list[float]) -> tuple[tuple[float, float, float], ...]:
    rates = [LOWEST * (HIGHEST / LOWEST) ** (step / (STEPS - 1)) for step in range(STEPS)]
    return tuple((rate, loss, loss) for rate, loss in zip(rates, loss_at, strict=False))


def test_the_proposal_lies_below_the_rate_at_which_the_loss_rises() -> None:
    noise = [0.05 * math.sin(5 * step) for step in range(STEPS)]
    falls = [2.0 - (step > 60) + 3.0 * (step > 100) + noise[step] for step in range(STEPS)]
    flat = [0.6 + 3.0 * (step > 100) + noise[step] for step in range(STEPS)]
    edge = curve(falls)[100][0]
    for losses in (falls, flat):
        found = propose(curve(losses))
        assert found.proposed is not None
        assert edge / 20 < found.proposed < edge
    rises = [0.6 + 0.1 * step for step in range(STEPS)]
    assert propose(curve(rises)).proposed is None
    assert propose(curve(falls[:10])).proposed is None


def test_nothing_is_trained_and_the_page_says_what_to_try(tmp_path: Path) -> None:
    data = picture_folder(tmp_path / "data", {"ant": 20, "bee": 20})
    command = ("train", data, *TINY, "--recipe", "debug", "--batch-size", "8", "--out", tmp_path / "run")
    found = run(*command, "--find-lr", "--json").json()
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"find-lr.html", "find-lr.svg"}
    assert found["sentence"] in (tmp_path / "run" / "find-lr.html").read_text()
    assert found["proposed_lr"] is None or 1e-6 < found["proposed_lr"] < 10
    assert run(*command, "--find-lr", "--json").json()["curve"] == found["curve"], "a seed decides it"
    assert run(*command).code == 0, "and a run may be made in the same folder"
    assert "--lr" in refused("train", data, *TINY, "--find-lr", "--lr", "0.1")
    assert "needs the data" in refused("train", "--find-lr")

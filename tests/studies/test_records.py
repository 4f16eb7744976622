"""Records that were kept are found again: what identifies a run stays the same from version to version."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from residuum.config import changed, from_dict
from residuum.plan import read_spec
from residuum.studies.records import key_of
from residuum.training.recipe import Recipe

KEPT = sorted((Path(__file__).resolve().parents[2] / "docs" / "paper" / "runs").glob("*.json"))


def test_there_are_some() -> None:
    assert len(KEPT) > 20


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_a_record_is_found_by_what_it_was_made_with(path: Path) -> None:
    """As `studies.trial.settle_trial` has it: fields at their defaults are left out, also those added since."""
    record: dict[str, Any] = json.loads(path.read_text())
    trial = record["trial"]
    recipe = from_dict(Recipe, {"name": record["recipe_name"], **trial["recipe"]}, path.name)
    again = {key: value for key, value in changed(recipe).items() if key not in ("name", "precision")}
    network = changed(read_spec(trial["network"], path.name))
    assert key_of(trial | {"network": network, "recipe": again}) == record["key"]

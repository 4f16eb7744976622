"""What runs were made with, field by field, and the fields in which they differ."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from residuum.comparison.entries import Entry, joined
from residuum.config import Part, from_dict, to_dict
from residuum.errors import UserError
from residuum.plan import read_spec
from residuum.report.wording import MISSING, rows, section
from residuum.training.recipe import Recipe

DATA = ("argument", "digest", "counts", "val", "allow_bad")
VIEW = ("size", "resize", "channels", "per_pixel")
"""Fields of the preprocessing that are chosen; mean and deviation follow from the data."""
LENGTH_OF_DIGEST = 12


def settings_of(facts: Mapping[str, Any], using: Iterable[type[Part]] = ()) -> dict[str, Any]:
    """Dotted field names and values of all that decides a training but its seed; empty where nothing is recorded.

    `facts` is run.json, or what a model file says. Fields that an older version did not write have their defaults.
    """
    data, view = section(facts, "data"), section(facts, "preprocessing")
    return flat(
        {
            "spec": _completed(lambda spec: read_spec(spec, "spec", using), section(facts, "spec")),
            "recipe": _completed(lambda recipe: from_dict(Recipe, recipe, "recipe"), section(facts, "recipe")),
            "length": section(facts, "length"),
            "data": {key: data[key] for key in DATA if key in data},
            "preprocessing": {key: view[key] for key in VIEW if key in view},
            "environment": section(facts, "environment"),
        }
    )


def _completed(read: Any, stored: dict[str, Any]) -> dict[str, Any]:
    try:
        return to_dict(read(stored)) if stored else {}
    except UserError:  # of another version, or with parts from outside the package
        return stored


def flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Every value under its dotted path; members of a list of mappings are numbered from 1."""
    found: dict[str, Any] = {}
    for key, inner in value.items():
        path = f"{prefix}{key}"
        if isinstance(inner, list) and any(isinstance(member, Mapping) for member in inner):
            inner = {str(number): member for number, member in enumerate(inner, 1)}
        if isinstance(inner, Mapping):
            found |= flat(inner, f"{path}.")
        else:
            found[path] = inner
    return found


def signature(entry: Entry) -> str | None:
    """The same text for trainings that differ in their seed alone, on whatever machine; None where nothing is known."""
    if not entry.settings or entry.seed is None:
        return None
    kept = {
        key: value
        for key, value in entry.settings.items()
        if key not in ("data.argument", "recipe.name")
        and (not key.startswith("environment.") or key == "environment.precision")
    }
    return json.dumps(kept, sort_keys=True)


@dataclass(frozen=True)
class Differences:
    """The fields in which trainings differ; those that agree in all of them share a column."""

    columns: tuple[str, ...]
    fields: tuple[tuple[str, tuple[str, ...]], ...]
    """(name, its value in each column), in words."""


def differences(entries: Sequence[Entry], labels: Sequence[str]) -> Differences:
    """How the settings of those entries differ that have any."""
    columns: dict[str, list[int]] = {}
    texts: dict[str, dict[str, str]] = {}
    for place, entry in enumerate(entries):
        if entry.settings:
            key = json.dumps(entry.settings, sort_keys=True)
            columns.setdefault(key, []).append(place)
            texts[key] = dict(rows(entry.settings))
    fields = dict.fromkeys(name for text in texts.values() for name in text)
    table = {name: tuple(text.get(name, MISSING) for text in texts.values()) for name in fields}
    differing = {name: values for name, values in table.items() if len(set(values)) > 1}
    if "data.digest" not in differing:
        differing.pop("data.argument", None)  # the same pictures at another place
    else:
        differing["data.digest"] = tuple(value[:LENGTH_OF_DIGEST] for value in differing["data.digest"])
    names = [joined([entries[i] for i in of], [labels[i] for i in of]) for of in columns.values()]
    return Differences(tuple(names), tuple(differing.items()))

"""Findings about classes: their names, sizes and parts, and properties that give them away."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict

import numpy as np

from residuum.data.checks.finding import NAMED, Finding, Member, each_alone, named
from residuum.data.checks.survey import Survey
from residuum.data.folders import parts_as_classes

UNBALANCED = 5
"""The largest class is so many times the smallest."""
ENOUGH = 10
"""Pictures in a class and in all others from which on a shortcut is looked for."""
APART = 0.6
"""Difference between shares of pictures with a property from which on it gives a class away."""
RANKED = 0.9
"""Area under the ROC curve from which on a size gives a class away."""


def find_unusable(survey: Survey) -> list[Finding]:
    """What makes training stop, or splits a class in two."""
    found = []
    classes = survey.contents.classes
    if len(classes) < 2:
        found.append(Finding("one-class", len(classes), named(classes)))
    if "train" in survey.given:
        for part in survey.given[1:]:
            strangers = [name for name, parts in survey.counts.items() if parts[part] and not parts["train"]]
            if strangers:
                found.append(Finding("class-not-trained", len(strangers), f"{named(strangers)} (in {part})"))
    if survey.contents.folder is not None and (called := parts_as_classes(classes)):
        found.append(Finding("part-as-class", len(called), named(called)))
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for name in classes:
        alike[_plain(name)].append(name)
    twice = [names for names in alike.values() if len(names) > 1]
    if twice:
        found.append(Finding("class-names", len(twice), "; ".join(map(named, twice))))
    return found


def find_balance(survey: Survey) -> list[Finding]:
    """Classes that are empty, single or much smaller than others, and those missing in a part."""
    found = []
    counts = survey.counts
    empty = [name for name, parts in counts.items() if not sum(parts.values())]
    if empty:
        found.append(Finding("empty-class", len(empty), named(empty)))
    first = survey.given[0] if survey.given else "train"
    trained = {name: parts[first] for name, parts in counts.items() if parts.get(first)}
    single = [name for name, number in trained.items() if number == 1]
    if single:
        groups = tuple((_only(survey, name, first),) for name in single)
        found.append(Finding("single-picture-class", len(single), named(single), groups=groups))
    order = sorted((name for name, number in trained.items() if number > 1), key=lambda name: trained[name])
    if order:
        least, most = order[0], order[-1]
        larger = sum(number >= UNBALANCED * trained[least] for number in trained.values())
        if larger:
            sizes = f"{named([most])} has {trained[most]:,} pictures, {named([least])} {trained[least]:,}"
            found.append(Finding("imbalance", larger, sizes))
    for part in survey.given[1:]:
        missing = [name for name in trained if not counts[name][part]]
        if missing:
            found.append(Finding("class-not-tested", len(missing), f"{named(missing)} (not in {part})"))
    return found


def find_shortcuts(survey: Survey) -> list[Finding]:
    """Properties of files that tell a class from the others, which a network may learn instead of the class."""
    labels = survey.contents.labels[survey.readable]
    found = []
    properties = {what: np.array([of(look) for look in survey.good]) for what, of in _PROPERTIES.items()}
    sizes = {what: np.array([of(look) for look in survey.good]) for what, of in _SIZES.items()}
    for place, name in enumerate(survey.contents.classes):
        own = labels == place
        if min(own.sum(), (~own).sum()) < ENOUGH:
            continue
        signs = [sign for what, values in properties.items() if (sign := _share_sign(what, values, own))]
        if not any(sign.endswith("pixels") for sign in signs):
            signs += [sign for what, values in sizes.items() if (sign := _size_sign(what, values, own))]
        if signs:
            found.append((name, signs))
    if len(found) == 2 == len(survey.contents.classes):
        found = found[:1]  # what tells one from the other tells the other from the one
    if not found:
        return []
    told = [f"{named([name])}: {', '.join(signs)}." for name, signs in found[:NAMED]]
    return [Finding("shortcut", len(found), named(name for name, _ in found), caution=" ".join(told))]


def find_mixed_colours(survey: Survey) -> list[Finding]:
    """Grey pictures among coloured ones, or the other way round."""
    grey = [i for i, look in zip(survey.readable.tolist(), survey.good, strict=True) if look.colourless]
    coloured = sorted(set(survey.readable.tolist()).difference(grey))
    if not grey or not coloured:
        return []
    fewer, what = (grey, "without colour") if len(grey) <= len(coloured) else (coloured, "in colour")
    return each_alone("mixed-colour", (survey.member(i, what) for i in fewer))


_PROPERTIES = {
    "format": lambda look: look.format or "pixels",
    "colour": lambda look: "grey" if look.colourless else "coloured",
    "transparency": lambda look: "transparent" if look.transparent else "opaque",
    "size": lambda look: f"{look.width} × {look.height} pixels",
}
_SIZES = {
    "pixels": lambda look: float(look.height * look.width),
    "width over height": lambda look: look.width / look.height,
}


def _share_sign(what: str, values: np.ndarray, own: np.ndarray) -> str | None:
    """What most of a class are and most others are not, or the other way round."""
    most = Counter(values[own].tolist()).most_common(1)[0][0]
    here, there = float((values[own] == most).mean()), float((values[~own] == most).mean())
    return f"{here:.0%} are {most}, of the others {there:.0%}" if here - there >= APART else None


def _size_sign(what: str, values: np.ndarray, own: np.ndarray) -> str | None:
    area = _area(values[own], values[~own])
    if max(area, 1 - area) < RANKED:
        return None
    here, there = float(np.median(values[own])), float(np.median(values[~own]))
    if what == "pixels":
        return f"{'larger' if area > 0.5 else 'smaller'} (median {_pixels(here)}, of the others {_pixels(there)})"
    return f"{'wider' if area > 0.5 else 'higher'} (width over height {here:.2f}, of the others {there:.2f})"


def _area(one: np.ndarray, other: np.ndarray) -> float:
    """Area under the ROC curve: how often a value of `one` is larger than one of `other`, ties counting half."""
    ordered = np.sort(other)
    larger = np.searchsorted(ordered, one, "left") + np.searchsorted(ordered, one, "right")
    return float(larger.mean() / 2 / len(other))


def _pixels(number: float) -> str:
    return f"{number / 1e6:.1f} megapixels" if number >= 1e6 else f"{number:,.0f} pixels"


def _only(survey: Survey, name: str, part: str) -> Member:
    return survey.member(
        next(i for i in survey.readable.tolist() if survey.label(i) == name and survey.part(i) == part)
    )


def _plain(name: str) -> str:
    """A class's name without what people do not see."""
    return re.sub(r"[\s_-]+", "", unicodedata.normalize("NFKC", name).casefold())

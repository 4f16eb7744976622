"""Findings about classes: their names, sizes and parts, and properties that give them away."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable

import numpy as np

from residuum.data.checks.finding import Finding, Member, counted
from residuum.data.checks.survey import Survey
from residuum.errors import shown

UNBALANCED = 5
"""The largest class is so many times the smallest."""
ENOUGH = 10
"""Pictures in a class and in all others from which on a shortcut is looked for."""
APART = 0.6
"""Difference between shares of pictures with a property from which on it gives a class away."""
RANKED = 0.9
"""Area under the ROC curve from which on a size gives a class away."""
NAMED = 6
"""Classes named in a sentence."""


def find_unusable(survey: Survey) -> list[Finding]:
    """What makes training stop, or split a class in two."""
    found = []
    counts = survey.counts
    train = {name for name, parts in counts.items() if parts.get("train")}
    if len(survey.contents.classes) < 2:
        found.append(
            Finding("one-class", "error", "one class only", "A classifier needs two: put each class into a folder.")
        )
    if "train" in survey.given:
        for part in survey.given[1:]:
            strangers = [name for name, parts in counts.items() if parts[part] and name not in train]
            if strangers:
                found.append(
                    Finding(
                        "class-not-trained", "error",
                        f"{counted(len(strangers), 'class', 'classes')} in {part} and not in train: {_named(strangers)}",
                        "Training refuses this: a network cannot name what it never saw. Add pictures to train, or remove "
                        f"the class from {part}. Is the name spelt alike in both?",
                    )
                )  # fmt: skip
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for name in survey.contents.classes:
        alike[_plain(name)].append(name)
    for names in alike.values():
        if len(names) > 1:
            found.append(
                Finding(
                    "class-names", "error", f"classes with almost the same name: {_named(names, quoted=True)}",
                    "They differ by case, blanks or accents' spelling only, and would be two classes. Rename the folders.",
                )
            )  # fmt: skip
    return found


def find_balance(survey: Survey) -> list[Finding]:
    """Classes that are empty, single or much smaller than others, and those missing in a part."""
    found = []
    counts = survey.counts
    whole = {name: sum(parts.values()) for name, parts in counts.items()}
    empty = [name for name, number in whole.items() if not number]
    if empty:
        found.append(
            Finding(
                "empty-class", "warning", f"{counted(len(empty), 'class', 'classes')} without pictures: {_named(empty)}",
                "Training stops at a class without pictures. Add some, or remove the folder.",
            )
        )  # fmt: skip
    trained = {name: parts.get("train", 0) for name, parts in counts.items() if parts.get("train", 0)}
    single = [name for name, number in trained.items() if number == 1]
    if single:
        members = [_only(survey, name) for name in single]
        found.append(
            Finding(
                "single-picture-class", "warning",
                f"{counted(len(single), 'class', 'classes')} with one picture: {_named(single)}",
                "Nothing can be held out of it, and one picture teaches little. Add more, or join it to another class.",
                tuple((member,) for member in members),
            )
        )  # fmt: skip
    if len(trained) > 1:
        least, most = min(trained, key=lambda name: trained[name]), max(trained, key=lambda name: trained[name])
        if trained[most] >= UNBALANCED * trained[least] and trained[least] > 1:
            found.append(
                Finding(
                    "imbalance", "warning",
                    f"unbalanced classes: {shown(most)} has {trained[most]:,} pictures, {shown(least)} {trained[least]:,}",
                    "A network that always says the larger class is often right. Look at the recall of each class rather "
                    "than at the error; add pictures, or weigh the classes in training.",
                )
            )  # fmt: skip
    for part in survey.given[1:] if "train" in survey.given else ():
        missing = [name for name in trained if not counts[name][part]]
        if missing:
            found.append(
                Finding(
                    "class-not-tested", "note",
                    f"{counted(len(missing), 'class', 'classes')} without pictures in {part}: {_named(missing)}",
                    f"The error on {part} says nothing about them.",
                )
            )  # fmt: skip
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
        signs += [sign for what, values in sizes.items() if (sign := _size_sign(what, values, own))]
        if signs:
            found.append((shown(name), signs))
    if len(found) == 2 == len(survey.contents.classes):
        found = found[:1]  # what tells one from the other tells the other from the one
    if not found:
        return []
    listed = "; ".join(f"{name}: {', '.join(signs)}" for name, signs in found[:NAMED])
    more = f"; and {counted(len(found) - NAMED, 'more class', 'more classes')}" if len(found) > NAMED else ""
    return [
        Finding(
            "shortcut", "warning",
            f"{counted(len(found), 'class', 'classes')} that can be told by how the files are made: {listed}{more}",
            "A network may learn that instead of the class, and fail on pictures from elsewhere. Take all classes from the "
            "same sources, or convert all to the same size, format and colours.",
        )
    ]  # fmt: skip


def find_mixed_colours(survey: Survey) -> list[Finding]:
    """Grey pictures among coloured ones, or the other way round."""
    grey = [i for i, look in zip(survey.readable.tolist(), survey.good, strict=True) if look.colourless]
    coloured = sorted(set(survey.readable.tolist()).difference(grey))
    if not grey or not coloured:
        return []
    fewer, what = (grey, "without colour") if len(grey) <= len(coloured) else (coloured, "in colour")
    others = "in colour" if fewer is grey else "grey"
    members = [Member(i, survey.contents.names[i], survey.label(i), survey.contents.splits[i] or None) for i in fewer]
    return [
        Finding(
            "mixed-colour", "note", f"{counted(len(fewer), 'picture')} {what} among {len(survey.readable) - len(fewer):,} {others}",
            "Harmless where they are spread over the classes. If colour does not matter, train on grey: --channels 1.",
            tuple((member,) for member in members),
        )
    ]  # fmt: skip


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


def _only(survey: Survey, name: str) -> Member:
    index = next(i for i in survey.readable.tolist() if survey.label(i) == name and survey.part(i) == "train")
    return Member(index, survey.contents.names[index], name, survey.contents.splits[index] or None)


def _plain(name: str) -> str:
    """A class's name without what people do not see."""
    return re.sub(r"[\s_-]+", "", unicodedata.normalize("NFKC", name).casefold())


def _named(names: Iterable[str], quoted: bool = False) -> str:
    """Names for a sentence; in quotation marks where blanks at their ends must be seen."""
    listed = [f'"{shown(name)}"' if quoted else shown(name) for name in names]
    return ", ".join(listed[:NAMED]) + (f" and {len(listed) - NAMED:,} more" if len(listed) > NAMED else "")

"""A check of a data set as a page with its pictures, and as JSON."""

from __future__ import annotations

import shlex
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from residuum.data.checks.checking import Check, usual_size
from residuum.data.checks.finding import Finding, Member, counted
from residuum.files import make_folder, write_atomic, write_json
from residuum.report.pictures import LARGEST_SIDE, Thumbnail, thumbnail
from residuum.report.render import render
from residuum.report.wording import number

GROUPS, MEMBERS, TILES, NAMES = 20, 6, 24, 200
"""Groups of copies with their pictures, pictures of a group, single pictures, and names without pictures, of a finding:
so many are on the page, and all in the JSON."""
SEVERITIES = {"error": "put right", "warning": "look", "note": "good to know"}


@dataclass(frozen=True)
class Tile:
    """A picture of a finding; without a thumbnail where it cannot be read."""

    member: Member
    picture: Thumbnail | None


@dataclass(frozen=True)
class Shown:
    """A finding as the page has it: groups of pictures, single pictures or names, and how many more there are."""

    finding: Finding
    word: str
    groups: list[tuple[list[Tile], int]]
    tiles: list[Tile]
    names: list[Member]
    more: int


def write_check(folder: Path, check: Check) -> Path:
    """Write `folder/check.html` and `folder/check.json`; returns the path of the page. Raises UserError."""
    make_folder(folder)
    path = folder / "check.html"
    write_atomic(path, render("check.html", contents(check)))
    write_json(folder / "check.json", check.to_dict())
    return path


def contents(check: Check) -> dict[str, Any]:
    """The template's variables."""
    surveyed = check.survey
    return {
        "data": surveyed.contents.argument,
        "sentence": sentence(check),
        "facts": _facts(check),
        "findings": [_shown(check, finding) for finding in check.findings],
        "command": f"residuum check {shlex.quote(surveyed.contents.argument)} --exclude-list exclude.txt",
        "next": f"residuum train {shlex.quote(surveyed.contents.argument)} --exclude exclude.txt",
        "listed": sum(len(names) for _, names in check.leave_out(True)),
        "parts": surveyed.given,
        "classes": _classes(check),
        "stored": _stored(check),
        "notes": list(surveyed.contents.notes),
    }


def sentence(check: Check) -> str:
    """How it stands, in a few words."""
    counts = Counter(finding.severity for finding in check.findings)
    said = [
        f"{counted(counts[severity], 'finding')} {what}"
        for severity, what in (("error", "to put right"), ("warning", "to look at"))
        if counts[severity]
    ]
    return ", ".join(said) or "nothing to put right"


def _facts(check: Check) -> list[tuple[str, str]]:
    surveyed = check.survey
    facts = [
        ("pictures", number(len(surveyed.contents))),
        ("classes", number(len(surveyed.contents.classes))),
        ("unreadable", number(len(surveyed.looks) - len(surveyed.readable))),
    ]
    if surveyed.good:
        height, width = usual_size(surveyed)
        facts.append(("usual size", f"{width} × {height}"))
    if surveyed.held_out:
        facts.append(("held out in training", number(len(surveyed.held_out))))
    return facts


def _shown(check: Check, finding: Finding) -> Shown:
    pairs = [group for group in finding.groups if len(group) > 1]
    single = [group[0] for group in finding.groups if len(group) == 1]
    readable = set(check.survey.readable.tolist())
    seen = [member for member in single if member.index in readable]
    names = [member for member in single if member.index not in readable]
    groups = [([_tile(check, member) for member in group[:MEMBERS]], len(group[MEMBERS:])) for group in pairs[:GROUPS]]
    more = len(pairs[GROUPS:]) + len(seen[TILES:]) + len(names[NAMES:])
    tiles = [_tile(check, member) for member in seen[:TILES]]
    return Shown(finding, SEVERITIES[finding.severity], groups, tiles, names[:NAMES], more)


def _tile(check: Check, member: Member) -> Tile:
    place = member.index
    assert place is not None
    return Tile(member, thumbnail(lambda index: check.survey.contents.read(index, LARGEST_SIDE), place))


def _classes(check: Check) -> list[tuple[str, list[int], float]]:
    """Name, pictures in each part, and the size beside that of the largest class."""
    rows = [(name, [parts[part] for part in check.survey.given]) for name, parts in check.survey.counts.items()]
    largest = max((sum(numbers) for _, numbers in rows), default=0) or 1
    return [(name, numbers, sum(numbers) / largest) for name, numbers in rows]


def _stored(check: Check) -> list[tuple[str, str]]:
    """How the pictures are stored, in a few rows."""
    looks = check.survey.good
    if not looks:
        return []

    def most(counts: Counter[str]) -> str:
        listed = [f"{what} {number(count)}" for what, count in counts.most_common(6)]
        return ", ".join(listed) + (f" and {counted(len(counts) - 6, 'other')}" if len(counts) > 6 else "")

    areas = sorted(looks, key=lambda look: look.height * look.width)
    smallest, largest = areas[0], areas[-1]
    rows = [
        ("sizes", most(Counter(f"{look.width} × {look.height}:" for look in looks))),
        ("smallest, largest", f"{smallest.width} × {smallest.height}, {largest.width} × {largest.height}"),
        ("colours", most(Counter("grey" if look.colourless else "coloured" for look in looks))),
    ]
    if check.survey.contents.bytes_of is not None:
        rows.insert(0, ("formats", most(Counter(look.format for look in looks))))
        rows.append(("modes", most(Counter(look.mode for look in looks))))
    return rows

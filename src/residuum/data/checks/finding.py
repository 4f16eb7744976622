"""Finding: one thing that a check has to say, with the files it is about."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from residuum.data.checks.kinds import KINDS, Severity
from residuum.errors import shown

NAMED = 6
"""Classes named in a sentence."""


@dataclass(frozen=True)
class Member:
    """A picture or other file in a finding: `index` is its place among the pictures, None of another file."""

    index: int | None
    name: str
    label: str | None = None
    part: str | None = None
    remark: str = ""

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "class": self.label, "part": self.part, "remark": self.remark}


@dataclass(frozen=True)
class LeaveOut:
    """Files to leave out and why; `sure` is False where a person should look first."""

    reason: str
    names: tuple[str, ...]
    sure: bool = True


@dataclass(frozen=True)
class Finding:
    """What was found, and what to do about it.

    kind       a key of `KINDS`
    count      how many of it
    detail     what else the title says
    caution    what else the advice says
    groups     files that belong together; one to a group where each is found by itself
    leave_out  what the list of files to leave out says of them
    """

    kind: str
    count: int
    detail: str = ""
    caution: str = ""
    groups: tuple[tuple[Member, ...], ...] = ()
    leave_out: tuple[LeaveOut, ...] = ()

    @property
    def severity(self) -> Severity:
        return KINDS[self.kind].severity

    @property
    def title(self) -> str:
        said = counted(self.count, KINDS[self.kind].one, KINDS[self.kind].many)
        return f"{said}: {self.detail}" if self.detail else said

    @property
    def advice(self) -> str:
        return f"{KINDS[self.kind].advice} {self.caution}".rstrip()

    def to_dict(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "severity": self.severity,
            "count": self.count,
            "title": self.title,
            "advice": self.advice,
            "groups": [[member.to_dict() for member in group] for group in self.groups],
        }


def each_alone(kind: str, members: Iterable[Member], leave_out: tuple[LeaveOut, ...] = ()) -> list[Finding]:
    """A finding about files each by itself; nothing where there are none."""
    groups = tuple((member,) for member in members)
    return [Finding(kind, len(groups), groups=groups, leave_out=leave_out)] if groups else []


def counted(number: int, one: str, many: str | None = None) -> str:
    """A number with its noun: 1 picture, 1,200 pictures."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def named(names: Iterable[str]) -> str:
    """Names for a sentence, in quotation marks where blanks at their ends must be seen."""
    listed = [shown(name) if name == name.strip() else f'"{shown(name)}"' for name in names]
    return ", ".join(listed[:NAMED]) + (f" and {len(listed) - NAMED:,} more" if len(listed) > NAMED else "")

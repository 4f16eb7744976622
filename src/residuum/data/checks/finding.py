"""Finding: one thing that a check has to say, with the pictures it is about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Severity = Literal["error", "warning", "note"]


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
    """What was found, how bad it is, and what to do.

    kind       a fixed name: "label-conflict", "leakage", ...
    title      what was found, with its number
    advice     what to do
    groups     files that belong together; one to a group where each is found by itself
    leave_out  what the list of files to leave out says of them
    """

    kind: str
    severity: Severity
    title: str
    advice: str
    groups: tuple[tuple[Member, ...], ...] = ()
    leave_out: tuple[LeaveOut, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "severity": self.severity,
            "title": self.title,
            "advice": self.advice,
            "count": len(self.groups) or 1,
            "groups": [[member.to_dict() for member in group] for group in self.groups],
        }


def counted(number: int, one: str, many: str | None = None) -> str:
    """A number with its noun: 1 picture, 1,200 pictures."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"

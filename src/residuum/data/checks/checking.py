"""The check as a whole: from a data argument to findings, the worst first."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from residuum.data.checks.classes import find_balance, find_mixed_colours, find_shortcuts, find_unusable
from residuum.data.checks.contents import find_contents
from residuum.data.checks.copies import find_copies
from residuum.data.checks.files import find_passed_over, find_storage, find_strange, find_unreadable
from residuum.data.checks.finding import Finding
from residuum.data.checks.kinds import KINDS
from residuum.data.checks.survey import Survey, survey
from residuum.progress import Reporter

MOST_WORKERS = 4
"""Decoding threads beyond which they only wait for the interpreter."""


@dataclass(frozen=True)
class Check:
    """What was found in a data set. `survey` knows its pictures; `findings` have the worst first."""

    survey: Survey
    findings: tuple[Finding, ...]

    def of_kind(self, kind: str) -> Finding | None:
        """The first finding of a kind."""
        return next((finding for finding in self.findings if finding.kind == kind), None)

    def leave_out(self, sure: bool) -> list[tuple[str, list[str]]]:
        """Reasons with the files to leave out (not `sure`: to look at); each file once, for the worst reason."""
        named = {name for finding in self.findings for each in finding.leave_out if each.sure for name in each.names}
        seen = set() if sure else named
        blocks = []
        for each in (each for finding in self.findings for each in finding.leave_out if each.sure == sure):
            names = [name for name in each.names if name not in seen]
            seen.update(names)
            if names:
                blocks.append((each.reason, names))
        return blocks

    def _counts(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for finding in self.findings:
            counts[finding.kind] = counts.get(finding.kind, 0) + finding.count
        return counts

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        contents = self.survey.contents
        return {
            "data": contents.argument,
            "pictures": len(contents),
            "readable": len(self.survey.readable),
            "classes": {name: dict(parts) for name, parts in self.survey.counts.items()},
            "held_out": len(self.survey.held_out),
            "counts": self._counts(),
            "findings": [finding.to_dict() for finding in self.findings],
            "notes": list(contents.notes),
        }


def check_data(argument: str, reporter: Reporter) -> Check:
    """Look at everything that `argument` (as for `sources.open_data`) names. Raises UserError where nothing is."""
    contents = find_contents(argument)
    workers = min(MOST_WORKERS, os.cpu_count() or 1)
    with reporter.track("looking at pictures", "files") as update:
        surveyed = survey(contents, workers, update)
    findings = [
        *find_unusable(surveyed),
        *find_unreadable(surveyed),
        *find_balance(surveyed),
        *find_passed_over(surveyed),
    ]
    if len(surveyed.readable):
        with reporter.track("comparing pictures", "%") as update:
            findings += find_copies(surveyed, workers, update)
        findings += [
            *find_shortcuts(surveyed), *find_strange(surveyed), *find_storage(surveyed), *find_mixed_colours(surveyed)
        ]  # fmt: skip
    order = list(KINDS)
    return Check(surveyed, tuple(sorted(findings, key=lambda finding: order.index(finding.kind))))


def usual_size(surveyed: Survey) -> tuple[int, int]:
    """The median height and width of the readable pictures."""
    sizes = np.array([(look.height, look.width) for look in surveyed.good])
    height, width = np.median(sizes, axis=0)
    return round(height), round(width)

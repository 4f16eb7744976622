"""residuum check."""

from __future__ import annotations

import shlex
from pathlib import Path

from residuum.cli.base import Json, app, print_json


@app.command
def check(
    data: str,
    *,
    out: Path = Path("check"),
    exclude_list: Path | None = None,
    json: Json = False,
) -> None:
    """Look for what would spoil training: unreadable files, copies, leakage, wrong classes. Nothing is changed.

    Args:
        data: As for `train`.
        out: Folder for the page check.html, with the pictures themselves, and check.json.
        exclude_list: File to write the files to leave out to, for `train --exclude`.
    """
    from residuum.checking import check as run_check
    from residuum.errors import shown
    from residuum.report.checking import SEVERITIES, sentence

    checked = run_check(data, out=out, exclude_list=exclude_list)
    left_out = sum(len(names) for _, names in checked.leave_out(True))
    if json:
        listed = None if exclude_list is None else str(exclude_list)
        print_json(checked.to_dict() | {"page": str(out / "check.html"), "exclude_list": listed, "listed": left_out})
        return
    surveyed = checked.survey
    print(f"{len(surveyed.contents):,} pictures of {len(surveyed.contents.classes):,} classes: {sentence(checked)}")
    width = max(map(len, SEVERITIES.values()))
    for finding in checked.findings:
        print(f"  {SEVERITIES[finding.severity]:{width}}  {shown(finding.title)}")
    print(f"page  {shown(out / 'check.html')}")
    argument = shown(shlex.quote(data))
    if exclude_list is not None:
        doubtful = sum(len(names) for _, names in checked.leave_out(False))
        more = f", {doubtful:,} to look at in its comments" if doubtful else ""
        print(f"list  {shown(exclude_list)} ({left_out:,} files to leave out{more})")
        print(f"next  residuum train {argument} --exclude {shown(shlex.quote(str(exclude_list)))}")
    elif left_out:
        print(f"next  residuum check {argument} --exclude-list exclude.txt ({left_out:,} files to leave out)")
    elif any(finding.severity == "error" for finding in checked.findings):
        print("next  put right what the page shows first, then check again")
    else:
        print(f"next  residuum train {argument}")

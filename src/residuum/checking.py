"""Checking a data set: what is wrong with it, as a value, a page, JSON and a list of files to leave out."""

from __future__ import annotations

from pathlib import Path

from residuum.data.checks.checking import Check, check_data
from residuum.data.exclusion import refuse_other_file, write_exclude_list
from residuum.errors import UserError, shown
from residuum.progress import Reporter
from residuum.report.checking import write_check

__all__ = ["Check", "check"]


def check(
    data: str | Path,
    *,
    out: str | Path | None = None,
    exclude_list: str | Path | None = None,
    reporter: Reporter | None = None,
) -> Check:
    """Look at every picture of a data set for what would spoil training; nothing in it is changed.

    `data` is as for `residuum.train`. `out` is a folder for the page check.html and the same as check.json;
    `exclude_list` a file for what to leave out, to be given to `residuum.train(exclude=...)`. Raises UserError.
    """
    reporter = reporter or Reporter()
    page = None if out is None else Path(out)
    listed = None if exclude_list is None else Path(exclude_list)
    for path, option in ((page, "--out"), (listed, "--exclude-list")):
        if path is not None:
            _refuse_inside(path, str(data), option)
    if listed is not None:
        refuse_other_file(listed)
    checked = check_data(str(data), reporter)
    if page is not None:
        write_check(page, checked)
    if listed is not None:
        write_exclude_list(listed, str(data), checked.leave_out(True), checked.leave_out(False))
    return checked


def _refuse_inside(path: Path, data: str, option: str) -> None:
    """Nothing is written into a folder of pictures: it would be data the next time."""
    folders = [Path(each) for each in (data, data.partition(":")[2]) if each and Path(each).is_dir()]
    if folders and path.resolve().is_relative_to(folders[0].resolve()):
        raise UserError(f"{shown(path)} is inside of {shown(data)}, where nothing is written; choose another {option}")

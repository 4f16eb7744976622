"""The report of a run: one self-contained HTML page, and its plots as files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from residuum.evaluation.metrics import Evaluation
from residuum.files import make_folder, write_atomic
from residuum.report.page import contents
from residuum.report.render import render

__all__ = ["write_report"]


def write_report(
    folder: Path,
    *,
    run: dict[str, Any],
    history: list[dict[str, Any]],
    evaluation: Evaluation | None,
    layers: list[dict[str, Any]],
    totals: dict[str, Any],
    read: Callable[[int], np.ndarray],
    odd: Sequence[tuple[int, str, str]] = (),
) -> Path:
    """Write `folder/report.html` and `folder/plots/*.svg`; returns the path of the page.

    `run` is run.json and `history` the lines of metrics.jsonl; both may lack anything, as a run cut short
    does. `layers` and `totals` are the plan's table. `read(index)` gives the uint8 (H, W, 1 or 3) picture
    at a place of the manifest, and may raise UserError where it is gone; `odd` names the pictures least like
    the others: (index, name, by what). Raises UserError when the folder cannot be written.
    """
    page = contents(
        folder, run=run, history=history, evaluation=evaluation, layers=layers, totals=totals, read=read, odd=odd
    )
    text = render("report.html", page)
    path = folder / "report.html"
    make_folder(folder / "plots")
    for plot in (*page["curves"], *page["trust_plots"].values()):
        write_atomic(folder / "plots" / f"{plot.name}.svg", plot.light)
    write_atomic(path, text)
    return path

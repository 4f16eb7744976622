"""`residuum train --find-lr`: a learning rate for a training that is not carried out, and the page that shows why."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from residuum import session
from residuum.errors import UserError
from residuum.files import make_folder
from residuum.progress import Reporter
from residuum.report.rates import write_rates
from residuum.training.range_test import BACK, range_test
from residuum.wishes import Wishes


def find_lr(
    data: str | Path, *, out: str | Path | None = None, reporter: Reporter | None = None, **wishes: Any
) -> dict[str, Any]:
    """Propose a learning rate for the training that `residuum.train` would do with these `wishes`; nothing is trained.

    The first steps are tried at rising rates. Returns {"proposed_lr", "bearable_lr", "sentence", "page", "curve"}, the
    rates None where the loss rose at every one; writes find-lr.html and find-lr.svg into `out` (runs/find-lr-DATA by
    default). Raises UserError.
    """
    wanted, reporter = Wishes(**wishes), reporter or Reporter()
    if wanted.lr is not None:
        raise UserError("--find-lr looks for the rate: leave --lr out")
    folder = Path(out) if out is not None else Path("runs") / f"find-lr-{Path(data).name}"
    make_folder(folder)
    with tempfile.TemporaryDirectory() as passing:
        begun = session.begin(str(data), Path(passing) / "run", wanted, reporter)
        found = range_test(session.trainer_of(begun), reporter)
    if found.bearable is None or found.proposed is None:
        sentence = "No rate can be proposed: the loss rose at every one. Look at the data, the classes and the recipe."
    else:
        sentence = (
            f"Try --lr {found.proposed:g}: a {BACK:.0f}th of {found.bearable:.2g}, the highest rate at which the loss "
            "was still no higher than in the beginning."
        )
    page = write_rates(folder, found, sentence, begun.facts)
    return {
        "proposed_lr": found.proposed,
        "bearable_lr": found.bearable,
        "sentence": sentence,
        "page": str(page),
        "curve": [list(point) for point in found.curve],
    }

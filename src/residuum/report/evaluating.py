"""An evaluation as a page of its own: what a report says of the held-out pictures, of any data under any protocol."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from residuum.analysis.robustness import Stress
from residuum.evaluation.metrics import Evaluation
from residuum.files import make_folder, write_atomic
from residuum.report.judging import judged
from residuum.report.page import error_sentence
from residuum.report.render import render
from residuum.report.wording import rows


def write_evaluation(
    path: Path,
    evaluation: Evaluation,
    read: Callable[[int], np.ndarray],
    model: str,
    stressed: Sequence[Stress] = (),
) -> Path:
    """Write the page to `path`; `model` is what the network is called.

    `read(index)` gives the uint8 (H, W, 1 or 3) picture at a place of the manifest, or raises UserError; `stressed` is
    what `residuum.robustness` found. Raises UserError where the page cannot be written.
    """
    verdict = judged(evaluation, read)
    page = verdict | {
        "model": model,
        "data": evaluation.protocol.get("data"),
        "sentence": error_sentence(verdict["summary"]),
        "protocol": rows(evaluation.protocol),
        "costs": verdict["summary"]["costs"] or {},
        "stress": _stress(stressed),
    }
    make_folder(path.parent)
    write_atomic(path, render("evaluation.html", page))
    return path


def _stress(stressed: Sequence[Stress]) -> dict[str, Any] | None:
    """The errors (percent) by change and severity; the error without a change has severity 0."""
    if not stressed:
        return None
    found: dict[str, dict[int, Stress]] = {}
    for each in stressed:
        found.setdefault(each.name, {})[each.severity] = each
    severities = range(1, 1 + max(each.severity for each in stressed))
    return {
        "images": stressed[0].images,
        "unchanged": next(each.top1_error for each in stressed if not each.severity),
        "severities": severities,
        "changes": [
            (name, [by.get(severity) for severity in severities], sum(s.top1_error for s in by.values()) / len(by))
            for name, by in found.items()
            if 0 not in by
        ],
    }

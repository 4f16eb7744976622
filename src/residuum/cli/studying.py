"""residuum study: the paper's tables and figures as experiments."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from residuum.cli.base import Json, Several, app, print_json, train_on_large_pages


@app.command
def study(
    name: str,
    *,
    data: str | None = None,
    budget: str | None = None,
    seeds: int | None = None,
    depths: Annotated[tuple[int, ...] | None, Several] = None,
    models: Annotated[tuple[Path, ...] | None, Several] = None,
    set: Annotated[list[str] | None, Parameter(name="--set", negative="")] = None,
    val: float | None = None,
    out: Path | None = None,
    runs: Path | None = None,
    json: Json = False,
) -> None:
    """One of the paper's experiments: our numbers beside the paper's, on a page. The same command goes on with it.

    Args:
        name: degradation, shortcuts, responses, gradients, identity, depth, protocols or replay.
        data: As for `train`; by default the digits inside the package.
        budget: All runs together: 10m, 2h (the default is 10m); or for each: full (64,000 steps), 2000steps.
        seeds: Runs of each network.
        depths: Layers of the networks, as in --depths 20 32 44 56.
        models: Model files to look at, instead of training.
        set: Change a value of the recipe, as for `train`, in every run.
        val: Pictures (or share, below 1) held out.
        out: The folder for the page; by default studies/NAME.
        runs: The folder of records of finished runs; by default runs/ in --out.
    """
    train_on_large_pages()
    from residuum.cli.messages import print_findings
    from residuum.studies import study as conduct
    from residuum.training.stop import Stopped

    try:
        findings = conduct(
            name, data=data, budget=budget, seeds=seeds, depths=depths, models=models, settings=set, val=val, out=out,
            runs=runs,
        )  # fmt: skip
    except Stopped as stop:
        print("residuum: stopped; the same command goes on where this one was", file=sys.stderr)
        raise SystemExit(128 + stop.signal_number) from None
    if json:
        print_json(findings.to_dict())
    else:
        print_findings(findings, (out or Path("studies") / name) / "study.html")

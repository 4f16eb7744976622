"""residuum tune: which network and recipe is best on these pictures."""

from __future__ import annotations

import sys
from pathlib import Path

from residuum.cli.base import Json, app, print_json, train_on_large_pages
from residuum.errors import UserError


@app.command
def tune(
    data: str,
    *,
    budget: str = "30m",
    models: str | None = None,
    sampler: str = "tpe",
    seeds: int = 1,
    out: Path | None = None,
    val: float | None = None,
    exclude: Path | None = None,
    json: Json = False,
) -> None:
    """Search for the best network and recipe on your pictures, or compare networks; the same command goes on.

    Args:
        data: As for `train`.
        budget: A duration for the whole search: 30m, 2h.
        models: Compare these networks of `residuum models` instead: resnet18,resnet34,resnet50.
        sampler: tpe, gp (Gaussian process), or nsga2 (error and cost together).
        seeds: Runs of each of --models.
        out: The folder for the page and the trials; by default tuning/DATA.
        val: Pictures (or share, below 1) held out.
        exclude: A list of files to leave out, as `residuum check --exclude-list` writes it.
    """
    train_on_large_pages()
    from residuum.cli.messages import print_findings
    from residuum.training.stop import Stopped
    from residuum.tuning import tune as search

    try:
        names = [name.strip() for name in models.split(",") if name.strip()] if models is not None else []
        if models is not None and not names:
            raise UserError("--models names no network: give some of `residuum models`, or leave it out for a search")
        findings = search(
            data, budget=budget, models=names, sampler=sampler, seeds=seeds, out=out, val=val, exclude=exclude
        )
    except Stopped as stop:
        print("residuum: stopped; the same command goes on where this one was", file=sys.stderr)
        raise SystemExit(128 + stop.signal_number) from None
    if json:
        print_json(findings.to_dict())
    else:
        print_findings(findings, (out or Path("tuning") / Path(data).name) / "tune.html")

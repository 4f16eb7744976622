"""residuum study: the paper's tables and figures as experiments."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from residuum.cli.base import app


@app.command
def study(
    name: str,
    *,
    data: str | None = None,
    budget: str | None = None,
    seeds: int | None = None,
    out: Path | None = None,
    runs: Path | None = None,
    depths: Annotated[tuple[int, ...] | None, Parameter(consume_multiple=True)] = None,
    set: Annotated[list[str] | None, Parameter(name="--set", negative="")] = None,
) -> None:
    """Run one of the paper's experiments."""
    from residuum.data.opening import open_for
    from residuum.progress import Reporter
    from residuum.studies import degradation as d
    from residuum.studies.budget import parse_budget
    from residuum.studies.running import Place, run_trials, steps_of

    reporter = Reporter()
    manifest = open_for(reporter, data, None, False)
    place = Place(out, runs or out / "runs")

    def trials(steps):
        return d.trials(depths, seeds, steps, set or [])

    steps = steps_of(name, parse_budget(budget), trials, manifest, place, reporter)
    run_trials(name, trials(steps), manifest, place, reporter)

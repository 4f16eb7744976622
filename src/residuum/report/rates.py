"""The page of a range test: loss against learning rate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from residuum.files import write_atomic
from residuum.report import plots
from residuum.report.page import Plot
from residuum.report.render import render
from residuum.training.range_test import RangeTest


def write_rates(folder: Path, found: RangeTest, sentence: str, run: dict[str, Any]) -> Path:
    """Write find-lr.html and find-lr.svg into a folder; returns the page's path. `run` is what run.json would be."""
    draw = _curve(found)
    plot = Plot(
        "find-lr",
        "Loss of each step, and smoothed, while the learning rate rises; the line is the rate proposed.",
        light=plots.svg(draw(plots.LIGHT)),
        dark=plots.svg(draw(plots.DARK)),
    )
    record = [
        ("data", run["data"]["argument"]),
        ("network", run["name"]),
        ("recipe", run["recipe"]["name"]),
        ("weights", (run.get("finetune") or {}).get("weights") or "from nothing"),
        ("pictures per step", run["length"]["batch_size"]),
        ("steps", len(found.curve)),
        ("seed", run["seed"]),
    ]
    page = folder / "find-lr.html"
    write_atomic(folder / "find-lr.svg", plot.light)
    write_atomic(page, render("find-lr.html", {"plot": plot, "sentence": sentence, "record": record}))
    return page


def _curve(found: RangeTest) -> plots.Draw:
    def draw(palette: plots.Palette) -> Figure:
        figure = Figure(figsize=(7.0, 3.6), facecolor=palette.paper, layout="constrained")
        axes = figure.subplots()
        plots.restrain(axes, palette)
        rates, losses, smooth = zip(*found.curve, strict=True) if found.curve else ((), (), ())
        axes.set_xscale("log")
        axes.tick_params(which="minor", length=0)
        axes.plot(rates, losses, color=palette.muted, alpha=0.4, linewidth=1.2, label="each step")
        axes.plot(rates, smooth, color=palette.first, linewidth=1.8, label="smoothed")
        if found.proposed is not None:
            axes.axvline(found.proposed, color=palette.second, linewidth=1.4, linestyle=(0, (4, 3)))
            axes.annotate(
                f" {found.proposed:g}", (found.proposed, 1), xycoords=("data", "axes fraction"), va="top",
                color=palette.second, fontsize=9,
            )  # fmt: skip
        if smooth:
            axes.set_ylim(0, 1.6 * max(smooth[0], min(smooth)))
            axes.legend(frameon=False, fontsize=9, labelcolor=palette.ink)
        axes.set_xlabel("learning rate", color=palette.muted, fontsize=9)
        axes.set_ylabel("loss (nats)", color=palette.muted, fontsize=9)
        return figure

    return draw

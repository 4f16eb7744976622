"""Figures that several studies draw: lines over iterations, layers or depth, in the colours of the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.axis import XAxis, YAxis
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from residuum.report.plots import Draw, Palette, restrain

Tone = Literal["first", "second"]
WIDTH = 8.8
"""Inches; pages stretch figures to their own width, so that equal widths here give letters of equal size there."""


@dataclass(frozen=True)
class Line:
    """A line of a panel: its points, tone, how strong it is (0..1), and whether it is the thin or the bold kind.

    Lines of one label share a place in the legend.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    tone: Tone = "first"
    strength: float = 1.0
    thin: bool = False
    dashed: bool = False
    points: bool = False


@dataclass(frozen=True)
class Panel:
    """One pair of axes; `ticks` names the places 1, 2, ... of an axis without numbers."""

    title: str
    lines: Sequence[Line]
    xlabel: str
    ylabel: str = ""
    log_x: bool = False
    log_y: bool = False
    top: float | None = None
    ticks: Sequence[str] = ()


def top_of(lines: Sequence[Line]) -> float:
    """Where an axis of errors ends: above all that lines reach after the first tenth of their way."""
    late = [y for line in lines for y in list(line.y)[len(line.y) // 10 :]]
    return min(1.08 * max(late, default=100.0), 100.0)


def panels(*shown: Panel, height: float = 3.4) -> Draw:
    """Panels side by side on a common scale of y; where all have the same kinds of lines, these are named once."""
    names = [list(dict.fromkeys((line.label, line.tone, line.dashed) for line in panel.lines)) for panel in shown]
    together = len(shown) > 1 and len(names[0]) > 1 and all(each == names[0] for each in names)

    def draw(palette: Palette) -> Figure:
        figure = Figure(figsize=(WIDTH, height), facecolor=palette.paper, layout="constrained")
        grid = figure.subplots(1, len(shown), squeeze=False, sharey=True)[0]
        for axes, panel in zip(grid, shown, strict=True):
            _panel(axes, panel, palette)
            if not together and len({line.label for line in panel.lines}) > 1:
                axes.legend(frameon=False, fontsize=8.5, labelcolor=palette.ink)
        if together:
            handles, labels = grid[0].get_legend_handles_labels()
            figure.legend(
                handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=8.5,
                labelcolor=palette.ink,
            )  # fmt: skip
        return figure

    return draw


def _panel(axes: Axes, panel: Panel, palette: Palette) -> None:
    restrain(axes, palette)
    named: set[str] = set()
    for line in panel.lines:
        axes.plot(
            line.x,
            line.y,
            color=_blend(getattr(palette, line.tone), palette.paper, line.strength),
            linewidth=0.9 if line.thin else 1.8,
            alpha=0.75 if line.thin else 1.0,
            linestyle="" if line.points else (0, (4, 2)) if line.dashed else "-",
            marker="o" if line.points or len(line.x) < 3 else "",
            markersize=4,
            label=line.label if line.label not in named else "_again",
        )
        named.add(line.label)
    if panel.log_x:
        axes.set_xscale("log")
        _few_ticks(axes.xaxis, [value for line in panel.lines for value in line.x])
    elif panel.ticks:
        axes.set_xticks(range(1, len(panel.ticks) + 1), panel.ticks)
        axes.margins(x=0.1)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    if panel.log_y:
        axes.set_yscale("log")
        _few_ticks(axes.yaxis, [value for line in panel.lines for value in line.y])
    else:
        axes.set_ylim(0, panel.top)
        axes.yaxis.set_major_locator(MaxNLocator(nbins=6))
    axes.set_title(panel.title, loc="left", fontsize=10, color=palette.ink)
    axes.set_xlabel(panel.xlabel, color=palette.muted, fontsize=9)
    axes.set_ylabel(panel.ylabel, color=palette.muted, fontsize=9)


def _few_ticks(axis: XAxis | YAxis, values: Sequence[float]) -> None:
    """Plain numbers on a logarithmic axis: 1, 2, 5, 10, ... or powers of ten where there are many."""
    positive = [value for value in values if value > 0]
    wide = bool(positive) and max(positive) > 100 * min(positive)
    axis.set_major_locator(LogLocator(subs=(1,) if wide else (1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def _blend(colour: str, paper: str, strength: float) -> tuple[float, float, float]:
    r, g, b = (strength * c + (1 - strength) * p for c, p in zip(to_rgb(colour), to_rgb(paper), strict=True))
    return r, g, b


def strengths(count: int) -> list[float]:
    """Shades for `count` lines, the last the strongest."""
    return [1.0] if count == 1 else [0.4 + 0.6 * i / (count - 1) for i in range(count)]

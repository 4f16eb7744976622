"""The plots of a report, as SVG, each drawn once for a light page and once for a dark one."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from residuum.evaluation.calibration import Bin
from residuum.report.pictures import data_uri


@dataclass(frozen=True)
class Palette:
    """The colours of one colour scheme; `first` and `second` are the two series."""

    paper: str
    ink: str
    muted: str
    line: str
    first: str
    second: str


LIGHT = Palette("#ffffff", "#1c2430", "#5f6b7a", "#e3e7ec", first="#2f6db3", second="#d0643a")
DARK = Palette("#14181d", "#e4e8ee", "#97a3b2", "#2c343e", first="#79b0ea", second="#f0966c")

Draw = Callable[[Palette], Figure]
Point = tuple[float, float]


def svg(figure: Figure) -> bytes:
    """The figure as an SVG file with its text as outlines, so that it looks the same everywhere."""
    file = io.BytesIO()
    FigureCanvasSVG(figure).print_svg(file, metadata={"Date": None})
    return file.getvalue()


@dataclass(frozen=True)
class Plot:
    """One plot in both colour schemes, with its sentence."""

    name: str
    caption: str
    light: bytes
    dark: bytes

    @property
    def light_uri(self) -> Markup:
        return data_uri(self.light, "image/svg+xml")

    @property
    def dark_uri(self) -> Markup:
        return data_uri(self.dark, "image/svg+xml")


def plotted(name: str, caption: str, draw: Draw) -> Plot:
    return Plot(name, caption, light=svg(draw(LIGHT)), dark=svg(draw(DARK)))


def points(history: Sequence[dict[str, Any]], key: str) -> list[Point]:
    """The (epoch, value) pairs of a column of metrics.jsonl that hold a finite number."""
    found: list[Point] = []
    for line in history:
        x, y = line.get("epoch"), line.get(key)
        if _finite(x) and _finite(y):
            found.append((float(x), float(y)))
    return found


def curves(unit: str, training: Sequence[Point] = (), validation: Sequence[Point] = ()) -> Draw:
    """A line over epochs for each series that has points, from zero upwards."""

    def draw(palette: Palette) -> Figure:
        figure = Figure(figsize=(3.4, 2.5), facecolor=palette.paper, layout="constrained")
        axes = figure.subplots()
        restrain(axes, palette)
        series = (("training", training, palette.first), ("validation", validation, palette.second))
        for name, line, colour in series:
            if line:
                x, y = zip(*line, strict=True)
                axes.plot(x, y, color=colour, linewidth=1.6, marker="o" if len(line) < 3 else "", label=name)
        everything = [*training, *validation]
        axes.set_xlim(0, 1.03 * max(1, *(x for x, _ in everything)))
        axes.set_ylim(0, 1.06 * max(y for _, y in everything) or 1)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
        axes.set_xlabel("epoch", color=palette.muted, fontsize=9)
        axes.set_ylabel(unit, color=palette.muted, fontsize=9)
        if training and validation:
            axes.legend(frameon=False, fontsize=9, labelcolor=palette.ink)
        return figure

    return draw


def reliability_diagram(bins: Sequence[Bin]) -> Draw:
    """Accuracy over confidence (bars; calibrated is the diagonal), and beneath it where the pictures lie."""

    def draw(palette: Palette) -> Figure:
        figure = Figure(figsize=(4.4, 4.2), facecolor=palette.paper, layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
        for axes in (above, below):
            restrain(axes, palette)
        width = bins[0].high - bins[0].low
        middle = [100 * (b.low + b.high) / 2 for b in bins]
        above.bar(middle, [100 * (b.accuracy or 0) for b in bins], width=92 * width, color=palette.first)
        above.plot([0, 100], [0, 100], color=palette.muted, linewidth=1, linestyle=(0, (4, 3)))
        above.set_ylim(0, 102)
        above.set_ylabel("right (%)", color=palette.muted, fontsize=9)
        below.bar(middle, [b.count for b in bins], width=92 * width, color=palette.muted)
        below.yaxis.set_major_locator(MaxNLocator(nbins=2, integer=True))
        below.set_ylabel("pictures", color=palette.muted, fontsize=9)
        below.set_xlabel("confidence (%)", color=palette.muted, fontsize=9)
        below.set_xlim(0, 100)
        return figure

    return draw


def risk_coverage_curve(coverage: np.ndarray, error: np.ndarray) -> Draw:
    """Percent wrong over the share of pictures that are answered, the surest first: both (N,), as `risk_coverage`."""

    def draw(palette: Palette) -> Figure:
        figure = Figure(figsize=(4.4, 4.2), facecolor=palette.paper, layout="constrained")
        axes = figure.subplots()
        restrain(axes, palette)
        axes.step([0, *(100 * coverage)], [error[0], *error], where="pre", color=palette.first, linewidth=1.6)
        axes.plot([100], error[-1:], color=palette.first, marker="o", markersize=5, clip_on=False)
        axes.set_xlim(0, 100)
        axes.set_ylim(0, 1.06 * float(error.max()) or 1)
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
        axes.set_xlabel("answered (% of the pictures, the surest first)", color=palette.muted, fontsize=9)
        axes.set_ylabel("wrong (% of those answered)", color=palette.muted, fontsize=9)
        return figure

    return draw


def restrain(axes: Axes, palette: Palette) -> None:
    """Only what carries information: light horizontal lines, no frame, no tick marks."""
    axes.set_facecolor(palette.paper)
    axes.spines[:].set_visible(False)
    axes.grid(axis="y", color=palette.line, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, pad=6, labelsize=9, labelcolor=palette.muted)


def _finite(value: object) -> TypeGuard[int | float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)

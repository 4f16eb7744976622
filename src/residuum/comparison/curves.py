"""Training and validation error of several runs, in one plot each.

A hue stands for settings: runs that differ in their seed alone share it. The legend is for the page to set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from residuum.comparison.entries import Entry, joined
from residuum.comparison.settings import signature
from residuum.report.page import Plot
from residuum.report.pictures import data_uri
from residuum.report.plots import DARK, LIGHT, Draw, Palette, Point, restrain, svg

HUES = {
    LIGHT: ("#2f6db3", "#d0643a", "#23866a", "#8a56b0", "#a67c00", "#bf3f78", "#4f7a28", "#55606e"),
    DARK: ("#79b0ea", "#f0966c", "#5cc8a3", "#c69bea", "#e2c04d", "#f288b6", "#a6cb6a", "#b4bdc8"),
}
DASHES: tuple[tuple[float, ...], ...] = ((), (5, 2), (1.5, 1.5))
"""Where the hues are used up, they come again with dashes."""
SETTLED = 0.25
"""The share of a run after which its values must fit the plot: an error falls from that of guessing."""


@dataclass(frozen=True)
class Line:
    """A curve: points (x, y), the number of its hue, and whether it goes to the end that was planned."""

    points: Sequence[Point]
    hue: int
    whole: bool


@dataclass(frozen=True)
class Key:
    """An entry of the legend: a stroke in both colour schemes, and whom it stands for."""

    light_uri: Markup
    dark_uri: Markup
    label: str


@dataclass(frozen=True)
class Curves:
    """The plots and their legend; empty where no run has finished an epoch."""

    plots: tuple[Plot, ...]
    legend: tuple[Key, ...]
    cut_short: bool
    """Whether a line ends in a ring."""


def curves(entries: Sequence[Entry], labels: Sequence[str]) -> Curves:
    """Both errors over steps, or over epochs where batches are of different size."""
    hues: dict[str, int] = {}
    members: dict[int, list[int]] = {}
    number: dict[str, int] = {}
    for place, (entry, label) in enumerate(zip(entries, labels, strict=True)):
        if entry.history:
            hue = hues.setdefault(signature(entry) or label, len(hues))
            members.setdefault(hue, []).append(place)
            number[label] = hue
    sizes = {entry.settings.get("length.batch_size") for entry in entries if entry.history}
    x = "step" if len(sizes) == 1 else "epoch"
    plots, cut_short = [], False
    for name, caption, key in (
        ("training", "Training error", "train_top1_error"),
        ("validation", "Validation error", "val_top1_error"),
    ):
        drawn = [
            Line(points, number[label], entry.status == "finished")
            for entry, label in zip(entries, labels, strict=True)
            if (points := _points(entry, x, key))
        ]
        cut_short |= any(not line.whole for line in drawn)
        if drawn:
            draw = _draw(drawn, x)
            plots.append(Plot(name, caption, light=svg(draw(LIGHT)), dark=svg(draw(DARK))))
    legend = [
        Key(_stroke(LIGHT, hue), _stroke(DARK, hue), joined([entries[i] for i in of], [labels[i] for i in of]))
        for hue, of in members.items()
    ]
    return Curves(tuple(plots), tuple(legend), cut_short)


def _points(entry: Entry, x: str, key: str) -> list[Point]:
    return [(row[x], row[key]) for row in entry.history if row.get(x) is not None and row.get(key) is not None]


def _draw(drawn: Sequence[Line], x: str) -> Draw:
    def draw(palette: Palette) -> Figure:
        figure = Figure(figsize=(4.8, 3.3), facecolor=palette.paper, layout="constrained")
        axes = figure.subplots()
        restrain(axes, palette)
        top = _top(drawn)
        for line in drawn:
            xs, ys = zip(*line.points, strict=True)
            colour, dashes = _style(palette, line.hue)
            style = (0, dashes) if dashes else "solid"
            axes.plot(xs, ys, color=colour, linewidth=1.4, linestyle=style, marker="o" if len(xs) == 1 else "", ms=4)
            if not line.whole and ys[-1] <= top:
                axes.plot(xs[-1:], ys[-1:], "o", ms=6, mec=colour, mfc=palette.paper, mew=1.4, clip_on=False, zorder=3)
        axes.set_xlim(0, 1.02 * max(x for line in drawn for x, _ in line.points))
        axes.set_ylim(0, top)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=6))
        axes.set_xlabel(x, color=palette.muted, fontsize=9)
        axes.set_ylabel("wrong (%)", color=palette.muted, fontsize=9)
        return figure

    return draw


def _top(drawn: Sequence[Line]) -> float:
    """High enough for all that comes after the first quarter of each whole run, or of any where none is whole."""
    lines = [line for line in drawn if line.whole] or drawn
    settled = [y for line in lines for x, y in line.points if x > SETTLED * line.points[-1][0]]
    return min(1.06 * max(settled) or 1.0, 100.0)


def _style(palette: Palette, hue: int) -> tuple[str, tuple[float, ...]]:
    hues = HUES[palette]
    return hues[hue % len(hues)], DASHES[hue // len(hues) % len(DASHES)]


def _stroke(palette: Palette, hue: int) -> Markup:
    colour, dashes = _style(palette, hue)
    pattern = f' stroke-dasharray="{" ".join(f"{2 * dash:g}" for dash in dashes)}"' if dashes else ""
    return data_uri(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="24" height="8">'
        f'<path d="M0 4h24" stroke="{colour}" stroke-width="3"{pattern}/></svg>'.encode(),
        "image/svg+xml",
    )

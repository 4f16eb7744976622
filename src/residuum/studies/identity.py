"""Identity: is it easier to learn zero beside a shortcut than the identity without one? (section 3.1, in miniature)"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import torch
from torch import nn

from residuum.studies.figures import Line, Panel, panels
from residuum.studies.findings import Figure, Findings, Table, made_now
from residuum.studies.request import Request

CHANNELS = (1, 16, 64)
PICTURES, SIDE, BATCH = 256, 16, 16
"""Random pictures of an epoch, their side in pixels, and the pictures of a step."""
RATE = 1e-3
TARGET = 0.01
LONGEST = 100
"""Epochs after which an attempt is given up."""
TITLE = "Identity: is nothing easier to learn than a copy?"
QUESTION = (
    "A 3x3 convolution is to map pictures of noise to themselves (L1 loss, Adam, He initialisation). Without a "
    "shortcut it must learn the identity; with one, y = F(x) + x, it must learn zero. The paper's hypothesis is that "
    "the second is easier."
)


@dataclass(frozen=True)
class Attempt:
    """One training: the loss at the end of each epoch on unseen noise, and the first epoch below the target."""

    losses: tuple[float, ...]

    @property
    def epochs(self) -> int | None:
        return next((epoch for epoch, loss in enumerate(self.losses, start=1) if loss < TARGET), None)


def attempt(channels: int, shortcut: bool, seed: int) -> Attempt:
    """Train one 3x3 convolution until its L1 loss is below 0.01; the same seed gives the same weights and noise."""
    random = torch.Generator().manual_seed(seed)
    layer = nn.Conv2d(channels, channels, 3, padding=1)
    assert layer.bias is not None
    with torch.no_grad():
        nn.init.kaiming_normal_(layer.weight, generator=random)
        layer.bias.zero_()
    pictures = torch.randn(PICTURES, channels, SIDE, SIDE, generator=random)
    unseen = torch.randn(BATCH, channels, SIDE, SIDE, generator=random)
    optimizer = torch.optim.Adam(layer.parameters(), lr=RATE)

    def error(x: torch.Tensor) -> torch.Tensor:
        return ((layer(x) + x if shortcut else layer(x)) - x).abs().mean()

    losses: list[float] = []
    while len(losses) < LONGEST and (not losses or losses[-1] >= TARGET):
        order = torch.randperm(PICTURES, generator=random)
        for batch in order.split(BATCH):
            optimizer.zero_grad(set_to_none=True)
            error(pictures[batch]).backward()
            optimizer.step()
        with torch.no_grad():
            losses.append(float(error(unseen)))
    return Attempt(tuple(losses))


def conduct(request: Request) -> Findings:
    """Every width with and without the shortcut, over the seeds."""
    started = time.perf_counter()
    work = [(channels, shortcut, seed) for channels in CHANNELS for shortcut in (False, True)
            for seed in range(request.seeds)]  # fmt: skip
    found: dict[tuple[int, bool], list[Attempt]] = {}
    with request.reporter.track("learning the identity", "trainings") as update:
        for number, (channels, shortcut, seed) in enumerate(work):
            update(number, len(work), f"{channels} channels, {'with' if shortcut else 'without'} shortcut")
            found.setdefault((channels, shortcut), []).append(attempt(channels, shortcut, seed))
    rows = tuple(
        (str(channels), *(_epochs(found[channels, shortcut]) for shortcut in (False, True))) for channels in CHANNELS
    )
    return Findings(
        study="identity",
        title=TITLE,
        question=QUESTION,
        answer=_answer(found),
        tables=(
            Table(
                f"Epochs until the loss is below {TARGET}, mean ± s.d. over {request.seeds} seeds",
                ("#channels", "#without shortcut: learn x", "#with shortcut: learn 0"),
                rows,
            ),
        ),
        figures=(_figure(found),),
        protocol=(
            ("layer", "one 3x3 convolution with bias, He initialisation"),
            (
                "pictures",
                f"{PICTURES} of normal noise, {SIDE} x {SIDE}, the same in each epoch; loss on {BATCH} unseen",
            ),
            ("training", f"L1 loss, Adam, learning rate {RATE:g}, batches of {BATCH}, at most {LONGEST} epochs"),
            ("seeds", ", ".join(map(str, range(request.seeds)))),
            *made_now(),
            ("time", f"{time.perf_counter() - started:.0f} s"),
        ),
        notes=(
            "The paper argues this case and does not measure it. The experiment is small: one linear layer, and with a "
            "shortcut its target is as near as the scale of its first weights; it says nothing of deep networks.",
        ),
    )


def _epochs(attempts: list[Attempt]) -> str:
    done = [attempt.epochs for attempt in attempts if attempt.epochs is not None]
    late = len(attempts) - len(done)
    text = f"{statistics.fmean(done):.1f}" if done else "–"
    text += f" ± {statistics.stdev(done):.1f}" if len(done) > 1 else ""
    return text + (f" ({late} not within {LONGEST})" if late else "")


def _answer(found: dict[tuple[int, bool], list[Attempt]]) -> str:
    """By the mean epochs; an attempt that was given up counts with the epochs it had."""
    said = []
    for channels in CHANNELS:
        without, beside = (statistics.fmean(len(a.losses) for a in found[channels, s]) for s in (False, True))
        word = "channel" if channels == 1 else "channels"
        said.append(f"{beside:.1f} epochs with a shortcut against {without:.1f} without for {channels} {word}")
    return "Learning zero took " + "; ".join(said) + "."


def _figure(found: dict[tuple[int, bool], list[Attempt]]) -> Figure:
    shown = []
    for channels in CHANNELS:
        lines = [
            Line(
                "with shortcut" if shortcut else "without",
                range(1, len(attempt.losses) + 1),
                attempt.losses,
                "first" if shortcut else "second",
            )
            for shortcut in (False, True)
            for attempt in found[channels, shortcut]
        ]
        shown.append(
            Panel(f"{channels} channels", lines, "epoch", "L1 loss" if channels == CHANNELS[0] else "", log_y=True)
        )
    return Figure("loss", "Loss on unseen noise after each epoch, one line for each seed.", panels(*shown))

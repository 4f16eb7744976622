"""What the benchmarks share: ours and a peer measured in turns, a row for each, and pictures to work on.

In turns, so that what else the machine does meets both alike; a row quotes the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))


@dataclass(frozen=True)
class Row:
    """One line of the table: `ours` and `peer` in `unit`, medians; `ratio` the median over rounds, with its extremes.

    `better` says whether the ratio is to be at least ("more") or at most ("less") the `target`.
    """

    work: str
    ours: float
    peer: float
    unit: str
    ratio: float
    lowest: float
    highest: float
    rounds: int
    against: str
    target: float | None = None
    better: str = "more"

    @property
    def reached(self) -> bool | None:
        if self.target is None:
            return None
        return self.ratio >= self.target if self.better == "more" else self.ratio <= self.target

    def line(self) -> str:
        wanted = {True: "reached", False: "MISSED", None: ""}[self.reached]
        sign = "at least" if self.better == "more" else "at most"
        target = "" if self.target is None else f", {sign} {self.target:g}: {wanted}"
        return (
            f"{self.work}: {self.ours:.4g} {self.unit}, {self.against} {self.peer:.4g}; ratio {self.ratio:.3g} "
            f"({self.lowest:.3g} to {self.highest:.3g} in {self.rounds} rounds){target}"
        )


def in_turns(
    work: str, ours: Callable[[], float], peer: Callable[[], float], *, unit: str, against: str, rounds: int,
    target: float | None = None, better: str = "more",
) -> Row:  # fmt: skip
    """Measure both `rounds` times, one after the other; each call gives one figure."""
    pairs = []
    for _ in range(rounds):
        pairs.append((ours(), peer()))
        print(f"  {work}: {pairs[-1][0]:.4g} and {pairs[-1][1]:.4g} {unit}", file=sys.stderr, flush=True)
    ratios = [a / b for a, b in pairs]
    row = Row(
        work, statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs), unit,
        statistics.median(ratios), min(ratios), max(ratios), rounds, against, target, better,
    )  # fmt: skip
    print(row.line(), flush=True)
    return row


def options(description: str | None, rounds: int) -> argparse.ArgumentParser:
    """--rounds and --json, which every benchmark has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--json", type=Path)
    return parser


def write(path: Path | None, rows: list[Row]) -> None:
    if path is not None:
        path.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")


def pictures(folder: Path, count: int, sides: tuple[int, int], seed: int = 0) -> Path:
    """`count` JPEG files in two classes: soft colours and grain, about as many bytes as a photo has."""
    random = np.random.default_rng(seed)
    for number in range(count):
        few = Image.fromarray(random.integers(0, 256, (9, 12, 3), dtype=np.uint8))
        coarse = few.resize(sides, Image.Resampling.BICUBIC)
        grain = random.normal(0, 12, (sides[1], sides[0], 1))
        place = folder / "ab"[number % 2] / f"{number:06d}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.clip(np.asarray(coarse) + grain, 0, 255).astype(np.uint8)).save(place, quality=88)
    return folder

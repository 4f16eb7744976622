"""How sure an error is that was counted on n pictures, and which errors the pictures tell apart.

A count of wrong pictures is binomial. Its 95% interval is Wilson's score interval (1927), the interval of the
difference of two errors Newcombe's from both (1998, "Interval estimation for the difference between independent
proportions", Statistics in Medicine 17, method 10). Two networks judged on the same pictures mostly fail on the same
ones; their difference is then surer than this says, so what is told apart here is told apart.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

Z = statistics.NormalDist().inv_cdf(0.975)


@dataclass(frozen=True)
class Count:
    """`wrong` of `images` pictures."""

    wrong: int
    images: int

    @property
    def share(self) -> float:
        return self.wrong / self.images

    def interval(self) -> tuple[float, float]:
        """Wilson's 95% interval of the share, fractions of 1."""
        n, p = self.images, self.share
        middle = (p + Z**2 / (2 * n)) / (1 + Z**2 / n)
        half = Z / (1 + Z**2 / n) * math.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
        return max(0.0, min(p, middle - half)), min(1.0, max(p, middle + half))  # rounding may pass the ends

    def minus(self, other: Count) -> tuple[float, float]:
        """The 95% interval of this share minus the other's."""
        (low, high), (other_low, other_high) = self.interval(), other.interval()
        p, q = self.share, other.share
        return p - q - math.hypot(p - low, other_high - q), p - q + math.hypot(high - p, q - other_low)

    def surely_below(self, other: Count) -> bool:
        return self.minus(other)[1] < 0


def told_apart(one: Count, other: Count) -> bool:
    """Whether the interval of the difference leaves out zero."""
    return one.surely_below(other) or other.surely_below(one)


def places(counts: Sequence[Count]) -> list[tuple[int, int]]:
    """For each count the first and last place (from 1, fewest wrong first) that the pictures leave open to it."""
    return [
        (
            1 + sum(other.surely_below(count) for other in counts),
            len(counts) - sum(count.surely_below(other) for other in counts),
        )
        for count in counts
    ]


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation (n - 1) over seeds."""

    mean: float
    sd: float

    @classmethod
    def of(cls, values: Sequence[float | None]) -> Spread | None:
        """None where one of the values is missing."""
        known = [value for value in values if value is not None]
        return cls(statistics.fmean(known), statistics.stdev(known)) if len(known) == len(values) > 1 else None

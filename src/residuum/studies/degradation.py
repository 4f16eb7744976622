"""Degradation: does a deeper plain network train worse, a deeper residual one better? (Fig. 1, 4, 6; Tables 2, 6)"""

from __future__ import annotations

from collections.abc import Sequence

from residuum.session import Wishes
from residuum.studies.trial import Trial

KINDS = ("plain", "resnet")
DEPTHS = (20, 32, 44, 56)


def trials(depths: Sequence[int], seeds: int, steps: int, settings: Sequence[str] = ()) -> list[Trial]:
    """A plain and a residual network (shortcut A: as many parameters) of each depth, from the same weights on the same
    pictures in the same order."""
    return [
        Trial(
            f"{kind}{depth}-{steps}steps-seed{seed}",
            Wishes(
                model=f"{kind}20", axes={"depth": depth}, recipe="paper-cifar", steps=steps, seed=seed,
                settings=settings,
            ),  # fmt: skip
            tags={"kind": kind, "layers": depth, "seed": seed},
        )
        for seed in range(seeds)
        for depth in sorted(depths)
        for kind in KINDS
    ]

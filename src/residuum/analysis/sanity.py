"""Does a map depend on what the network learned? Adebayo et al. 2018, "Sanity Checks for Saliency Maps" (1810.03292).

Their model parameter randomization test (section 3): the maps of the trained network against those of the same network
with all its weights drawn anew, by Spearman's rank correlation. A map that stays as it was - an edge detector's, say -
shows the picture and not the network, however convincing it looks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from residuum.artifact import MEAN_PICTURE
from residuum.inference import Model
from residuum.nets.network import make_network
from residuum.progress import Update

LIMIT = 0.5
"""Mean correlation from which maps count as unchanged: nearer to 1, the same map, than to 0, an unrelated one."""


@dataclass(frozen=True)
class Sanity:
    """The outcome: the correlation of each comparison of two maps that are not flat.

    `passed` is None where there is none: a map that is the same everywhere has no order of places to compare.
    """

    correlations: tuple[float, ...]

    @property
    def mean(self) -> float | None:
        return float(np.mean(self.correlations)) if self.correlations else None

    @property
    def passed(self) -> bool | None:
        return None if self.mean is None else self.mean < LIMIT


def check(
    explain: Callable[[Model, int], np.ndarray],
    model: Model,
    maps: Sequence[np.ndarray],
    comparisons: int,
    progress: Update | None = None,
) -> Sanity:
    """Compare the maps (H, W) that `explain(model, i)` gave, which are `maps[i]`, with those at random weights.

    Each comparison draws its own weights, and the pictures take turns: one draw may resemble the trained network by
    chance, in all pictures alike.
    """
    found: list[float] = []
    for number in range(comparisons):
        picture = number % len(maps)
        value = rank_correlation(maps[picture], explain(with_random_weights(model, number), picture))
        if value is not None:
            found.append(value)
        if progress:
            progress(number + 1, comparisons)
    return Sanity(tuple(found))


def with_random_weights(model: Model, seed: int = 0) -> Model:
    """The same model before any training: all weights and statistics as a new network of its plan begins."""
    device = next(model.network.parameters()).device
    fresh = make_network(model.plan, generator=torch.Generator().manual_seed(seed)).state_dict()
    kept = {name: tensor for name, tensor in model.artifact.tensors.items() if name == MEAN_PICTURE}
    return Model(replace(model.artifact, tensors={**fresh, **kept}), str(device))


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float | None:
    """Spearman's, equal values sharing their mean rank; None where either is the same everywhere."""
    ranks = [_ranks(values.ravel()) for values in (one, other)]
    if any(np.ptp(rank) == 0 for rank in ranks):
        return None
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _ranks(values: Sequence[float] | np.ndarray) -> np.ndarray:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place]

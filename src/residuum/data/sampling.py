"""Samples of a large data set: the same pictures each time, and of shards so that few need be opened."""

from __future__ import annotations

import numpy as np

from residuum.data.manifest import Manifest
from residuum.data.random import permutation
from residuum.data.shards.reading import ShardPictures

SHARDS = 32
"""Shards from which a sample is drawn; more where they do not hold enough pictures."""


def sample(manifest: Manifest, indices: np.ndarray, most: int) -> np.ndarray:
    """At most `most` of `indices`, sorted, chosen by a constant."""
    pictures = manifest.pictures
    if len(indices) > most and isinstance(pictures, ShardPictures):
        shard_of = pictures.shard_of[indices]
        shards, counts = np.unique(shard_of, return_counts=True)
        order = permutation(0, 0, len(shards))
        needed = int(np.searchsorted(np.cumsum(counts[order]), most)) + 1
        indices = indices[np.isin(shard_of, shards[order[: max(SHARDS, needed)]])]
    if len(indices) > most:
        indices = np.sort(indices[permutation(0, 0, len(indices))[:most]])
    return indices

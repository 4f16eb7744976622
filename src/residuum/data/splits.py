"""Splits: cutting a validation part from training pictures, stratified by class, never through a group.

The cut depends on the pictures' names, labels and groups and on a constant, not on the order in which files
are found, so the same data give the same parts everywhere.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from residuum.errors import UserError

DEFAULT_FRACTION = 0.1
"""Share of the training pictures held out for validation where nothing else is said; 5,000 of CIFAR's
50,000."""


def validation_count(val: float | None, available: int, default: float = DEFAULT_FRACTION) -> int:
    """How many of `available` training pictures `val` means: None the default share, below 1 a share, else a
    number."""
    if val is None:
        return max(1, round(available * default))
    if not math.isfinite(val) or val < 0 or (val >= 1 and val != int(val)):
        raise UserError(f"--val must be 0, a share below 1 or a whole number of pictures, and is {val:g}")
    if val >= available:
        raise UserError(f"--val {val:g} leaves no training pictures: there are {available}")
    return int(val) if val >= 1 or val == 0 else max(1, round(available * val))


def cut(
    names: Sequence[str],
    labels: np.ndarray,
    candidates: np.ndarray,
    count: int,
    groups: np.ndarray | None = None,
    salt: str = "validation",
) -> tuple[np.ndarray, np.ndarray]:
    """Divides `candidates` (indices) into the rest and about `count` of them, both sorted.

    Each class gives its share of `count`, and keeps at least one picture in the rest. Pictures of one group
    stay together, which can make the cut smaller or larger than `count`.
    """
    by_group: dict[int, list[int]] = defaultdict(list)
    for i in candidates.tolist():
        by_group[i if groups is None else int(groups[i])].append(i)
    # A group is known by its first name, in whatever order the pictures came.
    members = {min(os.fsencode(names[i]) for i in indices): indices for indices in by_group.values()}
    order = sorted(members, key=lambda name: (hashlib.sha256(salt.encode() + b"\0" + name).digest(), name))

    left = Counter(labels[candidates].tolist())
    wanted = quotas(left, count)
    taken: list[int] = []
    for name in order:
        here = Counter(labels[members[name]].tolist())
        brings_closer = sum(abs(wanted[c]) - abs(wanted[c] - k) for c, k in here.items()) > 0
        if brings_closer and all(left[c] > k for c, k in here.items()):
            taken.extend(members[name])
            for c, k in here.items():
                wanted[c] -= k
                left[c] -= k
    second = np.array(sorted(taken), np.int64)
    return np.setdiff1d(candidates, second), second


def quotas(sizes: Counter[int], count: int) -> Counter[int]:
    """`count` shared out in proportion to class sizes, by largest remainders; at most all but one of each
    class."""
    total = sum(sizes.values())
    exact = {c: count * n / total for c, n in sizes.items()}
    shares = Counter({c: min(int(exact[c]), n - 1) for c, n in sizes.items()})
    order = sorted(sizes, key=lambda c: (shares[c] - exact[c], c))
    while sum(shares.values()) < count:
        open_classes = [c for c in order if shares[c] < sizes[c] - 1]
        if not open_classes:
            break
        for c in open_classes[: count - sum(shares.values())]:
            shares[c] += 1
    return shares

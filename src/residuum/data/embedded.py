"""The embedded data set: scikit-learn's 1,797 handwritten digits of 8 x 8 pixels, with fixed parts."""

from __future__ import annotations

import numpy as np

from residuum.data.archives import Arrays
from residuum.data.splits import cut


def read_digits() -> Arrays:
    """Values 0..16 scaled to 0..255; about 70% train, 10% val and 20% test, each stratified by class."""
    from sklearn.datasets import load_digits  # slow to import, and only needed here

    data, target = load_digits(return_X_y=True)
    pixels = np.rint(np.asarray(data) * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    labels = np.asarray(target, np.int64)
    numbers = [f"{i:05d}" for i in range(len(labels))]
    rest, test = cut(numbers, labels, np.arange(len(labels)), round(0.2 * len(labels)), salt="digits test")
    _, val = cut(numbers, labels, rest, round(0.1 * len(labels)), salt="digits val")
    splits = np.full(len(labels), "train", dtype="U5")
    splits[val], splits[test] = "val", "test"
    names = [f"{split}/{number}" for split, number in zip(splits, numbers, strict=True)]
    return Arrays(pixels, labels, names, splits.tolist(), [str(i) for i in range(10)], chiral=True)

"""Folds: training and validation pictures divided anew, K times, so that each is held out once."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass, replace

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from residuum.data.manifest import Manifest
from residuum.errors import UserError, shown

FEWEST = 2


@dataclass(frozen=True)
class Fold:
    """The fold `index` (from 1) `of` so many, cut by `seed`."""

    index: int
    of: int
    seed: int


def fold_of(manifest: Manifest, fold: Fold) -> Manifest:
    """The data set with the pictures of one fold held out; test pictures stay what they are.

    Classes are spread evenly over the folds, and a group is never cut. The cut depends on names, labels, groups and the
    seed, not on the order in which files are found. Raises UserError where a class cannot be divided.
    """
    pool = np.concatenate([manifest.parts[part] for part in ("train", "val") if part in manifest.parts])
    pool = np.array(sorted(pool.tolist(), key=lambda i: os.fsencode(manifest.names[i])), np.int64)
    labels = manifest.labels[pool]
    groups = pool if manifest.groups is None else manifest.groups[pool]
    _refuse_undividable(manifest, pool, labels, groups, fold.of)
    cut = StratifiedGroupKFold(fold.of, shuffle=True, random_state=fold.seed % 2**32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # classes smaller than the number of folds: some folds lack them
        held_out = [chosen for _, chosen in cut.split(np.zeros(len(pool)), labels, groups)][fold.index - 1]
    kept = np.setdiff1d(np.arange(len(pool)), held_out)
    lost = sorted(set(labels.tolist()) - set(labels[kept].tolist()))
    if lost or not len(held_out):
        what = f"class {shown(manifest.classes[lost[0]])} without training pictures" if lost else "nothing to hold out"
        raise UserError(f"fold {fold.index} of {fold.of} leaves {what}, for groups stay together; take fewer --folds")
    parts = {"train": np.sort(pool[kept]), "val": np.sort(pool[held_out])}
    return replace(manifest, parts=parts | {p: i for p, i in manifest.parts.items() if p == "test"})


def _refuse_undividable(manifest: Manifest, pool: np.ndarray, labels: np.ndarray, groups: np.ndarray, of: int) -> None:
    unit = "pictures" if manifest.groups is None else "groups"
    for label, name in enumerate(manifest.classes):
        members = len(np.unique(groups[labels == label]))
        if members < FEWEST:
            raise UserError(
                f"class {shown(name)} has {members} {unit if members != 1 else unit[:-1]} to divide, and folds need at "
                f"least {FEWEST}, one to train on and one to hold out: add pictures, or leave the class out"
            )
    available = len(np.unique(groups))
    if of > available:
        raise UserError(f"--folds {of} is more than there are {unit} to divide: {available}")

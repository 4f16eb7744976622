"""Parts: which pictures are for training, validation and test, as given or cut."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from residuum.data.manifest import PARTS
from residuum.data.splits import cut, validation_count
from residuum.errors import shown


def given_and_cut(
    names: Sequence[str],
    labels: np.ndarray,
    splits: Sequence[str],
    classes: Sequence[str],
    groups: np.ndarray | None,
    val: float | None,
    default: float,
) -> tuple[dict[str, np.ndarray], list[str]]:
    """The parts, given ones and a validation part cut from training where `val` asks for it, and notes on
    them."""
    given = np.array([split or "train" for split in splits])
    parts = {part: np.flatnonzero(given == part) for part in PARTS}
    notes: list[str] = []
    if len(parts["val"]) and val is not None:
        notes.append(f"the {len(parts['val'])} pictures of the given validation part joined the training part")
        parts["train"] = np.flatnonzero((given == "train") | (given == "val"))
        parts["val"] = parts["val"][:0]
    if len(parts["train"]) and not len(parts["val"]):
        count = validation_count(val, len(parts["train"]), default)
        if count:
            parts["train"], parts["val"] = cut(names, labels, parts["train"], count, groups)
            notes += _single_notes(labels, parts, classes)
            if not len(parts["val"]):
                notes.append("no validation part could be cut without taking a class's last training picture or group")
            elif val is not None and val >= 1 and len(parts["val"]) != count:
                notes.append(
                    f"the validation part has {len(parts['val'])} pictures instead of {count}, "
                    "because of single pictures or groups"
                )
    return {part: indices for part, indices in parts.items() if len(indices)}, notes


def _single_notes(labels: np.ndarray, parts: dict[str, np.ndarray], classes: Sequence[str]) -> list[str]:
    absent = np.setdiff1d(labels[parts["train"]], labels[parts["val"]])
    counts = np.bincount(labels[parts["train"]], minlength=len(classes))
    single = [shown(classes[c]) for c in absent if counts[c] == 1]
    if not single:
        return []
    which = ", ".join(single[:3]) + (", ..." if len(single) > 3 else "")
    return [f"{len(single)} classes have one training picture, so none in validation: {which}"]

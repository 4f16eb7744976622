"""Several networks as one: the mean of their probabilities (He et al. 2015, Table 5)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from residuum.config import from_dict, to_dict
from residuum.errors import UserError, shown
from residuum.evaluation.metrics import Evaluation
from residuum.evaluation.protocols import Member, Record


def refuse_other_classes(first: tuple[str, ...], others: Iterable[tuple[str, tuple[str, ...]]]) -> None:
    """UserError unless the other (name, classes) have the classes of the first model, in whatever order."""
    for name, classes in others:
        lacks, has = [c for c in first if c not in classes], [c for c in classes if c not in first]
        if lacks or has:
            differences = [f"{verb} {_some(names)}" for verb, names in (("lacks", lacks), ("has", has)) if names]
            raise UserError(
                f"an ensemble needs models of the same classes, and {shown(name)}, unlike the first, "
                f"{' and '.join(differences)}"
            )


def ensemble(evaluations: Iterable[Evaluation], members: tuple[Member, ...]) -> Evaluation:
    """The members' evaluations of the same pictures as one; classes are the first's, and theirs in its order."""
    first, total = None, np.zeros(0)
    for evaluation in evaluations:
        if first is None:
            first, total = evaluation, evaluation.probabilities.copy()
        else:
            total += evaluation.probabilities[:, [evaluation.classes.index(name) for name in first.classes]]
    assert first is not None
    record = replace(from_dict(Record, first.protocol, "protocol"), ensemble=members)
    joined = Evaluation.from_probabilities(
        first.classes, first.names, first.indices, first.labels, total / len(members), to_dict(record)
    )
    return replace(joined, groups=first.groups)


def _some(names: list[str], most: int = 5) -> str:
    return ", ".join(shown(name) for name in names[:most]) + (
        f" and {len(names) - most} more" if len(names) > most else ""
    )

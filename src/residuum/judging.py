"""What a model, or several as one, are judged on: who takes part, and which pictures none of them was trained on."""

from __future__ import annotations

from collections.abc import Sequence

from residuum.data.folds import Fold, fold_of
from residuum.data.manifest import Manifest
from residuum.data.opening import open_as_trained, open_for
from residuum.errors import UserError, shown
from residuum.evaluation.ensemble import refuse_other_classes
from residuum.evaluation.protocols import Member, Protocol
from residuum.inference import Model
from residuum.progress import Reporter


def members_of(models: Sequence[Model], names: Sequence[str], protocols: Sequence[Protocol]) -> tuple[Member, ...]:
    """What an ensemble consists of; nothing where there is but one model."""
    if len(models) == 1:
        return ()
    others = zip(names[1:], (one.classes for one in models[1:]), strict=True)
    refuse_other_classes(models[0].classes, others)
    digests = [one.digest() for one in models]
    for number, digest in enumerate(digests):
        if digest in digests[:number]:
            raise UserError(f"{names[number]} is the same model as {names[digests.index(digest)]}; leave one out")
    return tuple(
        Member(one.name, digest, chosen.view) for one, digest, chosen in zip(models, digests, protocols, strict=True)
    )


def part_of(
    models: Sequence[Model], names: Sequence[str], data: str, split: str | None, allow_bad: bool, reporter: Reporter
) -> tuple[Manifest, str | None]:
    """The data set, cut as it was for training, and the part to evaluate on; None is every picture."""
    trained = [one.artifact.training.get("data", {}) for one in models]
    manifest = open_as_trained(reporter, data, trained, allow_bad)
    part = "test" if split is None and "test" in manifest.parts else split
    own = [
        (name, (f["val"], f.get("fold")))
        for name, f in zip(names, trained, strict=True)
        if f.get("digest") == manifest.digest
    ]
    if not own or part in ("test", "all"):
        return manifest, None if part == "all" else part
    first, (val, fold) = own[0]
    for name, other in own:
        if other != (val, fold):
            said = " and ".join(f"fold {f['index']}" if f else f"--val {v}" for v, f in ((val, fold), other))
            raise UserError(
                f"{first} and {name} held out different parts of {shown(data)} in training ({said}); "
                "give pictures that neither was trained on"
            )
    if val is not None:
        manifest = open_for(reporter, data, val, allow_bad, dict(manifest.listed_out))
    if fold is not None:
        manifest = fold_of(manifest, Fold(**fold))
    if part is None and "val" not in manifest.parts:
        raise UserError(
            f"this model was trained on every picture of {shown(manifest.argument)}: nothing is held out; "
            f"give other data, or --split train to see the training error"
        )
    return manifest, part or "val"

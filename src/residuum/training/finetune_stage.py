"""The first stage of fine-tuning: the classifier, on features that the frozen network gives once."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from residuum.data.batches import EvalBatches
from residuum.data.manifest import Manifest
from residuum.data.order import Balanced, Order, Shuffled
from residuum.nets.network import Network
from residuum.progress import Reporter
from residuum.tasks.classification import Criterion, balanced_weights
from residuum.training.finetune_head import Features, features_of, train_head
from residuum.training.heads import compare_heads
from residuum.training.recipe import Recipe
from residuum.training.setup import Setup

FEATURE_BATCH = 64


def criterion_of(recipe: Recipe, manifest: Manifest) -> Criterion:
    """The loss of a recipe on a data set."""
    weights = None
    if recipe.class_weights == "balanced":
        weights = balanced_weights(manifest.labels[manifest.part("train")], len(manifest.classes))
    return Criterion(recipe.label_smoothing, weights, recipe.focal_gamma)


@dataclass(frozen=True)
class HeadStage:
    """The first stage of fine-tuning: the classifier of `network`, in place, on the features of `manifest`.

    `note` takes what run.json is to hold of it. With `compare` other heads are fitted to the same features.
    """

    network: Network
    setup: Setup
    manifest: Manifest
    seed: int
    workers: int
    reporter: Reporter
    note: Callable[[dict[str, Any]], None]
    compare: bool = False

    def __call__(self) -> float | None:
        """Train it; gives the validation loss it comes to, None where nothing is held out."""
        began = time.perf_counter()
        train = self._features("train")
        val = self._features("val") if "val" in self.manifest.parts else None
        seconds = time.perf_counter() - began
        criterion = criterion_of(self.setup.recipe, self.manifest)
        found = train_head(self.network, train, val, self.setup.recipe, criterion, self._order(train))
        computed = len(train.labels) + (0 if val is None else len(val.labels))
        self.reporter.say(
            f"head: {computed} pictures through the frozen network in {seconds:.1f}s, once; "
            f"{found.epochs} epochs on their features in {found.seconds:.2f}s "
            f"({1000 * found.seconds / found.epochs:.1f} ms each)"
            + ("" if val is None else f", {found.val_wrong} of {len(val.labels)} held-out pictures wrong")
        )
        record: dict[str, Any] = {
            "head": {
                "feature_seconds": round(seconds, 3),
                **{key: round(value, 6) if isinstance(value, float) else value for key, value in asdict(found).items()},
            }
        }
        if self.compare:
            assert val is not None
            softmax = {"head": "softmax", "chosen": f"epoch {found.epoch}", "wrong": found.val_wrong, "note": ""}
            softmax |= {"images": len(val.labels), "seconds": round(found.seconds, 3)}
            softmax["error"] = 100 * (found.val_wrong or 0) / len(val.labels)
            record["heads"] = [softmax, *compare_heads(train, val, self.seed, self.reporter)]
        self.note(record)
        return found.val_loss

    def _features(self, part: str) -> Features:
        indices = self.manifest.part(part)
        batches = EvalBatches(
            self.manifest, indices, self.setup.preprocessing, min(FEATURE_BATCH, len(indices)), self.workers,
            self.setup.mean_picture,
        )  # fmt: skip
        with self.reporter.track(f"features of {part}", "batches") as update:
            return features_of(self.network, batches, update)

    def _order(self, train: Features) -> Order:
        if self.setup.recipe.balanced_sampling:
            return Balanced(self.seed, train.labels.numpy())
        return Shuffled(self.seed, len(train.labels))

"""The pictures of a data set that a network finds most like a given one: nearest in the space of its features.

Features are what enters the classifier: the mean over the last map in residual nets, the last hidden layer in AlexNet
and VGG. Distance is 1 - cos, by which Wu, Xiong, Yu and Lin 2018 (arXiv 1805.01978, section 3) find nearest neighbours:
the length of a feature says how strongly a picture excites the network (its contrast, say) more than what it shows. The
search is exact; 50,000 pictures of 512 features are 100 MB and a few milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from residuum.analysis.halves import before_classifier, halves
from residuum.analysis.saliency import inputs_of
from residuum.data.batches import EvalBatches
from residuum.data.manifest import Manifest
from residuum.data.opening import default_workers
from residuum.inference import Model
from residuum.nets.ops import dense_format
from residuum.progress import Update

BATCH = 64


@dataclass(frozen=True)
class Neighbours:
    """A data set's part in the network's feature space.

    indices     (n,) int64, places in the manifest
    directions  (n, d) float32, features of length 1
    """

    model: Model
    indices: np.ndarray
    directions: np.ndarray

    @classmethod
    def of(cls, model: Model, manifest: Manifest, part: str = "train", progress: Update | None = None) -> Self:
        """Every picture of a part once through the network. Raises UserError where there is no such part."""
        indices = manifest.part(part)
        batches = EvalBatches(
            manifest,
            indices,
            model.artifact.preprocessing,
            min(BATCH, len(indices)),
            workers=default_workers(manifest),
            mean_picture=model.mean_picture,
        )
        found: list[np.ndarray] = []
        for batch in batches:
            found.append(_directions(model, batch.inputs)[batch.mask.numpy()])
            if progress:
                progress(sum(map(len, found)), len(indices))
        return cls(model, indices, np.concatenate(found))

    def nearest(self, picture: np.ndarray, k: int) -> list[tuple[int, float]]:
        """The k nearest to a uint8 (H, W, 1 or 3) picture as (place in the manifest, 1 - cos), the nearest first."""
        distances = 1 - self.directions @ _directions(self.model, inputs_of(self.model, [picture]))[0]
        order = np.argsort(distances, kind="stable")[:k]
        return [(int(self.indices[row]), max(float(distances[row]), 0.0)) for row in order]


def features(model: Model, inputs: Tensor) -> Tensor:
    """What enters the classifier, positions averaged where it is a map: float32 (N, d) on the CPU."""
    network = model.network.eval()
    before, _ = halves(network, before_classifier(network.plan))
    device = next(network.parameters()).device
    with torch.inference_mode():
        found = before(inputs.to(device).contiguous(memory_format=dense_format(inputs)))
    return (found.mean((2, 3)) if found.ndim == 4 else found).float().cpu()


def _directions(model: Model, inputs: Tensor) -> np.ndarray:
    """Features of length 1; those of a picture that excites nothing stay 0, at a distance of 1 from all."""
    return torch.nn.functional.normalize(features(model, inputs), eps=1e-12).numpy()

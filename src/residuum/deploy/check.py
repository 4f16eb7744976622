"""Whether a runtime agrees with the model it was made from, picture by picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from residuum.deploy.graph import Answers
from residuum.deploy.pictures import Sample, graph_inputs, normalised
from residuum.errors import UserError
from residuum.evaluation.evaluate import logits_of
from residuum.inference import Model

BATCH = 32
FLOAT_TOLERANCE = 1e-4
"""Of a float32 export: the largest difference of a picture's logits over its largest absolute logit; likewise of its
probabilities, which are at most 1."""


@dataclass(frozen=True)
class Agreement:
    """A runtime beside the float32 torch model, over the same pictures.

    labels_equal        share of pictures with the same most probable class, 0 to 1
    logit_difference    of the worst picture: largest difference of a logit over its largest absolute logit
    probability_difference   largest difference of a probability
    accuracy, reference_accuracy   percent of pictures with labels whose class is right, here and in the float32 model
    """

    pictures: int
    source: str
    labels_equal: float
    logit_difference: float
    probability_difference: float
    accuracy: float | None = None
    reference_accuracy: float | None = None

    @property
    def points_lost(self) -> float | None:
        """Accuracy lost, in points of a percent; negative where it was gained."""
        if self.accuracy is None or self.reference_accuracy is None:
            return None
        return self.reference_accuracy - self.accuracy

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"points_lost": self.points_lost}

    def sentence(self) -> str:
        """For a person, in one line."""
        text = (
            f"{100 * self.labels_equal:.2f}% of labels equal to the float32 model's on {self.source}, largest "
            f"differences {self.logit_difference:.1e} of the logits and {self.probability_difference:.1e} of "
            "a probability"
        )
        if self.accuracy is None or self.reference_accuracy is None:
            return text
        return f"{text}; accuracy {self.accuracy:.2f}% instead of {self.reference_accuracy:.2f}%"


def reference_logits(model: Model, sample: Sample, progress: Callable[[int, int], None] | None = None) -> np.ndarray:
    """Logits (n, classes) of the model itself, in float32; UserError where they are not finite."""
    found = []
    for start in range(0, len(sample), BATCH):
        found.append(logits_of(model.network, normalised(model, sample.views[start : start + BATCH])).numpy())
        if progress:
            progress(min(start + BATCH, len(sample)), len(sample))
    logits = np.concatenate(found)
    if not np.isfinite(logits).all():
        raise UserError("the model's own logits are not all finite numbers on these pictures: train it again")
    return logits


def compare(
    model: Model, answers: Answers, sample: Sample, reference: np.ndarray, with_preprocessing: bool
) -> Agreement:
    """What `answers` says about the pictures beside the `reference` logits.

    The first picture goes alone and the others in batches, so that a batch of any size is tried.
    """
    cuts = [slice(0, 1), *(slice(i, i + BATCH) for i in range(1, len(sample), BATCH))]
    found = [answers(graph_inputs(model, sample.views[cut], with_preprocessing)) for cut in cuts]
    logits, probabilities = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return agreement(sample, reference, logits, probabilities, model.temperature)


def agreement(
    sample: Sample, reference: np.ndarray, logits: np.ndarray, probabilities: np.ndarray, temperature: float
) -> Agreement:
    """Two sets of logits (n, classes), and the probabilities (n, classes) that came with the second."""
    scale = np.maximum(np.abs(reference).max(1), np.finfo(np.float32).tiny)
    expected = torch.softmax(torch.from_numpy(reference).double() / temperature, 1).numpy()
    label, right = reference.argmax(1), sample.labels
    return Agreement(
        pictures=len(sample),
        source=sample.source,
        labels_equal=float((logits.argmax(1) == label).mean()),
        logit_difference=float((np.abs(logits - reference).max(1) / scale).max()),
        probability_difference=float(np.abs(probabilities - expected).max()),
        accuracy=None if right is None else 100 * float((logits.argmax(1) == right).mean()),
        reference_accuracy=None if right is None else 100 * float((label == right).mean()),
    )


def refuse_float(found: Agreement) -> None:
    """UserError for a float32 export that is not the model."""
    worst = max(found.logit_difference, found.probability_difference)
    if found.labels_equal < 1 or not worst <= FLOAT_TOLERANCE:  # also where it is not a number
        raise UserError(
            f"the exported model disagrees with the model file, and nothing was written: {found.sentence()}"
        )


def refuse_int8(found: Agreement, least: float) -> None:
    """UserError for an int8 export with fewer than `least` (0 to 1) of the labels."""
    if not found.labels_equal >= least or not np.isfinite(found.logit_difference):
        raise UserError(
            f"int8 agrees on too few pictures, and nothing was written: {found.sentence()}; export in float32, "
            f"calibrate on other pictures with --data, or allow it with --min-agreement (now {least:g})"
        )

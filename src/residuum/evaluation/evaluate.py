"""A network over a part of a data set: every picture exactly once, whatever the batch size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from residuum.config import to_dict
from residuum.data.batches import EvalBatches
from residuum.data.manifest import Manifest
from residuum.data.preprocessing import Preprocessing
from residuum.evaluation.metrics import Evaluation
from residuum.evaluation.protocols import choose_protocol, record
from residuum.nets.ops import dense_format


def logits_of(network: nn.Module, inputs: torch.Tensor, precision: torch.dtype = torch.float32) -> torch.Tensor:
    """Logits (N, K) in float32 on the CPU, in evaluation mode; the one way that evaluation and prediction take."""
    device = next(network.parameters()).device
    network.eval()
    with torch.inference_mode(), torch.autocast(device.type, precision, enabled=precision != torch.float32):
        return network(inputs.to(device).contiguous(memory_format=dense_format(inputs))).float().cpu()


def all_logits(
    network: nn.Module,
    batches: EvalBatches,
    precision: torch.dtype = torch.float32,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Logits (N, K) float32 of every picture of the batches, in their order."""
    found, done = [], 0
    for batch in batches:
        logits = logits_of(network, batch.inputs, precision)[batch.mask]
        found.append(logits.numpy())
        done += len(logits)
        if progress:
            progress(done, batches.pictures)
    return np.concatenate(found)


def judged(
    logits: np.ndarray,
    manifest: Manifest,
    indices: np.ndarray,
    classes: Sequence[str],
    protocol: dict[str, Any],
    *,
    labels: np.ndarray | None = None,
    temperature: float = 1.0,
) -> Evaluation:
    """What the logits (N, K) of the pictures `indices` of a manifest come to.

    `labels` (N,) index `classes`; by default they are the manifest's own. Logits are divided by the `temperature`.
    """
    found = Evaluation.from_logits(
        classes=tuple(classes),
        names=tuple(manifest.names[i] for i in indices),
        indices=np.asarray(indices),
        labels=manifest.labels[indices] if labels is None else labels,
        logits=logits.astype(np.float64) / temperature,
        protocol=protocol,
    )
    return replace(found, groups=manifest.groups_of(np.asarray(indices)))


def protocol_of(manifest: Manifest, split: str, view: dict[str, Any], temperature: float = 1.0) -> dict[str, Any]:
    """How a number is made, in full; stored with it. One view of each picture, its centre."""
    return to_dict(record(choose_protocol("center", Preprocessing.from_dict(view)), manifest, split, temperature))

"""torch's own exported program (.pt2): it needs torch to run and no code of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from residuum.deploy.graph import KEY, Answers, Graph, quiet, traced

FACTS = f"{KEY}.json"


def save_torch(graph: Graph, facts: str, path: Path) -> None:
    """Writes the program with `facts` as an extra file in it."""
    with quiet():
        torch.export.save(traced(graph), path, extra_files={FACTS: facts})


def torch_session(path: Path) -> Answers:
    """The program as torch loads it: inputs -> (logits, probabilities)."""
    with quiet():
        module: Any = torch.export.load(path).module()

    def answers(inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with torch.inference_mode():
            logits, probabilities = module(torch.from_numpy(inputs))
        return logits.numpy(), probabilities.numpy()

    return answers

"""How unlike the training pictures a picture is: its energy among those of held-out pictures.

The energy of logits z is -log sum_k exp z_k (Liu et al. 2020, arXiv 2010.03759, eq. 4, T = 1): low where the network
recognises something. The score is the share of held-out pictures that have a lower one, so 0.99 means stranger than 99
of 100 of them. A picture can be strange and still have a low energy: a high score is a warning, a low one no guarantee.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import logsumexp

FEWEST = 50
"""Held-out pictures below which there is no score."""
STRANGE = 0.99
"""The score from which a person is told."""
_POINTS = 201


def energies(logits: np.ndarray) -> np.ndarray:
    """(N,) float64 of logits (N, K)."""
    return -logsumexp(logits.astype(np.float64), axis=1)


def fit_unlike(logits: np.ndarray) -> list[float] | None:
    """Quantiles of the energies of held-out pictures, evenly spaced; None for fewer than `FEWEST`."""
    if len(logits) < FEWEST:
        return None
    return np.quantile(energies(logits), np.linspace(0, 1, _POINTS)).tolist()


def unlike(logits: np.ndarray, calibration: dict[str, Any] | None) -> np.ndarray | None:
    """(N,) scores in 0..1 of logits (N, K); None where the model file holds no energies."""
    quantiles = (calibration or {}).get("energies")
    if not quantiles:
        return None
    return np.searchsorted(np.asarray(quantiles), energies(logits), side="left") / len(quantiles)


def is_strange(score: float | None) -> bool:
    """Whether a person is told; never where there is no score."""
    return score is not None and score >= STRANGE

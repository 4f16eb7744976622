"""Tuning: which network, at which size and with which recipe, is best on these pictures, and at what cost."""

from __future__ import annotations

from residuum.tuning.search import tune

__all__ = ["tune"]

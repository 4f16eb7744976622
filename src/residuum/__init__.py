"""Residuum: deep residual learning for images, as a library, a command line and a small service.

>>> import residuum
>>> network = residuum.build("resnet20", num_classes=10)      # an nn.Module giving logits
>>> model = residuum.load("runs/leaves/model.safetensors")    # doctest: +SKIP
>>> model.predict("leaf.jpg")                                 # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from residuum.api import bench, build, compare, evaluate, explain, export, load, robustness, train
    from residuum.checking import check
    from residuum.errors import UserError
    from residuum.folds import cross_validate
    from residuum.rates import find_lr
    from residuum.tuning import tune

__version__ = "0.1.0"
__all__ = [
    "UserError",
    "__version__",
    "bench",
    "build",
    "check",
    "compare",
    "cross_validate",
    "evaluate",
    "explain",
    "export",
    "find_lr",
    "load",
    "robustness",
    "train",
    "tune",
]

_HOME = {
    "bench": "api",
    "build": "api",
    "check": "checking",
    "compare": "api",
    "cross_validate": "folds",
    "evaluate": "api",
    "explain": "api",
    "export": "api",
    "find_lr": "rates",
    "load": "api",
    "robustness": "api",
    "train": "api",
    "tune": "tuning",
    "UserError": "errors",
}


def __getattr__(name: str) -> Any:
    """torch is imported when something needs it, so that `residuum --help` answers at once."""
    if name not in _HOME:
        raise AttributeError(f"module 'residuum' has no attribute {name!r}")
    return getattr(import_module(f"residuum.{_HOME[name]}"), name)

"""The commands. Each imports what it needs when it runs, so that `--help` answers at once."""

from __future__ import annotations

from residuum.cli import (
    catalogue,  # noqa: F401
    checking,  # noqa: F401
    comparing,  # noqa: F401
    explaining,  # noqa: F401
    exporting,  # noqa: F401
    serving,  # noqa: F401
    sharding,  # noqa: F401
    studying,  # noqa: F401
    training,  # noqa: F401
    tuning,  # noqa: F401
    using,  # noqa: F401
)
from residuum.cli.base import app

__all__ = ["app"]

"""Specs from JSON, as model files and run directories hold them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from residuum.config import Part, from_dict
from residuum.plan.lowering import named_parts
from residuum.spec import AnySpec, NetworkSpec, Written


def read_spec(data: Any, where: str, using: Iterable[type[Part]] = ()) -> AnySpec:
    """The spec in JSON values; `using` are classes of parts from outside the package that it may name."""
    cls = Written if isinstance(data, dict) and "network" in data else NetworkSpec
    return from_dict(cls, data, where, (*named_parts(), *using))

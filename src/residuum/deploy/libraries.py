"""Libraries of the extra `export`, imported when needed; those that report their use to their makers do not here."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

from residuum.errors import UserError

TELEMETRY = "openvino_telemetry"


def library(name: str, purpose: str) -> Any:
    """The library `name`; UserError with what to install where it is missing.

    `purpose` begins the sentence: 'exporting to ONNX'.
    """
    # OpenVINO and NNCF do without their telemetry where it cannot be imported; None says so to Python.
    sys.modules.setdefault(TELEMETRY, None)  # type: ignore[arg-type]
    try:
        return import_module(name)
    except ImportError as error:
        if error.name is not None and error.name.partition(".")[0] != name.partition(".")[0]:
            why = f" (it lacks {error.name})"
        else:
            why = ""
        raise UserError(
            f'{purpose} needs the library {name}{why}: install it with `pip install "residuum[export]"`'
        ) from None


def available(*names: str) -> bool:
    """Whether all of these can be imported."""
    try:
        for name in names:
            library(name, "")
    except UserError:
        return False
    return True

"""What the commands share: the app they belong to, kinds of options, and JSON on stdout."""

from __future__ import annotations

import json
import os
import sys
from typing import Annotated, Any

from cyclopts import App, Parameter

from residuum import __version__

app = App(
    name="residuum",
    version=__version__,
    help="Deep residual learning for images: build, train, evaluate and use residual networks.",
    help_format="plaintext",
)

Json = Annotated[bool, Parameter(name="--json", negative="", help="Print one JSON document and nothing else.")]
Flag = Parameter(negative="")
Several = Parameter(consume_multiple=1, negative="")
"""An option with one value or more."""
Numbers = Annotated[tuple[float, ...], Several]
# file names may begin with a dash (after --), hold anything, and are never options
Files = Annotated[list[str], Parameter(negative="")]


def print_json(value: Any) -> None:
    json.dump(value, sys.stdout, indent=1)
    print()


def speaks() -> bool:
    """Of several processes that torchrun started, the first one alone prints results."""
    return os.environ.get("RANK", "0") == "0"


def train_on_large_pages() -> None:
    """Have torch ask Linux for pages of 2 MB: training walks through more memory than a processor has addresses of.

    It looks when it first makes a tensor. What the user has set stays.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

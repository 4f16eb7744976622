"""Numbers, times and records in words a person reads at a glance."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeGuard

from residuum.errors import shown

MISSING = "–"
FEW_PICTURES = 2_000
"""Below this many pictures a second decimal of a percentage would claim more than was measured."""


def percent(fraction: object, of: int | None = None) -> str:
    """A fraction of 1 as a percentage, with as many decimals as `of` pictures can carry.

    >>> percent(14 / 360, 360)
    '3.9%'
    """
    if not _is_number(fraction):
        return MISSING
    return f"{100 * fraction:.{1 if of is None or of < FEW_PICTURES else 2}f}%"


def number(value: object, digits: int = 3) -> str:
    """An integer with thousands separators, a float with `digits` significant digits."""
    if not _is_number(value):
        return MISSING
    if isinstance(value, int) or float(value).is_integer():
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 10**digits else f"{value:.{digits}g}"


def amount(value: object, unit: str = "") -> str:
    """A large count in thousands, millions or billions.

    >>> amount(40_813_184)
    '40.8 M'
    """
    if not _is_number(value):
        return MISSING
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g} {letter}{unit}"
    return f"{value:g} {unit}".rstrip()


def duration(seconds: object) -> str:
    """Seconds as the two largest units.

    >>> duration(3725)
    '1 h 2 min'
    """
    if not _is_number(seconds):
        return MISSING
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def area(value: object) -> str:
    """An area under the ROC curve, to four decimals."""
    return f"{value:.4f}" if _is_number(value) else MISSING


def extent(value: object) -> str:
    """A size per dimension, as in `3 × 3`; one number where all dimensions agree is still written out."""
    if value is None:
        return MISSING
    if isinstance(value, (list, tuple)):
        return " × ".join("/".join(map(str, v)) if isinstance(v, (list, tuple)) else str(v) for v in value)
    return str(value)


def rows(record: object, prefix: str = "") -> list[tuple[str, str]]:
    """A nested mapping as (dotted name, text) rows, empty mappings and lists included."""
    if not isinstance(record, Mapping):
        return []
    result: list[tuple[str, str]] = []
    for key, value in record.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            result += rows(value, f"{name}.")
        else:
            result.append((name, _plain(value)))
    return result


def section(record: object, key: str) -> dict[str, Any]:
    """The mapping at `key`, or an empty one: a run that was cut short lacks some."""
    value = record.get(key) if isinstance(record, Mapping) else None
    return dict(value) if isinstance(value, Mapping) else {}


def printable(value: object) -> object:
    """What the page prints for any value: a dash for nothing, and no name that could break a line."""
    if value is None:
        return MISSING
    return shown(value) if type(value) is str else value


def _plain(value: object) -> str:
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        parts = (f"({_plain(v)})" if isinstance(v, (list, tuple)) else _plain(v) for v in value)
        return ", ".join(parts) or "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{k}: {_plain(v)}" for k, v in value.items()) or "none"
    return str(value)


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)

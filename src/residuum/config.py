"""Frozen dataclasses to and from plain JSON values, checked strictly: unknown keys and wrong types are errors."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, fields, is_dataclass
from functools import cache
from typing import Any, TypeVar

from residuum.errors import UserError, nearest, shown

T = TypeVar("T")

STRICT = {"extra": "forbid"}
"""Set as ``__pydantic_config__`` on every configuration dataclass: a key nobody reads is an error."""


def to_dict(value: Any) -> dict[str, Any]:
    """A dataclass as nested dictionaries, lists and scalars, as JSON will give them back."""
    return json.loads(json.dumps(asdict(value)))


def from_dict(cls: type[T], data: Any, where: str) -> T:
    """The dataclass `cls` from JSON values; one UserError names all problems at once, with the nearest right key."""
    from pydantic import ValidationError

    try:
        # as JSON: there lists may be tuples, and strictness means that "10" and true are no integers
        return _adapter(cls).validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        problems = [_sentence(problem, cls) for problem in error.errors()]
        raise UserError(f"{where}: " + "; ".join(dict.fromkeys(problems))) from None


@cache
def _adapter(cls: type) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(cls)


def _sentence(problem: Any, cls: type) -> str:
    path = ".".join(shown(part) for part in problem["loc"])
    if problem["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        near = f"; {nearest(path, (field.name for field in fields(cls)))}" if len(problem["loc"]) == 1 else ""
        return f'unknown key "{path}"{near}'
    return f"{path or 'value'}: {problem['msg'].lower()} (got {shown(repr(problem.get('input')))[:60]})"


def leaves(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Every value under its dotted path: {"optimizer.lr": 0.1, ...}."""
    found: dict[str, Any] = {}
    for key, value in data.items():
        path = f"{prefix}{key}"
        if isinstance(value, dict):
            found |= leaves(value, path + ".")
        else:
            found[path] = value
    return found


def override(config: T, settings: Iterable[str], where: str) -> T:
    """`config` with `key=value` settings applied; a key is a dotted path or a last name that is unique in it."""
    if not is_dataclass(config):
        raise TypeError(f"{config!r} is not a dataclass")
    data = to_dict(config)
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise UserError(f'--set takes key=value, and "{shown(setting)}" has no "="')
        _assign(data, _path(key.strip(), leaves(data), where), _value(text.strip()))
    return from_dict(type(config), data, where)


def _path(key: str, known: dict[str, Any], where: str) -> str:
    if key in known:
        return key
    matches = [path for path in known if path.rpartition(".")[2] == key]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise UserError(f'{where}: "{key}" could be {" or ".join(matches)}; write one of them in full')
    names = set(known) | {path.rpartition(".")[2] for path in known}
    raise UserError(f'{where} has no key "{shown(key)}"; {nearest(key, names)}')


def _value(text: str) -> Any:
    """JSON where it is JSON (numbers, true, null, lists), else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _assign(data: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for parent in parents:
        data = data[parent]
    data[last] = value

"""Frozen dataclasses to and from plain JSON values, checked strictly: unknown keys and wrong types are errors."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from residuum.errors import UserError, nearest, shown

T = TypeVar("T")

STRICT = {"extra": "forbid"}
"""Set as ``__pydantic_config__`` on every configuration dataclass: a key nobody reads is an error."""


class Part:
    """A value that is an object of some class, where a plain name would not say enough; subclasses are dataclasses.

    As JSON it is {"part": the class's name, ...its fields}; which classes may be meant is for the reader to say.
    """

    __pydantic_config__ = STRICT

    def must(self, sound: bool, advice: str) -> None:
        """For __post_init__: a UserError with this advice where a field makes no sense."""
        if not sound:
            raise UserError(f"{self!r} cannot be: {advice}")


class UnknownPart(ValueError):
    """A part that the data name and the reader has no class for."""


class Axis:
    """Annotates a field that takes one of a few values, a `Part`, or a dataclass of one type."""

    def __init__(self, *values: Any, dataclass: type | None = None) -> None:
        self.values, self.dataclass = values, dataclass

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.with_info_plain_validator_function(self._validate)

    def _validate(self, value: Any, info: Any) -> Any:
        known: Mapping[str, type[Part]] = info.context or {}
        if isinstance(value, dict) and "part" in value:
            name, settings = str(value["part"]), {key: v for key, v in value.items() if key != "part"}
            if name not in known:
                raise UnknownPart(name)
            return _adapter(known[name]).validate_json(json.dumps(settings), strict=True, context=info.context)
        if self.dataclass is not None:
            return _adapter(self.dataclass).validate_json(json.dumps(value), strict=True, context=info.context)
        if isinstance(value, (str, type(None))) and value in self.values:
            return value
        raise ValueError("choose from " + ", ".join(str(v) for v in self.values if v is not None))


def to_dict(value: Any) -> dict[str, Any]:
    """A dataclass as nested dictionaries, lists and scalars, as JSON will give them back."""
    return json.loads(json.dumps(_plain(value)))


def changed(value: Any) -> dict[str, Any]:
    """A dataclass like `to_dict`, but without the fields that have their default: it stays the same when a version
    adds fields."""
    return json.loads(json.dumps(_changed(value)))


def _changed(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        name = {"part": type(value).__name__} if isinstance(value, Part) else {}
        tags = _tags(type(value))
        kept = [f.name for f in fields(value) if f.name in tags or not _at_default(value, f)]
        return name | {field: _changed(getattr(value, field)) for field in kept}
    return [_changed(v) for v in value] if isinstance(value, (list, tuple)) else _plain(value)


@cache
def _tags(kind: type) -> frozenset[str]:
    """Fields that can have one value only: they tell the alternatives of a union apart."""
    hints = get_type_hints(kind)
    return frozenset(name for name, hint in hints.items() if get_origin(hint) is Literal and len(get_args(hint)) == 1)


def _at_default(value: Any, field: Field[Any]) -> bool:
    default = field.default if field.default_factory is MISSING else field.default_factory()
    return default is not MISSING and getattr(value, field.name) == default


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        name = {"part": type(value).__name__} if isinstance(value, Part) else {}
        return name | {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


def from_dict(cls: type[T], data: Any, where: str, parts: Iterable[type[Part]] = ()) -> T:
    """The dataclass `cls` from JSON values; one UserError names all problems at once, with the nearest right key.

    `parts` are the classes that the data may name.
    """
    from pydantic import ValidationError

    known = {part.__name__: part for part in parts}
    try:
        # as JSON: there lists may be tuples, and strictness means that "10" and true are no integers
        return _adapter(cls).validate_json(json.dumps(data), strict=True, context=known)
    except ValidationError as error:
        problems = [_sentence(problem, cls) for problem in error.errors() if not _unknown_part(problem)]
        if names := ", ".join(dict.fromkeys(shown(name) for each in error.errors() if (name := _unknown_part(each)))):
            problems.append(
                f"parts that are not known, for they are not Residuum's own: {names}; in Python, hand their classes to "
                f"residuum.load (or, to resume, to residuum.train) with using=[{names}]"
            )
        raise UserError(f"{where}: " + "; ".join(dict.fromkeys(problems))) from None


def _unknown_part(problem: Any) -> str | None:
    error = problem.get("ctx", {}).get("error")
    return str(error) if isinstance(error, UnknownPart) else None


@cache
def _adapter(cls: type) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(cls)


def _sentence(problem: Any, cls: type) -> str:
    path = ".".join(shown(part) for part in problem["loc"])
    if problem["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        near = f"; {nearest(path, (field.name for field in fields(cls)))}" if len(problem["loc"]) == 1 else ""
        return f'unknown key "{path}"{near}'
    if problem["type"] == "value_error":  # a sentence of our own
        return f"{path}: {problem['ctx']['error']}"
    return f"{path or 'value'}: {problem['msg'].lower()} (got {shown(repr(problem.get('input')))[:60]})"


def paths(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Every value under its dotted path, also what holds others: {"optimizer": {"lr": 0.1}, "optimizer.lr": 0.1}."""
    found: dict[str, Any] = {}
    for key, value in data.items():
        path = f"{prefix}{key}"
        found[path] = value
        if isinstance(value, dict):
            found |= paths(value, path + ".")
    return found


def override(config: T, settings: Iterable[str], where: str) -> T:
    """`config` with `key=value` settings applied; a key is a dotted path or a last name that is unique in it.

    What has fields of its own can be set as a whole, to a JSON object, or to null where there may be nothing.
    """
    if not is_dataclass(config):
        raise TypeError(f"{config!r} is not a dataclass")
    data = to_dict(config)
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise UserError(f'--set takes key=value, and "{shown(setting)}" has no "="')
        value = _value(text.strip())
        _assign(data, _path(key.strip(), paths(data), where), value)
        if isinstance(value, dict):  # the next setting may name a field that was left to its default
            data = to_dict(from_dict(type(config), data, where))
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

"""Which results may be ranked together: those made under one protocol, on the same pictures.

The whole stored protocol counts but for the path that the data had on their machine (their digest says which they
are), the names of an ensemble's members and a model's own temperature, which say what was judged and not how. So does
the number of pictures: a validation part may be cut larger or smaller from the same data.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from residuum.comparison.entries import Entry, Result
from residuum.comparison.settings import LENGTH_OF_DIGEST, flat
from residuum.errors import shown
from residuum.report.wording import MISSING, number, rows, section

PATH = "data"
"""The field of a protocol that holds the data argument."""
DIGEST = "data_digest"
OF_THE_MODEL = "temperature"
"""The field of a protocol that holds what a model divides its logits by."""
MENTIONED = 4
"""Fields that a sentence names."""


def key_of(result: Result) -> str:
    """The same text for results that may be ranked together."""
    protocol = {key: value for key, value in _how(result).items() if key != PATH}
    return json.dumps([protocol, result.images], sort_keys=True)


def _how(result: Result) -> dict[str, Any]:
    """The protocol, of an ensemble's members only their number, or what they are shown where they are shown unlike."""
    protocol = {key: value for key, value in result.protocol.items() if key != OF_THE_MODEL}
    members = protocol.get("ensemble")
    if not isinstance(members, list):
        return protocol
    if not members:
        return {key: value for key, value in protocol.items() if key != "ensemble"}
    views = [section(member, "view") for member in members]
    if all(view == section(protocol, "view") for view in views):
        return protocol | {"ensemble": len(views)}
    return protocol | {"ensemble": sorted(views, key=json.dumps)}


def chosen(entries: Sequence[Entry]) -> list[Result | None]:
    """For each entry the result that is compared: under the protocol that most entries share; of those, on test."""
    shared = Counter(key for entry in entries for key in {key_of(result) for result in entry.results})
    return [max(entry.results, key=lambda result: shared[key_of(result)], default=None) for entry in entries]


def titles(results: Sequence[Result]) -> list[str]:
    """Protocol, data, split and number of pictures of each in one line, and what more it takes to tell two apart."""
    short = [_title(result) for result in results]
    found = []
    for result, title in zip(results, short, strict=True):
        alike = [other for other, its in zip(results, short, strict=True) if its == title]
        own = _flat(result)
        more = [f"{shown(key)} {_text(key, own[key])}" for key in _fields(alike) if own.get(key) is not None]
        found.append(", ".join([title, *more]))
    return found


def _title(result: Result) -> str:
    words = [shown(result.protocol[key]) for key in ("name", PATH) if key in result.protocol]
    return ", ".join([*words, f"split {shown(result.split)}", f"{number(result.images)} pictures"])


def record(result: Result) -> list[tuple[str, str]]:
    """The protocol field by field, in words."""
    return rows(flat(result.protocol))


def differing(results: Sequence[Result]) -> str:
    """The fields in which protocols differ, and their values, as in "split: test, val"; the first few of many."""
    flats, fields = [_flat(result) for result in results], _fields(results)
    values = {key: dict.fromkeys(_text(key, f.get(key)) for f in flats) for key in fields[:MENTIONED]}
    text = "; ".join(f"{shown(key)}: {', '.join(texts)}" for key, texts in values.items())
    return text + ("; and more" if fields[MENTIONED:] else "")


def _fields(results: Sequence[Result]) -> list[str]:
    """The fields in which protocols differ, without those that follow from another of them."""
    flats = [_flat(result) for result in results]
    found = [
        key
        for key in dict.fromkeys(key for f in flats for key in f)
        if len({_text(key, f.get(key)) for f in flats}) > 1
    ]
    if DIGEST not in found:
        follows = {PATH}  # the same pictures at another place
    elif PATH in found:
        follows = {DIGEST}  # the name says it better
    else:
        follows = set()
    if len(found) > 1:
        follows.add("pictures")
    return [key for key in found if key not in follows]


def _flat(result: Result) -> dict[str, Any]:
    return flat(_how(result)) | {"pictures": result.images}


def _text(key: str, value: Any) -> str:
    text = dict(rows({key: value})).get(key, MISSING)
    return shown(text[:LENGTH_OF_DIGEST] if key == DIGEST else text)

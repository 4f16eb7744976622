"""What a person did wrong, said in one plain sentence: what is wrong, where, and what to do."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """Bad input. The command line prints the message as one sentence and exits with code 2; no traceback."""


class Elsewhere(UserError):
    """Bad input that another of several processes speaks of: this one ends with code 2 and without a word."""


def nearest(word: str, options: Iterable[str]) -> str:
    """The end of an error sentence: the closest right name, or the list of names when nothing is close.

    >>> nearest("quikc", ["quick", "fast"])
    'did you mean "quick"?'
    """
    names = sorted(options)
    if number := re.fullmatch(r"(\D+)(\d+)", word):
        # resnet21 is nearer to resnet20 than to resnet32, which shares as many letters
        kin = [name for name in names if re.fullmatch(re.escape(number[1]) + r"\d+", name)]
        names = sorted(kin, key=lambda name: abs(int(name.removeprefix(number[1])) - int(number[2])))[:1] or names
    close = get_close_matches(word, names, n=1, cutoff=0.6)
    if close:
        return f'did you mean "{close[0]}"?'
    if not names:
        return "there are none"
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return f"choose from: {shown}"


def one_line(text: object) -> str:
    """Any text or exception as one line, so that a message stays a sentence."""
    return " ".join(str(text).split())


def shown(path: object) -> str:
    """A path or name fit for a terminal, a log and a page: control characters and undecodable bytes escaped."""
    text = str(path).encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)

"""Patterns: what stands after `shards:` becomes the places of the shards.

FOLDER                            its tars, or those that its index names
DIR/*.tar                         a glob
DIR/train-{000000..000009}.tar    WebDataset's notation: numbers from .. to, or words with commas
pipe:COMMAND {000000..000009}     one command for each shard, which writes the tar to its standard output
FILE@PATTERN                      with an index.json, or class names one a line, that lies elsewhere
"""

from __future__ import annotations

import glob
import os
import re
from dataclasses import dataclass
from pathlib import Path

from residuum.errors import UserError, shown

PIPE = "pipe:"
MOST = 1_000_000
_RANGE = re.compile(r"\d+\.\.\d+", re.ASCII)


@dataclass(frozen=True)
class Place:
    """Where a shard is: a file, or a command that writes it."""

    text: str
    piped: bool

    @property
    def name(self) -> str:
        """What it is called in messages: the file, or the command."""
        return shown(f"{PIPE}{self.text}" if self.piped else self.text)


def split_beside(pattern: str) -> tuple[Path | None, str]:
    """The file that is given before an @, if there is such a file, and the pattern."""
    file, at, rest = pattern.partition("@")
    return (Path(file), rest) if at and rest and os.path.isfile(file) else (None, pattern)


def absolute_pattern(pattern: str) -> str:
    """A pattern that means the same from any folder; a command is left as it is."""
    beside, rest = split_beside(pattern)
    rest = rest if rest.startswith(PIPE) else os.path.abspath(rest)
    return rest if beside is None else f"{os.path.abspath(beside)}@{rest}"


def find_places(pattern: str) -> list[Place]:
    """The places that a pattern (without what is given beside it) names; of files they are there. Raises UserError."""
    if pattern.startswith(PIPE):
        commands = expand(pattern.removeprefix(PIPE).strip())
        if commands == [""]:
            raise UserError("shards:pipe: has no command; write shards:pipe:COMMAND, such as pipe:cat {0..9}.tar")
        return [Place(command, True) for command in commands]
    if os.path.isdir(pattern):
        found = sorted(glob.glob("*.tar", root_dir=pattern), key=os.fsencode)
        if not found:
            raise UserError(f"{shown(pattern)} holds no .tar files; give the folder that does, or a pattern")
        return [Place(os.path.join(pattern, name), False) for name in found]
    paths = []
    for each in expand(pattern):
        matches = [each] if os.path.exists(each) else sorted(glob.glob(each), key=os.fsencode)
        if not matches:
            raise UserError(f"there is no file {shown(each)}, which shards:{shown(pattern)} names")
        paths += matches
    if folder := next((path for path in paths if not os.path.isfile(path)), None):
        raise UserError(f"{shown(folder)} is not a file; shards are .tar files, so write shards:{shown(folder)}/*.tar")
    if twice := next((path for path in paths if paths.count(path) > 1), None) if len(set(paths)) < len(paths) else None:
        raise UserError(f"shards:{shown(pattern)} names {shown(twice)} twice; each picture would be seen twice")
    return [Place(path, False) for path in paths]


def expand(text: str) -> list[str]:
    """The texts that braces stand for: {08..11} is 08, 09, 10, 11 and {a,b{1..2}} is a, b1, b2; other braces stay, as
    the shell's own do."""
    start, end = _braces(text)
    if end == 0:
        return [text]
    before, inside, after = text[:start], text[start + 1 : end], expand(text[end + 1 :])
    middle = _meanings(inside)
    if len(middle) * len(after) > MOST:
        raise UserError(f"{shown(text)} stands for {len(middle) * len(after):,} shards; at most {MOST:,} can be given")
    return [f"{before}{each}{rest}" for each in middle for rest in after]


def _braces(text: str) -> tuple[int, int]:
    """The places of the first braces that belong together; (0, 0) where there are none."""
    depth, start = 0, 0
    for place, character in enumerate(text):
        if character == "{":
            start = start if depth else place
            depth += 1
        elif character == "}" and depth:
            depth -= 1
            if depth == 0:
                return start, place
    return 0, 0


def _meanings(inside: str) -> list[str]:
    """What a pair of braces with this between them stands for."""
    if _RANGE.fullmatch(inside):
        return _numbers(inside)
    if any(character.isspace() for character in inside):
        return [f"{{{inside}}}"]
    pieces, depth = [""], 0
    for character in inside:
        depth += (character == "{") - (character == "}")
        if character == "," and depth == 0:
            pieces.append("")
        else:
            pieces[-1] += character
    if len(pieces) == 1:
        return [f"{{{each}}}" for each in expand(inside)]
    return [each for piece in pieces for each in expand(piece)]


def _numbers(inside: str) -> list[str]:
    first, last = inside.split("..")
    if int(last) < int(first):
        raise UserError(f"{{{inside}}} ends before it begins; write {{{last}..{first}}}")
    if int(last) - int(first) >= MOST:
        raise UserError(f"{{{inside}}} stands for more than {MOST:,} shards")
    padded = any(end.startswith("0") and len(end) > 1 for end in (first, last))
    width = max(len(first), len(last)) if padded else 0
    return [f"{number:0{width}d}" for number in range(int(first), int(last) + 1)]

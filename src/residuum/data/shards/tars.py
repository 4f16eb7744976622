"""A tar in WebDataset's layout: members that share a name up to its first dot are one sample, KEY.jpg and KEY.cls.

https://github.com/webdataset/webdataset names the format. Only headers, labels and the beginnings of pictures are read.
"""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from residuum.data.decoding import SUFFIXES, Unreadable, decode_native, opened, orientation_of
from residuum.errors import UserError, one_line, shown

LABELS = ("cls", "json")
"""Extensions of the members that may hold a label, the first one found being taken."""
FIELDS = ("cls", "label", "class")
"""Keys of a JSON object that may hold it."""
_HEAD = 2**16
"""Bytes at the beginning of a JPEG that nearly always hold its size."""
_GREY = ("1", "L", "LA", "La", "I", "F")


@dataclass(frozen=True, slots=True)
class Sample:
    """A picture of a tar: key and extension, where its bytes are, upright size, and its label, a number or a name.

    `problem` says why it cannot be read; its size is then 0 x 0.
    """

    key: str
    extension: str
    offset: int
    length: int
    label: int | str
    height: int = 0
    width: int = 0
    grey: bool = True
    problem: str = ""


@dataclass(frozen=True)
class _Member:
    extension: str
    offset: int
    length: int


def list_tar(stream: BinaryIO, where: str) -> list[Sample]:
    """The pictures of a tar, in its order. Raises UserError that begins with `where`."""
    try:
        return [_sample(stream, where, key, members) for key, members in _groups(stream, where) if _pictures(members)]
    except tarfile.TarError as error:
        raise UserError(f"{where} {_broken(stream, error)}") from error
    except OSError as error:
        raise UserError(f"{where} cannot be read: {error.strerror or one_line(error)}") from error


def measure(data: bytes) -> tuple[int, int, bool]:
    """Height and width, upright, of a picture file's bytes, and whether it is stored grey. Raises `Unreadable`."""
    picture = opened(data)
    grey = picture.mode.split(";")[0] in _GREY
    if picture.format == "TIFF":  # as in decoding.size_of
        height, width = decode_native(data).shape[:2]
        return height, width, grey
    width, height = picture.size
    return (width, height, grey) if orientation_of(picture) in (5, 6, 7, 8) else (height, width, grey)


def _groups(stream: BinaryIO, where: str) -> Iterator[tuple[str, list[_Member]]]:
    """Each key with its members, which stand one after the other."""
    current, members = "", []
    stream.seek(0)
    with tarfile.open(fileobj=stream, mode="r:") as tar:
        while (member := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # a tar of a million members need not be held
            folder, name = os.path.split(member.name)
            stem, dot, extension = name.partition(".")
            if not member.isfile() or not dot or not stem or member.name.startswith("__"):
                continue
            key = os.path.join(folder, stem)
            if key != current and members:
                yield current, members
                members = []
            current = key
            members.append(_Member(extension.lower(), member.offset_data, member.size))
        end = tar.offset
    stream.seek(end)
    block = stream.read(tarfile.BLOCKSIZE)
    if len(block) < tarfile.BLOCKSIZE or any(block):
        what = "ends, cut off, at" if len(block) < tarfile.BLOCKSIZE else "is damaged at"
        raise UserError(f"{where} {what} byte {end:,}; fetch or write it again")
    if members:  # after the end has been looked at: the last sample of a tar that is cut off may lack its label
        yield current, members


def _pictures(members: list[_Member]) -> list[_Member]:
    return [member for member in members if f".{member.extension}" in SUFFIXES]


def _sample(stream: BinaryIO, where: str, key: str, members: list[_Member]) -> Sample:
    pictures = _pictures(members)
    name = f"{key}.{pictures[0].extension}"
    if len(pictures) > 1:
        raise UserError(f"{where} has two pictures of one name, {shown(name)} and .{shown(pictures[1].extension)}")
    label = next((member for wanted in LABELS for member in members if member.extension == wanted), None)
    if label is None:
        raise UserError(f"{where} has no label for {shown(name)}: there must be a {shown(key)}.cls or .json beside it")
    meaning = _label(_bytes(stream, label), label.extension)
    if meaning is None:
        raise UserError(
            f"{where}: {shown(key)}.{label.extension} holds no label; it must be a number or a class name"
            + (f", or an object with one as {', '.join(FIELDS)}" if label.extension == "json" else "")
        )
    place = (key, pictures[0].extension, pictures[0].offset, pictures[0].length, meaning)
    try:
        return Sample(*place, *_measured(stream, pictures[0]))
    except Unreadable as error:
        return Sample(*place, problem=str(error))


def _measured(stream: BinaryIO, picture: _Member) -> tuple[int, int, bool]:
    if picture.extension in ("jpg", "jpeg") and picture.length > _HEAD:
        try:
            return measure(_bytes(stream, picture, _HEAD))
        except Unreadable:
            pass  # long metadata before the size, or no JPEG
    return measure(_bytes(stream, picture))


def _bytes(stream: BinaryIO, member: _Member, most: int | None = None) -> bytes:
    stream.seek(member.offset)
    return stream.read(member.length if most is None else most)


def _label(content: bytes, extension: str) -> int | str | None:
    text = content.decode("utf-8", "surrogateescape").strip()
    if extension != "json":
        return int(text) if text.isascii() and text.isdigit() else text or None
    try:
        value = json.loads(text)
    except ValueError:
        return None
    if isinstance(value, dict):
        value = next((value[field] for field in FIELDS if field in value), None)
    if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
        return None
    return value if isinstance(value, str) or value >= 0 else None


def _broken(stream: BinaryIO, error: tarfile.TarError) -> str:
    stream.seek(0)
    start = stream.read(6)
    if start[:2] == b"\x1f\x8b" or start == b"\xfd7zXZ\0" or start[:3] == b"BZh" or start[:4] == b"\x28\xb5\x2f\xfd":
        return "is compressed; unpack it, or read it through a pipe such as pipe:gunzip -c FILE"
    if not start:
        return "is empty; fetch or write it again"
    if "unexpected end" in str(error):
        return "ends, cut off, within a member; fetch or write it again"
    return f"is not a tar file ({one_line(error)})"

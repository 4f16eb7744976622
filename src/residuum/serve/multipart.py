"""The files of a multipart/form-data body, as browsers and curl send them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from residuum.errors import UserError, shown

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

PARTS = 64
"""Parts of a body, files or not."""
LONGEST_NAME = 200


class BadForm(UserError):
    """A body that is not what its Content-Type says."""


def is_form(content_type: str) -> bool:
    return parse_options_header(content_type)[0].startswith(b"multipart/")


def files_of(body: bytes, content_type: str) -> list[tuple[str, bytes]]:
    """(name, content) of every part that has a file name; raises BadForm."""
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise BadForm("a form is sent as multipart/form-data with a boundary")
    form = _Form()
    try:
        parser = MultipartParser(options[b"boundary"], form.callbacks())
        parser.write(body)
        parser.finalize()
    except FormParserError:
        raise BadForm("the multipart body is broken: a part, its headers or the last boundary") from None
    if not form.ended:
        raise BadForm("the multipart body is cut short: the last boundary is missing")
    return form.files


class _Form:
    def __init__(self) -> None:
        self.files: list[tuple[str, bytes]] = []
        self.ended = False
        self._parts = 0
        self._clear()

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._field,
            "on_header_value": self._value,
            "on_header_end": self._header,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._finish,
        }

    def _clear(self) -> None:
        self._disposition = b""
        self._header_name, self._header_value = b"", b""
        self._content: list[bytes] = []

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > PARTS:
            raise BadForm(f"the form has more than {PARTS} parts")
        self._clear()

    def _field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _header(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = self._header_value
        self._header_name, self._header_value = b"", b""

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._content.append(data[start:end])

    def _end(self) -> None:
        options = parse_options_header(self._disposition.decode("latin-1"))[1]
        if (name := options.get(b"filename")) is not None:
            self.files.append((safe_name(name), b"".join(self._content)))

    def _finish(self) -> None:
        self.ended = True


def safe_name(name: bytes) -> str:
    """The last part of a path, printable and of bounded length; still not to be trusted as HTML."""
    last = name.decode("utf-8", "replace").replace("\\", "/").rpartition("/")[2]
    return shown(last)[:LONGEST_NAME]

"""Messages between the server and its children: a JSON header and raw bytes, each with its length before it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import struct
import sys
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np

_LENGTHS = struct.Struct("<IQ")
Message = tuple[dict[str, Any], bytes]


def pack(header: dict[str, Any], payload_bytes: int) -> bytes:
    """Lengths and header; the payload follows them."""
    text = json.dumps(header).encode()
    return _LENGTHS.pack(len(text), payload_bytes) + text


async def receive(reader: asyncio.StreamReader) -> Message:
    """In the server: the next message of a child. Raises asyncio.IncompleteReadError where the child has ended."""
    header, payload = _LENGTHS.unpack(await reader.readexactly(_LENGTHS.size))
    return json.loads(await reader.readexactly(header)), await reader.readexactly(payload)


class Channel:
    """In a child: the pipes to the server, which are its standard streams, and its messages in order."""

    def __init__(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # the server decides: closing our input ends us
        self._in: BinaryIO = os.fdopen(os.dup(0), "rb")
        self._out: BinaryIO = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)  # what any library prints must not get between the frames
        sys.stdout = sys.stderr

    def __iter__(self) -> Iterator[Message]:
        while len(lengths := self._in.read(_LENGTHS.size)) == _LENGTHS.size:
            header, payload = _LENGTHS.unpack(lengths)
            yield json.loads(self._in.read(header)), self._in.read(payload)

    def send(self, header: dict[str, Any], arrays: Sequence[np.ndarray] = ()) -> None:
        self._out.write(pack(header, sum(array.nbytes for array in arrays)))
        for array in arrays:
            self._out.write(np.ascontiguousarray(array).data)
        self._out.flush()


def arrays_of(payload: bytes, shapes: Sequence[Sequence[int]]) -> list[np.ndarray]:
    """uint8 arrays of these shapes that lie one after another in `payload`."""
    found, at = [], 0
    for shape in shapes:
        size = int(np.prod(shape))
        found.append(np.frombuffer(payload, np.uint8, size, at).reshape(shape))
        at += size
    return found

"""Reading the body of a request: no more than allowed, no slower than allowed, and all uploads together in bounds."""

from __future__ import annotations

import asyncio

from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from residuum.serve.limits import Limits
from residuum.serve.refusal import Refused, busy


class Uploads:
    """The bodies that are in memory."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.buffered = 0

    def release(self, body: bytes) -> None:
        """A body that was read is no longer needed."""
        self.buffered -= len(body)

    async def read(self, headers: dict[str, str], receive: Receive) -> bytes:
        """The body, to be released. Raises Refused, and ClientDisconnect where the sender has gone."""
        self._refuse_by_headers(headers)
        chunks: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                more = True
                while more:
                    message = await self._next(receive)
                    chunks.append(chunk := message.get("body", b""))
                    size += len(chunk)
                    self.buffered += len(chunk)
                    self._refuse_by_size(size)
                    more = message.get("more_body", False)
            return b"".join(chunks)
        except TimeoutError:
            self.buffered -= size
            raise Refused(408, "the body of the request came too slowly") from None
        except BaseException:
            self.buffered -= size
            raise

    async def _next(self, receive: Receive) -> Message:
        async with asyncio.timeout(self._limits.idle_seconds):
            message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        return message

    def _refuse_by_headers(self, headers: dict[str, str]) -> None:
        if headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
            raise Refused(415, "compressed bodies are not read: send pictures as they are, without Content-Encoding")
        declared = headers.get("content-length", "0")
        if declared.isdecimal():
            self._refuse_by_size(int(declared))

    def _refuse_by_size(self, size: int) -> None:
        if size > self._limits.upload_bytes:
            raise Refused(413, f"a request may have {self._limits.upload_bytes // 2**20} MB, and this one has more")
        if self.buffered > self._limits.buffered_bytes:
            raise busy()

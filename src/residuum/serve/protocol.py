"""uvicorn's HTTP/1.1 with what it lacks: a deadline for headers, a bound on connections, refusals as JSON."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from residuum.serve.limits import Limits
from residuum.serve.refusal import Refused, error_body

_TOO_MANY = Refused(503, "too many connections: try again in a second", retry=True)


def protocol(limits: Limits) -> type[asyncio.Protocol]:
    """The class that uvicorn makes one of for each connection."""

    class Guarded(H11Protocol):
        _deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > 2 * limits.connections:
                transport.abort()
            elif len(self.connections) > limits.connections:
                self.app = _refuse  # type: ignore[assignment]
            self._expect_headers()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.cycle is not None and not self.cycle.response_complete:
                self._cancel()
            elif self._deadline is None:
                self._expect_headers()

        def on_response_complete(self) -> None:
            self._cancel()  # between requests uvicorn's keep-alive counts, until the first byte of the next
            super().on_response_complete()

        def connection_lost(self, exc: Exception | None) -> None:
            self._cancel()
            super().connection_lost(exc)

        def send_400_response(self, msg: str) -> None:
            if self.transport.is_closing():
                return
            self._say(400, "Bad Request", "this is not a request of HTTP/1.1, or its headers are too long")

        def _unsupported_upgrade_warning(self) -> None:
            """A client that asks for a web socket gets an ordinary answer, and the log no line."""

        def _expect_headers(self) -> None:
            self._deadline = self.loop.call_later(limits.header_seconds, self._too_slow)

        def _cancel(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

        def _too_slow(self) -> None:
            if not self.transport.is_closing():
                self._say(408, "Request Timeout", "the headers of the request came too slowly")

        def _say(self, status: int, phrase: str, sentence: str) -> None:
            """An answer without the parser, which has given up on this connection or has nothing to answer yet."""
            body = error_body(sentence)
            head = f"HTTP/1.1 {status} {phrase}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
            self.transport.write(f"{head}connection: close\r\n\r\n".encode() + body)
            self.transport.close()

    return Guarded


async def _refuse(scope: Any, receive: Any, send: Any) -> None:
    body = _TOO_MANY.body()
    headers = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close"}
    raw = [(name.encode(), value.encode()) for name, value in (headers | _TOO_MANY.headers()).items()]
    await send({"type": "http.response.start", "status": _TOO_MANY.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})

"""What holds for every request, before and after the application: who may ask, how refusals look, what headers say."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from residuum.serve.limits import Limits
from residuum.serve.metrics import Metrics
from residuum.serve.refusal import Refused, busy

GUARDED = ("/v1/", "/metrics")
"""What a token is asked for: answers and figures, not the page that asks for them or the probes."""
WORK = ("/v1/predict", "/v1/explain")
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; object-src 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
FAILED = Refused(500, "the server failed on this request; its own output says more")
_LINGER_BYTES = 64 * 2**20
_LINGER_SECONDS = 3.0
_BUSY_SECONDS = 0.03


class Guard:
    """ASGI middleware.

    token       what `Authorization: Bearer` must say, or None
    loopback    whether only names of this machine are good as Host: a page elsewhere that had its own name point here
                could else read the answers (DNS rebinding)
    full        whether work is refused
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        token: str | None,
        loopback: bool,
        full: Callable[[], bool],
        metrics: Metrics,
        limits: Limits,
    ) -> None:
        self._app, self._loopback, self._full, self._metrics, self._limits = app, loopback, full, metrics, limits
        self._expected = None if token is None else f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["method"] == "HEAD":  # as GET; uvicorn, whose scope is another, sends no body
            scope = {**scope, "method": "GET"}
        began = time.perf_counter()
        exchange = _Exchange(scope, receive, send)
        try:
            if refused := self._refused(scope):
                exchange.linger_seconds = _BUSY_SECONDS if refused.retry else _LINGER_SECONDS
                await exchange.refuse(refused)
            else:
                await self._app(scope, exchange.receive, exchange.send)
        except ClientDisconnect:
            pass
        except Exception:
            logging.getLogger("uvicorn.error").exception("a request failed")
            if not exchange.status:
                await exchange.refuse(FAILED)
        route = scope.get("route")
        path = getattr(route, "path", "other")
        self._metrics.requests.labels(path, exchange.status or "gone").inc()
        self._metrics.seconds.labels(path).observe(time.perf_counter() - began)

    def _refused(self, scope: Scope) -> Refused | None:
        headers, path = Headers(scope=scope), scope["path"]
        size = len(scope["raw_path"]) + len(scope["query_string"]) + sum(len(n) + len(v) + 4 for n, v in headers.raw)
        if size > self._limits.header_bytes:  # the parser minds only what comes in more than one piece
            return Refused(431, f"the address and headers may have {self._limits.header_bytes // 1024} KB together")
        if self._loopback and _name(headers.get("host", "")) not in LOOPBACK_NAMES:
            return Refused(421, "this server answers only under the names localhost and 127.0.0.1")
        if self._expected is not None and path.startswith(GUARDED):
            given = headers.get("authorization", "").encode("latin-1")
            if not hmac.compare_digest(given, self._expected):
                return Refused(401, "a token is needed: send it as Authorization: Bearer TOKEN")
        if path in WORK and scope["method"] == "POST" and self._full():
            return busy()
        return None


def _name(host: str) -> str:
    """A Host header without its port, in lower case."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdecimal() else host).lower()


class _Exchange:
    """One request and its answer: adds headers, and takes in a body that nobody read before it answers.

    A client that is still sending when the connection closes would never see the answer.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        headers = Headers(scope=scope)
        self._unread = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        self._waits = headers.get("expect", "").lower() == "100-continue"
        self.linger_seconds = _LINGER_SECONDS
        self.status = 0

    async def receive(self) -> Message:
        self._waits = False
        message = await self._receive()
        if not message.get("more_body", False):
            self._unread = False
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            if self._unread and self.status != 408:  # which has waited long enough
                await self._linger()
            if self._unread:
                headers["connection"] = "close"
        await self._send(message)

    async def refuse(self, refused: Refused) -> None:
        body = refused.body()
        headers = {"content-type": "application/json", "content-length": str(len(body)), **refused.headers()}
        if refused.status == 401:
            headers["www-authenticate"] = "Bearer"
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        await self.send({"type": "http.response.start", "status": refused.status, "headers": raw})
        await self.send({"type": "http.response.body", "body": body})

    async def _linger(self) -> None:
        if self._waits:  # it asked first, and the answer is no
            return
        size = 0
        try:
            async with asyncio.timeout(self.linger_seconds):
                while self._unread and size < _LINGER_BYTES:
                    size += len((await self.receive()).get("body", b""))
        except TimeoutError:
            pass

"""Running the service: address, token, signals, and an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import uvicorn

from residuum.errors import UserError, shown
from residuum.serve.app import create_app
from residuum.serve.limits import Limits
from residuum.serve.protocol import protocol
from residuum.serve.service import Service

TOKEN = "RESIDUUM_TOKEN"
SHORTEST_TOKEN = 16


class Server(uvicorn.Server):
    """uvicorn's server that, once it has drained after a signal, returns instead of dying of the signal."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def serve(
    models: Sequence[str | Path],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    data: str | None = None,
    token: str | None = None,
    device: str = "auto",
    backend: str | None = None,
    limits: Limits | None = None,
    started: Callable[[str, list[str]], None] = lambda address, names: None,
) -> None:
    """Serve model files until SIGTERM or SIGINT; requests under way are answered first.

    `started(address, names)` is called when requests are answered. Raises UserError for models, data or an address that
    cannot be used, RuntimeError where the engine died on the way.
    """
    limits = limits or Limits()
    settings = {"models": named(models), "data": data, "device": device, "backend": backend}
    with bound(host, port) as listening:
        loopback = ipaddress.ip_address(listening.getsockname()[0]).is_loopback
        asyncio.run(_serve(settings, listening, token, loopback, limits, started))


async def _serve(
    settings: dict,
    listening: socket.socket,
    token: str | None,
    loopback: bool,
    limits: Limits,
    started: Callable[[str, list[str]], None],
) -> None:
    failed = False

    def fail() -> None:
        nonlocal failed
        failed = server.should_exit = True

    service = Service(settings, limits, fail)
    config = uvicorn.Config(
        create_app(service, token=token, loopback=loopback),
        http=protocol(limits),
        ws="none",
        lifespan="off",
        log_level="error",
        access_log=False,
        server_header=False,
        h11_max_incomplete_event_size=limits.header_bytes,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=int(limits.drain_seconds),
    )
    server = Server(config)
    async with service.running():
        with server.capture_signals():  # from the first word on
            listening.listen(1024)
            started(address(listening), [model["name"] for model in service.models])
            await server.serve(sockets=[listening])
    if failed:
        raise RuntimeError("the engine ended unexpectedly")


@contextlib.contextmanager
def bound(host: str, port: int) -> Iterator[socket.socket]:
    """A socket at this address that does not listen yet; UserError where it cannot be had."""
    where = f"{shown(host)} port {port}"
    if not 0 <= port <= 65535:
        raise UserError(f"there is no port {port}: give one from 1 to 65535, or 0 for any free one")
    try:
        family, kind, number, _, target = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, number)
    except (OSError, UnicodeError):
        raise UserError(f"--host {shown(host)} is no address of this machine; leave it out for 127.0.0.1") from None
    with listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(target)
        except OSError as error:
            raise UserError(
                f"cannot serve at {where}: {error.strerror or error}; choose another --port (0 takes any free one), "
                "or another --host"
            ) from None
        yield listening


def address(listening: socket.socket) -> str:
    """http://HOST:PORT of a bound socket."""
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def named(models: Sequence[str | Path]) -> list[tuple[str, str]]:
    """(path, name) of each model file: the name of its run where it is a run's, else its own; no name twice."""
    found: dict[str, str] = {}
    for path in models:
        whole = Path(path).absolute()
        stem = shown(whole.parent.name if whole.name == "model.safetensors" and whole.parent.name else whole.stem)
        name, number = stem, 2
        while name in found:
            name, number = f"{stem}-{number}", number + 1
        found[name] = str(path)
    return [(path, name) for name, path in found.items()]


def read_token(file: Path | None) -> str | None:
    """The token of a file, else of the environment variable, else None. It is never given on the command line."""
    if file is not None:
        source = f"the token file {shown(file)}"
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise UserError(f"cannot read {source}: {getattr(error, 'strerror', None) or 'it is not text'}") from None
    elif TOKEN in os.environ:
        source, text = f"the environment variable {TOKEN}", os.environ[TOKEN]
    else:
        return None
    token = text.strip()
    if len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise UserError(
            f"{source} must hold one token of at least {SHORTEST_TOKEN} letters, digits or signs; "
            "`openssl rand -hex 32` makes one"
        )
    return token

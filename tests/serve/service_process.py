"""`residuum serve` as a process of its own, and a client that speaks plain HTTP to it."""

from __future__ import annotations

import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

WITH_LIMITS = """
import json, sys
from residuum.serve.limits import Limits
from residuum.serve.running import serve
def started(address, names):
    print(json.dumps({"address": address, "models": names}), flush=True)
serve(json.loads(sys.argv[2]), port=0, limits=Limits(**json.loads(sys.argv[1])), started=started)
"""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    def error(self) -> str:
        """The one sentence of a refusal, which must tell nothing about the machine."""
        document = self.json()
        assert list(document) == ["error"], document
        sentence = document["error"]
        assert sentence
        assert "\n" not in sentence
        for secret in ("Traceback", "0x", " at /", "site-packages", 'File "', "/tmp", "/home"):
            assert secret not in sentence, sentence
        return sentence


@dataclass
class Service:
    """A running server."""

    process: subprocess.Popen[str]
    port: int
    models: list[str]

    def connect(self, timeout: float = 60.0) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout)

    def ask(
        self,
        path: str,
        body: bytes | Iterable[bytes] | None = None,
        *,
        method: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            chunked = body is not None and not isinstance(body, bytes)
            connection.request(
                method or ("GET" if body is None else "POST"), path, body, dict(headers or {}), encode_chunked=chunked
            )
            return read(connection.getresponse())
        finally:
            connection.close()

    def predict(self, *files: tuple[str, bytes], query: str = "") -> Answer:
        body, headers = form(files)
        return self.ask(f"/v1/predict{query}", body, headers=headers)

    def raw(self, *pieces: bytes, end: bool = False) -> Answer:
        """Whatever bytes, and the answer to them."""
        with self.connect() as connection:
            for piece in pieces:
                connection.sendall(piece)
            if end:
                connection.shutdown(socket.SHUT_WR)
            response = http.client.HTTPResponse(connection)
            response.begin()
            return read(response)

    def works(self) -> bool:
        return self.ask("/v1/predict", png()).status == 200

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def children(self) -> list[int]:
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(number) for number in listed.split()]


def read(response: http.client.HTTPResponse) -> Answer:
    return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())


def form(files: Sequence[tuple[str, bytes]], field: str = "file") -> tuple[bytes, dict[str, str]]:
    """A multipart body and its Content-Type, as curl and browsers send them."""
    boundary = uuid.uuid4().hex
    body = io.BytesIO()
    for name, content in files:
        quoted = name.replace("\\", "\\\\").replace('"', '\\"')
        body.write(f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"; filename="{quoted}"\r\n'.encode())
        body.write(b"Content-Type: application/octet-stream\r\n\r\n" + content + b"\r\n")
    body.write(f"--{boundary}--\r\n".encode())
    return body.getvalue(), {"Content-Type": f"multipart/form-data; boundary={boundary}"}


def encoded(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def png(width: int = 16, height: int = 16, mode: str = "RGB") -> bytes:
    """A plain picture."""
    return encoded(Image.new(mode, (width, height), 90 if mode == "L" else (200, 90, 30, 255)[: len(mode)]))


@contextmanager
def serving(*arguments: object, environment: Mapping[str, str] | None = None) -> Iterator[Service]:
    """`residuum serve ARGUMENTS --port 0`, ended at the end if it has not ended before."""
    command = ["-m", "residuum", "serve", *map(os.fspath, map(str, arguments)), "--port", "0", "--json"]
    with _started(command, environment) as service:
        yield service


@contextmanager
def limited(models: Sequence[Path], **limits: float) -> Iterator[Service]:
    """A server with other limits."""
    command = ["-c", WITH_LIMITS, json.dumps(limits), json.dumps([str(model) for model in models])]
    with _started(command, None) as service:
        yield service


@contextmanager
def _started(command: list[str], environment: Mapping[str, str] | None) -> Iterator[Service]:
    process = subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.PIPE, text=True, env=os.environ | dict(environment or {})
    )
    assert process.stdout is not None
    try:
        text = ""
        while not text.rstrip().endswith("}"):
            line = process.stdout.readline()
            assert line, f"ended with {process.wait()}"
            text += line
        said = json.loads(text)
        yield Service(process, int(said["address"].rpartition(":")[2]), said["models"])
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        process.stdout.close()

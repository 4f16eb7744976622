"""What the service refuses: with a status of 4xx or 503 and one sentence, quickly, and without harm to anyone else."""

from __future__ import annotations

import asyncio
import gzip
import socket
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from service_process import Answer, Service, encoded, form, limited, png

from residuum.serve.app import create_app
from residuum.serve.limits import Limits
from residuum.serve.service import Service as Work

LONG_NAME = "X-Long: " + "a" * 20_000
HEAD = "POST /v1/predict HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture(scope="module")
def strict(model_file: Path) -> Iterator[Service]:
    """A server with so little time and memory that tests need not wait."""
    limits = {"header_seconds": 0.5, "idle_seconds": 0.5, "body_seconds": 1.5, "decode_seconds": 1.0, "decoders": 1,
              "decode_bytes": 200 * 2**20, "connections": 6}  # fmt: skip
    with limited([model_file], **limits) as running:
        yield running


def png_of(width: int, height: int) -> bytes:
    """A PNG of any size, written without ever holding its pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(1)
    rows = b"".join(packer.compress(b"\0" + b"\x7f" * width * 3) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


JUNK = {
    "nothing": b"",
    "one byte": b"\xff",
    "html": b"<html><body>404</body></html>",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    "pdf": b"%PDF-1.7 ...",
    "zip": b"PK\x03\x04" + b"\0" * 100,
    "gzip": gzip.compress(png()),
    "heic": b"\0\0\0\x18ftypheic" + b"\0" * 100,
    "cut png": png()[:40],
    "cut jpeg": encoded(Image.new("RGB", (64, 64)), "JPEG")[:300],
    "empty gif": b"GIF89a" + b"\0" * 50,
    "bad tiff": b"II*\0\xff\xff\xff\xff" + b"\0" * 50,
    "bad webp": b"RIFF\xff\xff\xff\xffWEBPVP8 " + b"\xff" * 50,
    "bad jp2": b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0" * 50,
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
    "pickle": b"\x80\x04\x95\x00\x00",
}


@pytest.mark.parametrize("name", JUNK)
def test_junk(name: str, service: Service) -> None:
    for answer in (service.ask("/v1/predict", JUNK[name]), service.predict((name, JUNK[name]))):
        assert answer.status == 422
        assert answer.error().startswith("the picture cannot be read: ")


def test_uploads_over_ten_megabytes(service: Service) -> None:
    big = bytes(10 * 2**20 + 1)
    refusals = [
        service.ask("/v1/predict", big),
        service.ask("/v1/predict", (big[at : at + 2**16] for at in range(0, len(big), 2**16))),  # chunked
        service.predict(("big.png", big)),
        service.predict(("a.png", png()), ("big.png", big)),
        service.ask("/v1/explain", big),
        service.raw(f"{HEAD}Content-Length: 99999999999\r\nExpect: 100-continue\r\n\r\n".encode()),
    ]
    for answer in refusals:
        assert answer.status == 413
        assert answer.error() == "a request may have 10 MB, and this one has more"
    inside = png() + bytes(10 * 2**20 - 4096)
    assert service.ask("/v1/predict", inside).status == 200


def test_a_client_that_asks_before_it_sends(service: Service) -> None:
    body = png()
    with service.connect() as connection:
        connection.sendall(f"{HEAD}Content-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n".encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 100")
        connection.sendall(body)
        assert connection.recv(100).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "gzip, gzip", "identity, gzip", "x"])
def test_compressed_bodies(coding: str, service: Service) -> None:
    answer = service.ask("/v1/predict", gzip.compress(bytes(2**20)), headers={"Content-Encoding": coding})
    assert answer.status == 415
    assert "Content-Encoding" in answer.error()


SIZES = [
    (5001, 5000, "million"),
    (11000, 11000, "million"),
    (65000, 65000, "over the limit"),  # of everything here that decodes
    (500, 5, "too long and narrow"),
    (1, 21, "too long and narrow"),
]


@pytest.mark.parametrize(("width", "height", "reason"), SIZES)
def test_sizes_are_refused_from_the_header(width: int, height: int, reason: str, service: Service) -> None:
    short = png_of(width, 1)
    header = short[12:20] + struct.pack(">I", height) + short[24:29]
    lying = short[:12] + header + struct.pack(">I", zlib.crc32(header)) + short[33:]
    answer = service.ask("/v1/predict", lying)
    assert answer.status in (413, 422)
    assert reason in answer.error()


def test_the_largest_picture_is_read(service: Service) -> None:
    assert service.ask("/v1/predict", png_of(5000, 5000)).status == 200
    assert service.ask("/v1/predict", png(20, 1)).status == 200


def parts(count: int, *, names: bool) -> tuple[bytes, dict[str, str]]:
    name = '; filename="x.png"' if names else ""
    part = f'--b\r\nContent-Disposition: form-data; name="f"{name}\r\n\r\n'.encode()
    return (part + b"x\r\n") * count + b"--b--\r\n", {"Content-Type": "multipart/form-data; boundary=b"}


def broken_forms() -> dict[str, tuple[bytes, dict[str, str]]]:
    body, headers = form([("a.png", png())])
    many = b"--b\r\n" + b"X-A: b\r\n" * 100_000 + b"\r\nx\r\n--b--\r\n"
    endless = b"--b\r\nContent-Disposition: " + b"a" * 9_000_000
    of_b = {"Content-Type": "multipart/form-data; boundary=b"}
    return {
        "thousands of files": parts(5000, names=True),
        "thousands of fields": parts(5000, names=False),
        "17 pictures": form([("a.png", png())] * 17),
        "no file": parts(1, names=False),
        "no part": (b"--b--\r\n", of_b),
        "nothing": (b"", of_b),
        "half": (body[:-40], headers),
        "other boundary": (body, of_b),
        "no boundary": (body, {"Content-Type": "multipart/form-data"}),
        "long boundary": (body, {"Content-Type": "multipart/form-data; boundary=" + "b" * 5000}),
        "mixed": (body, {"Content-Type": headers["Content-Type"].replace("form-data", "mixed")}),
        "thousands of headers": (many, of_b),
        "an endless header": (endless, of_b),
        "line ends": (b"\r\n" * 4_000_000, of_b),
        "boundaries that are none": (b"--b\r\n\r\n" + b"\r\n--bx" * 1_500_000, of_b),
    }


FORMS = broken_forms()


@pytest.mark.parametrize("name", FORMS)
def test_forms_made_to_hurt(name: str, service: Service) -> None:
    body, headers = FORMS[name]
    answer = service.ask("/v1/predict", body, headers=headers)
    assert answer.status in (400, 413, 422), answer
    assert answer.error()
    assert service.works()


@pytest.mark.parametrize(
    "head",
    ["GET / HTTP/1.1\r\nHost: localhost\r\n" + LONG_NAME + "\r\n\r\n", "GET /" + "a" * 20_000 + " HTTP/1.1\r\n\r\n",
     "GET / HTTP/1.1\r\n\r\n", "NONSENSE\r\n\r\n", "\x16\x03\x01\0\0\r\n\r\n",
     HEAD + "Content-Length: -5\r\n\r\n", HEAD + "Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
     HEAD + "Transfer-Encoding: gzip\r\n\r\n", HEAD + "Transfer-Encoding: chunked\r\n\r\nzz\r\n",
     "GET / HTTP/1.1\r\nHost: localhost\r\n" + "A: b\r\n" * 5000 + "\r\n"],
    ids=lambda head: head[:60],
)  # fmt: skip
def test_broken_requests(head: str, service: Service) -> None:
    answer = service.raw(head.encode("latin-1"))
    assert 400 <= answer.status < 600
    assert answer.status != 500
    assert answer.error()


def test_clients_that_leave(service: Service) -> None:
    body, headers = form([("a.png", png())])
    head = f"{HEAD}Content-Type: {headers['Content-Type']}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    for sent in (b"", head[:30], head, head + body[:50], head + body):
        for linger in (None, struct.pack("ii", 1, 0)):  # closed in order, and cut with a reset
            connection = service.connect()
            if linger:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            connection.sendall(sent)
            connection.close()
    assert service.works()
    end = time.monotonic() + 20
    while b"residuum_upload_bytes 0.0" not in service.ask("/metrics").body:
        assert time.monotonic() < end
        time.sleep(0.05)


def test_headers_that_come_too_slowly(strict: Service) -> None:
    for start in (b"", b"POST /v1/predict HT", b"GET / HTTP/1.1\r\nHost: localhost\r\n"):
        began = time.monotonic()
        with strict.connect() as connection:
            connection.sendall(start)
            answer = connection.makefile("rb").read()
        assert time.monotonic() - began < 10
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert answer.endswith(b'{"error": "the headers of the request came too slowly"}')


def test_headers_that_trickle_on_a_connection_kept_open(strict: Service) -> None:
    request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with strict.connect() as connection:
        connection.sendall(request)
        arrived = b""
        while not arrived.endswith(b"}"):
            arrived += connection.recv(4096)
        answer = b""
        for _ in range(100):
            connection.sendall(b"G")
            time.sleep(0.1)
            if answer := _arrived(connection):
                break
        assert answer.startswith(b"HTTP/1.1 408 ")


def _arrived(connection: socket.socket) -> bytes:
    connection.setblocking(False)
    try:
        return connection.recv(4096)
    except BlockingIOError:
        return b""
    finally:
        connection.setblocking(True)


@pytest.mark.parametrize("pause", [0.1, 1.0], ids=["drop by drop", "stopped"])
def test_bodies_that_come_too_slowly(pause: float, strict: Service) -> None:
    with strict.connect() as connection:
        connection.sendall(f"{HEAD}Content-Length: 100000\r\n\r\n".encode())
        answer = b""
        for _ in range(100):
            if answer := _arrived(connection):
                break
            connection.sendall(b"x")
            time.sleep(pause)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"too slowly" in answer
    assert strict.works()


def test_slow_clients_keep_nobody_from_an_answer(strict: Service) -> None:
    slow = [strict.connect() for _ in range(4)]
    for connection in slow:
        connection.sendall(f"{HEAD}Content-Length: 100000\r\n\r\nabc".encode())
    assert strict.works()
    for connection in slow:
        connection.close()


def test_more_connections_than_allowed(strict: Service) -> None:
    idle = [strict.connect() for _ in range(7)]
    time.sleep(0.1)
    answer = strict.ask("/healthz")
    assert answer.status == 503
    assert answer.headers["retry-after"] == "1"
    assert "connections" in answer.error()
    for connection in idle:
        connection.close()
    time.sleep(0.1)
    assert strict.works()


def test_a_picture_that_takes_too_much_memory_or_time(strict: Service) -> None:
    sizes = png_of(5000, 5000), encoded(Image.new("RGBA", (4900, 4900), (1, 2, 3, 4)))
    for picture in sizes:
        answer = strict.ask("/v1/predict", picture)
        assert answer.status == 422
        assert "memory" in answer.error() or "takes more than" in answer.error()
        assert strict.works()


def test_decoding_has_a_time_limit(strict: Service) -> None:
    """A progressive JPEG whose scans repeat: of an even picture they are short, so that 8 MB hold a thousand rounds."""
    picture = encoded(Image.new("L", (2000, 2000), 128), "JPEG", progressive=True, quality=5)
    start = picture.index(b"\xff\xda")
    second = picture.index(b"\xff\xda", start + 2)
    scans = picture[second:-2]
    bomb = picture[:-2] + scans * max((8 * 2**20 - len(picture)) // len(scans), 1) + picture[-2:]
    began = time.monotonic()
    answer = strict.ask("/v1/predict", bomb)
    assert time.monotonic() - began < 30
    assert answer.status == 422
    assert "more than 1 seconds" in answer.error()
    assert strict.works()


def test_a_fault_of_our_own_is_one_sentence_too(caplog: pytest.LogCaptureFixture) -> None:
    service = Work({"models": [], "data": None, "device": "cpu"}, Limits(), lambda: None)
    app = create_app(service)  # no model is loaded: asking for one breaks
    sent: list[dict] = []

    async def receive() -> dict:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/v1/model", "raw_path": b"/v1/model", "query_string": b"",
             "headers": [(b"host", b"localhost")], "http_version": "1.1", "scheme": "http"}  # fmt: skip
    asyncio.run(app(scope, receive, send))  # type: ignore[arg-type]
    head, body = sent
    assert head["status"] == 500
    assert Answer(500, {}, body["body"]).error().startswith("the server failed")
    assert "IndexError" in caplog.text  # for whoever runs the server

"""Every number that bounds the service."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What one request, one client and all of them together may take."""

    upload_bytes: int = 10 * 2**20
    "The body of one request."
    pictures: int = 16
    "Pictures in one request."
    pixels: int = 25_000_000
    "Pixels of one picture, read from its header before anything of its size is allocated."
    aspect: int = 20
    "The longer side over the shorter one."
    decode_seconds: float = 10.0
    "For the pictures of one request; then their decoder is killed."
    decode_bytes: int = 2**30
    "Memory of a decoder beyond what it needs to start."
    decoders: int = max(1, min(4, os.cpu_count() or 1))
    "Processes that decode."
    batch: int = 32
    "Pictures computed at once."
    requests: int = 64
    "Requests between the end of their upload and their answer; more are refused with 503."
    buffered_bytes: int = 256 * 2**20
    "Uploads in memory, all together."
    connections: int = 512
    "Open connections; requests on more are refused with 503, and from twice as many on they are cut."
    header_bytes: int = 16 * 2**10
    "The request line and headers."
    header_seconds: float = 10.0
    "From the first byte (or the connection) to the end of the headers."
    idle_seconds: float = 5.0
    "Between two pieces of a body."
    body_seconds: float = 20.0
    "For the whole body."
    drain_seconds: float = 60.0
    "After SIGTERM, for the answers under way."

"""Refusals: a status of HTTP and one sentence, always as {"error": ...}."""

from __future__ import annotations

import json


class Refused(Exception):
    """A request that gets no answer but a sentence; `retry` tells the client to come again in a second."""

    def __init__(self, status: int, sentence: str, retry: bool = False) -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.retry = status, sentence, retry

    def headers(self) -> dict[str, str]:
        return {"retry-after": "1"} if self.retry else {}

    def body(self) -> bytes:
        return error_body(self.sentence)


def error_body(sentence: str) -> bytes:
    return json.dumps({"error": sentence}).encode()


def busy() -> Refused:
    return Refused(503, "the server is busy: try again in a second", retry=True)

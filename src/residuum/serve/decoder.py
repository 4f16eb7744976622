"""The decoder process: the body of a request becomes pixels as the network takes them, or a sentence.

It reads what strangers send, so it can do nothing else: no torch, no weights, bounded memory (here) and time (the
server kills it). Each picture is checked alone: first its header, then its pixels.
"""

from __future__ import annotations

import contextlib
import json
import math
import sys
from functools import cache
from typing import Any

import numpy as np

from residuum.data.decoding import Unreadable, as_channels, opened, pixels_of
from residuum.data.preprocessing import Preprocessing, resample, view
from residuum.errors import UserError
from residuum.serve.frames import Channel
from residuum.serve.limits import Limits
from residuum.serve.multipart import BadForm, files_of, is_form

WHOLE_SIDE = 1024
"""A picture that is wanted whole is made no larger than this."""


class Refusal(Exception):
    """Why a picture or a body is not taken: a status of HTTP and a sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence


def main() -> None:
    limits = Limits(**json.loads(sys.argv[1]))
    channel = Channel()
    _bound_memory(limits.decode_bytes)
    for header, body in channel:
        try:
            reply, arrays = read(header, body, limits)
        except Refusal as refusal:
            reply, arrays = {"status": refusal.status, "error": refusal.sentence}, []
        channel.send(reply, arrays)


def read(header: dict[str, Any], body: bytes, limits: Limits) -> tuple[dict[str, Any], list[np.ndarray]]:
    """The pictures of a body: {"pictures": [{"image", "shape"} or {"image", "status", "error"}, ...]} and their pixels.

    `header` is {"type": its Content-Type, "preprocessing", "whole"}: pixels are the network's view, uint8 (H, W, C), or
    with `whole` the whole picture, made smaller where it is large. Raises Refusal where the body holds no pictures.
    """
    found: list[dict[str, Any]] = []
    arrays: list[np.ndarray] = []
    for name, content in _contents(header["type"], body, limits):
        try:
            pixels = _pixels(content, _preprocessing(json.dumps(header["preprocessing"])), header["whole"], limits)
        except Refusal as refusal:
            found.append({"image": name, "status": refusal.status, "error": refusal.sentence})
        else:
            found.append({"image": name, "shape": pixels.shape})
            arrays.append(pixels)
    return {"pictures": found}, arrays


def _contents(content_type: str, body: bytes, limits: Limits) -> list[tuple[str, bytes]]:
    if not is_form(content_type):
        return [("", body)]
    try:
        files = files_of(body, content_type)
    except BadForm as error:
        raise Refusal(400, str(error)) from None
    if not files:
        raise Refusal(400, "the form has no file: send each picture as a file of the form")
    if len(files) > limits.pictures:
        raise Refusal(413, f"{len(files)} pictures are more than the {limits.pictures} that one request may have")
    return files


def _pixels(content: bytes, preprocessing: Preprocessing, whole: bool, limits: Limits) -> np.ndarray:
    try:
        picture = opened(content)
        _check_size(*picture.size, limits)
        pixels = as_channels(pixels_of(picture), preprocessing.channels)
        return _at_most(pixels, WHOLE_SIDE) if whole else view(pixels, preprocessing)
    except (Unreadable, MemoryError, UserError) as error:
        reason = "not enough memory to decode it" if isinstance(error, MemoryError) else _first_clause(str(error))
        raise Refusal(422, f"the picture cannot be read: {reason}") from None


def _check_size(width: int, height: int, limits: Limits) -> None:
    if width * height > limits.pixels:
        raise Refusal(413, f"{width} x {height} pixels are more than {limits.pixels / 1e6:g} million")
    if max(width, height) > limits.aspect * max(min(width, height), 1):
        raise Refusal(413, f"{width} x {height} pixels are too long and narrow: at most {limits.aspect} to 1")


def _first_clause(reason: str) -> str:
    """What our own decoding says, without what a library may have added (it can name addresses in memory)."""
    head, _, _ = reason.partition(":")
    return head if head.startswith("damaged") else reason


def _at_most(pixels: np.ndarray, side: int) -> np.ndarray:
    height, width = pixels.shape[:2]
    if max(height, width) <= side:
        return pixels
    scale = side / max(height, width)
    return resample(pixels, (max(math.floor(height * scale), 1), max(math.floor(width * scale), 1)))


@cache
def _preprocessing(text: str) -> Preprocessing:
    return Preprocessing.from_dict(json.loads(text))


def _bound_memory(beyond: int) -> None:
    """Limit the address space to what is in use and so much more, where the system can."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        with open("/proc/self/statm") as file:
            used = int(file.read().split()[0]) * resource.getpagesize()
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (used + beyond, hard))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    main()

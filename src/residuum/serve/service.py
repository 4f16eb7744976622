"""The service without HTTP: bodies go to a decoder, their pictures to the engine in batches, answers come back."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any

from residuum.errors import UserError, nearest, shown
from residuum.serve.batching import Batcher
from residuum.serve.child import Child, Gone
from residuum.serve.frames import Message
from residuum.serve.limits import Limits
from residuum.serve.metrics import Metrics
from residuum.serve.refusal import Refused, busy
from residuum.serve.uploads import Uploads

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
# idle threads of the engine must sleep: those that wait actively take the cores of the server and the decoders
PATIENT = {"OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE")}


class Service:
    """Models at work. `async with service.running()`, then `predict` and `explain`.

    settings    what the engine loads: {"models": [[path, name], ...], "data", "device", "backend"}
    on_failure  called when the engine has died, which nothing here mends
    """

    def __init__(self, settings: dict[str, Any], limits: Limits, on_failure: Callable[[], None]) -> None:
        self.limits, self.uploads, self.metrics = limits, Uploads(limits), Metrics()
        self.models: list[dict[str, Any]] = []
        self.ready = False
        self._settings, self._on_failure = settings, on_failure
        self._requests = 0
        self._engine = Child("residuum.serve.engine", environment=PATIENT)
        self._batcher = Batcher(self._compute, lambda key: limits.batch if key[0] == "predict" else 1)
        self._decoders: asyncio.Queue[Child] = asyncio.Queue()
        self.metrics.watch("residuum_requests_in_progress", "Requests past their upload.", lambda: self._requests)
        self.metrics.watch(
            "residuum_pictures_waiting", "Pictures that wait for the engine.", lambda: len(self._batcher)
        )
        self.metrics.watch("residuum_upload_bytes", "Uploads in memory.", lambda: self.uploads.buffered)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The children started and the models loaded; UserError where they cannot be."""
        decoders = [self._decoder() for _ in range(self.limits.decoders)]
        computing = None
        try:
            await self._load()
            await asyncio.gather(*(self._add(decoder) for decoder in decoders))
            computing = asyncio.create_task(self._batcher.run())
            self.ready = True
            yield
        finally:
            self.ready = False
            if computing is not None:
                computing.cancel()
            await asyncio.gather(*(child.close() for child in (*decoders, self._engine)))

    @property
    def full(self) -> bool:
        """Whether another request would be one too many."""
        return self._requests >= self.limits.requests

    def model(self, name: str | None) -> int:
        """The place of a model; the first one by default. Raises Refused."""
        names = [model["name"] for model in self.models]
        if name is None:
            return 0
        if name not in names:
            raise Refused(404, f'there is no model "{shown(name)[:100]}"; {nearest(name[:100], names)}')
        return names.index(name)

    async def predict(self, model: int, top: int, content_type: str, body: bytes) -> list[dict[str, Any]]:
        """For each picture of the body {"image", "predictions"} or, beside others that can be read, {"image", "error"}.

        Raises Refused where no picture can be answered.
        """
        found = await self._answers("predict", model, top, content_type, body)
        self.metrics.pictures.labels(self.models[model]["name"]).inc(sum("error" not in answer for answer in found))
        return found

    async def explain(self, model: int, wanted: str | None, content_type: str, body: bytes) -> dict[str, Any]:
        """Overlay and nearest examples of the one picture of the body; raises Refused."""
        found = await self._answers("explain", model, wanted, content_type, body)
        if len(found) != 1:
            raise Refused(400, "one picture at a time can be explained")
        return found[0]

    async def _answers(
        self, task: str, model: int, wish: object, content_type: str, body: bytes
    ) -> list[dict[str, Any]]:
        if self.full:
            raise busy()
        self._requests += 1
        try:
            pictures, pixels = await self._decode(model, content_type, body, whole=task == "explain")
            if task == "explain" and len(pictures) > 1:
                raise Refused(400, "one picture at a time can be explained")
            if all("error" in picture for picture in pictures):
                raise Refused(pictures[0]["status"], _of_all(pictures))
            return await self._computed(task, model, wish, pictures, memoryview(pixels))
        finally:
            self._requests -= 1

    async def _computed(
        self, task: str, model: int, wish: object, pictures: list[dict[str, Any]], pixels: memoryview
    ) -> list[dict[str, Any]]:
        asked: list[Any] = []
        at = 0
        for picture in pictures:
            if "error" in picture:
                asked.append(_itself({"image": picture["image"], "error": picture["error"]}))
                continue
            height, width, channels = picture["shape"]
            item = (picture["shape"], pixels[at : at + height * width * channels], wish)
            at += height * width * channels
            asked.append(self._batcher.answer((task, model), item))
        found = await asyncio.gather(*asked)
        return [answer | {"image": picture["image"]} for picture, answer in zip(pictures, found, strict=True)]

    async def _decode(
        self, model: int, content_type: str, body: bytes, whole: bool
    ) -> tuple[list[dict[str, Any]], bytes]:
        header = {"type": content_type, "preprocessing": self.models[model]["preprocessing"], "whole": whole}
        decoder = await self._decoders.get()
        try:
            reply, pixels = await decoder.ask(header, [body], self.limits.decode_seconds)
        except TimeoutError:
            self.metrics.unreadable.inc()
            limit = f"{self.limits.decode_seconds:g}"
            raise Refused(422, f"the picture cannot be read: decoding it takes more than {limit} seconds") from None
        except Gone:
            self.metrics.unreadable.inc()
            raise Refused(422, "the picture cannot be read: decoding it takes more than is allowed") from None
        finally:
            self._decoders.put_nowait(decoder)
        if "error" in reply:
            raise Refused(reply["status"], reply["error"])
        self.metrics.unreadable.inc(sum("error" in picture for picture in reply["pictures"]))
        return reply["pictures"], pixels

    async def _compute(self, key: tuple[str, int], items: Sequence[Any]) -> Sequence[Any]:
        """A batch through the engine."""
        task, model = key
        shapes, pixels, wishes = zip(*items, strict=True)
        question = {"task": task, "model": model, "shapes": shapes, "wishes": wishes}
        began = time.perf_counter()
        reply, _ = await self._ask_engine(question, pixels)
        self.metrics.compute.inc(time.perf_counter() - began)
        self.metrics.batch.observe(len(items))
        if "error" in reply:
            raise Refused(reply["status"], reply["error"])
        return reply["answers"]

    async def _ask_engine(self, question: dict[str, Any], pixels: Sequence[memoryview]) -> Message:
        if not self.ready:
            raise Refused(503, "the server is stopping")
        try:
            return await self._engine.ask(question, pixels)
        except Gone:
            self.ready = False
            print("residuum: the engine ended unexpectedly (out of memory?); stopping", file=sys.stderr, flush=True)
            self._on_failure()
            raise Refused(503, "the server has failed and is stopping") from None

    async def _load(self) -> None:
        try:
            reply, _ = await self._engine.ask(self._settings)
        except Gone:
            raise UserError("the models could not be loaded: their process ended (out of memory?)") from None
        if "error" in reply:
            raise UserError(reply["error"])
        self.models = reply["models"]

    async def _add(self, decoder: Child) -> None:
        """Start a decoder, and see that it answers."""
        try:
            await decoder.ask({"type": "", "preprocessing": self.models[0]["preprocessing"], "whole": False})
        except Gone:
            raise UserError("pictures cannot be decoded: the process that does it cannot run") from None
        self._decoders.put_nowait(decoder)

    def _decoder(self) -> Child:
        return Child("residuum.serve.decoder", [json.dumps(asdict(self.limits))], ONE_THREAD)


async def _itself(value: dict[str, Any]) -> dict[str, Any]:
    return value


def _of_all(pictures: list[dict[str, Any]]) -> str:
    """The sentence for a body none of whose pictures can be read."""
    if len(pictures) == 1:
        return pictures[0]["error"]
    return f"none of the {len(pictures)} pictures can be read; the first: {pictures[0]['error']}"

"""Dynamic batching: while one batch is computed the next one gathers. Nothing waits for company that has not come."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Job:
    """A picture on its way: what it is batched by, what is computed from, and where the answer goes."""

    key: Hashable
    item: Any
    answer: asyncio.Future[Any] = field(repr=False)


class Batcher:
    """Answers items one batch at a time; a batch is the oldest item and those of its key, oldest first.

    `compute(key, items)` gives one result for each item, `size(key)` is how many it takes at once. The queue grows with
    what is put in: whoever calls `answer` bounds how many do so at once.
    """

    def __init__(
        self, compute: Callable[[Any, Sequence[Any]], Awaitable[Sequence[Any]]], size: Callable[[Any], int]
    ) -> None:
        self._compute, self._size = compute, size
        self._waiting: deque[Job] = deque()
        self._arrived = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    async def answer(self, key: Hashable, item: Any) -> Any:
        """The result for one item; raises what `compute` raised on its batch."""
        job = Job(key, item, asyncio.get_running_loop().create_future())
        self._waiting.append(job)
        self._arrived.set()
        return await job.answer

    async def run(self) -> None:
        """Compute for ever."""
        while True:
            await self._arrived.wait()
            batch = self._next()
            if not batch:  # whoever asked has gone
                continue
            try:
                results = await self._compute(batch[0].key, [job.item for job in batch])
                for job, result in zip(batch, results, strict=True):
                    if not job.answer.done():
                        job.answer.set_result(result)
            except Exception as error:
                for job in batch:
                    if not job.answer.done():
                        job.answer.set_exception(error)

    def _next(self) -> list[Job]:
        key = self._waiting[0].key
        batch: list[Job] = []
        others: deque[Job] = deque()
        size = self._size(key)
        while self._waiting and len(batch) < size:
            job = self._waiting.popleft()
            if not job.answer.done():
                (batch if job.key == key else others).append(job)
        self._waiting.extendleft(reversed(others))
        if not self._waiting:
            self._arrived.clear()
        return batch

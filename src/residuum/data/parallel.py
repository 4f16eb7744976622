"""Work on threads with its results in order, so that the number of workers changes nothing but the time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Key = TypeVar("Key")
Result = TypeVar("Result")


def ordered(
    work: Iterable[tuple[Key, Sequence[Callable[[], Result]]]], workers: int, ahead: int = 2
) -> Generator[tuple[Key, list[Result]]]:
    """Each key with the results of its calls, which run on `workers` threads (0: in this one).

    `ahead` further keys are under way while one is used. Closing the iterator, or an exception, drops what
    has not begun; nothing has to be waited for.
    """
    if workers == 0:
        for key, calls in work:
            yield key, [call() for call in calls]
        return
    pool = ThreadPoolExecutor(workers, thread_name_prefix="residuum-data")
    waiting: deque[tuple[Key, list[Future[Result]]]] = deque()
    try:
        for key, calls in work:
            waiting.append((key, [pool.submit(call) for call in calls]))
            if len(waiting) > ahead:
                done, futures = waiting.popleft()
                yield done, [future.result() for future in futures]
        while waiting:
            done, futures = waiting.popleft()
            yield done, [future.result() for future in futures]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)

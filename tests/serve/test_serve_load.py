"""More than it can do: nobody gets another's answer, nobody waits for nothing, and it recovers."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from service_process import Service, encoded, form, limited, png

from residuum.inference import Model
from residuum.serve.batching import Batcher
from samples import picture


def known(model: Model, count: int) -> list[tuple[bytes, list[dict]]]:
    """Pictures, and what the model says of each."""
    pictures = [picture(16, 16, seed, seed / count) for seed in range(count)]
    answers = [model.predict(each, top=3)[0]["predictions"] for each in pictures]
    assert len({json.dumps(answer) for answer in answers}) == count  # all can be told apart
    return [(encoded(each), answer) for each, answer in zip(pictures, answers, strict=True)]


def agrees(found: list[dict], expected: list[dict]) -> bool:
    return all(
        one["class"] == other["class"] and abs(one["probability"] - other["probability"]) < 1e-6
        for one, other in zip(found, expected, strict=True)
    )


def test_ten_times_too_many_requests(model_file: Path, model: Model) -> None:
    pictures = known(model, 40)
    poison = form([("poison.png", b"\x89PNG\r\n\x1a\n junk")])
    counts: Counter[object] = Counter()
    with limited([model_file], requests=4) as service:

        def client(number: int) -> None:
            connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
            for turn in range(12):
                content, expected = pictures[(number * 7 + turn) % len(pictures)]
                bad = turn % 4 == 3
                body, headers = poison if bad else form([(f"{number}-{turn}", content)])
                connection.request("POST", "/v1/predict", body, headers)
                response = connection.getresponse()
                answer = json.loads(response.read())
                if response.status == 200:
                    (found,) = answer
                    counts["right" if not bad and found["image"] == f"{number}-{turn}" else "swapped"] += 1
                    counts["wrong"] += not agrees(found["predictions"], expected)
                elif response.status == 503:
                    assert response.headers["Retry-After"] == "1"
                    assert "busy" in answer["error"]
                    counts[503] += 1
                else:
                    assert (response.status, bad) == (422, True), answer
                    counts[422] += 1
            connection.close()

        with ThreadPoolExecutor(40) as pool:
            list(pool.map(client, range(40)))
        assert sum(counts[key] for key in ("right", "swapped", 503, 422)) == 480
        assert counts["swapped"] == counts["wrong"] == 0
        assert min(counts["right"], counts[503], counts[422]) > 0, counts
        assert service.works()
        assert b"residuum_requests_in_progress 0.0" in service.ask("/metrics").body


def resident(service: Service) -> int:
    """Bytes of the server and its children."""
    pages = 0
    for number in (service.process.pid, *service.children()):
        pages += int(Path(f"/proc/{number}/statm").read_text().split()[1])
    return pages * 4096


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_memory_stays_flat_over_thousands_of_requests(service: Service) -> None:
    """What one request leaves behind would show a thousandfold."""
    body, headers = form([("a.png", png(200, 200)), ("b.jpg", b"junk")])

    def ask(times: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
        for _ in range(times):
            connection.request("POST", "/v1/predict", body, headers)
            assert connection.getresponse().read().startswith(b"[")
        connection.close()

    def many(each: int) -> None:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(ask, [each] * 4))

    many(150)
    before = resident(service)
    many(400)
    assert resident(service) - before < 8 * 2**20  # of 190 MB of pixels


def test_a_batch_is_of_one_kind_in_the_order_of_arrival() -> None:
    batches: list[tuple[str, list[int]]] = []

    async def compute(key: str, items: Sequence[int]) -> list[int]:
        batches.append((key, list(items)))
        await asyncio.sleep(0)
        return [10 * item for item in items]

    async def scene() -> list[int]:
        batcher = Batcher(compute, lambda key: 3 if key == "many" else 1)
        asked = [batcher.answer(key, number) for number, key in enumerate(["many"] * 2 + ["one"] * 2 + ["many"] * 3)]
        answers = asyncio.gather(*asked)
        running = asyncio.create_task(batcher.run())
        try:
            return await answers
        finally:
            running.cancel()

    assert asyncio.run(scene()) == [0, 10, 20, 30, 40, 50, 60]
    assert batches == [("many", [0, 1, 4]), ("one", [2]), ("one", [3]), ("many", [5, 6])]


def test_who_leaves_the_queue_costs_nothing_and_a_failed_batch_fails_alone() -> None:
    async def compute(key: str, items: Sequence[int]) -> list[int]:
        if 13 in items:
            raise ValueError("thirteen")
        return list(items)

    async def scene() -> list[object]:
        batcher = Batcher(compute, lambda key: 2)
        tasks = [asyncio.create_task(batcher.answer("", number)) for number in (1, 2, 13, 4, 5)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        running = asyncio.create_task(batcher.run())
        try:
            return list(await asyncio.gather(*tasks, return_exceptions=True))
        finally:
            running.cancel()

    left, *others = asyncio.run(scene())
    assert isinstance(left, asyncio.CancelledError)
    assert [str(other) for other in others] == ["thirteen" if n in (2, 13) else str(n) for n in (2, 13, 4, 5)]


def test_a_refusal_does_not_wait_for_the_answers_before_it(model_file: Path) -> None:
    """While the only place is taken by a client whose picture is decoded for seconds, others hear no at once."""
    from test_serve_limits import png_of

    slow = png_of(5000, 5000)
    with limited([model_file], requests=1) as service, service.connect() as first:
        head = f"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(slow)}\r\n\r\n"
        first.sendall(head.encode() + slow)
        while b"residuum_requests_in_progress 1.0" not in service.ask("/metrics").body:
            time.sleep(0.01)
        assert service.ask("/v1/predict", png()).status == 503
        first.setblocking(False)
        with pytest.raises(BlockingIOError):
            first.recv(1, socket.MSG_PEEK)  # the first is still waiting
        first.setblocking(True)
        assert first.recv(100).startswith(b"HTTP/1.1 200")
        assert service.works()

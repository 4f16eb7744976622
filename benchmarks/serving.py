"""The service under load over loopback: what batching brings, what HTTP costs, how it refuses, whether memory grows.

    python benchmarks/serving.py small       ResNet-20 on 32 x 32 pictures, 32 clients: batches against one by one
    python benchmarks/serving.py large       ResNet-50 on 224 x 224 photos: the service against its network's batches
    python benchmarks/serving.py overload    ten times as many clients as the queue has places: how soon refusals come
    python benchmarks/serving.py memory      resident memory over 100,000 requests

The clients are processes of their own on the same machine and share its cores; weights are random. Needs Linux.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import multiprocessing
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

SERVER = """
import json, sys
from residuum.serve.limits import Limits
from residuum.serve.running import serve
serve([sys.argv[1]], port=0, limits=Limits(**json.loads(sys.argv[2])),
      started=lambda address, names: print(address, flush=True))
"""
Row = tuple[float, float, int]
"""When a request began, how many seconds it took, its status."""


def model_file(folder: Path, name: str, size: int, classes: int) -> Path:
    import residuum
    from residuum.artifact import Artifact, save
    from residuum.data.preprocessing import Preprocessing

    network = residuum.build(name, num_classes=classes, size=size)
    resize = size if size < 64 else round(size / 0.875)
    view = Preprocessing((size, size), resize, 3, (0.5,) * 3, (0.25,) * 3)
    path = folder / f"{name}.safetensors"
    save(Artifact(network.plan.spec, tuple(map(str, range(classes))), view, network.state_dict()), path)
    return path


@contextmanager
def server(model: Path, **limits: float) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    command = [sys.executable, "-c", SERVER, str(model), json.dumps(limits)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline().rpartition(":")[2]), process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def photo(height: int, width: int) -> bytes:
    draws = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, 3)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(draws).resize((width, height), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


async def client(port: int, request: bytes, end: float, left: list[int], pause: float, rows: list[Row]) -> None:
    """One connection, one request after another until the time is over or all are made; waits after a refusal."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.perf_counter() < end and left[0] > 0:
        left[0] -= 1
        began = time.perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        await reader.readexactly(length)
        rows.append((began, time.perf_counter() - began, int(head[9:12])))
        if rows[-1][2] != 200:
            await asyncio.sleep(pause)
    writer.close()


def load(port: int, picture: bytes, clients: int, seconds: float, requests: int, pause: float) -> list[Row]:
    """All clients in this process."""
    head = f"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(picture)}\r\n\r\n"
    rows: list[Row] = []

    async def all_of_them() -> None:
        end, left = time.perf_counter() + seconds, [requests]
        request = head.encode() + picture
        await asyncio.gather(*(client(port, request, end, left, pause, rows) for _ in range(clients)))

    asyncio.run(all_of_them())
    return rows


def measured(
    port: int, picture: bytes, *, clients: int, seconds: float, requests: int = 10**9, pause: float = 0.0
) -> list[Row]:
    """The load from another process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(load, (port, picture, clients, seconds, requests, pause))


def rate(rows: list[Row]) -> float:
    """Answers per second, from the first request to the last answer."""
    good = [row for row in rows if row[2] == 200]
    assert good, "nothing was answered"
    return len(good) / (max(began + took for began, took, _ in good) - min(began for began, _, _ in rows))


def small(folder: Path, seconds: float) -> None:
    model, picture = model_file(folder, "resnet20", 32, 10), photo(32, 32)
    found: dict[str, list[float]] = {"batches": [], "one by one": []}
    for _ in range(3):  # in turn, for the machine may not be ours alone
        for name, batch in (("batches", 32), ("one by one", 1)):
            with server(model, batch=batch) as (port, _process):
                measured(port, picture, clients=32, seconds=1)
                found[name].append(rate(measured(port, picture, clients=32, seconds=seconds)))
                print(f"{name:12} {found[name][-1]:.0f} pictures/s", flush=True)
    ratios = [a / b for a, b in zip(found["batches"], found["one by one"], strict=True)]
    print(f"batches over one by one: median {np.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


def large(folder: Path, seconds: float) -> None:
    model, picture = model_file(folder, "resnet50", 224, 1000), photo(375, 500)
    ratios, busy = [], []
    with server(model) as (port, _process):
        measured(port, picture, clients=32, seconds=1)
        for _ in range(5):  # in turn, for the machine may not be ours alone
            own = own_rate(model, seconds)
            began, computed = time.perf_counter(), compute_seconds(port)
            served = rate(measured(port, picture, clients=32, seconds=seconds))
            busy.append((compute_seconds(port) - computed) / (time.perf_counter() - began))
            ratios.append(served / own)
            print(f"service {served:.2f} pictures/s, the network's own batches {own:.2f}", flush=True)
    print(f"service over own batches: median {np.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    print(f"the engine computed for {100 * float(np.median(busy)):.0f}% of the time")


def compute_seconds(port: int) -> float:
    """How long the engine has worked so far."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("residuum_compute_seconds_total"))


def own_rate(model: Path, seconds: float) -> float:
    """Batches of 32 through the network in a process that does nothing else."""
    script = (
        "import sys, time, torch, residuum\n"
        "from residuum.evaluation.evaluate import logits_of\n"
        "network, x = residuum.load(sys.argv[1]).network, torch.randn(32, 3, 224, 224)\n"
        "logits_of(network, x)\n"
        "began, count = time.perf_counter(), 0\n"
        "while time.perf_counter() - began < float(sys.argv[2]):\n"
        "    logits_of(network, x)\n"
        "    count += 32\n"
        "print(count / (time.perf_counter() - began))\n"
    )
    command = [sys.executable, "-c", script, str(model), str(seconds)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def overload(folder: Path, seconds: float) -> None:
    model, picture = model_file(folder, "resnet20", 32, 10), photo(32, 32)
    with server(model, requests=32) as (port, _process):
        measured(port, picture, clients=32, seconds=1)
        alone = rate(measured(port, picture, clients=32, seconds=seconds))
        rows = measured(port, picture, clients=320, seconds=seconds, pause=1.0)  # they heed Retry-After
        after = rate(measured(port, picture, clients=32, seconds=seconds))
    refused = sorted(took for _, took, status in rows if status == 503)
    kinds = sorted({status for _, _, status in rows})
    print(
        f"32 clients {alone:.0f} pictures/s, 320 clients {rate(rows):.0f}, then 32 again {after:.0f}; statuses {kinds}"
    )
    shares = [1000 * float(np.percentile(refused, share)) for share in (50, 99, 100)]
    print(f"{len(refused)} refusals: half within {shares[0]:.0f} ms, 99% {shares[1]:.0f} ms, all {shares[2]:.0f} ms")


def memory(folder: Path, requests: int) -> None:
    model, picture = model_file(folder, "resnet20", 32, 10), photo(32, 32)
    with server(model) as (port, process):
        began, done = time.perf_counter(), 0
        while done < requests:
            count = min(requests // 10, requests - done)
            statuses = {row[2] for row in measured(port, picture, clients=16, seconds=3600, requests=count)}
            assert statuses == {200}, statuses
            done += count
            sizes = ", ".join(f"{name} {size / 2**20:.1f}" for name, size in resident(process.pid))
            print(f"{done} requests, {done / (time.perf_counter() - began):.0f}/s: MiB {sizes}", flush=True)


def resident(pid: int) -> list[tuple[str, int]]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    named = [("server", str(pid))]
    for child in children:
        words = Path(f"/proc/{child}/cmdline").read_text().split("\0")
        named.append((words[2].rpartition(".")[2], child))
    return [(name, 4096 * int(Path(f"/proc/{number}/statm").read_text().split()[1])) for name, number in named]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["small", "large", "overload", "memory"])
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    parser.add_argument("--requests", type=int, default=100_000, help="of memory")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        if arguments.part == "memory":
            memory(Path(name), arguments.requests)
        else:
            {"small": small, "large": large, "overload": overload}[arguments.part](Path(name), arguments.seconds)


if __name__ == "__main__":
    main()

"""Training in little memory: peak memory and time of a step of ResNet-1202, recipe setting memory=low against normal.

Each measurement is a process of its own; memory is what the process's resident set grew by, at its highest. The network
without it needs 12 GB in float32 at batch 128.

    python benchmarks/memory.py [--batch 128] [--model resnet1202] [--rounds 2] [--json FILE]
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time

from turns import in_turns, options, write


def measure(model: str, batch: int, memory: str) -> dict[str, float]:
    """Gibibytes and seconds of one forward and backward pass in float32, in this process."""
    import numpy as np
    import torch

    import residuum
    from residuum.data.batches import Batch
    from residuum.tasks.classification import Criterion
    from residuum.training.engine import Engine
    from residuum.training.recipe import Recipe

    network = residuum.build(model)
    recipe = Recipe("memory", steps=1, batch_size=batch, memory="low" if memory == "low" else "normal")
    engine = Engine(network, recipe, torch.device("cpu"), torch.float32, Criterion())
    engine.connect()
    engine.train_mode()

    def step(pictures: int) -> None:
        x = torch.randn(pictures, 3, 32, 32).contiguous(memory_format=torch.channels_last)
        y = torch.zeros(pictures, dtype=torch.int64)
        engine.gradients(0, [Batch(x, y, torch.ones(pictures, dtype=torch.bool), np.arange(pictures))])

    step(2)  # weights, gradients and libraries are there before and after
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    step(batch)
    seconds = time.perf_counter() - began
    return {"gib": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20, "seconds": seconds}


def main() -> None:
    parser = options(__doc__, 2)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--model", default="resnet1202")
    parser.add_argument("--one", choices=["low", "normal"], help="measure one of the two in this process")
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.model, arguments.batch, arguments.one)))
        return
    own = [sys.executable, __file__, "--batch", str(arguments.batch), "--model", arguments.model, "--one"]

    large_pages = {**os.environ, "THP_MEM_ALLOC_ENABLE": "1"}  # as in `residuum train`

    def found(memory: str) -> dict[str, float]:
        done = subprocess.run([*own, memory], check=True, capture_output=True, text=True, env=large_pages)
        return json.loads(done.stdout)

    low = [found("low") for _ in range(arguments.rounds)]
    normal = [found("normal") for _ in range(arguments.rounds)]
    work = f"{arguments.model}, batch {arguments.batch}, forward and backward"
    rows = []
    for what, unit, target in (("gib", "GiB", 1 / 8), ("seconds", "s", 1.4)):
        mine, theirs = iter(low), iter(normal)
        rows.append(
            in_turns(
                f"{work}, memory=low", lambda m=mine, w=what: next(m)[w], lambda t=theirs, w=what: next(t)[w],
                unit=unit, against="memory=normal", rounds=arguments.rounds, target=target, better="less",
            )
        )  # fmt: skip
    write(arguments.json, rows)


if __name__ == "__main__":
    main()

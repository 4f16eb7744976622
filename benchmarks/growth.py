"""Cost grows in proportion to depth, pixels and pictures: time and memory of a training step, images/s by set size.

Also how fast this machine multiplies matrices, the arithmetic limit, and what share of it training comes to.

    python benchmarks/growth.py [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import residuum
from residuum.data.augment import Augment
from residuum.data.batches import Batch, TrainBatches
from residuum.data.manifest import Manifest
from residuum.data.pictures import ArrayPictures
from residuum.data.preprocessing import Preprocessing
from residuum.devices import describe_environment, pick_precision
from residuum.tasks.classification import Criterion
from residuum.training.engine import Engine
from residuum.training.recipe import Recipe

CPU = torch.device("cpu")
DEPTHS, SIDES, PICTURES = (20, 56, 110, 218, 434, 1202), (16, 32, 64, 128), (1_000, 5_000, 20_000, 50_000)
BATCH, ROUNDS = 16, 5
VIEW = Preprocessing((32, 32), 32, 3, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def median_seconds(call: Callable[[], object], rounds: int = ROUNDS) -> float:
    call()
    found = []
    for _ in range(rounds):
        began = time.perf_counter()
        call()
        found.append(time.perf_counter() - began)
    return statistics.median(found)


def engine(depth: int) -> Engine:
    network = residuum.build("resnet20", depth=depth)
    made = Engine(network, Recipe("growth", steps=1), CPU, pick_precision("auto", CPU), Criterion())
    made.connect()
    made.train_mode()
    return made


def step(of: Engine, batch: int, side: int) -> Callable[[], object]:
    x = torch.randn(batch, 3, side, side).contiguous(memory_format=torch.channels_last)
    pieces = [Batch(x, torch.zeros(batch, dtype=torch.int64), torch.ones(batch, dtype=torch.bool), np.arange(batch))]
    return lambda: of.gradients(0, pieces)


def saved_bytes(of: Engine, call: Callable[[], object]) -> int:
    """What a forward pass keeps for the gradients."""
    total, weights = 0, {each.data_ptr() for each in of.network.parameters()}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal total
        total += 0 if tensor.data_ptr() in weights else tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        call()
    return total


def line(name: str, rows: list[dict[str, Any]], key: str, value: str) -> None:
    """The table, each row with its value for a unit of the key: constant where cost is proportional."""
    print(f"{name}: {value} by {key}")
    for row in rows:
        print(f"  {row[key]:>8}  {row[value]:>12.4g}  {row[value] / row[key]:>12.4g} each")


def manifest(count: int) -> Manifest:
    random = np.random.default_rng(0)
    pictures = ArrayPictures(random.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8))
    return Manifest(
        argument="drawn", names=tuple(f"{number:06d}" for number in range(count)), labels=np.arange(count) % 10,
        classes=tuple("abcdefghij"), parts={"train": np.arange(count)}, pictures=pictures, digest="drawn",
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    found: dict[str, Any] = {"environment": describe_environment(CPU, pick_precision("auto", CPU))}
    found["depth"] = []
    for depth in DEPTHS:
        of = engine(depth)
        call = step(of, BATCH, 32)
        kept = saved_bytes(of, call) / 2**20
        found["depth"].append({"layers": depth, "seconds": median_seconds(call), "mib": kept})
    line("a training step, batch 16, 32 pixels", found["depth"], "layers", "seconds")
    line("activations kept, batch 16, 32 pixels", found["depth"], "layers", "mib")
    of = engine(20)
    found["pixels"] = [{"pixels": s * s, "seconds": median_seconds(step(of, BATCH, s))} for s in SIDES]
    line("a training step of ResNet-20, batch 16", found["pixels"], "pixels", "seconds")
    found["pictures"] = []
    for count in PICTURES:
        batches = TrainBatches(
            manifest(count), preprocessing=VIEW, augment=Augment(crop_padding=4, mirror=True), batch_size=128, seed=0
        ).from_step(0)
        seconds = median_seconds(lambda b=batches: of.gradients(0, [next(b)]), 20)
        found["pictures"].append({"pictures": count, "images_per_second": 128 / seconds})
        print(f"ResNet-20, batch 128, set of {count}: {128 / seconds:.0f} images/s")
    found["products"] = {}
    for dtype in (torch.float32, torch.bfloat16):
        a, b = torch.randn(2048, 2048, dtype=dtype), torch.randn(2048, 2048, dtype=dtype)
        rate = 2 * 2048**3 / median_seconds(lambda a=a, b=b: a @ b, 9)
        found["products"][str(dtype).removeprefix("torch.")] = rate / 1e9
    limit = found["products"][str(of.precision).removeprefix("torch.")]
    share = found["pictures"][-1]["images_per_second"] * 6 * of.network.plan.macs / 1e9 / limit
    print(f"matrix products: {found['products']} GFLOP/s; ResNet-20's training comes to {100 * share:.0f}% of that")
    found["share"] = share
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Training: ResNet-20 from a folder of small JPEG files, end to end, and steps of ResNet-50 at 224 pixels.

The peer of the first is torchvision's ImageFolder and transforms (mirror, padded crop, normalise), a DataLoader of two
workers, and an eager float32 step of the same network at batch 128; ours is `residuum train`, its epochs after the
first, once with every picture at full size all the time and once as recipe fast has it, small pictures first. The peer
of the second is torchvision's ResNet-50, eager, float32. Needs torchvision.

    python benchmarks/training.py [--data FOLDER] [--rounds 3] [--json FILE]
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from turns import in_turns, options, pictures, write

import residuum
from peers import import_torchvision
from residuum.data.batches import Batch
from residuum.devices import pick_precision
from residuum.recipes import recipe
from residuum.tasks.classification import Criterion
from residuum.training.engine import Engine

WARM_UP, STEPS, BATCH = 5, 30, 128
LARGE_BATCH = 32
CPU = torch.device("cpu")


def usual_loop(folder: Path, steps: int = STEPS) -> float:
    """Images/s of ImageFolder, DataLoader and an eager float32 step."""
    torchvision = import_torchvision()
    t = torchvision.transforms
    changes = [t.RandomHorizontalFlip(), t.RandomCrop(32, 4), t.ToTensor()]
    transform = t.Compose([*changes, t.Normalize((0.49, 0.48, 0.45), (0.25, 0.24, 0.26))])
    found = torchvision.datasets.ImageFolder(folder, transform)
    loader = torch.utils.data.DataLoader(found, BATCH, shuffle=True, num_workers=2)
    network = residuum.build("resnet20", num_classes=len(found.classes)).train()
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)
    began = 0.0
    for step, (x, y) in enumerate(loader):
        if step == WARM_UP:
            began = time.perf_counter()
        if step == WARM_UP + steps:
            return steps * BATCH / (time.perf_counter() - began)
        F.cross_entropy(network(x), y).backward()
        optimizer.step()
        optimizer.zero_grad()
    raise SystemExit(f"the folder needs more than {(WARM_UP + steps) * BATCH} pictures")


def trained(folder: Path, *settings: str) -> float:
    """Images/s of `residuum train` in its epochs after the first."""
    with tempfile.TemporaryDirectory() as out:
        command = ["train", str(folder), "--model", "resnet20", "--recipe", "fast", "--epochs", "3", *settings]
        command += ["--out", f"{out}/run"]
        subprocess.run([sys.executable, "-m", "residuum", *command], check=True, capture_output=True)
        lines = (Path(out) / "run" / "metrics.jsonl").read_text().splitlines()
    return statistics.median([json.loads(line)["images_per_second"] for line in lines][1:])


def large_step(step: int, x: torch.Tensor, y: torch.Tensor, engine: Engine) -> float:
    began = time.perf_counter()
    engine.gradients(step, [Batch(x, y, torch.ones(len(x), dtype=torch.bool), np.arange(len(x)))])
    engine.update(0.01)
    return len(x) / (time.perf_counter() - began)


def usual_step(network: nn.Module, optimizer: torch.optim.Optimizer, x: torch.Tensor, y: torch.Tensor) -> float:
    began = time.perf_counter()
    F.cross_entropy(network(x), y).backward()
    optimizer.step()
    optimizer.zero_grad()
    return len(x) / (time.perf_counter() - began)


def main() -> None:
    parser = options(__doc__, 3)
    parser.add_argument("--data", type=Path, help="class folders of 32-pixel JPEG files; by default drawn ones")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = arguments.data or pictures(Path(made), (WARM_UP + STEPS + 1) * BATCH + 600, (32, 32))
        rows = [
            in_turns(
                f"train ResNet-20 from JPEG files, {said}", lambda given=settings: trained(folder, *given),
                lambda: usual_loop(folder), unit="images/s", against="ImageFolder, DataLoader, eager float32",
                rounds=arguments.rounds, target=3.5,
            )
            for settings, said in ((("--set", "resolution=[]"), "full size"), ((), "recipe fast"))
        ]  # fmt: skip
    x, y = torch.randn(LARGE_BATCH, 3, 224, 224), torch.randint(1000, (LARGE_BATCH,))
    ours = residuum.build("resnet50_v1_5").train()
    engine = Engine(ours, recipe("v1-5"), CPU, pick_precision("auto", CPU), Criterion(0.0))
    engine.connect()
    ours_x = x.contiguous(memory_format=torch.channels_last)
    theirs = import_torchvision().models.resnet50(weights=None).train()
    optimizer = torch.optim.SGD(theirs.parameters(), 0.01, momentum=0.9, weight_decay=1e-4)
    large_step(0, ours_x, y, engine), usual_step(theirs, optimizer, x, y)
    rows.append(
        in_turns(
            "train ResNet-50 at 224 pixels, batch 32", lambda: large_step(1, ours_x, y, engine),
            lambda: usual_step(theirs, optimizer, x, y), unit="images/s", against="torchvision, eager float32",
            rounds=arguments.rounds, target=2.0,
        )
    )  # fmt: skip
    write(arguments.json, rows)


if __name__ == "__main__":
    main()

"""Training images/s of `residuum train --recipe fast` over the usual loop, from the same folder, in turn.

The peer is torchvision's ImageFolder and transforms (mirror, padded crop, normalise), a DataLoader of two workers, and
an eager float32 step of the same ResNet-20 at batch 128. Ours is the median over epochs after the first, as
metrics.jsonl has it. Needs torchvision.

    python benchmarks/training_speed.py FOLDER [--rounds 3] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
import torch.nn.functional as F

import residuum

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from peers import import_torchvision

WARM_UP, STEPS, BATCH = 5, 40, 128


def peer(folder: str) -> float:
    """Images/s of the usual loop."""
    torchvision = import_torchvision()
    t = torchvision.transforms
    transform = t.Compose(
        [
            t.RandomHorizontalFlip(),
            t.RandomCrop(32, 4),
            t.ToTensor(),
            t.Normalize((0.49, 0.48, 0.45), (0.25, 0.24, 0.26)),
        ]
    )
    pictures = torchvision.datasets.ImageFolder(folder, transform)
    loader = torch.utils.data.DataLoader(pictures, BATCH, shuffle=True, num_workers=2)
    network = residuum.build("resnet20", num_classes=len(pictures.classes)).train()
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)
    began = 0.0
    for step, (x, y) in enumerate(loader):
        if step == WARM_UP:
            began = time.perf_counter()
        if step == WARM_UP + STEPS:
            return STEPS * BATCH / (time.perf_counter() - began)
        F.cross_entropy(network(x), y).backward()
        optimizer.step()
        optimizer.zero_grad()
    raise SystemExit(f"the folder needs more than {(WARM_UP + STEPS) * BATCH} pictures")


def ours(folder: str) -> float:
    """Images/s of three epochs of `fast`, the first left out."""
    with tempfile.TemporaryDirectory() as out:
        command = ["train", folder, "--model", "resnet20", "--recipe", "fast", "--epochs", "3", "--out", f"{out}/run"]
        subprocess.run([sys.executable, "-m", "residuum", *command], check=True, capture_output=True)
        lines = (Path(out) / "run" / "metrics.jsonl").read_text().splitlines()
    return statistics.median([json.loads(line)["images_per_second"] for line in lines][1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows = []
    for number in range(1, arguments.rounds + 1):
        row = {"ours": ours(arguments.folder), "peer": peer(arguments.folder)}
        rows.append(row | {"ratio": row["ours"] / row["peer"]})
        print(f"round {number}: ours {row['ours']:.0f}, peer {row['peer']:.0f} images/s, ratio {rows[-1]['ratio']:.2f}")
    ratio = statistics.median(row["ratio"] for row in rows)
    print(f"median ratio {ratio:.2f}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"rounds": rows, "median_ratio": ratio}, indent=1) + "\n")


if __name__ == "__main__":
    main()

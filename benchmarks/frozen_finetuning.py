"""Epochs of a new classifier on a frozen ResNet-50: on features computed once, over computing them in every epoch.

Both see the pictures of a folder of class folders, the centre 224 pixels of each, through the same weights (random,
which changes no time). The peer is the usual loop in torchvision: DataLoader, eager float32, backbone in
`torch.no_grad`, SGD on the classifier. Ours is `residuum train --weights` with `finetune.stages=0`, which times itself
in run.json. The two take turns. Needs torchvision.

    python benchmarks/frozen_finetuning.py FOLDER [--rounds 2] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

import residuum
from residuum import artifact
from residuum.artifact import Artifact
from residuum.data.preprocessing import Preprocessing
from residuum.nets.naming.paths import IMAGENET_MEAN, IMAGENET_STD
from residuum.nets.weights import load_weights
from residuum.progress import Reporter

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from peers import import_torchvision

BATCH = 64


def peer(folder: Path, backbone: nn.Module, workers: int) -> tuple[float, int]:
    """Seconds of one epoch that computes every feature anew, and the pictures in it."""
    import_torchvision()
    from torchvision import datasets, transforms

    view = transforms.Compose(
        [transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor(),
         transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD)]
    )  # fmt: skip
    pictures = datasets.ImageFolder(str(folder), view)
    loader = torch.utils.data.DataLoader(pictures, BATCH, shuffle=True, num_workers=workers)
    classifier = nn.Linear(2048, len(pictures.classes))
    optimizer = torch.optim.SGD(classifier.parameters(), lr=1e-6, momentum=0.9)
    began = time.perf_counter()
    for inputs, targets in loader:
        with torch.no_grad():
            features = backbone(inputs)
        optimizer.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(classifier(features), targets).backward()
        optimizer.step()
    return time.perf_counter() - began, len(pictures)


def ours(folder: Path, weights: Path, out: Path, workers: int) -> dict[str, Any]:
    """What run.json says of the classifier's training: feature_seconds, seconds, epochs."""
    run = residuum.train(
        folder, out=out, weights=str(weights), val=0, workers=workers, settings=["finetune.stages=0"],
        reporter=Reporter(quiet=True),
    )  # fmt: skip
    return run.read()["finetune"]["head"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    theirs = import_torchvision().models.resnet50(weights=None).eval()
    network = residuum.build("resnet50_v1_5")
    load_weights(network, network.plan, theirs.state_dict(), "torchvision")
    theirs.fc = nn.Identity()
    rounds = []
    with tempfile.TemporaryDirectory() as passing:
        weights = Path(passing) / "resnet50.safetensors"
        view = Preprocessing((224, 224), 256, 3, IMAGENET_MEAN, IMAGENET_STD)
        names = tuple(f"class {i}" for i in range(1000))
        artifact.save(Artifact(network.plan.spec, names, view, network.state_dict(), training={"name": "r50"}), weights)
        for number in range(arguments.rounds):
            found = ours(arguments.folder, weights, Path(passing) / f"run-{number}", arguments.workers)
            seconds, pictures = peer(arguments.folder, theirs, arguments.workers)
            epoch = found["seconds"] / found["epochs"]
            rounds.append(
                {
                    "pictures": pictures,
                    "features_once_s": found["feature_seconds"],
                    "our_epoch_s": epoch,
                    "their_epoch_s": seconds,
                    "ratio": seconds / epoch,
                }
            )
            print(
                f"{pictures} pictures: features once {found['feature_seconds']:.1f} s, then {1e3 * epoch:.1f} ms an "
                f"epoch; computed in every epoch {seconds:.1f} s; ratio {seconds / epoch:.0f}"
            )
    print(f"median ratio {statistics.median(row['ratio'] for row in rounds):.0f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(rounds, indent=2) + "\n")


if __name__ == "__main__":
    main()

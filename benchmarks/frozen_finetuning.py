"""Epochs of a new classifier on a frozen ResNet-50: on features computed once, over computing them in every epoch.

Both see the pictures of a folder of class folders, the centre 224 pixels of each, through the same weights (random,
which changes no time). The peer is the usual loop in torchvision: DataLoader, eager float32, backbone in
`torch.no_grad`, SGD on the classifier. Ours is `residuum train --weights` with `finetune.stages=0`, which times itself
in run.json; its figure is of the epochs after the features were computed. Needs torchvision.

    python benchmarks/frozen_finetuning.py [--data FOLDER] [--rounds 2] [--json FILE]
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import nn
from turns import in_turns, options, pictures, write

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


def peer(folder: Path, backbone: nn.Module, workers: int) -> float:
    """Seconds of one epoch that computes every feature anew."""
    import_torchvision()
    from torchvision import datasets, transforms

    view = transforms.Compose(
        [transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor(),
         transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD)]
    )  # fmt: skip
    photos = datasets.ImageFolder(str(folder), view)
    loader = torch.utils.data.DataLoader(photos, BATCH, shuffle=True, num_workers=workers)
    classifier = nn.Linear(2048, len(photos.classes))
    optimizer = torch.optim.SGD(classifier.parameters(), lr=1e-6, momentum=0.9)
    began = time.perf_counter()
    for inputs, targets in loader:
        with torch.no_grad():
            features = backbone(inputs)
        optimizer.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(classifier(features), targets).backward()
        optimizer.step()
    return time.perf_counter() - began


def ours(folder: Path, weights: Path, workers: int) -> float:
    """Seconds of an epoch of the classifier, as run.json has them."""
    with tempfile.TemporaryDirectory() as out:
        run = residuum.train(
            folder, out=Path(out) / "run", weights=str(weights), val=0, workers=workers,
            settings=["finetune.stages=0"], reporter=Reporter(quiet=True),
        )  # fmt: skip
        head = run.read()["finetune"]["head"]
    print(f"  features computed once in {head['feature_seconds']:.1f} s", file=sys.stderr)
    return head["seconds"] / head["epochs"]


def main() -> None:
    parser = options(__doc__, 2)
    parser.add_argument("--data", type=Path, help="class folders of photos; drawn ones by default")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    theirs = import_torchvision().models.resnet50(weights=None).eval()
    network = residuum.build("resnet50_v1_5")
    load_weights(network, network.plan, theirs.state_dict(), "torchvision")
    theirs.fc = nn.Identity()
    with tempfile.TemporaryDirectory() as passing:
        folder = arguments.data or pictures(Path(passing) / "photos", 96, (500, 375))
        weights = Path(passing) / "resnet50.safetensors"
        view = Preprocessing((224, 224), 256, 3, IMAGENET_MEAN, IMAGENET_STD)
        names = tuple(f"class {i}" for i in range(1000))
        artifact.save(Artifact(network.plan.spec, names, view, network.state_dict(), training={"name": "r50"}), weights)
        row = in_turns(
            "epoch of a classifier on a frozen ResNet-50", lambda: ours(folder, weights, arguments.workers),
            lambda: peer(folder, theirs, arguments.workers), unit="s", against="features in every epoch",
            rounds=arguments.rounds, target=1 / 20, better="less",
        )  # fmt: skip
    write(arguments.json, [row])


if __name__ == "__main__":
    main()

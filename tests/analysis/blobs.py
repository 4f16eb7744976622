"""Photos of a bright spot in noise, whose colour is the class: where the evidence lies is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from residuum import catalog
from residuum.artifact import Artifact
from residuum.data.batches import prepare
from residuum.data.preprocessing import Preprocessing
from residuum.inference import Model
from residuum.nets.network import make_network
from residuum.plan import make_plan

CLASSES = ("red", "green", "blue")
SIDE = 24
VIEW = Preprocessing((SIDE, SIDE), SIDE, 3, (0.4,) * 3, (0.25,) * 3)


def photo(height: int, width: int, centre: tuple[float, float], colour: int, seed: int = 0) -> np.ndarray:
    """uint8 (height, width, 3) with a spot of a fifth of the shorter side around `centre` (row, column)."""
    random = np.random.default_rng(seed)
    pixels = random.normal(100, 20, (height, width, 3))
    radius = min(height, width) / 10
    rows, columns = np.mgrid[:height, :width] + 0.5
    spot = (abs(rows - centre[0]) <= radius) & (abs(columns - centre[1]) <= radius)
    pixels[spot, colour] += 140
    return np.rint(pixels).clip(0, 255).astype(np.uint8)


def photos(count: int, seed: int) -> tuple[list[np.ndarray], list[int], list[tuple[float, float]]]:
    """Photos of the view's size, their classes, and where their spots are."""
    random = np.random.default_rng(seed)
    colours = random.integers(0, len(CLASSES), count).tolist()
    centres = [(float(row), float(column)) for row, column in random.uniform(3, SIDE - 3, (count, 2))]
    made = [photo(SIDE, SIDE, c, k, seed + i) for i, (c, k) in enumerate(zip(centres, colours, strict=True))]
    return made, colours, centres


def untrained(seed: int = 0) -> Model:
    """A new network of 8 layers that takes these photos."""
    spec = catalog.spec("resnet20", depth=8, size=SIDE, classes=len(CLASSES))
    network = make_network(make_plan(spec), generator=torch.Generator().manual_seed(seed))
    return Model(Artifact(spec, CLASSES, VIEW, network.state_dict()), "cpu")


def train(steps: int = 80) -> Model:
    """One that has learned them."""
    model = untrained()
    network = model.network.train()
    optimizer = torch.optim.SGD(network.parameters(), 0.05, momentum=0.9, nesterov=True)
    for step in range(steps):
        pictures, colours, _ = photos(16, 1000 + 16 * step)
        loss = F.cross_entropy(network(prepare(pictures, VIEW)), torch.tensor(colours))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.eval()
    tensors = {name: tensor.detach() for name, tensor in network.state_dict().items()}
    return Model(Artifact(network.plan.spec, CLASSES, VIEW, tensors), "cpu")


def edges(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """An explanation that looks at the picture alone: the slopes of its brightness, (N, H, W) in 0..1."""
    grey = np.stack(pictures).mean(-1)
    slopes = np.hypot(*np.gradient(grey, axis=(1, 2)))
    return (slopes / slopes.max((1, 2), keepdims=True)).astype(np.float32)

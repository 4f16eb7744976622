"""Small real things for tests: folders of pictures, and model files of networks nobody trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from residuum import artifact, catalog
from residuum.artifact import MEAN_PICTURE, Artifact
from residuum.data.preprocessing import Preprocessing
from residuum.nets.network import Network, make_network
from residuum.plan import make_plan


def picture(height: int, width: int, seed: int, tint: float = 0.5) -> Image.Image:
    """Smooth random colours; `tint` (0..1) is the mean of the red channel, so that classes can be told apart."""
    draws = np.random.default_rng(seed)
    coarse = draws.uniform(0.0, 1.0, (4, 4, 3))
    coarse[..., 0] = tint + 0.2 * (coarse[..., 0] - 0.5)
    small = Image.fromarray(np.rint(np.clip(coarse, 0, 1) * 255).astype(np.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC)


def picture_folder(
    root: Path,
    classes: Mapping[str, int],
    *,
    sides: tuple[int, int] = (16, 16),
    suffix: str = ".png",
    seed: int = 0,
) -> Path:
    """Class folders of so many pictures each, their sides drawn from a range."""
    draws = np.random.default_rng(seed)
    for label, (name, count) in enumerate(classes.items()):
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            height, width = draws.integers(sides[0], sides[1] + 1, 2)
            tint = 0.2 + 0.6 * label / max(len(classes) - 1, 1)
            made = picture(int(height), int(width), int(draws.integers(2**31)), tint)
            made.save(root / name / f"{number:03d}{suffix}")
    return root


def lively(network: nn.Module, seed: int = 0) -> nn.Module:
    """Random weights, scales, shifts and statistics, so that no part can hide behind an identity."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith("running_var") or (name.endswith("weight") and tensor.ndim == 1):
                tensor.uniform_(0.5, 1.5, generator=generator)
            elif tensor.is_floating_point() and tensor.ndim == 1:
                tensor.normal_(0, 0.2, generator=generator)
            elif tensor.is_floating_point():
                tensor.normal_(0, 0.3, generator=generator)
    return network


def tiny_network(seed: int = 0, **axes: Any) -> Network:
    """A lively CIFAR-style network of 8 layers."""
    axes = {"depth": 8, "size": 16, "channels": 3, "classes": 3} | axes
    network = make_network(make_plan(catalog.spec("resnet20", **axes)))
    lively(network, seed)
    return network


def tiny_model(
    path: Path, classes: tuple[str, ...] = ("ant", "bee", "cat"), *, mean_picture: bool = False, **axes: Any
) -> Path:
    """A model file of a tiny network."""
    network = tiny_network(classes=len(classes), **axes)
    spec = network.plan.spec
    height, width = spec.input_size()
    view = Preprocessing(
        (height, width),
        max(height, width),
        spec.channels,
        (0.4,) * spec.channels,
        (0.25,) * spec.channels,
        mean_picture,
    )
    tensors = dict(network.state_dict())
    if mean_picture:
        draws = np.random.default_rng(1)
        tensors[MEAN_PICTURE] = torch.from_numpy(draws.uniform(0, 1, (spec.channels, height, width)).astype(np.float32))
    artifact.save(Artifact(spec, classes, view, tensors), path)
    return path

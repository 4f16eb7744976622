"""What an entry of the catalogue is, and the shapes that many share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from residuum.plan import with_depth
from residuum.spec import CIFAR_STEM, IMAGENET_STEM, AnySpec, NetworkSpec, Stage

HE2015 = "He et al. 2015, arXiv 1512.03385"
HE2016 = "He et al. 2016, arXiv 1603.05027"

BASIC = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
BOTTLENECK = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
"""Blocks of each stage (He et al. 2015, Table 1)."""


@dataclass(frozen=True)
class Entry:
    """A network of the catalogue; `reference` is the implementation it is proven equal to, where there is one."""

    name: str
    family: str
    spec: AnySpec
    source: str
    reference: str = ""


def imagenet(depths: tuple[int, ...], **axes: Any) -> NetworkSpec:
    """Table 1: widths 64 to 512, each stage but the first halving the map."""
    stages = tuple(Stage(d, 64 * 2**i, 1 if i == 0 else 2) for i, d in enumerate(depths))
    return NetworkSpec(**{"stem": IMAGENET_STEM, "stages": stages} | axes)


def resnet(depth: int, **axes: Any) -> NetworkSpec:
    """ResNet of 18, 34, 50, 101 or 152 layers; the bottleneck's stride in the 3x3, as trusted weights have it."""
    if depth in BASIC:
        return imagenet(BASIC[depth], **axes)
    return imagenet(BOTTLENECK[depth], **{"branch": "bottleneck", "stride_in": "3x3"} | axes)


def cifar(depth: int, widths: tuple[int, int, int] = (16, 32, 64), **axes: Any) -> NetworkSpec:
    """Section 4.2: 6n+2 layers (9n+2 with bottlenecks), widths on maps of 32, 16, 8, option A unless told."""
    stages = tuple(Stage(1, width, 1 if i == 0 else 2) for i, width in enumerate(widths))
    base = {"stem": CIFAR_STEM, "stages": stages, "shortcut": "A", "size": 32, "classes": 10}
    return with_depth(NetworkSpec(**base | axes), depth)

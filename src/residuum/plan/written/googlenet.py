"""GoogLeNet (Szegedy et al. 2015, arXiv 1409.4842) with batch norm and without auxiliary classifiers, as torchvision
has it: its "5x5" convolutions are 3x3."""

from __future__ import annotations

from residuum.plan.builder import Builder
from residuum.plan.nodes import NetworkPlan
from residuum.plan.written.parts import begin, finish, then
from residuum.spec import Written

STAGES = (
    ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    (
        (192, 96, 208, 16, 48, 64), (160, 112, 224, 24, 64, 64), (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64), (256, 160, 320, 32, 128, 128),
    ),
    ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)  # fmt: skip
"""Widths of each module: 1x1; 1x1, 3x3; 1x1, "5x5"; 1x1 after the pool (Table 1)."""
POOLS = (3, 3, 2)
"""The max-pool before each stage."""


def googlenet(spec: Written) -> NetworkPlan:
    """Nine inception modules."""
    stem = begin(spec, "batch", eps=1e-3)
    stem.conv_norm_act("conv1", 64, 7, 2)
    stem.maxpool(3, 2, 0, ceil=True)
    stem.conv_norm_act("conv2", 64, 1)
    stem.conv_norm_act("conv3", 192, 3)
    at, stages = stem, []
    for modules, pool in zip(STAGES, POOLS, strict=True):
        at = then(at)
        at.maxpool(pool, 2, 0, ceil=True)
        for number, widths in enumerate(modules, start=1):
            _inception(at, f"block{number}", widths)
        stages.append(at)
    head = then(at)
    head.classifier(spec.classes, 0.2)
    return finish(spec, stem, stages, head)


def _inception(at: Builder, name: str, widths: tuple[int, ...]) -> None:
    one, reduce3, three, reduce5, five, projected = widths
    branches = [at.fork() for _ in range(4)]
    branches[0].conv_norm_act("conv1", one, 1)
    for branch, reduce, width in (branches[1], reduce3, three), (branches[2], reduce5, five):
        branch.conv_norm_act("conv1", reduce, 1)
        branch.conv_norm_act("conv2", width, 3)
    branches[3].maxpool(3, 1)
    branches[3].conv_norm_act("conv1", projected, 1)
    at.join(name, branches)

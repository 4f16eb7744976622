"""Networks that concatenate, gate, or build on residual dense blocks."""

from __future__ import annotations

from residuum.catalog.entries import Entry, cifar
from residuum.plan.transitions import ConvTransition, DenseTransition
from residuum.spec import NetworkSpec, Stage, Stem, StemConv

HUANG = "Huang et al. 2017, arXiv 1608.06993"


def _densenet(depths: tuple[int, ...]) -> NetworkSpec:
    """Growth 32, each layer 1x1 to 4k channels and 3x3 to k; halved between stages."""
    stages = tuple(Stage(d, 32, 1 if i == 0 else 2) for i, d in enumerate(depths))
    return NetworkSpec(
        Stem((StemConv(64, 7, 2),), pool="max", activate=True), stages, branch="dense", order="pre",
        shortcut="identity", merge="concat", transition="dense",
    )  # fmt: skip


def _small(depth: int, stem: int, branch: str, compression: float) -> NetworkSpec:
    """Growth 12 on CIFAR."""
    return NetworkSpec(
        Stem((StemConv(stem, 3),)), (Stage(depth, 12), Stage(depth, 12, 2), Stage(depth, 12, 2)),
        branch=branch, order="pre", shortcut="identity", merge="concat",  # type: ignore[arg-type]
        transition=DenseTransition(compression), size=32, classes=10,
    )  # fmt: skip


def _highway(stem: int, stages: tuple[Stage, ...]) -> NetworkSpec:
    """Gated 3x3 convolutions without norm; plain convolutions change the width, max-pools the size."""
    return NetworkSpec(
        Stem((StemConv(stem, 3),)), stages, branch="single", order="before_add", shortcut="identity", merge="gate",
        transition=ConvTransition(pooled=True), norm="none", size=32, classes=10,
    )  # fmt: skip


SRIVASTAVA = "Srivastava et al. 2015, arXiv 1507.06228, Table 1"

ENTRIES = (
    *(
        Entry(f"densenet{n}", "dense", _densenet(depths), HUANG, f"torchvision densenet{n}")
        for n, depths in {121: (6, 12, 24, 16), 169: (6, 12, 32, 32), 201: (6, 12, 48, 32)}.items()
    ),
    Entry("densenet40_12", "dense (CIFAR)", _small(12, 16, "single", 1.0), f"{HUANG}, Table 2"),
    Entry("densenet_bc100_12", "dense (CIFAR)", _small(16, 24, "dense", 0.5), f"{HUANG}, Table 2"),
    Entry(
        "residual_dense9", "dense (CIFAR)",
        cifar(47, branch="residual_dense", shortcut="B", norm="none", order="linear"),
        "Zhang, Y. et al. 2018, arXiv 1802.08797: nine residual dense blocks",
    ),
    Entry(
        "highway19", "gated and stochastic",
        _highway(32, (Stage(2, 32), Stage(1, 48), Stage(5, 80, 2), Stage(5, 128, 2))), SRIVASTAVA,
    ),
    Entry(
        "highway32", "gated and stochastic", _highway(32, (Stage(9, 32), Stage(9, 48, 2), Stage(9, 64, 2))), SRIVASTAVA
    ),
)  # fmt: skip

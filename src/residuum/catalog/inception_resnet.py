"""Inception-ResNet-v2 (Szegedy et al. 2016, arXiv 1602.07261): a stem, branches and transitions of its own."""

from __future__ import annotations

from dataclasses import dataclass

from residuum.catalog.entries import Entry
from residuum.plan import Branch, Builder, Place, StemPart, Transition
from residuum.plan.merges import ScaledAdd
from residuum.spec import Head, NetworkSpec, Size, Stage, StemConv

Step = tuple[int, Size] | tuple[int, Size, int]
"""Width and kernel of a convolution, and the stride of one that pads nothing."""


def _inception(at: Builder, name: str, paths: tuple[tuple[Step, ...], ...], *ends: Builder) -> None:
    """Chains of convolutions with norm and activation, and what else runs beside them, side by side."""
    branches = []
    for path in paths:
        branch = at.fork()
        for number, (width, kernel, *stride) in enumerate(path, start=1):
            branch.conv_norm_act(f"conv{number}", width, kernel, *(stride and (stride[0], 0)))
        branches.append(branch)
    at.join(name, [*branches, *ends])


@dataclass(frozen=True)
class InceptionStem(StemPart):
    """Fig. 3's beginning in the variant of the published weights, to Mixed_5b: 320 channels on maps of 35."""

    def lower(self, at: Builder) -> None:
        at.conv_norm_act("conv1", 32, 3, 2, 0)
        at.conv_norm_act("conv2", 32, 3, 1, 0)
        at.conv_norm_act("conv3", 64, 3)
        at.maxpool(3, 2, 0, name="pool1")
        at.conv_norm_act("conv4", 80, 1)
        at.conv_norm_act("conv5", 192, 3, 1, 0)
        at.maxpool(3, 2, 0, name="pool2")
        pooled = at.fork()
        pooled.avgpool(3, 1, 1, "exclude")
        pooled.conv_norm_act("conv1", 64, 1)
        _inception(at, "mixed", (((96, 1),), ((48, 1), (64, 5)), ((64, 1), (96, 3), (96, 3))), pooled)


REDUCTIONS: dict[int, tuple[tuple[Step, ...], ...]] = {
    1: (((384, 3, 2),), ((256, 1), (256, 3), (384, 3, 2))),
    2: (((256, 1), (384, 3, 2)), ((256, 1), (288, 3, 2)), ((256, 1), (288, 3), (320, 3, 2))),
}
"""Reduction-A (Fig. 7) and Reduction-B (Fig. 18), before the stages of these numbers."""


@dataclass(frozen=True)
class Reduction(Transition):
    """Strided convolutions beside a max-pool, where a stage strides."""

    def lower(self, at: Builder, stage: Stage, stride: tuple[int, ...]) -> tuple[int, ...]:
        if max(stride) > 1:
            pooled = at.fork()
            pooled.maxpool(3, 2, 0)
            _inception(at, "mixed", REDUCTIONS[at.place.index], pooled)
        return (1,) * len(stride)


@dataclass(frozen=True)
class InceptionBranch(Branch):
    """Convolutions side by side, then a 1x1 with bias back to the block's width (Fig. 16, 17 and 19)."""

    paths: tuple[tuple[Step, ...], ...]

    def outputs(self, spec: NetworkSpec, stage: Stage, inputs: int) -> int:
        return inputs

    def layers(self, spec: NetworkSpec) -> int:
        """The longest path and the 1x1."""
        return max(len(path) for path in self.paths) + 1

    def lower(self, at: Builder, spec: NetworkSpec, place: Place, activated: bool) -> None:
        _inception(at, "paths", self.paths)
        at.conv(place.inputs, 1, bias=True)


BLOCK_35 = InceptionBranch((((32, 1),), ((32, 1), (32, 3)), ((32, 1), (48, 3), (64, 3))))
BLOCK_17 = InceptionBranch((((192, 1),), ((128, 1), (160, (1, 7)), (192, (7, 1)))))
BLOCK_8 = InceptionBranch((((192, 1),), ((192, 1), (224, (1, 3)), (256, (3, 1)))))

INCEPTION_RESNET_V2 = NetworkSpec(
    InceptionStem(),
    (
        Stage(10, 320, branch=BLOCK_35),
        Stage(20, 1088, 2, branch=BLOCK_17),
        Stage(9, 2080, 2, branch=BLOCK_8),
        Stage(1, 2080, branch=BLOCK_8, order="linear"),
    ),
    shortcut="identity", merge=ScaledAdd((0.17, 0.10, 0.20, 1.0)), transition=Reduction(),
    head=Head((StemConv(1536, 1),)), eps=1e-3, size=299,
)  # fmt: skip

ENTRIES = (
    Entry(
        "inception_resnet_v2", "Inception-ResNet", INCEPTION_RESNET_V2, "Szegedy et al. 2016, arXiv 1602.07261",
        "timm inception_resnet_v2",
    ),
)  # fmt: skip

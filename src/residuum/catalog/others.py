"""Residual networks of other makes: DarkNet, MobileNetV2, Xception, MLPerf Tiny, one and three dimensions."""

from __future__ import annotations

from dataclasses import dataclass

from residuum.catalog.entries import BASIC, Entry, resnet
from residuum.plan import Branch, Builder, ConvPlan, Place
from residuum.plan.shortcuts import Projection
from residuum.spec import Head, NetworkSpec, Stage, Stem, StemConv


@dataclass(frozen=True)
class Xception(Branch):
    """`count` separable 3x3 convolutions, then a max-pool where the block strides (Chollet 2017, Fig. 5).

    The width grows at the first convolution, or at the last.
    """

    count: int = 3
    grow_last: bool = False

    def convs(self, spec: NetworkSpec, place: Place) -> tuple[ConvPlan, ...]:
        """Strides are the pool's."""
        early = place.inputs if self.grow_last else place.width
        widths = (early,) * (self.count - 1) + (place.width,)
        return tuple(ConvPlan(width, 3) for width in widths)

    def lower(self, at: Builder, spec: NetworkSpec, place: Place, activated: bool) -> None:
        super().lower(at, spec, place, activated)
        if max(place.stride) > 1:
            at.maxpool(3, place.stride)


DARKNET53 = NetworkSpec(
    Stem((StemConv(32, 3),)),
    tuple(Stage(depth, 64 * 2**i, 2) for i, depth in enumerate((1, 2, 8, 8, 4))),
    branch="dark", order="before_add", shortcut="identity", transition="conv", activation="leaky_relu", size=256,
)  # fmt: skip

MOBILENET_V2 = NetworkSpec(
    Stem((StemConv(32, 3, 2),)),
    (
        Stage(1, 16, expansion=1), Stage(2, 24, 2), Stage(3, 32, 2), Stage(4, 64, 2), Stage(3, 96), Stage(3, 160, 2),
        Stage(1, 320),
    ),
    branch="inverted", expansion=6, order="linear", shortcut="identity", activation="relu6",
    head=Head((StemConv(1280, 1),), dropout=0.2),
)  # fmt: skip

XCEPTION = NetworkSpec(
    Stem((StemConv(32, 3, 2, padding=0), StemConv(64, 3, padding=0)), activate=True),
    (
        Stage(1, 128, 2, branch=Xception(2)),
        Stage(1, 256, 2, branch=Xception(2)),
        Stage(1, 728, 2, branch=Xception(2)),
        Stage(8, 728),
        Stage(1, 1024, 2, branch=Xception(2, grow_last=True)),
    ),
    branch=Xception(3), conv="separable", order="relu_pre",
    head=Head((StemConv(1536, 3), StemConv(2048, 3)), activate=False), size=299,
)  # fmt: skip

RESNET8 = NetworkSpec(
    Stem((StemConv(16, 3),)), (Stage(1, 16), Stage(1, 32, 2), Stage(1, 64, 2)), shortcut=Projection(norm=False),
    bias=True, padding="same", eps=1e-3, size=32, classes=10,
)  # fmt: skip

INVERTED_RESNET50 = resnet(
    50, branch="inverted", attention="cbam", expansion=4,
    stages=tuple(Stage(d, w, s) for d, w, s in ((3, 64, 1), (4, 128, 2), (6, 256, 2), (3, 512, 2))),
)  # fmt: skip


def _video(kernels: tuple[int | tuple[int, int, int], ...], stem: tuple[StemConv, ...], **axes: object) -> NetworkSpec:
    """ResNet-18 over 16 frames of 112 x 112; a kernel of (1, 3, 3) looks at one frame at a time."""
    strides = [(1 if isinstance(k, tuple) else 2, 2, 2) for k in kernels]
    stages = tuple(
        Stage(2, 64 * 2**i, 1 if i == 0 else stride, kernel=kernel)
        for i, (kernel, stride) in enumerate(zip(kernels, strides, strict=True))
    )
    return NetworkSpec(Stem(stem), stages, ndim=3, size=(16, 112, 112), classes=400, **axes)  # type: ignore[arg-type]


VIDEO_STEM = (StemConv(64, (3, 7, 7), (1, 2, 2)),)
FLAT = (1, 3, 3)
TRAN = "Tran et al. 2018, arXiv 1711.11248"

ENTRIES = (
    Entry("darknet53", "detectors' backbone", DARKNET53, "Redmon and Farhadi 2018, arXiv 1804.02767", "timm darknet53"),
    Entry(
        "mobilenet_v2", "inverted residual", MOBILENET_V2, "Sandler et al. 2018, arXiv 1801.04381",
        "torchvision mobilenet_v2",
    ),
    Entry(
        "inverted_resnet50_cbam", "inverted residual", INVERTED_RESNET50,
        "ResNet-50's depths, MobileNetV2's blocks (2018, arXiv 1801.04381) of expansion 4, CBAM (arXiv 1807.06521)",
    ),
    *(
        Entry(
            f"resnet{n}_1d", "one dimension: waveforms, series", resnet(n, ndim=1, channels=1, size=1024),
            "He et al. 2015, Table 1, with kernels of one dimension",
        )
        for n in (*BASIC, 50)
    ),
    Entry("r3d_18", "three dimensions: clips, volumes", _video((3, 3, 3, 3), VIDEO_STEM), TRAN, "torchvision r3d_18"),
    Entry(
        "mc3_18", "three dimensions: clips, volumes", _video((3, FLAT, FLAT, FLAT), VIDEO_STEM), TRAN,
        "torchvision mc3_18",
    ),
    Entry(
        "r2plus1d_18", "three dimensions: clips, volumes",
        _video((3, 3, 3, 3), (StemConv(45, (1, 7, 7), (1, 2, 2)), StemConv(64, (3, 1, 1))), conv="factorised"),
        TRAN, "torchvision r2plus1d_18",
    ),
    *(
        Entry(
            f"resnet{n}_3d", "three dimensions: clips, volumes",
            resnet(n, ndim=3, stem=Stem(VIDEO_STEM, pool="max"), size=(16, 112, 112), classes=400),
            "Hara et al. 2018, arXiv 1711.09577",
        )
        for n in (34, 50)
    ),
    Entry("legacy_xception", "separable", XCEPTION, "Chollet 2017, arXiv 1610.02357", "timm legacy_xception"),
    Entry(
        "mlperf_tiny_resnet8", "small", RESNET8, "Banbury et al. 2021, arXiv 2106.07597, image classification",
        "Keras weights of MLPerf Tiny",
    ),
)  # fmt: skip

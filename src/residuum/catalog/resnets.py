"""ResNets in two dimensions: each line says in the field's words how it differs from ResNet."""

from __future__ import annotations

from residuum.catalog.entries import (
    BASIC,
    BOTTLENECK,
    HE2015,
    HE2016,
    Entry,
    cifar,
    resnet,
)
from residuum.plan import dilated
from residuum.plan.shortcuts import TwoPaths
from residuum.plan.transitions import ConvTransition
from residuum.spec import DEEP_STEM, NetworkSpec, Stage, Stem, StemConv

CIFAR_DEPTHS = (20, 32, 44, 56, 110, 1202)
DEPTHS = (*BASIC, *BOTTLENECK)
RESNET_200 = tuple(Stage(d, 64 * 2**i, 1 if i == 0 else 2) for i, d in enumerate((3, 24, 36, 3)))


def _plain() -> list[Entry]:
    large = [
        Entry(f"plain{n}", "plain (ImageNet)", resnet(n, shortcut="none"), f"{HE2015}, Fig. 3 middle, Table 2")
        for n in BASIC
    ]
    small = [
        Entry(f"plain{n}", "plain (CIFAR)", cifar(n, shortcut="none"), f"{HE2015}, section 4.2") for n in CIFAR_DEPTHS
    ]
    return large + small


def _resnet() -> list[Entry]:
    found = [
        Entry(
            f"resnet{n}", "ResNet (ImageNet)", resnet(n, stride_in="1x1"), f"{HE2015}, Table 1",
            f"torchvision resnet{n}" if n in BASIC else "",
        )
        for n in DEPTHS
    ]  # fmt: skip
    found += [
        Entry(
            f"resnet{n}_v1_5", "ResNet v1.5: stride in the 3x3", resnet(n), "Gross and Wilber 2016, fb.resnet.torch",
            f"torchvision resnet{n}",
        )
        for n in BOTTLENECK
    ]  # fmt: skip
    found += [
        Entry("resnet200", "ResNet v1.5: stride in the 3x3", resnet(50, stages=RESNET_200), HE2016, "timm resnet200")
    ]
    found += [
        Entry(
            f"resnet{n}_os{stride}", "dilated ResNet", dilated(resnet(n), stride),
            "Yu et al. 2017, arXiv 1705.09914", f"torchvision resnet{n} replace_stride_with_dilation",
        )
        for n in (50, 101)
        for stride in (16, 8)
    ]  # fmt: skip
    found += [Entry(f"resnet{n}", "ResNet (CIFAR)", cifar(n), f"{HE2015}, section 4.2") for n in CIFAR_DEPTHS]
    found += [
        Entry(
            f"resnet{n}d", "ResNet-D: deep stem, pooled projection", resnet(n, stem=DEEP_STEM, shortcut="D"),
            "T. He et al. 2019, arXiv 1812.01187", f"timm resnet{n}d",
        )
        for n in DEPTHS
    ]  # fmt: skip
    return found


def _preactivation() -> list[Entry]:
    found = [
        Entry(f"resnetv2_{n}", "pre-activation (ImageNet)", resnet(n, order="pre"), HE2016, f"timm resnetv2_{n}")
        for n in DEPTHS
    ]
    found += [
        Entry(f"preact_resnet{n}", "pre-activation (CIFAR)", cifar(n, order="pre"), f"{HE2016}, Table 2")
        for n in (20, 32, 44, 56, 110)
    ]
    found += [
        Entry(
            f"preact_resnet{n}", "pre-activation (CIFAR)", cifar(n, order="pre", branch="bottleneck", shortcut="B"),
            f"{HE2016}, Table 3",
        )
        for n in (164, 1001)
    ]  # fmt: skip
    unit = cifar(110, order="relu_pre")
    return [*found, Entry("relu_preact_resnet110", "pre-activation (CIFAR)", unit, f"{HE2016}, Fig. 4d, Table 2")]


def _wide() -> list[Entry]:
    found = [
        Entry(
            f"wrn{depth}_{k}", "wide (CIFAR)", _wrn(depth, k), "Zagoruyko and Komodakis 2016, arXiv 1605.07146, Table 4"
        )
        for depth, k in ((16, 4), (28, 10), (40, 2))
    ]
    return found + [
        Entry(
            f"wide_resnet{n}_2", "wide (ImageNet)", resnet(n, base_width=128), "Zagoruyko and Komodakis 2016, Table 8",
            f"torchvision wide_resnet{n}_2",
        )
        for n in (50, 101)
    ]  # fmt: skip


def _wrn(depth: int, k: int) -> NetworkSpec:
    """6n+4 layers, the projections of three stages among them; pre-activation, dropout between the convolutions."""
    blocks = (depth - 4) // 6
    stages = (Stage(blocks, 16 * k), Stage(blocks, 32 * k, 2), Stage(blocks, 64 * k, 2))
    return NetworkSpec(Stem((StemConv(16, 3),)), stages, order="pre", dropout=0.3, size=32, classes=10)


def _aggregated() -> list[Entry]:
    found = [
        Entry(
            f"resnext{n}_{c}x{w}d", "ResNeXt: cardinality and base width", resnet(n, groups=c, base_width=w),
            "Xie et al. 2017, arXiv 1611.05431", f"torchvision resnext{n}_{c}x{w}d",
        )
        for n, c, w in ((50, 32, 4), (101, 32, 8), (101, 64, 4))
    ]  # fmt: skip
    small = NetworkSpec(
        Stem((StemConv(64, 3),)), (Stage(3, 64), Stage(3, 128, 2), Stage(3, 256, 2)), branch="bottleneck",
        stride_in="3x3", groups=8, size=32, classes=10,
    )  # fmt: skip
    return [*found, Entry("resnext29_8x64d", "ResNeXt (CIFAR)", small, "Xie et al. 2017, section 5.3")]


def _attention() -> list[Entry]:
    hu, woo, wang = (
        "Hu et al. 2018, arXiv 1709.01507",
        "Woo et al. 2018, arXiv 1807.06521",
        "Wang et al. 2020, arXiv 1910.03151",
    )
    found = [Entry(f"seresnet{n}", "attention: SE", resnet(n, attention="se"), hu, f"timm seresnet{n}") for n in DEPTHS]
    found += [
        Entry(
            f"seresnext{n}_32x4d", "attention: SE", resnet(n, attention="se", groups=32, base_width=4), hu,
            f"timm seresnext{n}_32x4d",
        )
        for n in (50, 101)
    ]  # fmt: skip
    found += [Entry(f"cbam_resnet{n}", "attention: CBAM", resnet(n, attention="cbam"), woo) for n in DEPTHS]
    found += [Entry(f"ecaresnet{n}", "attention: ECA", resnet(n, attention="eca"), wang) for n in DEPTHS]
    found += [
        Entry(
            f"ecaresnet{n}d", "attention: ECA", resnet(n, attention="eca", stem=DEEP_STEM, shortcut="D"), wang,
            f"timm ecaresnet{n}d",
        )
        for n in (50, 101)
    ]  # fmt: skip
    zhao = "Zhao et al. 2020, Deep Residual Shrinkage Networks, IEEE TII 16(7)"
    return found + [
        Entry(f"drsn_{short}{n}", "attention: residual shrinkage", resnet(n, order="pre", attention=value), zhao)
        for short, value in (("cs", "shrink_shared"), ("cw", "shrink_channel"))
        for n in (18, 34, 50)
    ]


def _merges() -> list[Entry]:
    return [
        Entry(
            "resnet110_stochastic_depth", "gated and stochastic", cifar(110, merge="stochastic_depth"),
            "Huang et al. 2016, arXiv 1603.09382",
        ),
        *(
            Entry(
                f"shake_shake26_2x{width}d", "gated and stochastic", _shake_shake(width),
                "Gastaldi 2017, arXiv 1705.07485, Table 1",
            )
            for width in (32, 64, 96)
        ),
    ]  # fmt: skip


def _shake_shake(width: int) -> NetworkSpec:
    """ResNet-26 of two branches, ReLU-convolution-norm twice each."""
    return NetworkSpec(
        Stem((StemConv(16, 3),), activate=True), (Stage(4, width), Stage(4, 2 * width, 2), Stage(4, 4 * width, 2)),
        order="relu_pre", shortcut=TwoPaths(), merge="shake_shake", size=32, classes=10,
    )  # fmt: skip


def _pooled() -> NetworkSpec:
    """A basic block without change of shape in each stage, which a max-pool and a 3x3 convolution lead into."""
    return NetworkSpec(
        Stem((StemConv(32, 3),)), (Stage(1, 64, 2), Stage(1, 128, 2), Stage(1, 256, 2)), shortcut="identity",
        transition=ConvTransition(pooled=True), size=32, classes=10,
    )  # fmt: skip


def _norms() -> list[Entry]:
    pan = "Pan et al. 2018, arXiv 1807.09441"
    found = [
        Entry(f"resnet{n}_ibn_{kind}", "normalisation", resnet(n, norm=f"ibn_{kind}"), pan)
        for n in (50, 101)
        for kind in ("a", "b")
    ]
    return [
        *found,
        Entry(
            "resnet50_gn", "normalisation", resnet(50, norm="group"), "Wu and He 2018, arXiv 1803.08494",
            "timm resnet50_gn",
        ),
        Entry("resnet50_in", "normalisation", resnet(50, norm="instance"), "Ulyanov et al. 2016, arXiv 1607.08022"),
        Entry("resnet50_sn", "normalisation", resnet(50, norm="switchable"), "Luo et al. 2019, arXiv 1806.10779"),
        Entry(
            "resnet50_frn", "normalisation", resnet(50, norm="filter_response", activation="tlu"),
            "Singh and Krishnan 2020, arXiv 1911.09737",
        ),
        Entry("resnet50_fixup", "normalisation", resnet(50, norm="none"), "Zhang, H. et al. 2019, arXiv 1901.09321"),
    ]  # fmt: skip


ENTRIES = (
    *_plain(),
    *_resnet(),
    *_preactivation(),
    *_wide(),
    *_aggregated(),
    *_attention(),
    Entry(
        "res2net50_26w_4s", "multi-scale", resnet(50, branch="res2net", base_width=26),
        "Gao et al. 2019, arXiv 1904.01169", "timm res2net50_26w_4s",
    ),
    *_merges(),
    *_norms(),
    Entry(
        "resnet11_pool", "pooled (CIFAR)", _pooled(),
        "Page 2018, How to Train Your ResNet: ResNet-9 of half the width, pools first, a block in every stage",
    ),
)  # fmt: skip

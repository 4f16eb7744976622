"""ResNets as torchvision and timm name them alike, and those who took the names over; torchvision's for video."""

from __future__ import annotations

from functools import partial

from residuum.nets.naming.paths import BN, Path, Scheme, Step, rename, stem_convs
from residuum.plan import Layer, NetworkPlan


def resnet(plan: NetworkPlan, classifier: str) -> dict[str, str]:
    """conv1, bn1, layer1.0.conv1, layer1.0.bn1, layer1.0.se.fc1, layer1.0.downsample.0, ..., and the classifier's name.

    A stem of several convolutions is a sequence called conv1, but for its last norm. Res2Net's pieces are convs.0,
    bns.0; where shortcuts pool, place 0 of every downsample is the pool's.
    """
    last = stem_convs(plan)
    pooled = any(layer.kind == "avgpool" and ".shortcut." in layer.name for layer in plan.layers)

    def name(layer: Layer, path: Path) -> str | None:
        match path:
            case [Step("stem"), Step("conv", n)]:
                return "conv1" if last == 1 else f"conv1.{3 * n - 3}"
            case [Step("stem"), Step("norm", n)]:
                return "bn1" if n == last else f"conv1.{3 * n - 2}"
            case [Step("stage", s), Step("block", b), *inside]:
                own = _in_block(inside, pooled)
                return own and f"layer{s}.{b - 1}.{own}"
            case [Step("head"), Step("norm", 0)]:
                return "bn"
            case [Step("head"), Step("fc", 0)]:
                return classifier
        return None

    return rename(plan, name)


def _in_block(inside: list[Step], pooled: bool) -> str | None:
    match inside:
        case [Step("before"), Step("norm")]:
            return "bn1"
        case [Step("branch", 0), Step("conv" | "norm" as word, n)]:
            return f"{BN[word]}{n}"
        case [Step("branch", 0), Step("conv"), Step("piece", p), Step("conv" | "norm" as word)]:
            return f"{BN[word]}s.{p - 1}"
        case [Step("branch", 0), Step("attention"), Step("factor"), Step("conv", n)]:
            return f"se.fc{n}" if n else "se.conv"
        case [Step("shortcut"), Step("conv")]:
            return f"downsample.{0 + pooled}"
        case [Step("shortcut"), Step("norm")]:
            return f"downsample.{1 + pooled}"
    return None


def video(plan: NetworkPlan) -> dict[str, str]:
    """stem.0, stem.1, layer1.0.conv1.0, layer1.0.conv1.1, ..., fc; (2+1)D convolutions are layer1.0.conv1.0.0 to .3."""
    inner = {"space": 0, "norm": 1, "time": 3}

    def name(layer: Layer, path: Path) -> str | None:
        match path:
            case [Step("stem"), Step("conv", n)]:
                return f"stem.{3 * n - 3}"
            case [Step("stem"), Step("norm", n)]:
                return f"stem.{3 * n - 2}"
            case [Step("stage", s), Step("block", b), Step("branch", 0), Step("conv", n)]:
                return f"layer{s}.{b - 1}.conv{n}.0"
            case [Step("stage", s), Step("block", b), Step("branch", 0), Step("norm", n)]:
                return f"layer{s}.{b - 1}.conv{n}.1"
            case [Step("stage", s), Step("block", b), Step("branch", 0), Step("conv", n), Step(word)] if word in inner:
                return f"layer{s}.{b - 1}.conv{n}.0.{inner[word]}"
            case [Step("stage", s), Step("block", b), Step("shortcut"), Step("conv" | "norm" as word)]:
                return f"layer{s}.{b - 1}.downsample.{inner.get(word, 0)}"
            case [Step("head"), Step("fc", 0)]:
                return "fc"
        return None

    return rename(plan, name)


SCHEMES = (
    Scheme("torchvision", partial(resnet, classifier="fc"), stride_in="3x3"),
    Scheme("CIFAR third-party", partial(resnet, classifier="linear")),
    Scheme("torchvision video", video, stride_in="3x3"),
)

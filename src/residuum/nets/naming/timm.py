"""timm's networks that are not named as torchvision's: ResNetV2, DarkNet, Xception, Inception-ResNet-v2."""

from __future__ import annotations

from residuum.nets.naming.paths import BN, HALF, Path, Scheme, Step, blocks_before, in_inception, rename, stem_convs
from residuum.plan import Block, Layer, NetworkPlan, flatten


def resnetv2(plan: NetworkPlan) -> dict[str, str]:
    """stem.conv, stages.0.blocks.0.norm1, stages.0.blocks.0.conv1, stages.0.blocks.0.downsample.conv, norm, head.fc."""

    def name(layer: Layer, path: Path) -> str | None:
        match path:
            case [Step("stem"), Step("conv", 1)]:
                return "stem.conv"
            case [Step("stage", s), Step("block", b), Step("before"), Step("norm")]:
                return f"stages.{s - 1}.blocks.{b - 1}.norm1"
            case [Step("stage", s), Step("block", b), Step("branch", 0), Step("conv" | "norm" as word, n)]:
                return f"stages.{s - 1}.blocks.{b - 1}.{word}{n}"
            case [Step("stage", s), Step("block", b), Step("shortcut"), Step("conv")]:
                return f"stages.{s - 1}.blocks.{b - 1}.downsample.conv"
            case [Step("head"), Step("norm", 0)]:
                return "norm"
            case [Step("head"), Step("fc", 0)]:
                return "head.fc"
        return None

    return rename(plan, name)


def darknet(plan: NetworkPlan) -> dict[str, str]:
    """stem.conv1.conv, stem.conv1.bn, stages.0.conv_down.conv, stages.0.blocks.0.conv1.conv, ..., head.fc."""

    def name(layer: Layer, path: Path) -> str | None:
        match path:
            case [Step("stem"), Step("conv" | "norm" as word, n)]:
                return f"stem.conv{n}.{BN[word]}"
            case [Step("stage", s), Step("transition"), Step("conv" | "norm" as word)]:
                return f"stages.{s - 1}.conv_down.{BN[word]}"
            case [Step("stage", s), Step("block", b), Step("branch", 0), Step("conv" | "norm" as word, n)]:
                return f"stages.{s - 1}.blocks.{b - 1}.conv{n}.{BN[word]}"
            case [Step("head"), Step("fc", 0)]:
                return "head.fc"
        return None

    return rename(plan, name)


def xception(plan: NetworkPlan) -> dict[str, str]:
    """conv1, bn1, block1.rep.0.conv1, block1.rep.0.pointwise, block1.rep.1, block1.skip, ..., conv3.conv1, ..., fc.

    Blocks are numbered through. `rep` is a sequence of activation, separable convolution and norm; the first block,
    whose input is activated, lacks the first activation. The convolutions before the classifier go on from the stem's.
    """
    before, stem = blocks_before(plan), stem_convs(plan)
    halves = {"depthwise": "conv1", "pointwise": "pointwise"}

    def name(layer: Layer, path: Path) -> str | None:
        match path:
            case [Step("stem"), Step("conv" | "norm" as word, n)]:
                return f"{BN[word]}{n}"
            case [Step("stage", s), Step("block", b), *inside]:
                i = before[s] + b
                first = int(i > 1)
                match inside:
                    case [Step("branch", 0), Step("conv", n), Step(half)] if half in halves:
                        return f"block{i}.rep.{3 * n - 3 + first}.{halves[half]}"
                    case [Step("branch", 0), Step("norm", n)]:
                        return f"block{i}.rep.{3 * n - 2 + first}"
                    case [Step("shortcut"), Step("conv" | "norm" as word)]:
                        return f"block{i}.skip" if word == "conv" else f"block{i}.skipbn"
            case [Step("head"), Step("conv", n), Step(half)] if half in halves:
                return f"conv{stem + n}.{halves[half]}"
            case [Step("head"), Step("norm", n)] if n:
                return f"bn{stem + n}"
            case [Step("head"), Step("fc", 0)]:
                return "fc"
        return None

    return rename(plan, name)


def inception_resnet(plan: NetworkPlan) -> dict[str, str]:
    """conv2d_1a.conv, conv2d_1a.bn, mixed_5b.branch0.conv, repeat.0.branch1.0.conv, repeat.0.conv2d, ..., classif.

    The stages are repeat, repeat_1, ..., and the last, of one block, block8.
    """
    places = _places(plan)
    stages = len(plan.stages)

    def name(layer: Layer, path: Path) -> str | None:
        place = places.get(".".join(layer.name.split(".")[:2]), "")
        match path:
            case [Step("stem"), Step("conv"), Step("conv" | "norm" as word)]:
                return f"conv2d_{place}.{BN[word]}"
            case [Step("stem"), Step("mixed"), *branch] | [Step("stage"), Step("transition"), Step("mixed"), *branch]:
                own = in_inception(branch, 0)
                return own and f"mixed_{place}.{own}"
            case [Step("stage", s), Step("block", b), Step("branch", 0), *inside]:
                block = "block8" if (s, b) == (stages, 1) else f"repeat{f'_{s - 1}' if s > 1 else ''}.{b - 1}"
                match inside:
                    case [Step("conv", 0)]:
                        return f"{block}.conv2d"
                    case [Step("paths"), *branch]:
                        own = in_inception(branch, 0)
                        return own and f"{block}.{own}"
            case [Step("head"), Step("conv" | "norm" as word, n)] if f"head.conv{n}" in places:
                return f"conv2d_{places[f'head.conv{n}']}.{BN[word]}"
            case [Step("head"), Step("fc", 0)]:
                return "classif"
        return None

    return rename(plan, name)


def _places(plan: NetworkPlan) -> dict[str, str]:
    """1a, 2a, 2b, ...: the number counts the changes of the map's size, the letter what is done at that size.

    Blocks do not count.
    """
    places: dict[str, str] = {}
    number, letter = 0, 0
    for part in plan.parts:
        for node in part.nodes:
            layers = [layer for layer in flatten(node) if layer.kind in ("conv", "maxpool")]
            if isinstance(node, Block) or not layers:
                continue
            if layers[0].input_size != layers[-1].output_size:
                number, letter = number + 1, 0
            places[f"{part.name}.{node.name}"] = f"{number}{chr(ord('a') + letter)}"
            letter += 1
    return places


SCHEMES = (
    Scheme("timm ResNetV2", resnetv2, stride_in="3x3", mean=HALF, std=HALF),
    Scheme("timm DarkNet", darknet),
    Scheme("timm Xception", xception, mean=HALF, std=HALF),
    Scheme("timm Inception-ResNet", inception_resnet, mean=HALF, std=HALF),
)

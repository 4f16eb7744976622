"""torchvision's other networks: DenseNet, MobileNetV2, GoogLeNet, and those that are one numbered sequence."""

from __future__ import annotations

from functools import partial

from residuum.nets.naming.paths import BN, HALF, Path, Scheme, Step, blocks_before, in_inception, rename
from residuum.plan import Layer, NetworkPlan

NOT_COUNTED = ("adaptivepool", "globalpool", "flatten")
"""What torchvision does outside of its numbered classifier."""


def densenet(plan: NetworkPlan, dot: str) -> dict[str, str]:
    """features.conv0, features.denseblock1.denselayer1.norm1, ..., features.transition1.norm, ..., classifier.

    `dot` stands between name and number in a dense layer: "." in the files published before 2018, else nothing.
    """
    stages = len(plan.stages)

    def name(layer: Layer, path: Path) -> str | None:
        match path:
            case [Step("stem"), Step("conv" | "norm" as word, 1)]:
                return f"features.{word}0"
            case [Step("stage", s), Step("block", b), Step("branch", 0), Step("conv" | "norm" as word, n)]:
                return f"features.denseblock{s}.denselayer{b}.{word}{dot}{n}"
            case [Step("stage", s), Step("transition"), Step("conv" | "norm" as word)]:
                return f"features.transition{s - 1}.{word}"
            case [Step("head"), Step("norm", 0)]:
                return f"features.norm{stages + 1}"
            case [Step("head"), Step("fc", 0)]:
                return "classifier"
        return None

    return rename(plan, name)


def mobilenet(plan: NetworkPlan) -> dict[str, str]:
    """features.0.0, features.1.conv.0.0, ..., classifier.1: blocks are numbered through, after the stem.

    A convolution with norm and activation is a sequence of its own; without activation, at the end of a block, it and
    its norm are not.
    """
    before = blocks_before(plan)
    total = before[len(plan.stages) + 1]
    layers = {layer.name for layer in plan.layers}

    def name(layer: Layer, path: Path) -> str | None:
        match path:
            case [Step("stem" | "head" as part), Step("conv" | "norm" as word, 1)]:
                return f"features.{0 if part == 'stem' else total + 1}.{0 if word == 'conv' else 1}"
            case [Step("stage", s), Step("block", b), Step("branch", 0), Step("conv" | "norm" as word, n)]:
                at, norm = f"features.{before[s] + b}.conv", int(word == "norm")
                activated = f"stage{s}.block{b}.branch.act{n}" in layers
                return f"{at}.{n - 1}.{norm}" if activated else f"{at}.{n - 1 + norm}"
            case [Step("head"), Step("fc", 0)]:
                return "classifier.1"
        return None

    return rename(plan, name)


def googlenet(plan: NetworkPlan) -> dict[str, str]:
    """conv1.conv, conv1.bn, inception3a.branch1.conv, inception3a.branch2.0.conv, ..., fc.

    Modules are called after the size of their maps, the stem's being 1 and 2.
    """

    def name(layer: Layer, path: Path) -> str | None:
        match path:
            case [Step("stem"), Step("conv", n), Step("conv" | "norm" as word)]:
                return f"conv{n}.{BN[word]}"
            case [Step("stage", s), Step("block", b), *branch]:
                own = in_inception(branch, 1)
                return own and f"inception{s + 2}{chr(ord('a') + b - 1)}.{own}"
            case [Step("head"), Step("fc", 0)]:
                return "fc"
        return None

    return rename(plan, name)


def sequence(plan: NetworkPlan) -> dict[str, str]:
    """features.0, features.3, ..., classifier.6: layers without weights count too, a fire module counts as one."""
    starts, count = {}, 0
    for part in (plan.stem, *plan.stages):
        starts[part.name] = count
        count += len(part.nodes)
    outside = [f"head.{node.name}" for node in plan.head.nodes]
    kinds = {layer.name: layer.kind for layer in plan.layers}
    numbered = [node for node in outside if kinds.get(node) not in NOT_COUNTED]

    def name(layer: Layer, path: Path) -> str | None:
        part = layer.name.partition(".")[0]
        match path:
            case [Step("head"), _]:
                return f"classifier.{numbered.index(layer.name)}"
            case [_, Step(index=index)]:
                return f"features.{starts[part] + index}"
            case [_, Step(index=index), Step("branch", 0), Step("squeeze")]:
                return f"features.{starts[part] + index}.squeeze"
            case [_, Step(index=index), Step("branch", 0), Step("expand"), Step("branch"), Step("conv")]:
                return f"features.{starts[part] + index}.expand{'x'.join(str(k) for k in layer.kernel)}"
        return None

    return rename(plan, name)


SCHEMES = (
    Scheme("torchvision DenseNet", partial(densenet, dot="")),
    Scheme("torchvision DenseNet, old", partial(densenet, dot=".")),
    Scheme("torchvision MobileNetV2", mobilenet),
    # torchvision's own GoogLeNet turns ImageNet's statistics into these itself (transform_input)
    Scheme("torchvision GoogLeNet", googlenet, mean=HALF, std=HALF, auxiliary=("aux1.", "aux2.")),
    Scheme("torchvision sequence", sequence),
)

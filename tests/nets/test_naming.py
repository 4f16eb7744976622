"""Other libraries' names are made from a layer's way through the plan."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from residuum.catalog import CATALOG, spec
from residuum.nets.naming import SCHEMES, classifier
from residuum.plan import Builder, Chain, StemPart, make_plan
from residuum.spec import NetworkSpec, Stage


def names(network: str, scheme: str) -> dict[str, str]:
    (found,) = (one for one in SCHEMES if one.name == scheme)
    return found.rename(make_plan(spec(network)))


@pytest.mark.parametrize("name", CATALOG)
def test_no_two_layers_have_one_name(name: str) -> None:
    plan = make_plan(CATALOG[name].spec)
    layers = {layer.name for layer in plan.layers}
    for scheme in SCHEMES:
        found = scheme.rename(plan)
        assert found.keys() <= layers
        assert len(set(found.values())) == len(found), scheme.name


@dataclass(frozen=True)
class OddStem(StemPart):
    """Words that families use, numbered otherwise."""

    def lower(self, at: Builder) -> None:
        at.conv_norm_act("conv", 4, 3)
        at.conv_norm_act("conv12", 4, 3)
        first, second = at.fork(), at.fork()
        for branch in first, second:
            branch.conv_norm_act("conv7", 4, 3)
        at.join("mixed3", [first, second])
        at.norm(9)
        at.append(Chain("squeeze5", (Chain("2"),)), at.channels, at.size)


def test_a_network_of_another_make_is_no_error() -> None:
    plan = make_plan(NetworkSpec(OddStem(), (Stage(1, 8), Stage(2, 8, 2)), size=8, branch="residual_dense"))
    for scheme in SCHEMES:
        assert scheme.rename(plan).keys() <= {layer.name for layer in plan.layers}


@pytest.mark.parametrize("name", CATALOG)
def test_the_classifier_has_as_many_outputs_as_there_are_classes(name: str) -> None:
    entry = CATALOG[name]
    assert classifier(make_plan(entry.spec)).outputs == entry.spec.classes


PUBLISHED = {
    ("resnet50_v1_5", "torchvision"): {
        "stem.conv1": "conv1", "stem.norm1": "bn1", "stage3.block6.branch.norm3": "layer3.5.bn3",
        "stage4.block1.shortcut.conv": "layer4.0.downsample.0", "stage4.block1.shortcut.norm": "layer4.0.downsample.1",
        "head.fc": "fc",
    },
    ("resnet50d", "torchvision"): {
        "stem.conv2": "conv1.3", "stem.norm2": "conv1.4", "stem.conv3": "conv1.6", "stem.norm3": "bn1",
        "stage1.block1.shortcut.conv": "layer1.0.downsample.1", "stage2.block1.shortcut.norm": "layer2.0.downsample.2",
    },
    ("seresnet18", "torchvision"): {"stage2.block1.branch.attention.factor.conv2": "layer2.0.se.fc2"},
    ("ecaresnet50d", "torchvision"): {"stage2.block1.branch.attention.factor.conv": "layer2.0.se.conv"},
    ("res2net50_26w_4s", "torchvision"): {
        "stage1.block2.branch.conv2.piece3.conv": "layer1.1.convs.2",
        "stage1.block2.branch.conv2.piece3.norm": "layer1.1.bns.2",
    },
    ("resnet20", "CIFAR third-party"): {"stage3.block3.branch.conv2": "layer3.2.conv2", "head.fc": "linear"},
    ("r2plus1d_18", "torchvision video"): {
        "stem.norm2": "stem.4", "stage1.block1.branch.conv2.time": "layer1.0.conv2.0.3",
        "stage1.block1.branch.norm2": "layer1.0.conv2.1", "stage2.block1.shortcut.norm": "layer2.0.downsample.1",
    },
    ("densenet121", "torchvision DenseNet"): {
        "stem.norm1": "features.norm0", "stage4.block16.branch.conv2": "features.denseblock4.denselayer16.conv2",
        "stage2.transition.conv": "features.transition1.conv", "head.norm": "features.norm5", "head.fc": "classifier",
    },
    ("mobilenet_v2", "torchvision MobileNetV2"): {
        "stage1.block1.branch.norm1": "features.1.conv.0.1", "stage1.block1.branch.norm2": "features.1.conv.2",
        "stage2.block1.branch.conv2": "features.2.conv.1.0", "stage7.block1.branch.norm3": "features.17.conv.3",
        "head.norm1": "features.18.1", "head.fc": "classifier.1",
    },
    ("googlenet", "torchvision GoogLeNet"): {
        "stage1.block1.branch1.conv1.norm": "inception3a.branch1.bn",
        "stage2.block5.branch4.conv1.conv": "inception4e.branch4.1.conv",
    },
    ("alexnet", "torchvision sequence"): {"stage2.conv3": "features.10", "head.fc1": "classifier.1"},
    ("vgg16_bn", "torchvision sequence"): {"stage5.norm3": "features.41", "head.fc": "classifier.6"},
    ("squeezenet1_1", "torchvision sequence"): {
        "stage3.block4.branch.expand.branch2.conv": "features.12.expand3x3", "head.conv": "classifier.1",
    },
    ("resnetv2_50", "timm ResNetV2"): {
        "stage1.block1.before.norm": "stages.0.blocks.0.norm1",
        "stage1.block1.shortcut.conv": "stages.0.blocks.0.downsample.conv",
        "stage4.block3.branch.norm1": "stages.3.blocks.2.norm1", "head.norm": "norm", "head.fc": "head.fc",
    },
    ("darknet53", "timm DarkNet"): {
        "stem.norm1": "stem.conv1.bn", "stage5.transition.conv": "stages.4.conv_down.conv",
        "stage3.block8.branch.norm2": "stages.2.blocks.7.conv2.bn",
    },
    ("legacy_xception", "timm Xception"): {
        "stage1.block1.branch.conv1.depthwise": "block1.rep.0.conv1", "stage4.block8.branch.norm3": "block11.rep.8",
        "stage5.block1.shortcut.norm": "block12.skipbn", "head.conv2.pointwise": "conv4.pointwise", "head.norm1": "bn3",
    },
    ("inception_resnet_v2", "timm Inception-ResNet"): {
        "stem.conv3.conv": "conv2d_2b.conv", "stem.mixed.branch4.conv1.norm": "mixed_5b.branch3.1.bn",
        "stage3.transition.mixed.branch1.conv2.conv": "mixed_7a.branch0.1.conv",
        "stage2.block20.branch.conv": "repeat_1.19.conv2d", "stage4.block1.branch.conv": "block8.conv2d",
        "head.conv1": "conv2d_7b.conv", "head.fc": "classif",
    },
}  # fmt: skip
"""Names in the libraries' published files."""


@pytest.mark.parametrize(("network", "scheme"), PUBLISHED)
def test_names_are_those_of_published_files(network: str, scheme: str) -> None:
    found = names(network, scheme)
    plan = make_plan(spec(network))
    assert {layer: found[layer] for layer in PUBLISHED[network, scheme]} == PUBLISHED[network, scheme]
    assert found.keys() == {layer.name for layer in plan.layers if layer.parameters}

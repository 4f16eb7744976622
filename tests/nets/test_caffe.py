"""ResNet-50 layer by layer against the authors' own definition for Caffe."""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import ceil, floor
from pathlib import Path
from typing import Any

import pytest

from residuum.catalog import spec
from residuum.plan import Layer, make_plan

pytestmark = pytest.mark.realdata

Message = dict[str, list[Any]]


def parse(tokens: Iterator[str]) -> Message:
    """Protocol buffer text: `key: value` and `key { ... }`, each key perhaps many times."""
    message: Message = {}
    for token in tokens:
        if token == "}":
            break
        following = next(tokens)
        value = parse(tokens) if following == "{" else next(tokens).strip('"')
        message.setdefault(token, []).append(value)
    return message


@pytest.fixture(scope="module")
def caffe(realdata: Path) -> Message:
    text = (realdata / "reference" / "ResNet-50-deploy.prototxt").read_text()
    return parse(iter(re.findall(r'"[^"]*"|[{}:]|[^\s{}:"]+', text)))


def number(parameters: Message, key: str, default: int) -> int:
    return int(parameters.get(key, [default])[0])


def shapes_by_caffe(net: Message) -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[int, ...]]]:
    """Each blob's (channels, height, width), and each convolution's row in the words of `ours`."""
    _, *picture = (int(n) for n in net["input_dim"])
    blobs: dict[str, tuple[int, ...]] = {net["input"][0]: tuple(picture)}
    convs: dict[str, tuple[int, ...]] = {}
    for layer in net["layer"]:
        (kind,), (top,), bottoms = layer["type"], layer["top"], layer["bottom"]
        channels, size, _ = blobs[bottoms[0]]
        if kind in ("Convolution", "Pooling"):
            (parameters,) = layer["convolution_param" if kind == "Convolution" else "pooling_param"]
            kernel, stride, pad = (number(parameters, k, d) for k, d in (("kernel_size", 1), ("stride", 1), ("pad", 0)))
            rounding = floor if kind == "Convolution" else ceil  # Caffe's pooling keeps a last, partial window
            after = rounding((size + 2 * pad - kernel) / stride) + 1
            outputs = number(parameters, "num_output", channels)
            blobs[top] = (outputs, after, after)
            if kind == "Convolution":
                convs[layer["name"][0]] = (channels, outputs, kernel, stride, pad, size, after)
        elif kind == "InnerProduct":
            blobs[top] = (number(layer["inner_product_param"][0], "num_output", 0), 1, 1)
        else:
            assert len({blobs[bottom] for bottom in bottoms}) == 1, layer["name"]
            blobs[top] = blobs[bottoms[0]]
    return blobs, convs


def caffe_name(layer: Layer) -> str:
    """stage1.block1.branch.conv1 is their res2a_branch2a, and its shortcut res2a_branch1."""
    if layer.name == "stem.conv1":
        return "conv1"
    stage, block, where, last = layer.name.split(".")
    at = f"res{int(stage[-1]) + 1}{'abcdef'[int(block[-1]) - 1]}"
    return f"{at}_branch1" if where == "shortcut" else f"{at}_branch2{'abc'[int(last[-1]) - 1]}"


def ours(layer: Layer) -> tuple[int, ...]:
    for values in (layer.kernel, layer.stride, layer.padding, layer.input_size, layer.output_size):
        assert len(set(values)) == 1
    (pad, _) = layer.padding
    assert isinstance(pad, int)
    return (
        layer.inputs, layer.outputs, layer.kernel[0], layer.stride[0], pad, layer.input_size[0], layer.output_size[0],
    )  # fmt: skip


def test_every_convolution_is_the_authors(caffe: Message) -> None:
    _, theirs = shapes_by_caffe(caffe)
    mine = {caffe_name(layer): ours(layer) for layer in make_plan(spec("resnet50")).layers if layer.kind == "conv"}
    assert len(theirs) == 53
    assert mine == theirs


def test_the_order_within_branches_is_the_authors(caffe: Message) -> None:
    _, theirs = shapes_by_caffe(caffe)
    mine = [caffe_name(layer) for layer in make_plan(spec("resnet50")).layers if layer.kind == "conv"]
    # they write a block's projection before its branch, and we after it
    assert [n for n in mine if "branch1" not in n] == [n for n in theirs if "branch1" not in n]
    assert [n for n in mine if "branch1" in n] == [n for n in theirs if "branch1" in n]


def test_pools_sums_and_classifier_are_the_authors(caffe: Message) -> None:
    blobs, _ = shapes_by_caffe(caffe)
    plan = make_plan(spec("resnet50"))
    by_name = {layer.name: layer for layer in plan.layers}
    stages = {"res2c": "stage1.block3", "res3d": "stage2.block4", "res4f": "stage3.block6", "res5c": "stage4.block3"}
    pairs = {"pool1": "stem.pool", "pool5": "head.pool"} | {k: f"{v}.after.act" for k, v in stages.items()}
    for blob, name in pairs.items():
        assert blobs[blob] == (by_name[name].outputs, *by_name[name].output_size), name
    assert blobs["fc1000"][0] == by_name["head.fc"].outputs
    sums = sum(layer["type"][0] == "Eltwise" for layer in caffe["layer"])
    assert sums == sum(len(stage.nodes) for stage in plan.stages) == 16
    kinds = [layer["type"][0] for layer in caffe["layer"]]
    mine = [layer.kind for layer in plan.layers]
    assert kinds.count("BatchNorm") == mine.count("norm")
    assert kinds.count("ReLU") == mine.count("act")


def test_with_the_stride_in_the_3x3_it_is_another_network(caffe: Message) -> None:
    _, theirs = shapes_by_caffe(caffe)
    plan = make_plan(spec("resnet50", stride_in="3x3"))
    different = {caffe_name(x) for x in plan.layers if x.kind == "conv" and ours(x) != theirs[caffe_name(x)]}
    assert different == {f"res{stage}a_branch2{letter}" for stage in (3, 4, 5) for letter in "ab"}

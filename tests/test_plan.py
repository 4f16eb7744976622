"""The plan: sizes, names and the order of operations, before any tensor exists."""

from __future__ import annotations

import csv
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from time import perf_counter

import pytest

from residuum.catalog import CATALOG, spec
from residuum.errors import UserError
from residuum.plan import Block, Chain, flatten, make_plan
from residuum.spec import AXES, IMAGENET_STEM, NetworkSpec, Stage, Stem, StemConv

SMALL = NetworkSpec(Stem((StemConv(8, 3),)), (Stage(2, 8), Stage(2, 16, 2)), size=8, classes=3)
GOLDEN = Path(__file__).parent / "golden" / "networks.csv"


def short_names(node: Block) -> list[str]:
    return [layer.name.partition(".")[2] for layer in flatten(node)]


def block(spec: NetworkSpec, stage: int, index: int) -> Block:
    node = make_plan(spec).stages[stage].nodes[index]
    assert isinstance(node, Block)
    return node


def test_the_golden_table_has_the_whole_catalogue_and_the_plan_agrees() -> None:
    with GOLDEN.open(newline="") as file:
        golden = {row["name"]: (int(row["parameters"]), int(row["macs"])) for row in csv.DictReader(file)}
    plans = {name: make_plan(entry.spec) for name, entry in CATALOG.items()}
    assert {name: (plan.parameters, plan.macs) for name, plan in plans.items()} == golden


@pytest.mark.parametrize("name", CATALOG)
def test_names_are_unique_and_every_layer_takes_what_a_former_one_gives(name: str) -> None:
    layers = make_plan(CATALOG[name].spec).layers
    assert len({layer.name for layer in layers}) == len(layers)
    given = {(CATALOG[name].spec.channels, CATALOG[name].spec.input_size())}
    for layer in layers:
        assert (layer.inputs, layer.input_size) in given, layer.name
        given.add((layer.outputs, layer.output_size))


@pytest.mark.parametrize("shortcut", ["A", "B", "C", "D"])
@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnet20"])
@pytest.mark.parametrize("size", [32, 45, 63, 224])
def test_branch_and_shortcut_bring_the_same_shape_to_the_merge(name: str, shortcut: str, size: int) -> None:
    for stage in make_plan(spec(name, shortcut=shortcut, size=size)).stages:
        for node in stage.nodes:
            assert isinstance(node, Block)
            assert node.shortcut is not None
            first, *_, last = flatten(node.branch)
            ends = [*flatten(node.shortcut)][-1:]
            arrived = [(end.outputs, end.output_size) for end in ends] or [(first.inputs, first.input_size)]
            assert arrived == [(last.outputs, last.output_size)]


@pytest.mark.parametrize("order", AXES["order"])
def test_maps_of_the_paper(order: str) -> None:
    plan = make_plan(spec("resnet50", order=order))
    ends = [list(flatten(stage))[-1] for stage in plan.stages]
    assert [end.outputs for end in ends] == [256, 512, 1024, 2048]
    assert [end.output_size for end in ends] == [(56, 56), (28, 28), (14, 14), (7, 7)]


def test_order_of_operations_2015() -> None:
    post = replace(SMALL, order="post")
    assert short_names(block(post, 0, 0)) == [
        "branch.conv1", "branch.norm1", "branch.act1", "branch.conv2", "branch.norm2", "after.act",
    ]  # fmt: skip
    assert short_names(block(post, 1, 0))[5:] == ["shortcut.conv", "shortcut.norm", "after.act"]


def test_order_of_operations_2016() -> None:
    pre = replace(SMALL, order="pre")
    assert short_names(block(pre, 0, 0)) == [
        "branch.norm1", "branch.act1", "branch.conv1", "branch.norm2", "branch.act2", "branch.conv2",
    ]  # fmt: skip
    assert short_names(block(pre, 1, 0)) == [
        "before.norm", "before.act", "branch.conv1", "branch.norm2", "branch.act2", "branch.conv2", "shortcut.conv",
    ]  # fmt: skip
    plan = make_plan(pre)
    assert [layer.kind for layer in flatten(plan.stem)] == ["conv"]
    assert [layer.kind for layer in flatten(plan.head)][:2] == ["norm", "act"]


def test_the_order_moves_operations_and_adds_none() -> None:
    kinds = [sorted(layer.kind for layer in make_plan(spec("resnet20", order=o)).layers) for o in ("pre", "post")]
    assert kinds[0] == kinds[1]


@pytest.mark.parametrize(("stride_in", "strided"), [("1x1", "conv1"), ("3x3", "conv2")])
def test_the_stride_stands_where_the_spec_says(stride_in: str, strided: str) -> None:
    for layer in flatten(block(spec("resnet50", stride_in=stride_in), 1, 0).branch):
        assert layer.stride == ((2, 2) if layer.name.endswith(strided) else (1, 1))


@pytest.mark.parametrize(
    ("shortcut", "same", "changed"),
    [
        ("A", [], ["pad"]),
        ("B", [], ["conv", "norm"]),
        ("C", ["conv", "norm"], ["conv", "norm"]),
        ("D", [], ["pool", "conv", "norm"]),
    ],
)
def test_shortcuts_do_what_section_4_1_says(shortcut: str, same: list[str], changed: list[str]) -> None:
    for where, expected in ((0, same), (1, changed)):
        found = block(replace(SMALL, shortcut=shortcut), where, 0).shortcut
        assert isinstance(found, Chain)
        assert [node.name for node in found.nodes] == expected
    assert block(replace(SMALL, shortcut="none"), 1, 0).shortcut is None


def test_only_the_first_block_of_a_stage_strides() -> None:
    for layer in make_plan(spec("resnet50")).layers:
        if max(layer.stride, default=1) > 1:
            assert layer.name.startswith("stem.") or ".block1." in layer.name


def test_dilation_keeps_the_size_and_the_cost() -> None:
    dilated = replace(SMALL, stages=tuple(replace(stage, dilation=3) for stage in SMALL.stages))
    for one, other in zip(make_plan(SMALL).layers, make_plan(dilated).layers, strict=True):
        assert (one.output_size, one.parameters, one.macs) == (other.output_size, other.parameters, other.macs)


def test_macs_grow_with_the_area_and_parameters_do_not() -> None:
    sizes = [make_plan(spec("resnet20", size=size)) for size in (32, 64, 128)]
    assert len({plan.parameters for plan in sizes}) == 1
    head = 640
    for small, large in pairwise(sizes):
        assert large.macs - head == 4 * (small.macs - head)


def test_too_small_an_input_is_refused_with_a_way_out() -> None:
    even = replace(SMALL, stem=Stem((StemConv(8, 4),)), size=1)
    with pytest.raises(UserError, match=r"size 1 is too small.*larger size"):
        make_plan(even)


@pytest.mark.parametrize("norm", ["instance", "group"])
def test_a_norm_over_one_value_is_refused(norm: str) -> None:
    single = replace(SMALL, norm=norm, size=2)
    with pytest.raises(UserError, match="one value per channel"):
        make_plan(single)
    make_plan(replace(single, size=4))
    make_plan(replace(single, norm="batch"))


def test_an_unsound_spec_is_refused() -> None:
    with pytest.raises(UserError, match="groups"):
        make_plan(replace(SMALL, groups=0))


def test_one_value_per_dimension_and_one_for_all_are_the_same() -> None:
    one = replace(SMALL, stem=IMAGENET_STEM, size=32)
    each = replace(
        one,
        size=(32, 32),
        stem=Stem((StemConv(64, (7, 7), (2, 2)),), pool=True),
        stages=tuple(replace(s, stride=(s.stride, s.stride), dilation=(1, 1)) for s in SMALL.stages),
    )
    assert make_plan(one).layers == make_plan(each).layers


def test_the_deepest_plan_is_made_at_once() -> None:
    deepest = spec("resnet1202")
    make_plan(deepest)

    def seconds() -> float:
        start = perf_counter()
        make_plan(deepest)
        return perf_counter() - start

    assert min(seconds() for _ in range(5)) < 0.05

"""The plan: sizes, names and the order of operations, before any tensor exists."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path
from time import process_time
from typing import Any

import pytest

from residuum.catalog import CATALOG, spec
from residuum.errors import UserError
from residuum.plan import (
    Block,
    Cascade,
    Chain,
    Concat,
    Layer,
    Node,
    Scale,
    Shrink,
    dilated,
    flatten,
    make_plan,
    problems,
)
from residuum.spec import AXES, IMAGENET_STEM, AnySpec, NetworkSpec, Stage, Stem, StemConv

SMALL = NetworkSpec(Stem((StemConv(8, 3),)), (Stage(2, 8), Stage(2, 16, 2)), size=8, classes=3)
GOLDEN = Path(__file__).parent / "golden" / "networks.csv"


def short_names(node: Block) -> list[str]:
    return [layer.name.partition(".")[2] for layer in flatten(node)]


def block(spec: AnySpec, stage: int, index: int) -> Block:
    node = make_plan(spec).stages[stage].nodes[index]
    assert isinstance(node, Block)
    return node


def test_the_golden_table_has_the_whole_catalogue_and_the_plan_agrees() -> None:
    """After a change that is meant, `python tests/golden/write.py` writes the table anew."""
    with GOLDEN.open(newline="") as file:
        golden = [(row["name"], int(row["parameters"]), int(row["macs"])) for row in csv.DictReader(file)]
    plans = {name: make_plan(entry.spec) for name, entry in CATALOG.items()}
    assert [(name, plan.parameters, plan.macs) for name, plan in plans.items()] == golden


Map = tuple[int, tuple[int, ...]]
"""Channels and size."""


def through(node: Node, x: Map) -> Map:
    """What leaves a node, where every layer in it takes what reaches it by the node's equation."""
    if isinstance(node, Layer):
        assert (node.inputs, node.input_size) == x or node.kind == "linear", node
        return node.outputs, node.output_size
    if isinstance(node, Chain):
        for child in node.nodes:
            x = through(child, x)
        return x
    if isinstance(node, Concat):
        return beside(*(through(branch, x) for branch in node.branches))
    if isinstance(node, Cascade):
        piece = node.width, x[1]
        ends = [through(step, piece) for step in node.steps]
        assert node.first or set(ends) == {piece}  # to be added to the next one
        assert x[0] == node.width * (len(ends) + 1)
        return beside(*ends, through(node.last, piece))
    if isinstance(node, (Scale, Shrink)):
        seen = x if isinstance(node, Scale) else (x[0], (1,) * len(x[1]))
        channels, size = through(node.factor, seen)
        assert channels in (1, x[0])
        assert size in ((1,) * len(x[1]), x[1])
        return x
    u = through(node.before, x)
    ends = {through(branch, u) for branch in node.branches}
    gates = {through(node.gate, u)} if node.gate else set()
    shortcuts = {through(node.shortcut, u)} if node.shortcut else set()
    if node.merge == "concat":
        return through(node.after, beside(*shortcuts, *ends))
    (end,) = ends | gates | shortcuts
    return through(node.after, end)


def beside(*ends: Map) -> Map:
    """Channels side by side, on maps of one size."""
    ((size,), channels) = {size for _, size in ends}, sum(channels for channels, _ in ends)
    return channels, size


@pytest.mark.parametrize("name", CATALOG)
def test_names_are_unique_and_every_layer_takes_what_a_former_one_gives(name: str) -> None:
    layers = make_plan(CATALOG[name].spec).layers
    assert len({layer.name for layer in layers}) == len(layers)
    at = CATALOG[name].spec.channels, CATALOG[name].spec.input_size()
    for part in make_plan(CATALOG[name].spec).parts:
        at = through(part, at)
    assert at == (CATALOG[name].spec.classes, ())


@pytest.mark.parametrize("name", CATALOG)
def test_a_network_of_the_catalogue_takes_other_sizes_or_says_why_not(name: str) -> None:
    fitting = 0
    for size in (1, 2, 5, 17, 33, 75, 150, 333):
        other = replace(CATALOG[name].spec, size=size, channels=1, classes=7)
        if found := problems(other):
            assert all(re.search(r"\buse\b", problem) for problem in found)
            continue
        at: Map = (1, other.input_size())
        for part in make_plan(other).parts:
            at = through(part, at)
        assert at == (7, ())
        fitting += 1
    assert fitting >= 3


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


ORDERS_OF_LAYERS = {
    "post": ["branch.conv1", "branch.norm1", "branch.act1", "branch.conv2", "branch.norm2", "after.act"],
    "pre": ["branch.norm1", "branch.act1", "branch.conv1", "branch.norm2", "branch.act2", "branch.conv2"],
    "relu_pre": ["branch.act1", "branch.conv1", "branch.norm1", "branch.act2", "branch.conv2", "branch.norm2"],
    "before_add": ["branch.conv1", "branch.norm1", "branch.act1", "branch.conv2", "branch.norm2", "branch.act2"],
    "linear": ["branch.conv1", "branch.norm1", "branch.act1", "branch.conv2", "branch.norm2"],
}
"""He et al. 2016, Fig. 4: (a), (e), (d), (c); linear: (a) without the last ReLU (Sandler et al. 2018)."""


@pytest.mark.parametrize("order", AXES["order"])
def test_order_of_operations(order: str) -> None:
    assert short_names(block(replace(SMALL, order=order), 0, 0)) == ORDERS_OF_LAYERS[order]


@pytest.mark.parametrize(
    ("order", "stem", "head"),
    [
        ("post", ["conv", "norm", "act"], []),
        ("pre", ["conv"], ["norm", "act"]),
        ("relu_pre", ["conv"], ["act"]),
        ("before_add", ["conv", "norm", "act"], []),
        ("linear", ["conv", "norm", "act"], []),
    ],
)
def test_what_blocks_do_not_bring_stem_and_head_do(order: str, stem: list[str], head: list[str]) -> None:
    plan = make_plan(replace(SMALL, order=order))
    assert [layer.kind for layer in flatten(plan.stem)] == stem
    assert [layer.kind for layer in flatten(plan.head)] == [*head, "globalpool", "flatten", "linear"]


def test_projections_of_2015_have_a_norm_and_those_of_2016_take_the_activated_input() -> None:
    assert short_names(block(replace(SMALL, order="post"), 1, 0))[5:] == ["shortcut.conv", "shortcut.norm", "after.act"]
    assert short_names(block(replace(SMALL, order="pre"), 1, 0)) == [
        "before.norm", "before.act", "branch.conv1", "branch.norm2", "branch.act2", "branch.conv2", "shortcut.conv",
    ]  # fmt: skip


def test_the_order_moves_operations_and_adds_none() -> None:
    kinds = [sorted(layer.kind for layer in make_plan(spec("resnet20", order=o)).layers) for o in ("pre", "post")]
    assert kinds[0] == kinds[1]


@pytest.mark.parametrize(
    ("norm", "expected"),
    [
        # after a branch's first convolution, in all stages but the last (Pan et al. 2018, Fig. 3b)
        ("ibn_a", {f"stage{s}.block{b}.branch.norm1": "half_instance" for s in (1, 2) for b in (1, 2)}),
        # after the stem and after the sum that ends each of the first two stages (Fig. 3c)
        (
            "ibn_b",
            dict.fromkeys(("stem.norm1", "stage1.block2.after.norm", "stage2.block2.after.norm"), "instance"),
        ),
    ],
)
def test_instance_norm_stands_where_ibn_has_it_and_batch_norm_elsewhere(norm: str, expected: dict[str, str]) -> None:
    stages = (Stage(2, 8), Stage(2, 16, 2), Stage(2, 32, 2))
    plan, plain = (make_plan(replace(SMALL, stages=stages, norm=n)) for n in (norm, "batch"))
    found = {layer.name: layer.variant for layer in plan.layers if layer.kind == "norm"}
    assert {name: variant for name, variant in found.items() if variant != "batch"} == expected
    assert {layer.name for layer in plain.layers if layer.kind == "norm"} <= found.keys()


def test_survival_falls_linearly_over_the_blocks() -> None:
    """From the input, which always survives, to the last block (Huang, G. et al. 2016, eq. 4)."""
    plan = make_plan(replace(SMALL, merge="stochastic_depth"))
    blocks = [node for stage in plan.stages for node in stage.nodes if isinstance(node, Block)]
    assert [node.value for node in blocks] == pytest.approx([1 - i / 4 * 0.5 for i in (1, 2, 3, 4)])


def test_norms_know_the_epsilon() -> None:
    for layer in make_plan(replace(SMALL, eps=0.25, attention="shrink_shared")).layers:
        assert layer.value == (0.25 if layer.kind == "norm" else 0)


@pytest.mark.parametrize("channels", [8, 64, 256, 512, 2048])
def test_the_kernel_of_eca_grows_with_the_logarithm_of_the_channels(channels: int) -> None:
    """|log2(C) / 2 + 1 / 2|, to the nearest odd number as the authors' code takes it (Wang et al. 2020, eq. 12)."""
    wide = replace(SMALL, stages=(Stage(1, channels),), attention="eca")
    (kernel,) = (layer.kernel for layer in make_plan(wide).layers if layer.kind == "channelconv")
    assert kernel == ({8: 3, 64: 3, 256: 5, 512: 5, 2048: 7}[channels],)


@pytest.mark.parametrize("channels", [8, 64, 200, 256, 2048])
def test_squeeze_and_excitation_narrows_to_a_sixteenth_in_steps_of_eight(channels: int) -> None:
    wide = replace(SMALL, stages=(Stage(1, channels),), attention="se")
    hidden = next(layer.outputs for layer in make_plan(wide).layers if layer.name.endswith("factor.conv1"))
    assert hidden % 8 == 0
    assert hidden == 8 or abs(hidden - channels / 16) <= 4


def test_an_inverted_block_grows_and_an_expansion_of_one_does_not() -> None:
    """1x1 up, depthwise 3x3, 1x1 down (Sandler et al. 2018, Table 1)."""
    inverted = replace(SMALL, branch="inverted", expansion=6)
    for expansion, expected in (
        (6, [(8, 48, 1, 1), (48, 48, 3, 48), (48, 16, 1, 1)]),
        (1, [(8, 8, 3, 8), (8, 16, 1, 1)]),
    ):
        node = block(replace(inverted, expansion=expansion, stages=(Stage(1, 16, 2),)), 0, 0)
        convs = [layer for layer in flatten(node.branch) if layer.kind == "conv"]
        assert [(c.inputs, c.outputs, c.kernel[0], c.groups) for c in convs] == expected
        assert [c.stride[0] for c in convs] == [2 if c.groups > 1 else 1 for c in convs]


@pytest.mark.parametrize(("inputs", "outputs", "groups"), [(8, 8, 1), (8, 16, 1), (8, 16, 4)])
def test_a_separable_convolution_is_one_per_channel_then_one_per_position(
    inputs: int, outputs: int, groups: int
) -> None:
    stem = Stem((StemConv(inputs, 3),))
    spec = replace(SMALL, stem=stem, stages=(Stage(1, outputs, 2),), conv="separable", groups=groups)
    first = [layer for layer in flatten(block(spec, 0, 0).branch) if ".conv1." in layer.name]
    depthwise, pointwise = first
    assert (depthwise.outputs, depthwise.kernel, depthwise.stride, depthwise.groups) == (inputs, (3, 3), (2, 2), inputs)
    assert (pointwise.outputs, pointwise.kernel, pointwise.stride, pointwise.groups) == (
        outputs,
        (1, 1),
        (1, 1),
        groups,
    )


def test_a_depthwise_convolution_is_its_own_separable_form() -> None:
    inverted = replace(SMALL, branch="inverted")
    assert make_plan(replace(inverted, conv="separable")).layers == make_plan(inverted).layers


@pytest.mark.parametrize("width", [16, 64, 256])
def test_factorised_convolutions_have_nearly_as_many_parameters_as_full_ones(width: int) -> None:
    """Tran et al. 2018, section 3.5: the middle width is the largest that has no more."""
    stem = Stem((StemConv(width, 3),))
    full = replace(SMALL, ndim=3, stem=stem, stages=(Stage(2, width), Stage(2, 2 * width, 2)), norm="filter_response")
    counts = []
    for conv in ("full", "factorised"):
        layers = make_plan(replace(full, conv=conv)).layers
        counts.append([
            sum(layer.parameters for layer in layers if layer.kind == "conv" and layer.name.startswith(name))
            for name in (f"stage{s}.block{b}.branch.conv1" for s in (1, 2) for b in (1, 2))
        ])  # fmt: skip
    for whole, parts in zip(*counts, strict=True):
        assert 0.97 < parts / whole <= 1
    with_norms = make_plan(replace(full, conv="factorised"))
    between = [layer.name.rpartition(".")[2] for layer in with_norms.layers if "block1.branch.conv2." in layer.name]
    assert between == ["space", "norm", "act", "time"] * 2


@pytest.mark.parametrize("branch", AXES["branch"])
def test_every_branch_strides_once_and_only_in_the_first_block(branch: str) -> None:
    plan = make_plan(replace(SMALL, branch=branch, shortcut="A" if branch == "basic" else "B", size=16))
    for index, stage in enumerate(plan.stages):
        for node in stage.nodes:
            assert isinstance(node, Block)
            size = (16, 16) if index == 0 else (8, 8)
            assert [*flatten(node.after)][-1].output_size == size
            strided = [layer for layer in flatten(node.branch) if max(layer.stride) > 1 and layer.kind == "conv"]
            pieces = 3 if branch == "res2net" else 1
            assert len(strided) == (pieces if (index, node.name) == (1, "block1") else 0) or branch == "res2net"


DILATABLE = {
    "basic": {},
    "bottleneck, stride in the 1x1": {"branch": "bottleneck"},
    "bottleneck, stride in the 3x3": {"branch": "bottleneck", "stride_in": "3x3"},
    "inverted": {"branch": "inverted"},
    "res2net": {"branch": "res2net"},
    "pre, option A": {"order": "pre", "shortcut": "A"},
    "plain": {"shortcut": "none"},
    "pooled projection": {"shortcut": "D"},
    "highway": {"merge": "gate"},
    "dense": {"merge": "concat", "transition": "dense", "branch": "single", "shortcut": "identity"},
    "dark": {"branch": "dark", "transition": "conv", "shortcut": "identity"},
    "transition without a change of width": {"transition": "conv", "stages": tuple(Stage(1, 8, 2) for _ in range(3))},
    "residual dense": {"branch": "residual_dense"},
    "stride in one dimension": {"stages": (Stage(1, 8), Stage(1, 16, (1, 2)), Stage(1, 16, 2))},
    "dilated before": {"stages": (Stage(2, 8), Stage(2, 16, 2, 2), Stage(2, 32, 2, 3, 2))},
}


@pytest.mark.parametrize("axes", DILATABLE.values(), ids=DILATABLE)
def test_dilation_in_place_of_strides_keeps_the_weights_and_the_map(axes: dict[str, Any]) -> None:
    stages = (Stage(2, 8), Stage(2, 16, 2), Stage(2, 32, 2))
    strided = replace(SMALL, **({"stages": stages, "size": 32} | axes))
    plan = make_plan(strided)
    for stride in (1, 2):
        spread = dilated(strided, stride)
        found = make_plan(spread)
        shapes = [[(x.name, x.outputs, x.kernel, x.groups) for x in p.layers if x.parameters] for p in (plan, found)]
        assert shapes[0] == shapes[1]
        last = [*flatten(found.stages[-1])][-1]
        assert min(last.output_size) == 32 // stride
        assert dilated(spread, stride) == spread
    assert dilated(dilated(strided, 2), 1) == dilated(strided, 1)


CANNOT_DILATE = {
    "legacy_xception": "takes no dilation",  # its strides are those of max-pools
    "inception_resnet_v2": "cannot be set for this network",  # nor has its stem strides that a spec could know
}


@pytest.mark.parametrize("name", [name for name, entry in CATALOG.items() if isinstance(entry.spec, NetworkSpec)])
def test_a_network_of_the_catalogue_dilates_and_loses_no_weight_or_says_why_not(name: str) -> None:
    original = make_plan(CATALOG[name].spec)
    if name in CANNOT_DILATE:
        with pytest.raises(UserError, match=CANNOT_DILATE[name]):
            make_plan(dilated(CATALOG[name].spec, 8))
        return
    plan = make_plan(dilated(CATALOG[name].spec, 4))
    assert [x.parameters for x in plan.layers if x.parameters] == [
        x.parameters for x in original.layers if x.parameters
    ]
    assert {layer.name for layer in plan.layers} <= {layer.name for layer in original.layers}


def test_the_same_padding_is_that_of_tensorflow() -> None:
    """An output of ceil(size / stride), and of an odd number of pixels the last one after."""
    for size, kernel, stride, dilation in product(range(1, 12), range(1, 6), range(1, 4), range(1, 3)):
        spec = replace(
            SMALL, ndim=1, size=size, padding="same", shortcut="none",
            stages=(Stage(1, 8, stride, dilation, kernel=kernel),),
        )  # fmt: skip
        layer = next(layer for layer in make_plan(spec).layers if layer.name == "stage1.block1.branch.conv1")
        assert layer.output_size == (-(-size // stride),)
        (padding,) = layer.padding
        before, after = padding if isinstance(padding, tuple) else (padding, padding)
        reach = (layer.output_size[0] - 1) * stride + dilation * (kernel - 1) + 1
        assert before + after == max(reach - size, 0)
        assert before in (after, after - 1)


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
        stem=Stem((StemConv(64, (7, 7), (2, 2)),), pool="max"),
        stages=tuple(replace(s, stride=(s.stride, s.stride), dilation=(1, 1)) for s in SMALL.stages),
    )
    assert make_plan(one).layers == make_plan(each).layers


def test_the_deepest_plan_is_made_at_once() -> None:
    """The goal is 50 ms (docs/results.md has the figure); five times as long on a busy machine means that work grows
    faster than the depth."""
    deepest = spec("resnet1202")
    make_plan(deepest)

    def seconds() -> float:  # of computing: other work on the machine is no part of it
        start = process_time()
        make_plan(deepest)
        return process_time() - start

    assert min(seconds() for _ in range(5)) < 0.25

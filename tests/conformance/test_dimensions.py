"""One description in one, two and three dimensions agrees where the added dimensions have size 1.

It must: with odd kernels, padded alike on both sides, size 1 stays 1 through every layer whatever its stride and
dilation, and padding (zeros; nothing, in a maximum or a mean) adds nothing. So only the centre tap of a kernel in
the added dimensions counts, and weights are copied from there. What is no such network is listed as an exception.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from laws import BASE, STEMS, lively_network, pictures
from test_axes import VALUES

from residuum.errors import UserError
from residuum.nets.network import Network, make_network
from residuum.plan import make_plan
from residuum.plan.merges import Concatenate
from residuum.plan.shortcuts import Projection, TwoPaths
from residuum.plan.transitions import ConvTransition
from residuum.spec import Head, NetworkSpec, Size, Stage, Stem, StemConv, each


def exception(spec: NetworkSpec) -> str:
    """Why a network cannot agree with itself in more dimensions, or nothing."""
    if "res2net" in (spec.branch, *(stage.branch for stage in spec.stages)) or "Bottleneck" in str(spec.branch):
        return "the mean over a piece of Res2Net counts the padding above and below"
    if spec.conv == "factorised":
        return "convolutions factorise in three dimensions only"
    if spec.padding == "symmetric" and any(k % 2 == 0 for stage in spec.stages for k in each(stage.kernel, spec.ndim)):
        return "an even kernel leaves nothing of a size of 1"
    return ""


def strides_in_front(spec: NetworkSpec) -> bool:
    """Whether strides may go on in the added dimensions; not where they skip no pixel but pool or shift."""
    pooled = spec.shortcut == "D" or "pooled=True" in str(spec.shortcut) or isinstance(spec.shortcut, TwoPaths)
    return not pooled and spec.transition != "dense" and not str(spec.transition).startswith(("Dense", "ConvT"))


def lowered(spec: NetworkSpec, ndim: int, top: int) -> NetworkSpec:
    """The spec's last `top` dimensions, with dimensions of size 1 in front to make `ndim`."""
    in_front = ndim - top

    def more(value: Size, front: int | None = None) -> tuple[int, ...]:
        own = each(value, spec.ndim)[-top:]
        return (own[0] if front is None else front,) * in_front + own

    def conv(layer: StemConv) -> StemConv:
        kernel, padding = more(layer.kernel), None if layer.padding is None else each(layer.padding, spec.ndim)[-top:]
        if padding is not None:  # none of its own in front would leave nothing
            padding = tuple((k - 1) // 2 for k in kernel[:in_front]) + padding
        return replace(layer, kernel=kernel, stride=more(layer.stride), padding=padding)

    stages = tuple(
        replace(
            stage,
            stride=more(stage.stride, None if strides_in_front(spec) else 1),
            dilation=more(stage.dilation),
            kernel=more(stage.kernel),
            first_dilation=None if stage.first_dilation is None else more(stage.first_dilation),
        )
        for stage in spec.stages
    )
    stem = spec.stem
    assert isinstance(stem, Stem)
    return replace(
        spec,
        ndim=ndim,
        size=(1,) * in_front + each(spec.size, spec.ndim)[-top:],
        stem=replace(stem, convs=tuple(map(conv, stem.convs))),
        head=Head(tuple(map(conv, spec.head.convs)), spec.head.dropout),
        stages=stages,
    )


def copied_from(large: Network, small: Network) -> Network:
    """`small` with the centre taps of `large`; of an even kernel, the tap that TensorFlow's padding puts there."""
    state = large.state_dict()
    for key, value in small.state_dict().items():
        source = state[key]
        for _ in range(source.ndim - value.ndim):
            source = source[:, :, (source.shape[2] - 1) // 2]
        value.copy_(source)
    return small


CASES = {
    name: axes
    for name, axes in VALUES.items()
    if not name.endswith("dimensions") and not exception(replace(BASE, **axes))
}


AGREEING = [
    pytest.param(axes, top, ndim, id=f"{name}, {top} to {ndim}")
    for name, axes in CASES.items()
    for top, ndim in ((1, 2), (2, 3))
    if (name, ndim) != ("stem pool average", 3)  # a mean over flat volumes
]


@pytest.mark.parametrize(("axes", "top", "ndim"), AGREEING)
def test_a_network_agrees_with_itself_in_more_dimensions(axes: dict[str, Any], top: int, ndim: int) -> None:
    spec = replace(BASE, **axes)
    small_plan, large_plan = make_plan(lowered(spec, top, top)), make_plan(lowered(spec, ndim, top))
    large = lively_network(large_plan)
    small = copied_from(large, make_network(small_plan).double())
    x = pictures(small_plan)
    in_more = x.view(*x.shape[:2], *(1,) * (ndim - top), *x.shape[2:])
    with torch.no_grad():
        for training in (True, False):  # in training the norms see the batch, then their running statistics
            found = []
            for network, pixels in ((small, x), (large, in_more)):
                torch.manual_seed(4)  # for what draws
                found.append(network.train(training)(pixels))
            torch.testing.assert_close(*found, rtol=1e-9, atol=1e-9)
        features = large.features(in_more)
    assert all(set(f.shape[2 : 2 + ndim - top]) == {1} for f in features.values())


def test_the_exceptions_are_few_and_each_is_met() -> None:
    reasons = {name: why for name, axes in VALUES.items() if (why := exception(replace(BASE, **axes)))}
    assert len(set(reasons.values())) == 3
    assert len(reasons) < len(VALUES) / 6


def test_res2net_differs_by_the_padding_that_its_mean_counts() -> None:
    """In two dimensions a window at the only row has nine positions, three of them pixels: a third of the 1D mean."""
    spec = replace(BASE, branch="res2net", base_width=32, stages=(Stage(1, 8),))
    small_plan, large_plan = make_plan(lowered(spec, 1, 1)), make_plan(lowered(spec, 2, 1))
    large = lively_network(large_plan).eval()
    small = copied_from(large, make_network(small_plan).double()).eval()
    last = "stage1.block1.branch.conv2.piece4"
    piece = torch.rand(2, 4, 9, dtype=torch.float64)
    in_more = large.get_submodule(last)(piece[:, :, None])
    torch.testing.assert_close(3 * in_more[:, :, 0], small.get_submodule(last)(piece))
    x = pictures(small_plan)
    with torch.no_grad():
        assert not torch.allclose(small(x), large(x[:, :, None]), rtol=1e-6)


def test_even_kernels_leave_nothing_of_a_single_row() -> None:
    even = replace(BASE, shortcut="none", stages=(Stage(1, 8, kernel=2),))
    make_plan(lowered(even, 1, 1))
    with pytest.raises(UserError, match="nothing is left"):
        make_plan(lowered(even, 2, 1))


@pytest.mark.parametrize("ndim", [1, 2])
def test_convolutions_factorise_in_three_dimensions_only(ndim: int) -> None:
    with pytest.raises(UserError, match="set ndim to 3"):
        make_plan(replace(BASE, conv="factorised", ndim=ndim, size=8))


@pytest.mark.parametrize(
    "axes",
    [
        {"shortcut": "D"},
        {"shortcut": Projection(pooled=True)},
        {"stem": Stem((StemConv(8, 3),), pool="average")},
        {"branch": "res2net", "base_width": 32},
    ],
)
def test_a_mean_over_flat_volumes_is_refused(axes: dict[str, Any]) -> None:
    """torch's mean over volumes takes no window larger than its input; said before torch says it."""
    with pytest.raises(UserError, match=r"too small for a mean .* in three dimensions"):
        make_plan(replace(BASE, ndim=3, size=(1, 9, 10), **axes))


@pytest.mark.parametrize("transition", ["dense", ConvTransition(pooled=True)])
def test_a_transition_that_pools_leaves_nothing_of_a_single_row(transition: Any) -> None:
    merge = Concatenate() if transition == "dense" else "add"
    with pytest.raises(UserError, match="nothing is left"):
        make_plan(replace(BASE, merge=merge, transition=transition, size=(1, 9)))


def test_two_paths_cannot_stride_over_a_single_row() -> None:
    """The shifted path would see the row below, and there is none."""
    with pytest.raises(UserError, match="leave nothing to the second in stage 2"):
        make_plan(replace(BASE, shortcut=TwoPaths(), size=(1, 9)))


def test_off_centre_taps_never_matter() -> None:
    plan = make_plan(lowered(replace(BASE, stem=STEMS["imagenet"]), 2, 1))
    network = lively_network(plan).eval()
    x = pictures(plan)
    with torch.no_grad():
        before = network(x)
        for key, value in network.state_dict().items():
            if value.ndim == 4 and value.shape[2] > 1 and "fc" not in key:
                value[:, :, : value.shape[2] // 2] = 1e3
                value[:, :, value.shape[2] // 2 + 1 :] = -1e3
        assert torch.equal(network(x), before)


def test_with_more_than_one_row_the_dimensions_differ() -> None:
    """A second row brings the other taps in, so agreement is no accident of the test."""
    spec = replace(BASE, stages=(Stage(1, 8),), size=9)
    flat, tall = make_plan(replace(spec, ndim=1)), make_plan(replace(spec, size=(2, 9)))
    large = lively_network(tall).eval()
    small = copied_from(large, make_network(flat).double()).eval()
    row = pictures(flat)
    with torch.no_grad():
        assert not torch.allclose(small(row), large(torch.stack([row, row], 2)), rtol=1e-3)

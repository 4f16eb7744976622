"""One description in one, two and three dimensions agrees where the added dimensions have size 1.

It must: with odd kernels, padded alike on both sides, size 1 stays 1 through every layer whatever its stride and
dilation, and padding (zeros; nothing, in a maximum or a mean) adds nothing. So only the centre tap of a kernel in
the added dimensions counts, and weights are copied from there.
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
from residuum.spec import NetworkSpec, Stage, each


def lowered(spec: NetworkSpec, ndim: int, top: int) -> NetworkSpec:
    """The spec's last `top` dimensions, with dimensions of size 1 in front to make `ndim`."""
    in_front = ndim - top
    stages = []
    for stage in spec.stages:
        stride, dilation = (each(value, spec.ndim)[-top:] for value in (stage.stride, stage.dilation))
        # The exception: torch's mean over volumes takes no window larger than its input
        before = (1 if spec.shortcut == "D" and ndim == 3 else stride[0],) * in_front
        stages.append(replace(stage, stride=before + stride, dilation=dilation[:1] * in_front + dilation))
    return replace(spec, ndim=ndim, size=(1,) * in_front + each(spec.size, spec.ndim)[-top:], stages=tuple(stages))


def copied_from(large: Network, small: Network) -> Network:
    """`small` with the centre taps of `large`."""
    state = large.state_dict()
    for key, value in small.state_dict().items():
        source = state[key]
        for _ in range(source.ndim - value.ndim):
            source = source[:, :, source.shape[2] // 2]
        value.copy_(source)
    return small


CASES = {name: axes for name, axes in VALUES.items() if not name.endswith("dimensions")}


@pytest.mark.parametrize("axes", CASES.values(), ids=CASES)
@pytest.mark.parametrize(("top", "ndim"), [(1, 2), (2, 3)])
def test_a_network_agrees_with_itself_in_more_dimensions(axes: dict[str, Any], top: int, ndim: int) -> None:
    spec = replace(BASE, **axes)
    small_plan, large_plan = make_plan(lowered(spec, top, top)), make_plan(lowered(spec, ndim, top))
    large = lively_network(large_plan)
    small = copied_from(large, make_network(small_plan).double())
    x = pictures(small_plan)
    in_more = x.view(*x.shape[:2], *(1,) * (ndim - top), *x.shape[2:])
    with torch.no_grad():
        for training in (True, False):  # in training the norms see the batch, then their running statistics
            one, other = small.train(training)(x), large.train(training)(in_more)
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)
        features = large.features(in_more)
    assert all(set(f.shape[2 : 2 + ndim - top]) == {1} for f in features.values())


def test_pooled_projection_of_flat_volumes_is_refused() -> None:
    """The one exception of the list above, said before torch says it."""
    flat = replace(BASE, shortcut="D", ndim=3, size=(1, 9, 10))
    with pytest.raises(UserError, match="shortcut D in three dimensions"):
        make_plan(flat)


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
    """The exception: a second row brings the other taps in, so agreement is no accident of the test."""
    spec = replace(BASE, stages=(Stage(1, 8),), size=9)
    flat, tall = make_plan(replace(spec, ndim=1)), make_plan(replace(spec, size=(2, 9)))
    large = lively_network(tall).eval()
    small = copied_from(large, make_network(flat).double()).eval()
    row = pictures(flat)
    with torch.no_grad():
        assert not torch.allclose(small(row), large(torch.stack([row, row], 2)), rtol=1e-3)

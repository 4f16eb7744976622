"""Strides replaced by dilation: the weights keep their meaning (Yu and Koltun 2016, arXiv 1511.07122)."""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate
from operator import mul
from typing import Any

import pytest
import torch
from equations import SMALL, lively

from residuum.nets.network import Network, make_network
from residuum.plan import dilated, make_plan
from residuum.plan.merges import ScaledAdd
from residuum.plan.shortcuts import Projection
from residuum.spec import NetworkSpec, Stage, each

STAGES = (Stage(2, 8), Stage(2, 16, 2), Stage(2, 16, 2), Stage(2, 32, 2))

EXACT: dict[str, dict[str, Any]] = {
    "basic": {},
    "plain": {"shortcut": "none"},
    "option A": {"shortcut": "A"},
    "option C, pre": {"shortcut": "C", "order": "pre"},
    "a projection without norm": {"shortcut": Projection(norm=False), "order": "relu_pre"},
    "bottleneck, stride in the 1x1": {"branch": "bottleneck"},
    "bottleneck, stride in the 3x3": {"branch": "bottleneck", "stride_in": "3x3"},
    "inverted": {"branch": "inverted", "expansion": 2, "order": "linear", "shortcut": "identity"},
    "dark, stride in the transition": {"branch": "dark", "transition": "conv", "order": "before_add"},
    "basic, stride in the transition": {"transition": "conv"},
    "dark, stride in the block": {"branch": "dark"},
    "residual dense": {"branch": "residual_dense", "norm": "none", "order": "linear"},
    "highway": {"branch": "single", "merge": "gate", "order": "before_add"},
    "separable": {"conv": "separable"},
    "factorised": {"conv": "factorised", "ndim": 3, "size": (8, 9, 8), "stages": STAGES[:3]},
    "scaled sum": {"merge": ScaledAdd((0.1, 0.2, 0.3, 0.4))},
    "stochastic depth": {"merge": "stochastic_depth"},
    "kernels of 5": {"stages": tuple(replace(stage, kernel=5) for stage in STAGES)},
    "strides per dimension": {"stages": (*STAGES[:2], Stage(2, 16, (1, 2)), Stage(2, 16, (2, 1)))},
    "strides of 3": {"stages": (Stage(1, 8), Stage(2, 16, 3), Stage(1, 32, 3))},
    "dilated before": {"stages": (*STAGES[:2], replace(STAGES[2], dilation=2), replace(STAGES[3], dilation=(1, 3)))},
}
"""Not exact: pooled projections and transitions (a mean is left out with its stride), Res2Net (a mean over neighbours
is not spread), two paths, and whatever sees the whole map (attention, norms without running statistics)."""


def twin(network: Network, spec: NetworkSpec) -> Network:
    other = make_network(make_plan(spec)).double().eval()
    other.load_state_dict(network.state_dict())
    return other


def strides(spec: NetworkSpec) -> list[tuple[int, ...]]:
    """Between the pixels and the end of each stage, per dimension."""
    steps = [each(stage.stride, spec.ndim) for stage in spec.stages]
    return [*accumulate(steps, lambda a, b: tuple(map(mul, a, b)))]


@pytest.mark.parametrize("axes", EXACT.values(), ids=EXACT)
def test_a_dilated_network_computes_the_strided_ones_maps_and_those_between(axes: dict[str, Any]) -> None:
    spec = replace(SMALL, **({"stages": STAGES, "size": (19, 24)} | axes))
    network = lively(spec)
    x = torch.randn(2, 3, *spec.input_size(), dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        maps = network.features(x)
    reached = {max(step) for step in strides(spec)}
    for output_stride in reached - {max(reached)}:
        less = dilated(spec, output_stride)
        with torch.no_grad():
            found = twin(network, less).features(x)
        for i, (coarse, fine) in enumerate(zip(strides(spec), strides(less), strict=True), start=1):
            every = tuple(slice(None, None, a // b) for a, b in zip(coarse, fine, strict=True))
            torch.testing.assert_close(found[f"stage{i}"][(..., *every)], maps[f"stage{i}"], rtol=1e-10, atol=1e-10)
        last = f"stage{len(spec.stages)}"
        assert found[last].numel() > maps[last].numel()


def test_a_dilated_resnet_is_torchvisions() -> None:
    """Its first dilated block still has the dilation before it: 3x3 convolutions of 1, 2, 2 where the stride was 2."""
    from residuum.catalog import CATALOG

    plan = make_plan(CATALOG["resnet50_os8"].spec)
    found = {
        stage: [layer.dilation[0] for layer in plan.layers if layer.name.startswith(stage) and layer.kernel == (3, 3)]
        for stage in ("stage2", "stage3", "stage4")
    }
    assert found == {"stage2": [1] * 4, "stage3": [1, 2, 2, 2, 2, 2], "stage4": [2, 4, 4]}

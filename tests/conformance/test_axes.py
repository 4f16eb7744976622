"""Every value of every axis through one suite of laws, on small networks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from laws import BASE, STEMS, everything_holds, lively_network, pictures

from residuum.plan import make_plan
from residuum.spec import AXES, CIFAR_STEM, DEEP_STEM, IMAGENET_STEM, Stage

BOTTLENECK = {"branch": "bottleneck", "base_width": 32}

VALUES: dict[str, dict[str, Any]] = {
    **{f"{axis} {value}": {axis: value} for axis, values in AXES.items() for value in values},
    **{f"bottleneck, stride in {value}": {"stride_in": value, **BOTTLENECK} for value in AXES["stride_in"]},
    **{f"pre, shortcut {value}": {"order": "pre", "shortcut": value} for value in AXES["shortcut"]},
    **{f"{ndim} dimensions": {"ndim": ndim, "size": (9, 10, 7)[:ndim]} for ndim in (1, 2, 3)},
    **{f"{channels} channels": {"channels": channels} for channels in (1, 3, 5)},
    **{f"{groups} groups": {"groups": groups, **BOTTLENECK} for groups in (1, 2, 4)},
    "basic, 4 groups": {"groups": 4},
    "expansion 2": {"expansion": 2, **BOTTLENECK},
    **{f"dilation {d}": {"stages": (Stage(1, 8, 1, d), Stage(1, 16, 2, d))} for d in (1, 2, (3, 1))},
    "stride per dimension": {"stages": (Stage(1, 8, (1, 2)), Stage(1, 16, (3, 1)))},
    "stride 3, pooled projection": {"shortcut": "D", "stages": (Stage(1, 8), Stage(1, 16, 3))},
    **{f"{name} stem": {"stem": stem, "size": (25, 26)} for name, stem in STEMS.items()},
    "one class": {"classes": 1},
}


def test_the_small_stems_are_the_packages() -> None:
    for small, real in ((STEMS["cifar"], CIFAR_STEM), (STEMS["imagenet"], IMAGENET_STEM), (STEMS["deep"], DEEP_STEM)):
        assert small.pool == real.pool
        assert [(c.kernel, c.stride) for c in small.convs] == [(c.kernel, c.stride) for c in real.convs]


@pytest.mark.parametrize("axes", VALUES.values(), ids=VALUES)
def test_the_laws_hold(axes: dict[str, Any]) -> None:
    everything_holds(replace(BASE, **axes))


EXPORTED = {name: axes for name, axes in VALUES.items() if name == "branch basic" or replace(BASE, **axes) != BASE}


@pytest.mark.parametrize("axes", EXPORTED.values(), ids=EXPORTED)
def test_torch_can_export_it(axes: dict[str, Any]) -> None:
    plan = make_plan(replace(BASE, **axes))
    network = lively_network(plan).eval()
    x = pictures(plan)
    program = torch.export.export(network, (x,))
    with torch.no_grad():
        torch.testing.assert_close(program.module()(x), network(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shortcut", AXES["shortcut"])
def test_torch_can_export_it_for_any_batch(shortcut: str) -> None:
    plan = make_plan(replace(BASE, shortcut=shortcut))
    network = lively_network(plan).eval()
    x = pictures(plan)
    program = torch.export.export(network, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    for batch in (x[:1], x, torch.cat([x, x])):
        with torch.no_grad():
            torch.testing.assert_close(program.module()(batch), network(batch), rtol=1e-9, atol=1e-9)

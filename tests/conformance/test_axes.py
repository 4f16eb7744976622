"""Every value of every axis through one suite of laws, on small networks."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any, get_args

import pytest
import torch
from laws import BASE, RANDOM, STEMS, everything_holds, in_evaluation, lively_network, pictures
from torch import nn

from residuum.nets.ops import NORMS
from residuum.plan import make_plan, named_parts
from residuum.plan.attentions import CBAM, EfficientChannel, NoAttention, Shrinkage, SqueezeExcite
from residuum.plan.branches import Bottleneck, Convs, Inverted, ResidualDense
from residuum.plan.merges import Add, Concatenate, Gate, ScaledAdd, ShakeShake, StochasticDepth
from residuum.plan.shortcuts import Identity, NoShortcut, Projection, TwoPaths, ZeroPad
from residuum.plan.transitions import ConvTransition, DenseTransition, InBlock
from residuum.spec import AXES, CIFAR_STEM, DEEP_STEM, IMAGENET_STEM, Head, Pool, Stage, Stem, StemConv

Axes = dict[str, Any]

BOTTLENECK: Axes = {"branch": "bottleneck", "base_width": 32}
DENSE: Axes = {"merge": "concat", "transition": "dense"}
CLIPS: Axes = {"ndim": 3, "size": (5, 6, 7)}
FOUR = Stem((StemConv(8, 3),))
TWICE = (Stage(2, 8), Stage(2, 16, 2))

NEEDS: dict[tuple[str, str], Axes] = {
    ("merge", "concat"): DENSE,
    ("conv", "factorised"): CLIPS,
    ("norm", "filter_response"): {"activation": "tlu"},
    ("branch", "res2net"): {"stages": TWICE, "base_width": 32},
}
"""Values that only make sense, or only show all they do, together with others."""

PARTS: dict[str, Axes] = {
    "squeeze and excitation, reduction 2": {"attention": SqueezeExcite(2, 1)},
    "cbam, small": {"attention": CBAM(2, 3)},
    "eca, wide": {"attention": EfficientChannel(1, 2)},
    "shrinkage": {"attention": Shrinkage(shared=True)},
    "bottleneck of 2 pieces": {"branch": Bottleneck(2), "base_width": 32, "stages": TWICE},
    "three convolutions": {"branch": Convs((0, 1, 5), (1, 2, 1))},
    "inverted": {"branch": Inverted()},
    "residual dense, small": {"branch": ResidualDense(2, 0.25)},
    "scaled add": {"merge": ScaledAdd((0.1, 2.0))},
    "gate, open": {"merge": Gate(2.0)},
    "concatenation, halved": {"merge": Concatenate(), "transition": DenseTransition(0.25)},
    "stochastic depth to 0.2": {"merge": StochasticDepth(0.2)},
    "shake-shake, two paths": {"merge": ShakeShake(), "shortcut": TwoPaths(), "order": "relu_pre"},
    "two paths": {"shortcut": TwoPaths()},
    "option A as a part": {"shortcut": ZeroPad()},
    "projection without norm": {"shortcut": Projection(norm=False)},
    "projections pooled and everywhere": {"shortcut": Projection(everywhere=True, pooled=True)},
    "stride in the block": {"transition": InBlock()},
    "pooled transition": {"transition": ConvTransition(pooled=True)},
}

VALUES: dict[str, Axes] = {
    **{
        f"{axis} {value}": {axis: value} | NEEDS.get((axis, value), {})
        for axis, values in AXES.items()
        for value in values
    },
    **PARTS,
    **{f"bottleneck, stride in {value}": {"stride_in": value, **BOTTLENECK} for value in AXES["stride_in"]},
    **{f"pre, shortcut {value}": {"order": "pre", "shortcut": value} for value in AXES["shortcut"]},
    **{f"{merge}, identity": {"merge": merge, "shortcut": "identity"} | NEEDS.get(("merge", merge), {})
       for merge in AXES["merge"]},
    **{f"{branch}, pre": {"branch": branch, "order": "pre"} | NEEDS.get(("branch", branch), {})
       for branch in AXES["branch"]},
    **{f"{branch}, separable": {"branch": branch, "conv": "separable"} | NEEDS.get(("branch", branch), {})
       for branch in AXES["branch"]},
    **{f"no norm, {order}": {"norm": "none", "order": order} for order in AXES["order"]},
    **{f"{norm}, pre": {"norm": norm, "order": "pre", "stages": TWICE} for norm in ("ibn_a", "ibn_b", "switchable")},
    **{f"{ndim} dimensions": {"ndim": ndim, "size": (9, 10, 7)[:ndim]} for ndim in (1, 2, 3)},
    **{f"{channels} channels": {"channels": channels} for channels in (1, 3, 5)},
    **{f"{groups} groups": {"groups": groups, **BOTTLENECK} for groups in (1, 2, 4)},
    "basic, 4 groups": {"groups": 4},
    "separable, 4 groups": {"groups": 4, "conv": "separable"},
    "factorised bottleneck": {"conv": "factorised", **BOTTLENECK, **CLIPS},
    "expansion 2": {"expansion": 2, **BOTTLENECK},
    "inverted, expansion 1": {"branch": "inverted", "expansion": 1},
    "concatenation, stride 1": {"merge": "concat", "stages": (Stage(2, 8), Stage(1, 12))},
    "concatenation, dense branch": {"branch": "dense", "order": "pre", **DENSE, "shortcut": "identity"},
    "biases": {"bias": True},
    "large epsilon": {"eps": 0.1},
    "dropout": {"dropout": 0.3},
    "dropout everywhere": {"dropout": 0.3, "head": Head(dropout=0.5), "order": "pre", **BOTTLENECK},
    "head": {"head": Head((StemConv(12, 1), StemConv(6, 3, 2, padding=0)), dropout=0.2)},
    "separable head": {"head": Head((StemConv(12, 3, padding=2),)), "conv": "separable"},
    "factorised head": {"head": Head((StemConv(12, 3, padding=(0, 1, 2)),)), "conv": "factorised", **CLIPS},
    **{f"stem pool {pool}": {"stem": Stem((StemConv(8, 3),), pool=pool), "size": (11, 12)} for pool in get_args(Pool)},
    **{f"stem activated {active}, {order}": {"stem": Stem((StemConv(8, 3),), activate=active), "order": order}
       for active in (True, False) for order in ("post", "pre")},
    "stem without padding": {"stem": Stem((StemConv(4, 3, 2, padding=0), StemConv(8, 3, padding=(0, 1))))},
    "same, stem of 7": {"padding": "same", "stem": STEMS["imagenet"], "size": (25, 26)},
    "same, even kernels": {"padding": "same", "stages": (Stage(1, 8, kernel=2), Stage(1, 16, 2, kernel=4))},
    "same, even kernels, res2net": {
        "padding": "same", "branch": "res2net", "base_width": 32, "stages": (Stage(2, 8, kernel=2),),
    },
    "even kernels, plain": {"shortcut": "none", "stages": (Stage(1, 8, kernel=2), Stage(1, 16, 2, kernel=2))},
    "kernel per dimension": {"stages": (Stage(1, 8, kernel=(1, 3)), Stage(1, 16, 2, kernel=(5, 1)))},
    **{f"{merge}, kernel 5": {"merge": merge, "stages": (Stage(1, 8, kernel=5), Stage(1, 16, 2, dilation=2))}
       for merge in ("gate", "shake_shake")},
    **{f"dilation {d}": {"stages": (Stage(1, 8, 1, d), Stage(1, 16, 2, d))} for d in (1, 2, (3, 1))},
    **{f"first dilation, {branch}": {"stages": (Stage(2, 8, 1, 2, 1), Stage(2, 16, 1, 4, 2)), "branch": branch}
       for branch in AXES["branch"]},
    "stage of its own": {
        "stages": (
            Stage(1, 8, branch="bottleneck", expansion=2, order="pre"), Stage(1, 16, 2, order="before_add"),
            Stage(1, 8, branch=Convs((3,), (1,)), order="linear"),
        ),
    },
    "stride per dimension": {"stages": (Stage(1, 8, (1, 2)), Stage(1, 16, (3, 1)))},
    "stride per dimension, two paths": {
        "shortcut": TwoPaths(), "stages": (Stage(1, 8, (1, 2)), Stage(1, 16, (3, 1))),
    },
    "stride 3, pooled projection": {"shortcut": "D", "stages": (Stage(1, 8), Stage(1, 16, 3))},
    **{f"{name} stem": {"stem": stem, "size": (25, 26)} for name, stem in STEMS.items()},
    "one class": {"classes": 1},
}  # fmt: skip


def test_the_small_stems_are_the_packages() -> None:
    for small, real in ((STEMS["cifar"], CIFAR_STEM), (STEMS["imagenet"], IMAGENET_STEM), (STEMS["deep"], DEEP_STEM)):
        assert small.pool == real.pool
        assert [(c.kernel, c.stride) for c in small.convs] == [(c.kernel, c.stride) for c in real.convs]


def test_every_part_of_the_package_goes_through_the_suite() -> None:
    """By name or as a part; the catalogue's own are in its networks."""
    tried = {type(value) for axes in PARTS.values() for value in axes.values()}
    named = {cls for cls in named_parts() if cls.__module__.startswith("residuum.plan.")}
    plain = {NoAttention, Add, NoShortcut, Identity}  # "none", "add" and so on: they have no settings
    assert named - plain == tried & named


@pytest.mark.parametrize("axes", VALUES.values(), ids=VALUES)
def test_the_laws_hold(axes: Axes) -> None:
    everything_holds(replace(BASE, **axes))


EXPORTED = {name: axes for name, axes in VALUES.items() if name == "branch basic" or replace(BASE, **axes) != BASE}


@pytest.mark.parametrize("axes", EXPORTED.values(), ids=EXPORTED)
def test_torch_can_export_it(axes: Axes) -> None:
    plan = make_plan(replace(BASE, **axes))
    network = lively_network(plan).eval()
    x = pictures(plan)
    program = torch.export.export(network, (x,))
    with torch.no_grad():
        torch.testing.assert_close(program.module()(x), network(x), rtol=1e-12, atol=1e-12)


ANY_BATCH = {
    **{f"shortcut {value}": {"shortcut": value} for value in AXES["shortcut"]},
    **{f"attention {value}": {"attention": value} for value in AXES["attention"]},
    **{f"norm {value}": {"norm": value} for value in AXES["norm"]},
    **{f"merge {value}": {"merge": value} | NEEDS.get(("merge", value), {}) for value in AXES["merge"]},
    **{f"stem pool {pool}": VALUES[f"stem pool {pool}"] for pool in get_args(Pool)},
}


@pytest.mark.parametrize("axes", ANY_BATCH.values(), ids=ANY_BATCH)
def test_torch_can_export_it_for_any_batch(axes: Axes) -> None:
    plan = make_plan(replace(BASE, **axes))
    network = lively_network(plan).eval()
    x = pictures(plan)
    program = torch.export.export(network, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    for batch in (x[:1], x, torch.cat([x, x])):
        with torch.no_grad():
            torch.testing.assert_close(program.module()(batch), network(batch), rtol=1e-9, atol=1e-9)


COMPILED = (
    "branch basic", "shortcut none", "shortcut D", "order pre", "bottleneck, stride in 3x3", "4 groups",
    "attention se", "attention cbam", "attention eca", "attention shrink_shared", "branch res2net",
    "concatenation, dense branch", "residual dense, small", "gate, identity", "merge stochastic_depth",
    "merge shake_shake", "branch dark", "inverted", "separable head", "norm group", "norm switchable",
    "norm filter_response", "norm ibn_a", "norm none", "stem pool stochastic", "padding same", "1 dimensions",
    "3 dimensions", "conv factorised", "scaled add", "dilation 2",
)  # fmt: skip
"""A small network of each residual family, and of each kind of module of our own."""


@pytest.mark.timeout(1800)
@pytest.mark.skipif(not os.environ.get("RESIDUUM_SLOW"), reason="compiles for minutes; RESIDUUM_SLOW=1 runs it")
@pytest.mark.parametrize("name", COMPILED)
def test_torch_can_compile_it(name: str) -> None:
    plan = make_plan(replace(BASE, **VALUES[name]))
    network = lively_network(plan)
    x = pictures(plan)
    torch.compiler.reset()
    compiled = torch.compile(network, fullgraph=True)
    network.eval()  # the compiled one is the same module
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), network(x), rtol=1e-9, atol=1e-9)
    network.train()
    in_evaluation(network, *NORMS, *RANDOM)  # each run draws anew, and moves the statistics
    gradients: list[list[torch.Tensor]] = []
    for module in (network, compiled):
        network.zero_grad()
        module(x).square().sum().backward()
        gradients.append([p.grad.clone() for p in network.parameters() if p.grad is not None])
    assert len(gradients[0]) == len([*network.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-9)


def test_what_draws_in_training_draws() -> None:
    """So that putting it into evaluation mode above means something."""
    for axes in (
        {"dropout": 0.3},
        {"merge": "stochastic_depth"},
        {"merge": "shake_shake"},
        VALUES["stem pool stochastic"],
    ):
        network = lively_network(plan := make_plan(replace(BASE, **axes)))
        assert any(isinstance(module, RANDOM) for module in network.modules())
        network.train()
        in_evaluation(
            network, *NORMS, *(kind for kind in RANDOM if kind is not nn.Dropout) if "dropout" in axes else NORMS
        )
        x = pictures(plan)
        with torch.no_grad():
            assert len({float(network(x).sum()) for _ in range(12)}) > 1

"""The description of a network: what is refused, and what it says."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from residuum.catalog import spec as named
from residuum.errors import UserError
from residuum.plan import Part, check, layers_of_depth, make_plan, problems, with_depth
from residuum.plan.attentions import CBAM, EfficientChannel, SqueezeExcite
from residuum.plan.branches import Bottleneck, Convs, ResidualDense
from residuum.plan.merges import ScaledAdd, StochasticDepth
from residuum.plan.shortcuts import TwoPaths
from residuum.plan.transitions import DenseTransition
from residuum.spec import AXES, Head, NetworkSpec, Stage, Stem, StemConv

SMALL = NetworkSpec(Stem((StemConv(8, 3),)), (Stage(1, 8), Stage(1, 16, 2)), size=8, classes=3)

LAYERS_PER_BLOCK = {
    "basic": 2, "bottleneck": 3, "inverted": 3, "res2net": 3, "dark": 2, "dense": 2, "single": 1, "residual_dense": 5,
}  # fmt: skip


def test_a_sound_spec_has_no_problems() -> None:
    assert problems(SMALL) == []
    assert check(SMALL) is SMALL


def test_several_problems_are_told_at_once_each_with_its_field() -> None:
    broken = replace(
        SMALL, norm="bath", groups=0, classes=-1, size=(8, 8, 8), stages=(Stage(0, 8), Stage(1, 0, 0, (1, 2, 3)))
    )
    found = problems(broken)
    expected = (
        "norm", "groups", "classes", "size", "depth of stage 1", "width of stage 2", "stride of stage 2",
        "dilation of stage 2",
    )  # fmt: skip
    for field in expected:
        assert any(problem.startswith(field) for problem in found), field
    with pytest.raises(UserError) as error:
        check(broken)
    assert all(problem in str(error.value) for problem in found)


@pytest.mark.parametrize("axis", AXES)
def test_an_unknown_value_of_an_axis_is_answered_with_the_right_ones(axis: str) -> None:
    (problem,) = problems(replace(SMALL, **{axis: "nonsense"}))
    assert problem.startswith(axis)
    assert all(value in problem for value in AXES[axis])


def test_axes_cover_every_field_that_takes_names() -> None:
    named_fields = {f.name for f in fields(NetworkSpec) if isinstance(getattr(SMALL, f.name), str)}
    assert set(AXES) == named_fields


@pytest.mark.parametrize("value", ["10", 10.0, None, 0, -1, ()])
@pytest.mark.parametrize("field", ["classes", "channels", "groups", "size", "expansion"])
def test_what_is_no_whole_number_is_refused_not_computed_with(field: str, value: object) -> None:
    found = problems(replace(SMALL, **{field: value}))
    assert found
    assert all(problem.startswith(field) for problem in found)


@pytest.mark.parametrize("ndim", [0, 4, "2", None])
def test_only_one_two_and_three_dimensions(ndim: object) -> None:
    (problem,) = problems(replace(SMALL, ndim=ndim))  # type: ignore[arg-type]
    assert problem.startswith("ndim")


@given(groups=st.integers(1, 40), width=st.integers(1, 96))
def test_the_suggested_width_and_cardinality_work(groups: int, width: int) -> None:
    spec = replace(SMALL, stem=Stem((StemConv(width, 3),)), stages=(Stage(1, width),), groups=groups)
    found = problems(spec)
    assert bool(found) == bool(width % groups)
    if found:
        up, down = (int(number) for number in re.findall(r"use (\d+), or cardinality (\d+)", found[0])[0])
        assert problems(replace(spec, groups=down)) == []
        assert problems(replace(spec, stem=Stem((StemConv(up, 3),)), stages=(Stage(1, up),))) == []


@given(base_width=st.integers(1, 64), width=st.sampled_from([1, 4, 8, 64]))
def test_the_suggested_base_width_works(base_width: int, width: int) -> None:
    spec = replace(SMALL, branch="bottleneck", base_width=base_width, stages=(Stage(1, width),))
    found = problems(spec)
    assert bool(found) == (width * base_width < 64)
    if found:
        assert problems(replace(spec, base_width=int(found[0].split()[-1]))) == []


def test_shortcut_a_cannot_take_channels_away() -> None:
    narrowing = replace(SMALL, shortcut="A", stages=(Stage(1, 16), Stage(1, 8)))
    (problem,) = problems(narrowing)
    assert "stage 2" in problem
    assert problems(replace(narrowing, shortcut="B")) == []


def test_group_norm_names_the_widths_it_cannot_split() -> None:
    found = problems(replace(SMALL, norm="group", stages=(Stage(1, 48), Stage(1, 64), Stage(1, 72))))
    assert [("norm group" in problem, int(re.findall(r"not (\d+)", problem)[0])) for problem in found] == [
        (True, 48), (True, 72),
    ]  # fmt: skip


def test_a_base_width_without_a_bottleneck_is_refused_not_ignored() -> None:
    assert any("base_width" in problem for problem in problems(replace(SMALL, base_width=4)))


@given(blocks=st.integers(1, 300), branch=st.sampled_from(AXES["branch"]))
def test_depth_counts_the_layers_of_the_name(blocks: int, branch: str) -> None:
    per_stage = 3 * LAYERS_PER_BLOCK[branch]
    spec = with_depth(replace(named("resnet20"), branch=branch), per_stage * blocks + 2)
    assert [stage.depth for stage in spec.stages] == [blocks] * 3
    assert layers_of_depth(spec) == per_stage * blocks + 2


@given(depth=st.integers(-5, 2000), branch=st.sampled_from(AXES["branch"]))
def test_a_depth_that_does_not_fit_is_answered_with_the_nearest(depth: int, branch: str) -> None:
    spec = replace(named("resnet20"), branch=branch)
    fitting = [d for d in range(2020) if d > 2 and (d - 2) % (3 * LAYERS_PER_BLOCK[branch]) == 0]
    if depth in fitting:
        assert layers_of_depth(with_depth(spec, depth)) == depth
        return
    with pytest.raises(UserError) as error:
        with_depth(spec, depth)
    suggested = int(str(error.value).split()[-1])
    assert suggested in fitting
    assert abs(suggested - depth) == min(abs(d - depth) for d in fitting)


@pytest.mark.parametrize(("name", "depth"), [("resnet18", 18), ("resnet50", 50), ("resnet152", 152), ("plain34", 34)])
def test_names_on_imagenet_say_their_depth(name: str, depth: int) -> None:
    assert layers_of_depth(named(name)) == depth
    with pytest.raises(UserError, match="stages of this network differ"):
        with_depth(named("resnet50"), 53)


def test_a_vanishing_middle_width_is_told_beside_what_else_is_wrong() -> None:
    spec = replace(SMALL, branch="bottleneck", base_width=4, norm="group", stages=(Stage(1, 8), Stage(1, 9)))
    middle, *others = problems(spec)
    assert middle == "the middle width of stage 1 is 0; use a base_width of at least 8"
    assert any("norm group" in problem for problem in others)


@dataclass(frozen=True)
class Foreign(Part):
    """A part of no axis."""


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"stages": (Stage(1, 8, order="last"),)}, "order of stage 1"),  # type: ignore[arg-type]
        ({"stages": (Stage(1, 8, branch="twig"),)}, "branch of stage 1"),  # type: ignore[arg-type]
        ({"stages": (Stage(1, 8, branch=Foreign()),)}, "branch of stage 1"),
        ({"stages": (Stage(1, 8, expansion=0),)}, "expansion of stage 1"),
        ({"stages": (Stage(1, 8, kernel=(3, 3, 3)),)}, "kernel of stage 1"),
        ({"stages": (Stage(1, 8, first_dilation=0),)}, "first_dilation of stage 1"),
        ({"stages": ()}, "stages"),
        ({"stem": None}, "stem"),
        ({"stem": Stem(())}, "stem"),
        ({"stem": Stem((StemConv(8, 3),), pool="min")}, "pool of the stem"),  # type: ignore[arg-type]
        ({"stem": Stem((StemConv(8, 3, padding=-1),))}, "padding of stem convolution 1"),
        ({"stem": Stem((StemConv(8, 3, padding=(1, 1, 1)),))}, "padding of stem convolution 1"),
        ({"head": Head((StemConv(0, 1),))}, "width of head convolution 1"),
        ({"head": Head(dropout=1.0)}, "dropout of the head"),
        ({"dropout": -0.1}, "dropout"),
        ({"eps": 0.0}, "eps"),
        ({"order": Foreign()}, "order"),
        ({"attention": SqueezeExcite}, "attention is the class SqueezeExcite"),
        *(
            ({axis: Foreign()}, axis)
            for axis in ("branch", "shortcut", "merge", "transition", "attention", "norm", "stem")
        ),
        ({"activation": Foreign()}, "activation"),
    ],
)
def test_a_field_that_makes_no_sense_is_named(changes: dict[str, Any], field: str) -> None:
    (problem,) = problems(replace(SMALL, **changes))
    assert problem.startswith(field)
    assert re.search(r"\b(use|choose|give|make)\b", problem)
    with pytest.raises(UserError):
        make_plan(replace(SMALL, **changes))


CONTRADICTIONS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "basic branches have no base width": ({"base_width": 32}, {"branch": "bottleneck"}),
    "inverted branches have no cardinality": ({"branch": "inverted", "groups": 2}, {"branch": "basic"}),
    "a gate joins a branch and a shortcut": ({"merge": "gate", "shortcut": "none"}, {"shortcut": "B"}),
    "concatenation keeps the size": ({"merge": "concat"}, {"transition": "dense"}),
    "pictures have no time": ({"conv": "factorised"}, {"ndim": 3}),
    "a depthwise convolution has no (2+1)D form": (
        {"conv": "factorised", "branch": "inverted", "ndim": 3}, {"branch": "basic"},
    ),
    "nor has one of several groups": ({"conv": "factorised", "groups": 2, "ndim": 3}, {"groups": 1}),
    "dropout stands between convolutions": ({"dropout": 0.1, "branch": "single"}, {"dropout": 0.0}),
    "a dense block has no place for it": ({"dropout": 0.1, "branch": "residual_dense"}, {"branch": "basic"}),
    "zero-padding takes no channels away": ({"shortcut": "A", "stages": (Stage(1, 4),)}, {"shortcut": "B"}),
    "one channel has no halves": ({"norm": "ibn_a", "stages": (Stage(1, 1), Stage(1, 8))}, {"norm": "batch"}),
    "nor for two paths": ({"shortcut": TwoPaths(), "stages": (Stage(1, 1, 2),)}, {"shortcut": "B"}),
    "a single pixel has no neighbour": ({"shortcut": TwoPaths(), "size": 1}, {"shortcut": "B"}),
    "even kernels shrink the branch alone": ({"stages": (Stage(1, 8, kernel=2),)}, {"padding": "same"}),
    "and a piece of Res2Net": ({"stages": (Stage(1, 64, kernel=2),), "branch": "res2net"}, {"padding": "same"}),
    "and the layers of a dense block": (
        {"stages": (Stage(1, 8, kernel=4),), "branch": "residual_dense"}, {"padding": "same"},
    ),
    "each stage has a scale": ({"merge": ScaledAdd((0.1,))}, {"merge": ScaledAdd((0.1, 0.2))}),
    "a single value has no spread": ({"norm": "ibn_a", "stages": (Stage(1, 8, 8), Stage(1, 8))}, {"size": 16}),
    "nor has it a mean square to speak of": ({"norm": "filter_response", "size": 2}, {"size": 4}),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "remedy"), CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_axes_that_contradict_each_other_are_refused_with_advice_that_works(
    changes: dict[str, Any], remedy: dict[str, Any]
) -> None:
    broken = replace(SMALL, **changes)
    found = problems(broken)
    assert found
    for axis, value in remedy.items():
        said = " ".join(found)
        assert axis in said, said
        assert not isinstance(value, str) or value in said, said
    assert problems(replace(broken, **remedy)) == []
    with pytest.raises(UserError, match=re.escape(found[0])):
        make_plan(broken)


@pytest.mark.parametrize(
    ("cls", "settings"),
    [
        (SqueezeExcite, {"reduction": 0}),
        (SqueezeExcite, {"divisor": 0}),
        (CBAM, {"reduction": 0}),
        (CBAM, {"kernel": 4}),
        (EfficientChannel, {"gamma": 0}),
        (Convs, {"kernels": (3, 3), "widths": (1,)}),
        (Convs, {"kernels": (), "widths": ()}),
        (Convs, {"kernels": (3,), "widths": (0,)}),
        (Bottleneck, {"pieces": 0}),
        (ResidualDense, {"count": 0}),
        (ResidualDense, {"growth": 0.0}),
        (StochasticDepth, {"last": 0.0}),
        (StochasticDepth, {"last": 1.5}),
        (DenseTransition, {"compression": 0.0}),
        (DenseTransition, {"compression": 1.5}),
    ],
)
def test_a_part_that_makes_no_sense_is_refused_when_it_is_made(cls: type[Part], settings: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=rf"^{cls.__name__}\(.*\) cannot be: use "):
        cls(**settings)


def test_too_small_an_input_is_a_problem_like_others() -> None:
    (problem,) = problems(replace(SMALL, stem=Stem((StemConv(8, 5, padding=0),)), size=3))
    assert "size 3 is too small" in problem

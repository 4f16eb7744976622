"""The description of a network: what is refused, and what it says."""

from __future__ import annotations

import re
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from residuum.catalog import spec as named
from residuum.errors import UserError
from residuum.spec import AXES, NetworkSpec, Stage, Stem, StemConv, check, layers_of_depth, problems, with_depth

SMALL = NetworkSpec(Stem((StemConv(8, 3),)), (Stage(1, 8), Stage(1, 16, 2)), size=8, classes=3)


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
    (problem,) = problems(replace(SMALL, norm="group", stages=(Stage(1, 48), Stage(1, 64), Stage(1, 72))))
    assert "[48, 72]" in problem


def test_a_base_width_without_a_bottleneck_is_refused_not_ignored() -> None:
    assert any("base_width" in problem for problem in problems(replace(SMALL, base_width=4)))


@given(blocks=st.integers(1, 300), branch=st.sampled_from(AXES["branch"]))
def test_depth_counts_the_layers_of_the_name(blocks: int, branch: str) -> None:
    per_stage = {"basic": 6, "bottleneck": 9}[branch]
    spec = with_depth(replace(named("resnet20"), branch=branch), per_stage * blocks + 2)
    assert [stage.depth for stage in spec.stages] == [blocks] * 3
    assert layers_of_depth(spec) == per_stage * blocks + 2


@given(depth=st.integers(-5, 2000), branch=st.sampled_from(AXES["branch"]))
def test_a_depth_that_does_not_fit_is_answered_with_the_nearest(depth: int, branch: str) -> None:
    spec = replace(named("resnet20"), branch=branch)
    fitting = [d for d in range(2020) if d > 2 and (d - 2) % {"basic": 6, "bottleneck": 9}[branch] == 0]
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

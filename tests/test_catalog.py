"""The named networks: exactly those of the paper, and errors that help."""

from __future__ import annotations

from typing import Any

import pytest

from residuum.catalog import CATALOG, entry, spec
from residuum.errors import UserError
from residuum.plan import make_plan
from residuum.spec import layers_of_depth, problems

# The paper's Table 1 and section 4.2, options as in section 4.1; torchvision's counts for option B.
EXACT_PARAMETERS = [
    *(
        (name.format(depth), {}, count)
        for name in ("resnet{}", "plain{}")
        for depth, count in (
            (20, 269_722), (32, 464_154), (44, 658_586), (56, 853_018), (110, 1_727_962), (1202, 19_421_274),
        )
    ),
    ("plain18", {}, 11_515_688),
    ("plain34", {}, 21_623_848),
    ("resnet18", {"shortcut": "A"}, 11_515_688),
    ("resnet34", {"shortcut": "A"}, 21_623_848),
    ("resnet18", {}, 11_689_512),
    ("resnet34", {}, 21_797_672),
    ("resnet50", {}, 25_557_032),
    ("resnet101", {}, 44_549_160),
    ("resnet152", {}, 60_192_808),
    ("resnet50", {"stride_in": "3x3"}, 25_557_032),
    ("resnet34", {"shortcut": "C"}, 22_716_840),
    ("resnet50", {"stride_in": "3x3", "groups": 32, "base_width": 4}, 25_028_904),  # torchvision resnext50_32x4d
    ("resnet101", {"stride_in": "3x3", "groups": 32, "base_width": 8}, 88_791_336),
    ("resnet101", {"stride_in": "3x3", "groups": 64, "base_width": 4}, 83_455_272),
    ("resnet50", {"stride_in": "3x3", "base_width": 128}, 68_883_240),  # torchvision wide_resnet50_2
    ("resnet101", {"stride_in": "3x3", "base_width": 128}, 126_886_696),
    ("resnet50", {"stride_in": "3x3", "attention": "se"}, 28_088_024),  # timm seresnet50
]  # fmt: skip

# Multiply-adds at 224 as the paper's Table 1 counts them, in units of 1e9 to three decimals.
EXACT_MACS = [
    ("resnet18", {"shortcut": "A"}, "1.795"),
    ("plain18", {}, "1.795"),
    ("resnet34", {"shortcut": "A"}, "3.644"),
    ("plain34", {}, "3.644"),
    ("resnet50", {}, "3.858"),
    ("resnet101", {}, "7.570"),
    ("resnet152", {}, "11.282"),
    ("resnet50", {"stride_in": "3x3"}, "4.089"),
]


@pytest.mark.parametrize(("name", "axes", "count"), EXACT_PARAMETERS)
def test_parameters_are_exactly_the_published_ones(name: str, axes: dict[str, Any], count: int) -> None:
    assert make_plan(spec(name, **axes)).parameters == count


@pytest.mark.parametrize(("name", "axes", "billions"), EXACT_MACS)
def test_multiply_adds_are_the_papers(name: str, axes: dict[str, Any], billions: str) -> None:
    assert f"{make_plan(spec(name, **axes)).macs / 1e9:.3f}" == billions


@pytest.mark.parametrize("name", CATALOG)
def test_every_entry_is_sound_named_and_sourced(name: str) -> None:
    found = entry(name)
    assert found.name == name
    assert problems(found.spec) == []
    assert found.family
    assert "arXiv" in found.source
    depth = int(name.removeprefix("resnet").removeprefix("plain"))
    assert layers_of_depth(found.spec) == depth


def test_a_plain_net_differs_from_its_twin_in_the_shortcut_alone() -> None:
    twins = [name for name in CATALOG if name.startswith("plain")]
    assert len(twins) == 8
    for name in twins:
        assert spec(name, shortcut="A") == spec(name.replace("plain", "resnet"), shortcut="A")


def test_option_a_costs_what_the_plain_net_costs_at_any_depth() -> None:
    for depth in (8, 14, 26, 62):
        residual, plain = make_plan(spec("resnet20", depth=depth)), make_plan(spec("plain20", depth=depth))
        assert (residual.parameters, residual.macs) == (plain.parameters, plain.macs)


def test_depth_is_that_of_the_network_with_all_its_axes() -> None:
    for axes, depth in (({}, 26), ({"branch": "bottleneck"}, 164), ({"branch": "bottleneck", "order": "pre"}, 1001)):
        assert layers_of_depth(spec("resnet20", depth=depth, **axes)) == depth


@pytest.mark.parametrize(
    ("word", "near"),
    [("resnet-50", "resnet50"), ("ResNet152", "resnet152"), ("resent20", "resnet20"), ("pln18", "plain18")],
)
def test_an_unknown_model_is_answered_with_the_nearest_name(word: str, near: str) -> None:
    with pytest.raises(UserError, match=f'"{word}".*"{near}"'):
        spec(word)


def test_an_unknown_axis_is_answered_with_the_nearest_name() -> None:
    with pytest.raises(UserError, match=r'"shorcut".*"shortcut"'):
        spec("resnet20", shorcut="B")
    with pytest.raises(UserError, match="choose from"):
        spec("resnet20", xyz="B")


def test_a_bad_axis_value_and_a_bad_depth_are_user_errors() -> None:
    with pytest.raises(UserError, match=r"shortcut is 'E'.*A, B, C"):
        spec("resnet20", shortcut="E")
    with pytest.raises(UserError, match="nearest is 20"):
        spec("resnet20", depth=21)
    with pytest.raises(UserError, match="stages is empty"):
        spec("resnet20", depth=20, stages=())

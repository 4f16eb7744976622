"""The named networks: exactly those of the paper, and errors that help."""

from __future__ import annotations

import re
from typing import Any

import pytest

from residuum.catalog import CATALOG, comparison, dense, entry, inception_resnet, others, resnets, spec
from residuum.errors import UserError
from residuum.plan import layers_of_depth, make_plan, problems

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
    # torchvision's counts
    ("resnext50_32x4d", {}, 25_028_904),
    ("resnext101_32x8d", {}, 88_791_336),
    ("resnext101_64x4d", {}, 83_455_272),
    ("wide_resnet50_2", {}, 68_883_240),
    ("wide_resnet101_2", {}, 126_886_696),
    ("densenet121", {}, 7_978_856),
    ("densenet169", {}, 14_149_480),
    ("densenet201", {}, 20_013_928),
    ("r3d_18", {}, 33_371_472),
    ("mobilenet_v2", {}, 3_504_872),
    ("vgg19", {}, 143_667_240),
    ("alexnet", {}, 61_100_840),
    # timm's
    ("seresnet50", {}, 28_088_024),
    ("resnet50d", {}, 25_576_264),
    ("ecaresnet50d", {}, 25_576_350),
    ("res2net50_26w_4s", {}, 25_699_120),
    ("resnetv2_50", {}, 25_549_352),
    ("darknet53", {}, 41_609_928),
    ("inception_resnet_v2", {}, 55_843_464),
]  # fmt: skip

# In millions, to the digits that the papers give.
ROUNDED_PARAMETERS = [
    ("wrn28_10", "36.5"), ("wrn16_4", "2.7"), ("wrn40_2", "2.2"),  # Zagoruyko and Komodakis 2016, Tables 4 and 5
    ("resnext29_8x64d", "34.4"),  # Xie et al. 2017, Table 7
    ("densenet40_12", "1.0"), ("densenet_bc100_12", "0.8"),  # Huang et al. 2017, Table 2
    ("preact_resnet164", "1.7"),  # He et al. 2016, Table 4, by way of Huang et al. 2017, Table 2
    ("highway19", "2.3"), ("highway32", "1.25"),  # Srivastava et al. 2015, arXiv 1507.06228, Table 1
    ("cbam_resnet18", "11.78"), ("cbam_resnet34", "21.96"),  # Woo et al. 2018, Table 4
    ("cbam_resnet50", "28.09"), ("cbam_resnet101", "49.33"),
    ("shake_shake26_2x32d", "2.9"), ("shake_shake26_2x96d", "26.2"),  # Gastaldi 2017, Tables 1 and 3
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
    ("resnet50_v1_5", {}, "4.089"),
    # Woo et al. 2018, Table 4
    ("cbam_resnet18", {}, "1.815"),
    ("cbam_resnet34", {}, "3.665"),
    ("cbam_resnet50", {"stride_in": "1x1"}, "3.864"),
    ("cbam_resnet101", {"stride_in": "1x1"}, "7.581"),
]


@pytest.mark.parametrize(("name", "axes", "count"), EXACT_PARAMETERS)
def test_parameters_are_exactly_the_published_ones(name: str, axes: dict[str, Any], count: int) -> None:
    assert make_plan(spec(name, **axes)).parameters == count


@pytest.mark.parametrize(("name", "axes", "billions"), EXACT_MACS)
def test_multiply_adds_are_the_papers(name: str, axes: dict[str, Any], billions: str) -> None:
    assert f"{make_plan(spec(name, **axes)).macs / 1e9:.3f}" == billions


@pytest.mark.parametrize(("name", "millions"), ROUNDED_PARAMETERS)
def test_parameters_round_to_those_of_the_papers(name: str, millions: str) -> None:
    digits = len(millions.partition(".")[2])
    assert f"{make_plan(spec(name)).parameters / 1e6:.{digits}f}" == millions


def test_the_1001_layer_net_has_the_papers_count_in_its_convolutions() -> None:
    """He et al. 2016, section 4, gives 10.2M; norms, their scales and shifts, and the classifier make it 10.3M."""
    plan = make_plan(spec("preact_resnet1001"))
    assert f"{sum(layer.parameters for layer in plan.layers if layer.kind == 'conv') / 1e6:.1f}" == "10.2"
    assert f"{plan.parameters / 1e6:.1f}" == "10.3"


def test_vgg19_has_the_multiply_adds_that_the_paper_compares_with() -> None:
    """He et al. 2015, Fig. 3 and section 3.3: 19.6 billion, of which the 34-layer net has 18%."""
    vgg, residual = (make_plan(spec(name)).macs for name in ("vgg19", "plain34"))
    assert f"{vgg / 1e9:.1f}" == "19.6"
    assert residual / vgg == pytest.approx(0.18, abs=0.01)


def test_inverted_blocks_save_about_three_fifths_of_the_parameters() -> None:
    inverted, usual = (make_plan(spec(name)).parameters for name in ("inverted_resnet50_cbam", "resnet50"))
    assert inverted / usual == pytest.approx(0.4, abs=0.05)


def test_resnet_34_with_projections_everywhere_has_a_norm_on_each() -> None:
    """22,716,840 with them (the paper gives no count); without, the scales and shifts are missing."""
    projections = [x for x in make_plan(spec("resnet34", shortcut="C")).layers if ".shortcut." in x.name]
    assert [layer.kind for layer in projections] == ["conv", "norm"] * 16


@pytest.mark.parametrize("name", CATALOG)
def test_every_entry_is_sound_named_and_sourced(name: str) -> None:
    found = entry(name)
    assert found.name == name
    assert problems(found.spec) == []
    assert found.family
    assert re.search(r"\b20[012]\d\b", found.source)


def test_no_name_is_given_twice() -> None:
    modules = (comparison, dense, inception_resnet, others, resnets)
    assert sum(len(module.ENTRIES) for module in modules) == len(CATALOG)


SAYS_DEPTH = re.compile(r"(?:plain|resnet|resnetv2_|resnext|res2net|densenet|bc|darknet|vgg|shake|drsn_c[sw])(\d+)(d?)")
NAMED_BY_DEPTH = {name: found for name in CATALOG if (found := SAYS_DEPTH.search(name))}


@pytest.mark.parametrize("name", NAMED_BY_DEPTH)
def test_a_name_says_the_depth(name: str) -> None:
    depth, deep_stem = NAMED_BY_DEPTH[name].groups()
    assert layers_of_depth(CATALOG[name].spec) == int(depth) + (2 if deep_stem else 0)


@pytest.mark.parametrize(("name", "depth"), [("wrn16_4", 16), ("wrn28_10", 28), ("wrn40_2", 40)])
def test_wide_nets_count_their_three_projections_and_not_the_classifier(name: str, depth: int) -> None:
    """6n+4 (Zagoruyko and Komodakis 2016, section 3)."""
    assert layers_of_depth(CATALOG[name].spec) - 1 + 3 == depth
    assert sum(layer.kind == "conv" for layer in make_plan(CATALOG[name].spec).layers) == depth


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
    cases: tuple[tuple[dict[str, Any], int], ...] = (
        ({}, 26), ({"branch": "bottleneck"}, 164), ({"branch": "bottleneck", "order": "pre"}, 1001),
    )  # fmt: skip
    for axes, depth in cases:
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


@pytest.mark.parametrize("name", ["resnet20", "resnet18", "resnet50"])
def test_twice_the_width_has_four_times_the_weights_between_its_layers(name: str) -> None:
    assert spec(name, width=1) == CATALOG[name].spec
    once, twice = (
        [layer for layer in make_plan(spec(name, width=width)).layers if layer.kind == "conv"] for width in (1, 2)
    )
    for layer, wider in zip(once[1:], twice[1:], strict=True):
        assert (wider.name, wider.parameters) == (layer.name, 4 * layer.parameters)
    for bad, words in ((0, "more than 0"), (-1, "more than 0"), (float("nan"), "more than 0")):
        with pytest.raises(UserError, match=words):
            spec(name, width=bad)


def test_a_network_kept_as_it_is_has_no_width() -> None:
    with pytest.raises(UserError, match="cannot be set for this network"):
        spec("vgg16", width=2)


def test_an_output_stride_dilates() -> None:
    assert spec("resnet50_v1_5", output_stride=8) == CATALOG["resnet50_os8"].spec
    assert spec("resnet50_os16", output_stride=8) == CATALOG["resnet50_os8"].spec
    with pytest.raises(UserError, match="choose from 4, 8, 16, 32"):
        spec("resnet50", output_stride=12)
    with pytest.raises(UserError, match="cannot be set for this network"):
        spec("vgg16", output_stride=8)


def test_transitions_count_in_the_depth() -> None:
    """DenseNet-121: 1 + 2 (6 + 12 + 24 + 16) + 3 + 1 (Huang et al. 2017, Table 1)."""
    densenet = CATALOG["densenet40_12"].spec
    assert layers_of_depth(CATALOG["densenet121"].spec) == 121
    for depth in (40, 100):
        assert layers_of_depth(spec("densenet40_12", depth=depth)) == depth
    assert spec("densenet40_12", depth=40) == densenet
    with pytest.raises(UserError, match=r"is not 3n\+4; the nearest is 40"):
        spec("densenet40_12", depth=41)

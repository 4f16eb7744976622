"""Configuration to and from JSON, and `key=value` settings on top of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from residuum.catalog import CATALOG
from residuum.config import STRICT, from_dict, override, paths, to_dict
from residuum.errors import UserError
from residuum.plan import make_plan, read_spec


@dataclass(frozen=True)
class Optimizer:
    lr: float = 0.1
    decay: float = 1e-4
    nesterov: bool = False
    __pydantic_config__ = STRICT


@dataclass(frozen=True)
class Average:
    decay: float = 0.999
    __pydantic_config__ = STRICT


@dataclass(frozen=True)
class Settings:
    name: str = "fast"
    epochs: int | None = 12
    drops: tuple[int, ...] = (6, 9)
    optimizer: Optimizer = field(default_factory=Optimizer)
    average: Average | None = field(default_factory=Average)
    __pydantic_config__ = STRICT


@pytest.mark.parametrize("name", CATALOG)
def test_every_network_survives_the_way_through_json(name: str) -> None:
    spec = CATALOG[name].spec
    again = read_spec(json.loads(json.dumps(to_dict(spec))), "spec")
    assert again == spec
    assert hash(again) == hash(spec)


def test_sizes_per_dimension_survive_the_way_through_json() -> None:
    stage = replace(CATALOG["resnet20"].spec.stages[1], stride=(1, 2), dilation=(2, 1))
    spec = replace(CATALOG["resnet20"].spec, size=(32, 48), stages=(stage,))
    assert read_spec(to_dict(spec), "spec") == spec


def test_all_problems_are_told_at_once_and_where_they_are() -> None:
    data = to_dict(Settings()) | {"epochs": "many", "namee": "x", "optimizer": {"lr": [], "lrr": 1}}
    with pytest.raises(UserError) as error:
        from_dict(Settings, data, "run.json")
    message = str(error.value)
    assert message.startswith("run.json: ")
    for part in ("epochs", '"namee"', "optimizer.lr", '"optimizer.lrr"'):
        assert part in message
    assert "\n" not in message


@pytest.mark.parametrize("data", [None, 3, "text", [], ["name"]])
def test_what_is_no_mapping_is_refused(data: object) -> None:
    with pytest.raises(UserError, match=r"run\.json"):
        from_dict(Settings, data, "run.json")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (["epochs=3"], replace(Settings(), epochs=3)),
        (["epochs=null"], replace(Settings(), epochs=None)),
        (["name=slow"], replace(Settings(), name="slow")),
        (["name=a=b"], replace(Settings(), name="a=b")),
        (["name="], replace(Settings(), name="")),
        (['name="3"'], replace(Settings(), name="3")),
        ([" lr = 0.5 "], replace(Settings(), optimizer=Optimizer(lr=0.5))),
        (["lr=1"], replace(Settings(), optimizer=Optimizer(lr=1.0))),
        (["lr=1e-3", "nesterov=true"], replace(Settings(), optimizer=Optimizer(lr=1e-3, nesterov=True))),
        (["optimizer.decay=0"], replace(Settings(), optimizer=Optimizer(decay=0.0))),
        (["drops=[1, 2, 3]"], replace(Settings(), drops=(1, 2, 3))),
        (["epochs=3", "epochs=4"], replace(Settings(), epochs=4)),
        (['optimizer={"lr": 0.5}'], replace(Settings(), optimizer=Optimizer(lr=0.5))),
        (["average=null"], replace(Settings(), average=None)),
        (["average=null", "average={}", "average.decay=0.9"], replace(Settings(), average=Average(0.9))),
        ([], Settings()),
    ],
)
def test_settings_land_where_they_point(settings: list[str], expected: Settings) -> None:
    before = Settings()
    assert override(before, settings, "recipe") == expected
    assert before == Settings()


@pytest.mark.parametrize(
    ("setting", "parts"),
    [
        ("epochs", ['has no "="']),
        ("epoch=3", ['no key "epoch"', '"epochs"']),
        ("optimiser.lr=3", ['no key "optimiser.lr"', '"optimizer.lr"']),
        ("=3", ['no key ""']),
        ("decay=0", ['"decay" could be', "optimizer.decay", "average.decay"]),
        ("epochs=3.5", ["epochs", "3.5"]),
        ("lr=fast", ["optimizer.lr", "fast"]),
        ("drops=[1, two]", ["drops"]),
        ("optimizer=3", ["optimizer", "3"]),
        ("optimizer=null", ["optimizer", "None"]),
        ('average={"decai": 0.9}', ['unknown key "average.decai"']),
    ],
)
def test_a_wrong_setting_is_named_with_a_way_out(setting: str, parts: list[str]) -> None:
    with pytest.raises(UserError) as error:
        override(Settings(), [setting], "recipe")
    for part in parts:
        assert part in str(error.value)


def test_settings_can_name_every_value_single_or_whole() -> None:
    found = paths(to_dict(Settings()))
    assert set(found) == {
        "name", "epochs", "drops", "optimizer", "optimizer.lr", "optimizer.decay", "optimizer.nesterov", "average",
        "average.decay",
    }  # fmt: skip
    same = [f"{path}={json.dumps(value)}" for path, value in found.items()]
    assert override(Settings(), same, "recipe") == Settings()


SPEC = to_dict(CATALOG["resnet20"].spec)

BAD_SPECS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "an unknown key": ({"kernal": 3}, ['unknown key "kernal"']),
    "an unknown value": ({"norm": "bath"}, ["norm", "choose from batch, group"]),
    "a stem that is no stem": ({"stem": 3}, ["stem"]),
    "a stem with an unknown key": ({"stem": SPEC["stem"] | {"pol": "max"}}, ["stem", "pol"]),
    "a stem with a wrong value": (
        {"stem": SPEC["stem"] | {"convs": [{"width": "64", "kernel": 3}]}},
        ["stem", "width"],
    ),
    "an unknown part": ({"merge": {"part": "Multiply"}}, ["Multiply"]),
    "a part with an unknown key": ({"merge": {"part": "Gate", "bais": 1.0}}, ["merge", "bais"]),
    "a part with a wrong value": ({"merge": {"part": "Gate", "bias": "low"}}, ["merge", "bias"]),
    "a part that cannot be": ({"attention": {"part": "CBAM", "kernel": 4}}, ["odd kernel"]),
    "a part without what it needs": ({"merge": {"part": "ScaledAdd"}}, ["merge", "scales"]),
    "a part in a stage": (
        {"stages": [{"depth": 1, "width": 8, "branch": {"part": "Convs", "kernels": 3}}]},
        ["kernels"],
    ),
}


@pytest.mark.parametrize(("changes", "parts"), BAD_SPECS.values(), ids=BAD_SPECS)
def test_a_bad_spec_is_refused_in_one_line_that_says_where(changes: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(UserError) as error:
        read_spec(SPEC | changes, "run.json")
    message = str(error.value)
    assert "\n" not in message
    assert "pydantic" not in message
    for part in parts:
        assert part in message


@pytest.mark.parametrize("axis", ["branch", "shortcut", "merge", "transition", "attention", "norm", "stem"])
def test_the_class_of_an_axis_is_no_value_of_it(axis: str) -> None:
    name = {"stem": "StemPart"}.get(axis, axis.capitalize())
    with pytest.raises(UserError):
        make_plan(read_spec(SPEC | {axis: {"part": name}}, "run.json"))

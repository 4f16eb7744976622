"""docs/catalogue.md names exactly the axes, values, families and networks that there are."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest

from residuum.catalog import CATALOG
from residuum.cli.options import Axes
from residuum.plan import make_plan
from residuum.spec import AXES, NetworkSpec, Pool

PROJECT = Path(__file__).resolve().parents[1]
PAGE = (PROJECT / "docs" / "catalogue.md").read_text()


def sections(text: str, level: str) -> dict[str, str]:
    """The text below each heading of a level, up to the next heading of that level or above."""
    found = re.split(rf"^#{{1,{len(level)}}} ", text, flags=re.MULTILINE)[1:]
    return {part.partition("\n")[0]: part.partition("\n")[2] for part in found}


def table(text: str) -> list[list[str]]:
    """The rows of the tables in a text, without their heads."""
    blocks = re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)
    rows = [line for block in blocks for line in block.splitlines()[2:]]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


AXIS_SECTIONS = {heading.strip("`"): text for heading, text in sections(PAGE, "###").items() if heading[0] == "`"}
VALUES = AXES | {"pool": get_args(Pool)}


def test_every_axis_with_names_has_a_section_and_the_reverse() -> None:
    assert AXIS_SECTIONS.keys() == VALUES.keys()


@pytest.mark.parametrize("axis", VALUES)
def test_every_value_of_an_axis_has_a_row_with_its_meaning_and_the_reverse(axis: str) -> None:
    rows = table(AXIS_SECTIONS[axis].partition("\n## ")[0])
    assert [names(row[0]) for row in rows] == [[value] for value in VALUES[axis]]
    assert all(len(row) == 3 and row[1] for row in rows)


def test_an_axis_names_its_option_where_there_is_one() -> None:
    options = {field.name for field in fields(Axes)}
    for axis, text in AXIS_SECTIONS.items():
        words = text.partition("|")[0]
        assert (f"`--{axis.replace('_', '-')}`" in words) == (axis in options), axis
        assert ("Python only" in words) == (axis not in options), axis


def test_the_other_fields_of_a_spec_are_the_numbers_and_shapes() -> None:
    rows = table(sections(PAGE, "###")["Numbers and shapes"].partition("\n## ")[0])
    named = [name for row in rows for name in names(row[0])]
    assert sorted(named) == sorted({field.name for field in fields(NetworkSpec)} - AXES.keys())


def test_every_family_has_a_row_with_its_networks_and_the_reverse() -> None:
    families: dict[str, list[str]] = {}
    for entry in CATALOG.values():
        families.setdefault(entry.family, []).append(entry.name)
    rows = table(sections(PAGE, "##")["Families"])
    assert {row[0]: names(row[2]) for row in rows} == families
    assert all(row[1] for row in rows)


def test_every_network_that_the_page_speaks_of_exists() -> None:
    notes = sections(PAGE, "##")["What to know"] + sections(PAGE, "##")["Names"]
    spoken = {name for name in names(notes) if re.fullmatch(r"[a-z_]+\d[\w]*", name)}
    assert len(spoken) >= 10
    assert spoken <= CATALOG.keys()


def test_the_counts_that_the_page_quotes_are_the_plans() -> None:
    plan = make_plan(CATALOG["preact_resnet1001"].spec)
    weights = sum(layer.parameters for layer in plan.layers if layer.kind in ("conv", "linear"))
    assert f"`preact_resnet1001` has {plan.parameters:,} parameters, {weights:,} of them" in PAGE
    assert round(make_plan(CATALOG["resnext29_8x64d"].spec).parameters / 1e6, 1) == 34.4
    assert round(make_plan(CATALOG["highway32"].spec).parameters / 1e6, 2) == 1.25


def test_the_pages_link_to_files_that_exist() -> None:
    for page in (PROJECT / "README.md", *(PROJECT / "docs").rglob("*.md")):
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert "://" in target or (page.parent / target).exists(), f"{page.name}: {target}"

"""Protocols and ensembles on the command line: each runs, and what makes no sense is refused in one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from commands import refused, run
from residuum.evaluation.protocols import TAKES
from samples import picture_folder, tiny_model


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return picture_folder(tmp_path_factory.mktemp("data") / "data", {"ant": 4, "bee": 3}, sides=(15, 30))


@pytest.fixture(scope="module")
def ants(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("model") / "ants.safetensors", ("ant", "bee"))


def document(*arguments: object) -> Any:
    outcome = run("evaluate", *arguments, "--json")
    assert outcome.code == 0, outcome
    return outcome.json()


@pytest.mark.parametrize("name", TAKES)
def test_every_protocol_on_digits(name: str, model: Path) -> None:
    found = document(model, "digits", "--protocol", name)
    assert found["images"] == 359
    assert found["protocol"]["name"] == name
    text = run("evaluate", model, "digits", "--protocol", name, "--batch-size", "100")
    assert f"protocol {name}: " in text.out
    assert ("mirror images" in text.err) == (name in ("flip", "ten-crop"))  # digits are chiral


def test_options_and_members_are_told(ants: Path, data: Path, tmp_path: Path) -> None:
    view = document(ants, data, "--resize", "30", "--crop", "24x28")["protocol"]["view"]
    assert (view["resize"], view["size"]) == (30, [24, 28])
    found = document(ants, data, "--protocol", "multi-scale", "--sides", "16", "24", "--average", "logits")["protocol"]
    assert (found["view"]["resize"], found["average"]) == ([16, 24], "logits")
    second = tiny_model(tmp_path / "second", ("bee", "ant"), seed=3, depth=14)
    found = document(ants, data, "--ensemble", second)["protocol"]["ensemble"]
    assert len(found) == 2
    assert all(len(member["digest"]) == 64 for member in found)
    assert "ensemble of 2" in run("evaluate", ants, data, "--ensemble", second).out


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--protocol", "tencrop"), 'there is no protocol "tencrop"; did you mean "ten-crop"?'),
        (("--protocol", ""), "choose from: center, "),
        (("--sides", "16", "24"), "protocol center does not take --sides: it takes --resize and --crop"),
        (("--protocol", "ten-crop", "--sides", "16"), "ten-crop does not take --sides"),
        (("--protocol", "single-view", "--resize", "16"), "single-view does not take --resize: it takes no options"),
        (("--average", "logits"), "center does not take --average"),
        (("--protocol", "fully-convolutional", "--crop", "16"), "not take --crop: it takes --resize and --average"),
        (("--protocol", "multi-scale", "--resize", "20"), "multi-scale does not take --resize"),
        (("--protocol", "flip", "--average", "votes"), '--average is "votes": choose probabilities or logits'),
        (("--protocol", "ten-crop", "--resize", "15"), "shorter side of 15 is smaller than the crop of 16x16: give"),
        (("--resize", "20", "--crop", "21"), "give a --resize of at least 21, or a smaller --crop"),
        (("--resize", "0"), "at least 1 pixel"),
        (("--crop", "-5"), '--crop is a number of pixels like 224, or 224x192, not "-5"'),
        (("--crop", "4x4x4"), "--crop is 224, or 224x192"),
        (("--protocol", "multi-scale", "--sides", "0"), "at least 1 pixel"),
        (("--protocol", "multi-scale", "--sides", "16", "16"), "may be given once"),
        # smaller than the stride of 4, than the pool, and larger than any memory
        (("--protocol", "multi-scale", "--sides", "16", "3"), "at a shorter side of 3: 3x"),
        (("--protocol", "multi-scale", "--sides", "12"), "needs sides of at least 13"),
        (("--protocol", "fully-convolutional", "--resize", "9"), "the pool of 4x4 positions with which it ends"),
        (("--protocol", "fully-convolutional", "--resize", "100000"), "too many for one view"),
        (("--resize", "100000", "--crop", "100000"), "too many for one view"),
        (("--protocol", "single-view"), "has not the shape of the network's 16x16"),
        (("--batch-size", "0"), "the batch size must be at least 1, and is 0"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_what_makes_no_sense_is_refused(options: tuple[str, ...], sentence: str, ants: Path, data: Path) -> None:
    assert sentence in refused("evaluate", ants, data, *options)


def test_members_that_do_not_belong_together_are_refused(ants: Path, data: Path, tmp_path: Path) -> None:
    wasps = tiny_model(tmp_path / "wasps.safetensors", ("wasp", "bee", "cat"))
    message = refused("evaluate", ants, data, "--ensemble", wasps)
    assert message.endswith("wasps.safetensors, unlike the first, lacks ant and has wasp, cat")
    again = tmp_path / "again.safetensors"
    again.write_bytes(ants.read_bytes())
    for same in (ants, again):
        assert f"is the same model as {ants}" in refused("evaluate", ants, data, "--ensemble", same)
    assert "no.safetensors" in refused("evaluate", ants, data, "--ensemble", tmp_path / "no.safetensors")
    assert "lacks" in refused("evaluate", ants, data, "--ensemble", tiny_model(tmp_path / "n", tuple("0123")))

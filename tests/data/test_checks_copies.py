"""Copies are found under whatever name, and what is no copy is left in peace."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from photos import ALTERATIONS, photos, upright
from PIL import Image, ImageDraw

from residuum.data.checks.checking import Check, check_data
from residuum.progress import Reporter

COPIES = ("label-conflict", "leakage", "validation-leakage", "duplicate", "near-duplicate", "look-alike")
TRUE_COPIES = [
    {"raccoon-50", "raccoon-52", "raccoon-74"},
    {"raccoon-65", "raccoon-98"},
    {"raccoon-11", "raccoon-116"},
    {"raccoon-83", "raccoon-120"},
    {"raccoon-21", "raccoon-45"},
    {"raccoon-51", "raccoon-85"},  # one with words written on it
    {"BloodImage_00037", "BloodImage_00038"},  # one field, focused twice
    {"BloodImage_00386", "BloodImage_00391"},  # fields that overlap
]
"""Groups among the real photos that show the same, as one sees when looking at them."""


def check(folder: Path) -> Check:
    return check_data(str(folder), Reporter(quiet=True))


def groups(checked: Check) -> list[set[str]]:
    """The names of the files in each group of copies."""
    return [
        {member.name for member in group}
        for finding in checked.findings
        if finding.kind in COPIES
        for group in finding.groups
    ]


@pytest.mark.realdata
def test_altered_copies_of_real_photos_are_found_under_other_names(realdata: Path, tmp_path: Path) -> None:
    chosen = [file for files in photos(realdata).values() for file in files[::9]]
    assert len(chosen) > 80
    wanted = set()
    for number, file in enumerate(chosen):
        picture = upright(file)
        name = list(ALTERATIONS)[number % len(ALTERATIONS)]
        (tmp_path / "x").mkdir(exist_ok=True)
        (tmp_path / "y").mkdir(exist_ok=True)
        (tmp_path / "x" / f"{number}.jpg").write_bytes(file.read_bytes())
        suffix = "png" if number % 3 == 0 else "jpg"
        ALTERATIONS[name](picture).save(tmp_path / "y" / f"{1000 - number}.{suffix}", quality=85)
        wanted.add((f"x/{number}.jpg", f"y/{1000 - number}.{suffix}", name))
    found = groups(check(tmp_path))
    missed = [(one, other, name) for one, other, name in wanted if not any({one, other} <= group for group in found)]
    assert missed == []


@pytest.mark.realdata
def test_different_real_photos_are_not_taken_for_copies(realdata: Path, tmp_path: Path) -> None:
    for name, files in photos(realdata).items():
        (tmp_path / name).mkdir()
        for file in files:
            (tmp_path / name / file.name).symlink_to(file)
    checked = check(tmp_path)
    assert len(checked.survey.readable) >= 800
    found = [{Path(name).stem for name in group} for group in groups(checked)]
    assert [group for group in found if group not in TRUE_COPIES] == []
    assert [group for group in TRUE_COPIES if group not in found] == []


def test_what_differs_in_colour_alone_is_no_copy(tmp_path: Path) -> None:
    for label, colour in (("red", (200, 40, 40)), ("green", (40, 130, 40))):
        (tmp_path / label).mkdir()
        for number in range(3):
            picture = Image.new("RGB", (120, 90), "white")
            draw = ImageDraw.Draw(picture)
            draw.ellipse((20 + 15 * number, 10, 60 + 15 * number, 60), fill=colour)
            draw.rectangle((10, 70, 60 + 20 * number, 80), fill="black")
            picture.save(tmp_path / label / f"{number}.png")
    assert groups(check(tmp_path)) == []


def test_handwriting_is_much_alike_and_not_the_same(tmp_path: Path) -> None:
    from sklearn.datasets import load_digits

    digits = load_digits()
    for number, (pixels, label) in enumerate(zip(digits.images[:600], digits.target[:600], strict=True)):
        (tmp_path / str(label)).mkdir(exist_ok=True)
        Image.fromarray((pixels * 15.9).astype(np.uint8)).save(tmp_path / str(label) / f"{number}.png")
    assert groups(check(tmp_path)) == []


@pytest.mark.realdata
def test_a_fixed_camera_gives_a_crowd_of_which_only_equal_pixels_are_left_out(realdata: Path, tmp_path: Path) -> None:
    scene = np.asarray(upright(photos(realdata)["imagenet"][34]).resize((260, 200)), np.float64)
    random = np.random.default_rng(0)
    for label in ("good", "defect"):
        (tmp_path / label).mkdir()
        for number in range(15):
            noisy = scene * random.uniform(0.9, 1.1) + random.normal(0, 4, scene.shape)
            if label == "defect":
                row, column = random.integers(0, 180), random.integers(0, 240)
                noisy[row : row + 16, column : column + 16] = random.integers(0, 255, 3)
            Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(tmp_path / label / f"{number}.png")
    Image.open(tmp_path / "good" / "3.png").save(tmp_path / "defect" / "as good.bmp")
    checked = check(tmp_path)
    crowd = checked.of_kind("look-alike")
    assert crowd is not None
    assert len(crowd.groups[0]) > 25
    listed = {name for _, names in checked.leave_out(True) for name in names}
    assert listed == {"good/3.png", "defect/as good.bmp"}


@pytest.mark.parametrize("kind", ["png", "gif", "tiff"])
def test_the_same_pixels_in_another_format_are_the_same_picture(kind: str, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for label in "ab":
        (tmp_path / label).mkdir()
        for number in range(5):
            pixels = np.kron(random.integers(0, 256, (6, 8)), np.ones((12, 12))).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / label / f"{number}.png")
    Image.open(tmp_path / "a" / "2.png").save(tmp_path / "b" / f"other.{kind}", optimize=kind == "png")
    conflict = check(tmp_path).of_kind("label-conflict")
    assert conflict is not None
    assert [{m.name for m in group} for group in conflict.groups] == [{"a/2.png", f"b/other.{kind}"}]
    assert "same pixels" in {member.remark for member in conflict.groups[0]}

"""What a check finds beside copies, that it agrees with what training does, and that it changes nothing."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from photos import cropped, photos, upright
from PIL import Image, ImageOps

from residuum.data.checks.checking import Check, check_data
from residuum.data.checks.look import look_at
from residuum.data.decoding import Unreadable, decode_native
from residuum.data.exclusion import read_exclude_list, write_exclude_list
from residuum.data.sources import open_data
from residuum.errors import UserError
from residuum.progress import Reporter
from samples import picture_folder


def check(folder: Path) -> Check:
    return check_data(str(folder), Reporter(quiet=True))


def names(checked: Check, kind: str) -> list[str]:
    finding = checked.of_kind(kind)
    return [] if finding is None else [member.name for group in finding.groups for member in group]


def noise(seed: int, size: tuple[int, int] = (48, 64)) -> Image.Image:
    """Coarse random blocks: no two seeds alike."""
    blocks = np.random.default_rng(seed).integers(0, 256, (size[0] // 8, size[1] // 8, 3), np.uint8)
    return Image.fromarray(np.kron(blocks, np.ones((8, 8, 1), np.uint8)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twenty pictures each of a and b, no two alike."""
    for label in "ab":
        (tmp_path / "data" / label).mkdir(parents=True)
        for number in range(20):
            noise(1000 * ord(label) + number).save(tmp_path / "data" / label / f"{number:02}.png")
    return tmp_path / "data"


def test_a_sound_folder_gives_no_error_and_nothing_to_leave_out(folder: Path) -> None:
    checked = check(folder)
    assert [finding for finding in checked.findings if finding.severity == "error"] == []
    assert checked.leave_out(True) == []


def test_every_kind_of_damage_is_named(folder: Path) -> None:
    whole = (folder / "a" / "00.png").read_bytes()
    (folder / "a" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "a" / "empty.png").write_bytes(b"")
    (folder / "b" / "page.jpg").write_text("<html>404</html>")
    (folder / "b" / "gone.png").symlink_to("nowhere.png")
    checked = check(folder)
    finding = checked.of_kind("unreadable")
    assert finding is not None
    remarks = {group[0].name: group[0].remark for group in finding.groups}
    assert remarks.keys() == {"a/cut.png", "a/empty.png", "b/gone.png", "b/page.jpg"}
    assert "truncated" in remarks["a/cut.png"]
    assert "empty" in remarks["a/empty.png"]
    assert "HTML" in remarks["b/page.jpg"]
    assert checked.of_kind("duplicate") is None


def test_files_that_training_passes_over_are_named_with_the_reason(folder: Path) -> None:
    (folder / "a" / ".hidden.png").write_bytes(b"x")
    (folder / ".ipynb_checkpoints").mkdir()
    noise(1).save(folder / ".ipynb_checkpoints" / "x.png")
    (folder / "a" / "notes.txt").write_text("x")
    noise(2).save(folder / "a" / "picture", "PNG")
    noise(3).save(folder / "lost.png")
    (folder / "b" / "loop").symlink_to("..")
    (folder / "b" / "self").symlink_to("self")
    os.mkfifo(folder / "b" / "pipe")
    checked = check(folder)
    assert names(checked, "picture-passed-over") == ["a/picture", "lost.png"]
    finding = checked.of_kind("passed-over")
    assert finding is not None
    assert {group[0].name: group[0].remark for group in finding.groups} == {
        ".ipynb_checkpoints/": "hidden",
        "a/.hidden.png": "hidden",
        "a/notes.txt": "no picture",
        "b/loop": "a link that leads in a circle",
        "b/pipe": "no picture",
        "b/self": "a link that leads nowhere",
    }


def test_storage_that_deserves_a_look(folder: Path) -> None:
    noise(1).convert("CMYK").save(folder / "a" / "cmyk.jpg")
    noise(2).save(folder / "a" / "wrong.png", "JPEG")
    noise(3).save(folder / "a" / "moving.gif", save_all=True, append_images=[noise(4)])
    turned = Image.Exif()
    turned[0x112] = 6
    noise(5).save(folder / "b" / "turned.jpg", exif=turned)
    noise(6).convert("RGBA").save(folder / "b" / "glass.png")
    Image.fromarray(np.asarray(noise(7).convert("L")).astype(np.uint16) * 257).save(folder / "b" / "deep.png")
    checked = check(folder)
    for kind, name in (
        ("colour-space", "a/cmyk.jpg"), ("wrong-suffix", "a/wrong.png"), ("animated", "a/moving.gif"),
        ("rotated", "b/turned.jpg"), ("transparent", "b/glass.png"), ("deep", "b/deep.png"),
    ):  # fmt: skip
        assert names(checked, kind) == [name]
    assert "b/deep.png" in names(checked, "mixed-colour")


@pytest.mark.parametrize("said", [0, 9, 65535])
def test_an_orientation_that_means_nothing_is_upright(folder: Path, said: int) -> None:
    exif = Image.Exif()
    exif[0x112] = said
    noise(5).save(folder / "b" / "odd.jpg", exif=exif)
    checked = check(folder)
    assert names(checked, "rotated") == names(checked, "unreadable") == []


def test_blank_tiny_long_and_odd_pictures(tmp_path: Path) -> None:
    picture_folder(tmp_path, {"a": 40, "b": 40}, sides=(90, 110))
    Image.new("RGB", (100, 100), (3, 3, 3)).save(tmp_path / "a" / "blank.png")
    noise(0).resize((8, 8)).save(tmp_path / "a" / "tiny.png")
    noise(1, (40, 400)).save(tmp_path / "b" / "long.png")
    page = Image.new("L", (100, 100), 250)
    page.paste(0, (20, 48, 80, 52))
    page.save(tmp_path / "b" / "placeholder.gif")
    checked = check(tmp_path)
    assert names(checked, "blank") == ["a/blank.png"]
    assert names(checked, "tiny") == ["a/tiny.png"]
    assert names(checked, "extreme-aspect") == ["b/long.png"]
    assert "b/placeholder.gif" in names(checked, "odd")
    assert [name for _, listed in checked.leave_out(True) for name in listed] == ["a/blank.png"]


@pytest.mark.realdata
def test_the_placeholder_among_ants_is_the_oddest(realdata: Path) -> None:
    checked = check(realdata / "hymenoptera" / "train")
    assert names(checked, "odd")[0] == "ants/imageNotFound.gif"
    assert len(names(checked, "odd")) < 10
    assert checked.leave_out(True) == []
    assert any("ants/imageNotFound.gif" in listed for _, listed in checked.leave_out(False))


def test_classes_that_do_not_fit_together(tmp_path: Path) -> None:
    seed = iter(range(10**6))
    for part, label, count in (
        ("train", "ants", 12), ("train", "bees", 2), ("train", "Bees ", 1), ("train", "lone", 1), ("train", "none", 0),
        ("val", "ants", 2), ("val", "wasps", 2),
    ):  # fmt: skip
        (tmp_path / part / label).mkdir(parents=True)
        for number in range(count):
            noise(next(seed)).save(tmp_path / part / label / f"{number}.png")
    checked = check(tmp_path)
    said = {finding.kind: finding.title for finding in checked.findings}
    assert "wasps (in val)" in said["class-not-trained"]
    assert '"Bees "' in said["class-names"]
    assert "bees" in said["class-names"]
    assert "none" in said["empty-class"]
    assert "lone" in said["single-picture-class"]
    assert "ants has 12 pictures, bees 2" in said["imbalance"]
    assert "lone" in said["class-not-tested"]


def test_one_class_is_an_error_and_no_end(tmp_path: Path) -> None:
    picture_folder(tmp_path, {"only": 3})
    assert check(tmp_path).findings[0].kind == "one-class"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path, p: p.save(path.with_suffix(".jpg")), "100% are JPEG, of the others 0%"),
        (lambda path, p: p.convert("L").save(path), "100% are grey, of the others 0%"),
        (lambda path, p: p.convert("RGBA").save(path), "100% are transparent"),
        (lambda path, p: p.resize((p.width * 2, p.height * 2)).save(path), "larger (median"),
        (lambda path, p: p.resize((p.width * 2, p.height)).save(path), "wider (width over height"),
        (lambda path, p: p.resize((50, 50)).save(path), "100% are 50 × 50 pixels, of the others 0%"),
    ],
)
def test_a_class_that_files_give_away(spoil: Callable[[Path, Image.Image], None], said: str, tmp_path: Path) -> None:
    picture_folder(tmp_path, {"a": 15, "b": 15}, sides=(60, 80))
    assert check(tmp_path).of_kind("shortcut") is None
    for path in (tmp_path / "a").iterdir():
        picture = Image.open(path)
        picture.load()
        path.unlink()
        spoil(path, picture)
    found = check(tmp_path).of_kind("shortcut")
    assert found is not None
    assert f"a: {said}" in found.advice or f", {said}" in found.advice


@pytest.mark.realdata
def test_a_look_at_reduced_scale_refuses_what_decoding_refuses(realdata: Path) -> None:
    files = photos(realdata)["imagenet"][:3]
    for file in files:
        progressive = io.BytesIO()
        upright(file).save(progressive, "JPEG", progressive=True)
        for data in (file.read_bytes(), progressive.getvalue()):
            for share in (0.002, 0.01, 0.2, 0.5, 0.9, 0.99, 1):
                cut = data[: int(len(data) * share)]
                reasons = []
                for decode in (decode_native, look_at):
                    try:
                        decode(cut)
                        reasons.append("")
                    except Unreadable as error:
                        reasons.append(str(error))
                assert reasons[0] == reasons[1]


def test_what_would_be_held_out_is_what_training_holds_out(folder: Path) -> None:
    (folder / "a" / "bad.png").write_bytes(b"")
    checked, manifest = check(folder), open_data(str(folder))
    held_out = {checked.survey.contents.names[i] for i in checked.survey.held_out}
    assert held_out == {manifest.names[i] for i in manifest.part("val")}


def test_copies_that_straddle_parts_given_or_cut_are_found(folder: Path) -> None:
    for number in range(20):
        Image.open(folder / "a" / f"{number:02}.png").save(folder / "a" / f"copy {number}.bmp")
    manifest = open_data(str(folder))
    held_out = {manifest.names[i] for i in manifest.part("val")}
    straddling = [
        {f"a/{number:02}.png", f"a/copy {number}.bmp"}
        for number in range(20)
        if len({f"a/{number:02}.png", f"a/copy {number}.bmp"} & held_out) == 1
    ]
    assert straddling
    finding = check(folder).of_kind("validation-leakage")
    assert finding is not None
    found = [{member.name for member in group} for group in finding.groups]
    assert sorted(map(sorted, found)) == sorted(map(sorted, straddling))

    parts = folder.parent / "parts"
    (parts / "test").mkdir(parents=True)
    folder.rename(parts / "train")
    for label in "ab":
        (parts / "test" / label).mkdir()
        noise(ord(label)).save(parts / "test" / label / "new.png")
    ImageOps.mirror(Image.open(parts / "train" / "b" / "07.png")).save(parts / "test" / "b" / "seen.png")
    checked = check(parts)
    assert sorted(names(checked, "leakage")) == ["test/b/seen.png", "train/b/07.png"]
    # the test stays as it is
    assert ["train/b/07.png"] in [listed for _, listed in checked.leave_out(True)]


def test_after_leaving_out_what_is_listed_nothing_of_it_is_found(folder: Path) -> None:
    picture = Image.open(folder / "a" / "03.png")
    picture.save(folder / "b" / "conflict.bmp")
    cropped(Image.open(folder / "a" / "05.png"), 0.05).save(folder / "a" / "crop.png")
    (folder / "b" / "twice.png").write_bytes((folder / "b" / "09.png").read_bytes())
    (folder / "b" / "bad.png").write_bytes(b"x")
    Image.new("L", (60, 40)).save(folder / "a" / "black.png")
    listed = [name for _, block in check(folder).leave_out(True) for name in block]
    assert sorted(listed) == sorted(
        ["a/03.png", "b/conflict.bmp", "a/crop.png", "b/twice.png", "b/bad.png", "a/black.png"]
    )
    for name in listed:
        (folder / name).unlink()
    assert check(folder).leave_out(True) == []


def test_mirrored_and_turned_pictures_of_another_class_are_for_a_person_to_judge(folder: Path) -> None:
    """An arrow to the left is the mirror image of one to the right, and no copy of it."""
    ImageOps.mirror(Image.open(folder / "a" / "04.png")).save(folder / "b" / "left.png")
    Image.open(folder / "a" / "05.png").rotate(90, expand=True).save(folder / "b" / "up.png")
    checked = check(folder)
    assert sorted(names(checked, "label-conflict")) == ["a/04.png", "a/05.png", "b/left.png", "b/up.png"]
    finding = checked.of_kind("label-conflict")
    assert finding is not None
    assert "augment.mirror=false" in finding.advice
    assert checked.leave_out(True) == []
    assert sorted(name for _, listed in checked.leave_out(False) for name in listed) == sorted(
        names(checked, "label-conflict")
    )


def test_nothing_is_changed_in_the_folder(folder: Path) -> None:
    def state() -> list[tuple[str, int, int]]:
        return sorted((os.fspath(p), p.lstat().st_mtime_ns, p.lstat().st_size) for p in folder.rglob("*"))

    before = state()
    check(folder)
    assert state() == before


HOSTILE = [
    b"<script>alert(1)<.png", b"q\"uote's.png", b"new\nline.png", b"#hash.png", b" blank .png", b"caf\xe9 \xff.png",
    b"\xf0\x9f\x90\x9c.png", b"cr\r.png", b"a # b.png",
]  # fmt: skip


def test_any_name_survives_the_list_of_files_to_leave_out(tmp_path: Path) -> None:
    wanted = [*(os.fsdecode(b"x/" + name) for name in HOSTILE), *map(os.fsdecode, HOSTILE)]
    file = tmp_path / "list.txt"
    write_exclude_list(file, "the # data", [("a\nreason", wanted)], [("perhaps", ["x/kept.png"])])
    assert read_exclude_list(file) == dict.fromkeys(wanted, "a\\nreason")


def test_excluding_is_the_same_as_not_having(folder: Path, tmp_path: Path) -> None:
    (folder / "a" / os.fsdecode(b"caf\xe9.png")).write_bytes((folder / "a" / "00.png").read_bytes())
    (folder / "b" / "bad.png").write_bytes(b"")
    wanted = {os.fsdecode(b"a/caf\xe9.png"): "why", "b/bad.png": "empty", "b/03.png": "odd"}
    without = open_data(str(folder), exclude=wanted)
    assert without.excluded == tuple(sorted(wanted.items(), key=lambda item: os.fsencode(item[0])))
    for name in wanted:
        (folder / name).unlink()
    fewer = open_data(str(folder))
    assert (without.digest, without.names) == (fewer.digest, fewer.names)
    assert all((without.part(part) == fewer.part(part)).all() for part in ("train", "val"))


def test_excluding_from_an_archive_and_a_table(folder: Path) -> None:
    digits = open_data("digits")
    fewer = open_data("digits", exclude={digits.names[5]: "why"})
    assert len(fewer) == len(digits) - 1
    assert (fewer.pictures.read(5, 1) == digits.pictures.read(6, 1)).all()
    table = folder / "table.csv"
    table.write_text("path,label,group\na/00.png,a,1\na/01.png,a,2\nb/00.png,b,3\nb/01.png,b,4\n")
    assert open_data(f"csv:{table}", exclude={"a/01.png": "why"}).names == ("a/00.png", "b/00.png", "b/01.png")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a/nope.png\n", "there is no picture a/nope.png"),
        ("00.png\n", "did you mean"),
        ('"a/x\n', "line 1: a name in quotation marks"),
        ('# why\n\n["a"]\n"a', "line 4"),
    ],
)
def test_a_wrong_list_gives_one_sentence(folder: Path, tmp_path: Path, text: str, said: str) -> None:
    (folder / "b" / "00.png").rename(folder / "b" / "other.png")
    file = tmp_path / "list.txt"
    file.write_text(text)
    with pytest.raises(UserError, match=said):
        open_data(str(folder), exclude=read_exclude_list(file))


def test_no_other_file_is_written_over(tmp_path: Path) -> None:
    file = tmp_path / "precious.txt"
    file.write_text("precious")
    with pytest.raises(UserError, match="choose another"):
        write_exclude_list(file, "data", [], [])
    assert file.read_text() == "precious"

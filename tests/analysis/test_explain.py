"""`residuum explain`: overlays, a page and JSON of pictures, or of a set's worst mistakes; and what is refused."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import replace
from pathlib import Path

import blobs
import numpy as np
import pytest
from PIL import Image

import residuum
from commands import refused, run, sentence
from residuum import artifact
from residuum.errors import UserError
from residuum.inference import Model
from samples import tiny_model

EVIL = "<script>alert(1)<"


@pytest.fixture(scope="module")
def file(trained: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model file of the trained network."""
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    artifact.save(trained.artifact, path)
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight photos of each class; the last of the red ones shows a blue spot."""
    folder = tmp_path_factory.mktemp("data")
    for colour, name in enumerate(blobs.CLASSES):
        (folder / name).mkdir()
        for number in range(8):
            shown = 2 if (name, number) == ("red", 7) else colour
            pixels = blobs.photo(36, 60, (12 + number, 20 + 2 * number), shown, 10 * colour + number)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


def test_pictures_with_classes_overlays_and_neighbours(file: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder"
    asked = [data / "red" / "0.png", data / "blue" / "1.png"]
    found = run("explain", file, *asked, "--data", data, "--out", out, "--json").json()
    assert [picture["image"] for picture in found["pictures"]] == [str(path) for path in asked]
    assert found["sanity"]["passed"] is True
    assert found["map_size"] == [6, 6]
    for picture, name in zip(found["pictures"], ("red", "blue"), strict=True):
        assert picture["predictions"][0]["class"] == name
        assert picture["true"] is None
        (look,) = picture["looks"]
        assert (look["class"], look["probability"]) == (name, picture["predictions"][0]["probability"])
        with Image.open(look["overlay"]) as drawn:
            assert drawn.size == (300, 180)  # 60 x 36 five times
        assert len(picture["neighbours"]) == 6
        assert picture["neighbours"][0]["class"] == name
        distances = [near["distance"] for near in picture["neighbours"]]
        assert distances == sorted(distances)
    assert sorted(path.name for path in out.iterdir()) == ["explain.html", "overlays"]
    assert len(list((out / "overlays").iterdir())) == 2
    page = (out / "explain.html").read_text()
    assert Path(found["page"]) == out / "explain.html"
    assert page.count("<article") == 2
    assert page.count("<img") == 2 * (2 + 6)
    assert "with random weights they become others" in page
    assert set(re.findall(r'src="(.{5})', page)) == {"data:"}
    assert "http" not in page.replace("http-equiv", "")


def test_for_people(file: Path, data: Path, tmp_path: Path) -> None:
    outcome = run("explain", file, data / "red" / "0.png", "--out", tmp_path / "out")
    first, look, *_, last = outcome.out.splitlines()
    assert first.startswith(f"{data / 'red' / '0.png'}: red ")
    assert look == f"  red: {tmp_path / 'out' / 'overlays' / '001-0-red.png'}"
    assert last == f"page  {tmp_path / 'out' / 'explain.html'}"
    assert outcome.err == ""


@pytest.mark.parametrize("method", ["grad-cam", "integrated-gradients", "occlusion"])
def test_the_class_that_is_asked_for(method: str, file: Path, data: Path, tmp_path: Path) -> None:
    pytest.importorskip("captum")
    out = tmp_path / "out"
    found = run(
        "explain", file, data / "red" / "0.png", "--class", "green", "--method", method, "--out", out, "--json"
    ).json()
    (look,) = found["pictures"][0]["looks"]
    assert look["class"] == "green"
    assert look["overlay"].endswith("-green.png")
    assert found["method"] == method


def test_the_worst_mistakes_of_a_set(file: Path, data: Path, tmp_path: Path) -> None:
    """The mislabelled photo is the only mistake: what speaks for blue lies in its spot; red has no evidence there."""
    out = tmp_path / "out"
    found = run("explain", file, "--mistakes", data, "--split", "all", "--out", out, "--json").json()
    (mistake,) = found["pictures"]
    assert (mistake["image"], mistake["true"]) == ("red/7.png", "red")
    assert [look["class"] for look in mistake["looks"]] == ["blue", "red"]
    assert found["confused"] == [{"true": "red", "predicted": "blue", "count": 1, "share": 0.125, "cost": None}]
    assert (found["evaluation"]["images"], found["evaluation"]["correct_top1"]) == (24, 23)
    page = (out / "explain.html").read_text()
    assert "Wrong on 1 of 24 pictures" in page
    assert "Most confused classes" in page
    assert page.count("<img") == 3
    (explained,) = residuum.explain(file, mistakes=data, split="all").pictures
    blue, _ = explained.looks
    row, column = np.argwhere(blue.heat >= 0.9).mean(0) + 0.5
    assert abs(row * 36 / 24 - 19) < 4
    assert abs(column * 36 / 24 + 12 - 34) < 4


def test_where_nothing_is_wrong_the_closest_calls(file: Path, data: Path, tmp_path: Path) -> None:
    found = run("explain", file, "--mistakes", data, "--split", "val", "--out", tmp_path / "o", "--json").json()
    assert found["evaluation"]["correct_top1"] == found["evaluation"]["images"]
    assert found["confused"] == []
    assert all(len(picture["looks"]) == 1 for picture in found["pictures"])
    assert "Closest calls" in (tmp_path / "o" / "explain.html").read_text()


def test_names_are_text_and_files_keep_safe_names(file: Path, data: Path, tmp_path: Path) -> None:
    names = [f"{EVIL}.png", "a\nb.png", "\udcff.png", "é" * 120 + ".png", "no suffix"]
    (tmp_path / "in").mkdir()
    for name in names:
        (tmp_path / "in" / name).write_bytes((data / "red" / "0.png").read_bytes())
    out = tmp_path / "out"
    found = run("explain", file, *(tmp_path / "in" / name for name in names), "--out", out, "--json").json()
    assert len(found["pictures"]) == len(names)
    assert all(re.fullmatch(r"\d{3}-[\w-]*red\.png", path.name, re.ASCII) for path in (out / "overlays").iterdir())
    page = (out / "explain.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_pictures_of_many_kinds_from_python(trained: Model, data: Path) -> None:
    path = data / "red" / "0.png"
    with Image.open(path) as image:
        image.load()
    forms = [path, str(path), image, np.asarray(image)]
    every = [residuum.explain(trained, form).pictures[0] for form in forms]
    for explained in every:
        assert np.array_equal(explained.looks[0].heat, every[0].looks[0].heat)
        assert np.array_equal(np.asarray(explained.looks[0].overlay), np.asarray(every[0].looks[0].overlay))
    assert len(residuum.explain(trained, [image, path]).pictures) == 2
    assert len(residuum.explain(trained, [data / "red"]).pictures) == 8
    with pytest.raises(UserError, match="uint8"):
        residuum.explain(trained, np.zeros((8, 8, 3), np.float32))


def test_a_photo_keeps_its_colours_where_the_network_is_grey(tmp_path: Path, data: Path) -> None:
    model = tiny_model(tmp_path / "m.safetensors", channels=1)
    (explained,) = residuum.explain(model, data / "red" / "0.png").pictures
    assert np.ptp(explained.picture.astype(int), axis=-1).max() > 60


def test_a_map_of_one_cell_is_said_plainly(tmp_path: Path, data: Path) -> None:
    found = run(
        "explain", tiny_model(tmp_path / "m.safetensors", size=4), data / "red" / "0.png", "--out", tmp_path, "--json"
    ).json()
    assert found["map_size"] == [1, 1]
    assert found["sanity"]["passed"] is None
    assert "--method occlusion" in " ".join(found["notes"])
    assert "--method occlusion" in (tmp_path / "explain.html").read_text()


# What is refused -----------------------------------------------------------------------------------------------


def test_a_picture_unlike_the_training_pictures_is_marked(file: Path, data: Path, tmp_path: Path) -> None:
    strange = tmp_path / "strange.safetensors"
    artifact.save(replace(artifact.load(file), calibration={"energies": [-1e6] * 50}), strange)
    pictures = sorted(data.rglob("*.png"))[:1]
    for model, marked in ((file, False), (strange, True)):
        outcome = run("explain", model, *pictures, "--out", tmp_path / "out")
        assert ("(unlike the training pictures)" in outcome.out) == marked
        assert ("Unlike the training pictures" in (tmp_path / "out" / "explain.html").read_text()) == marked


def test_unreadable_pictures_are_told_after_the_others(file: Path, data: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_text("<html>")
    outcome = run("explain", file, bad, data / "red" / "0.png", "--out", tmp_path / "out", "--json")
    assert outcome.code == 2
    assert re.search(r"bad\.jpg.*HTML", sentence(outcome))
    assert [picture["image"] for picture in outcome.json()["pictures"]] == [str(data / "red" / "0.png")]
    assert "bad.jpg" in (tmp_path / "out" / "explain.html").read_text()
    assert "HTML" in refused("explain", file, bad, "--out", tmp_path / "none")
    assert not (tmp_path / "none" / "explain.html").exists()


def test_classes_methods_and_forms_that_are_not_there(file: Path, data: Path, tmp_path: Path) -> None:
    photo, out = data / "red" / "0.png", ("--out", tmp_path / "out")
    assert 'did you mean "green"' in refused("explain", file, photo, "--class", "gren", *out)
    assert 'did you mean "occlusion"' in refused("explain", file, photo, "--method", "ocluson", *out)
    assert "--mistakes" in refused("explain", file, *out)
    assert "--mistakes" in refused("explain", file, photo, "--mistakes", data, *out)
    assert "--class" in refused("explain", file, "--mistakes", data, "--class", "red", *out)
    assert "--split" in refused("explain", file, photo, "--split", "val", *out)
    assert "holds no pictures" in refused("explain", file, tmp_path, *out)
    assert not (tmp_path / "out").exists()


def test_more_pictures_than_a_page_can_show(file: Path, data: Path, tmp_path: Path) -> None:
    for number in range(201):
        os.symlink(data / "red" / "0.png", tmp_path / f"{number}.png")
    assert "201 pictures" in refused("explain", file, tmp_path, "--out", tmp_path / "out")


def test_data_with_other_classes(file: Path, data: Path, tmp_path: Path) -> None:
    """As examples they are shown and told; as a set to be judged by they are refused."""
    other = tmp_path / "other"
    for name in ("red", "violet"):
        (other / name).mkdir(parents=True)
        for number in range(4):
            (other / name / f"{number}.png").write_bytes((data / "red" / f"{number}.png").read_bytes())
    photo, out = data / "red" / "5.png", ("--out", tmp_path / "out")
    found = run("explain", file, photo, "--data", other, *out, "--json").json()
    assert len(found["pictures"][0]["neighbours"]) == 6
    assert "does not know: violet" in found["notes"][0]
    assert "violet" in (tmp_path / "out" / "explain.html").read_text()
    assert "violet" in refused("explain", file, "--mistakes", other, "--split", "all", *out)


def test_a_folder_that_cannot_be_made(file: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    assert "choose another --out" in refused("explain", file, data / "red" / "0.png", "--out", tmp_path / "taken")


def test_without_captum_grad_cam_works(monkeypatch: pytest.MonkeyPatch, file: Path, data: Path, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    photo, out = data / "red" / "0.png", ("--out", tmp_path / "out")
    assert "residuum[explain]" in refused("explain", file, photo, "--method", "occlusion", *out)
    assert run("explain", file, photo, *out).code == 0

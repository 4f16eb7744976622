"""residuum check: page, JSON, list of files to leave out; and training, going on and evaluating without those."""

from __future__ import annotations

import json
import os
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import residuum
from commands import TINY, refused, run
from residuum.data.sources import open_data

HOSTILE = (b"<script>alert(1)<.png", b"q\"uote's & more.png", b"new\nline.png", b"caf\xe9\xff.png")
SHORT = (*TINY, "--recipe", "debug", "--steps", "2")


class Page(HTMLParser):
    """What a browser would see of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        found = dict(attrs)
        self.links += [value for key in ("src", "href", "srcset") if (value := found.get(key))]
        self.ids |= {found["id"] or ""} if "id" in found else set()
        assert not [key for key in found if key.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def spoilt(folder: Path) -> Path:
    """Ants and bees with a conflict, copies, damage, and names that nobody should give."""
    for name in HOSTILE:
        Image.open(folder / "ant" / "000.png").save(folder / "ant" / os.fsdecode(name))
    shutil.copy(folder / "ant" / "001.png", folder / "bee" / "wrong.png")
    (folder / "bee" / "bad.png").write_bytes(b"<html>")
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(folder / "bee" / "black.png")
    return folder


def test_the_page_escapes_every_name_and_stands_alone(spoilt: Path, tmp_path: Path) -> None:
    assert run("check", spoilt, "--out", tmp_path / "out").code == 0
    page = Page((tmp_path / "out" / "check.html").read_text(encoding="utf-8"))
    assert "script" not in page.tags
    assert page.tags.count("img") > 5
    assert all(link.startswith("data:image/") or link.removeprefix("#") in page.ids for link in page.links)
    for name in ("<script>alert(1)<.png", "q\"uote's & more.png", r"new\nline.png", r"caf\udce9\udcff.png"):
        assert f"ant/{name}" in page.text
    assert page.text.index("1 picture under more than one class") < page.text.index("1 unreadable file")


def test_json_page_and_python_say_the_same(spoilt: Path, tmp_path: Path) -> None:
    found = run("check", spoilt, "--out", tmp_path / "out", "--json").json()
    written = json.loads((tmp_path / "out" / "check.json").read_text())
    checked = residuum.check(spoilt)
    assert written == json.loads(json.dumps(checked.to_dict()))
    assert {key: found[key] for key in written} == written
    assert found["page"] == str(tmp_path / "out" / "check.html")
    assert found["findings"][0]["kind"] == "label-conflict"
    assert {m["name"] for m in found["findings"][0]["groups"][0]} == {"ant/001.png", "bee/wrong.png"}
    assert {m["class"] for m in found["findings"][0]["groups"][0]} == {"ant", "bee"}


def test_the_terminal_has_a_few_lines_and_what_to_do_next(spoilt: Path, tmp_path: Path) -> None:
    listed = tmp_path / "leave out.txt"
    said = run("check", spoilt, "--out", tmp_path / "out", "--exclude-list", listed).out.splitlines()
    assert len(said) < 15
    assert re.fullmatch(r"31 pictures of 2 classes: 2 findings to put right, \d findings to look at", said[0])
    assert said[-1] == f"next  residuum train {spoilt} --exclude '{listed}'"


def test_training_leaves_out_what_is_listed_and_so_do_resuming_and_evaluating(spoilt: Path, tmp_path: Path) -> None:
    listed, out = tmp_path / "list.txt", tmp_path / "run"
    assert run("check", spoilt, "--out", tmp_path / "out", "--exclude-list", listed).code == 0
    begun = run("train", spoilt, *SHORT, "--exclude", listed, "--out", out)
    assert begun.code == 0, begun
    facts = json.loads((out / "run.json").read_text())
    names = {name for name, _ in facts["data"]["exclude"]}
    assert {"ant/001.png", "bee/wrong.png", "bee/bad.png", "bee/black.png", "ant/new\nline.png"} <= names
    assert dict(facts["data"]["excluded"])["bee/wrong.png"] == "label conflict: the same picture under ant, bee"
    fewer = tmp_path / "fewer"
    shutil.copytree(spoilt, fewer)
    for name in names:
        (fewer / name).unlink()
    assert facts["data"]["digest"] == open_data(str(fewer)).digest

    shutil.rmtree(out / "checkpoints")
    (out / "model.safetensors").rename(tmp_path / "model.safetensors")
    (out / "run.json").write_text(json.dumps(facts | {"status": "running"}))
    listed.unlink()
    (spoilt / "bee" / "bad.png").unlink()  # what was left out may go
    resumed = run("train", "--resume", out)
    assert resumed.code == 0, resumed
    assert json.loads((out / "run.json").read_text())["data"]["digest"] == facts["data"]["digest"]

    evaluated = run("evaluate", out / "model.safetensors", spoilt, "--json").json()
    assert evaluated["protocol"]["split"] == "val"
    assert evaluated["images"] == facts["data"]["counts"]["val"]


def test_another_list_cannot_be_slipped_in_on_resuming(folder: Path, tmp_path: Path) -> None:
    listed, out = tmp_path / "list.txt", tmp_path / "run"
    listed.write_text("ant/003.png\n")
    assert run("train", folder, *SHORT, "--exclude", listed, "--out", out).code == 0
    assert run("train", "--resume", out, "--exclude", listed).code == 0
    listed.write_text("ant/004.png\n")
    assert "--exclude" in refused("train", "--resume", out, "--exclude", listed)


def test_what_cannot_be_is_refused_in_one_sentence(folder: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious.csv"
    precious.write_text("path,label\n")
    assert "inside of" in refused("check", folder, "--out", folder / "check")
    assert "inside of" in refused("check", folder, "--exclude-list", folder / "list.txt", "--out", tmp_path)
    assert "choose another --exclude-list" in refused("check", folder, "--exclude-list", precious, "--out", tmp_path)
    assert precious.read_text() == "path,label\n"
    assert "no folder" in refused("check", tmp_path / "nowhere")
    assert "cannot be read" in refused("train", folder, "--exclude", tmp_path / "none.txt")
    (tmp_path / "list.txt").write_text("ant/none.png")
    assert "there is no picture ant/none.png" in refused("train", folder, "--exclude", tmp_path / "list.txt")
    (tmp_path / "list.txt").write_text("\n".join(open_data(str(folder)).names))
    assert "every picture" in refused("train", folder, "--exclude", tmp_path / "list.txt")


def test_a_folder_of_nothing_but_damage_still_gives_a_page(tmp_path: Path) -> None:
    for label in "ab":
        (tmp_path / "data" / label).mkdir(parents=True)
        (tmp_path / "data" / label / "x.png").write_bytes(b"x")
    outcome = run("check", tmp_path / "data", "--out", tmp_path / "out")
    assert outcome.code == 0
    assert "2 unreadable files" in outcome.out
    assert "No picture could be read" in (tmp_path / "out" / "check.html").read_text()

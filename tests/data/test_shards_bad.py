"""What is wrong with shards is said in one sentence, and nothing half-written is left."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from tars import tar_of

from commands import TINY, refused, run
from residuum.data.shards import originals, writing
from residuum.data.sources import open_data
from residuum.errors import UserError
from runs import record
from samples import picture, picture_folder


def jpeg(seed: int = 0) -> bytes:
    stream = io.BytesIO()
    picture(16, 16, seed).save(stream, "JPEG")
    return stream.getvalue()


GOOD = {"a.jpg": jpeg(1), "a.cls": b"0", "b.jpg": jpeg(2), "b.cls": b"1"}


def said(argument: object) -> str:
    with pytest.raises(UserError) as caught:
        open_data(f"shards:{argument}")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("members", "sentence"),
    [
        ({}, "holds no pictures with labels"),
        ({"readme.txt": b"x", "a.cls": b"1"}, "holds no pictures with labels"),
        (GOOD | {"c.jpg": jpeg()}, "has no label for c.jpg: there must be a c.cls or .json beside it"),
        (GOOD | {"c.jpg": jpeg(), "c.cls": b" "}, "c.cls holds no label; it must be a number or a class name"),
        (GOOD | {"c.jpg": jpeg(), "c.json": b"{}"}, "or an object with one as cls, label, class"),
        (GOOD | {"c.jpg": jpeg(), "c.json": b'{"label": true}'}, "c.json holds no label"),
        (GOOD | {"c.jpg": jpeg(), "c.json": b"{"}, "c.json holds no label"),
        (GOOD | {"c.jpg": jpeg(), "c.png": jpeg(), "c.cls": b"0"}, "has two pictures of one name, c.jpg and .png"),
        (GOOD | {"c.jpg": jpeg(), "c.cls": b"cat"}, 'numbers in some shards and names such as "cat" in others'),
        ({"a.jpg": jpeg(), "a.cls": b"0"}, "has only one class, 0; a classifier needs at least two"),
    ],
)  # fmt: skip
def test_tars_that_cannot_be_used(members: dict[str, bytes], sentence: str, tmp_path: Path) -> None:
    path = tar_of(tmp_path / "x.tar", members)
    message = said(path)
    assert sentence in message
    assert "x.tar" in message or "in others" in sentence


def test_tars_that_are_none_or_not_whole(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "x.tar", GOOD)
    whole = path.read_bytes()
    with tarfile.open(path) as tar:
        ends = [member.offset_data + -(-member.size // 512) * 512 for member in tar]
    for cut in (*ends, ends[-1] + 100, ends[0] - 400, 700, ends[1] + 300):
        path.write_bytes(whole[:cut])
        assert "cut off" in said(path), cut
    path.write_bytes(whole[: ends[1]] + b"rubbish" * 200 + whole[ends[1] :])
    assert f"is damaged at byte {ends[1]:,}" in said(path)
    path.write_bytes(b"")
    assert "is empty; fetch" in said(path)
    path.write_bytes(b"no tar" * 1000)
    assert "is not a tar file" in said(path)
    path.write_bytes(gzip.compress(whole))
    assert "is compressed; unpack it, or read it through a pipe such as pipe:gunzip -c FILE" in said(path)
    assert len(open_data(f"shards:pipe:gunzip -c < {path}", val=0)) == 2
    path.write_bytes(whole)
    assert "cut off" in said(f"pipe:head -c 2000 {path}")


def test_patterns_that_name_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    tar_of(tmp_path / "x-0.tar", GOOD)
    tar_of(tmp_path / "x-1.tar", GOOD)
    assert "is not complete: write shards:PATTERN" in refused("train", "shards:")
    assert "there is no file" in said(tmp_path / "x-{0..2}.tar")
    assert "x-2.tar, which shards:" in said(tmp_path / "x-{0..2}.tar")
    assert "there is no file" in said(tmp_path / "*.nothing")
    assert "holds no .tar files" in said(tmp_path / "empty")
    assert "write shards:" in said(tmp_path / "empt*")
    assert "names" in said(tmp_path / "x-{0,1,0}.tar")
    assert "ends before it begins; write {1..9}" in said("x-{9..1}.tar")
    assert "at most 1,000,000" in said("x-{0..9999}-{0..9999}.tar")
    assert "more than 1,000,000" in said("x-{0..99999999999}.tar")
    assert "has no command" in said("pipe:")
    assert "pipe:no-such-command-here ended with 127" in said("pipe:no-such-command-here")
    assert "cannot be run" in said("pipe:cat \0")
    if os.geteuid():
        (tmp_path / "x-1.tar").chmod(0)
        assert "x-1.tar cannot be read: Permission denied" in said(tmp_path / "*.tar")


def test_given_classes_must_fit(tmp_path: Path) -> None:
    path, classes = tar_of(tmp_path / "x.tar", GOOD), tmp_path / "classes.txt"
    classes.write_text("only\n")
    assert "a picture has class 1, and the given list has 1 classes" in said(f"{classes}@{path}")
    classes.write_text("one\none\n")
    assert "names a class twice" in said(f"{classes}@{path}")
    classes.write_bytes(b"\xff\xfe\xff")
    assert "is no list of class names" in said(f"{classes}@{path}")
    named = tar_of(tmp_path / "y.tar", GOOD | {"a.cls": b"ant", "b.cls": b"bee"})
    classes.write_text("ant\nbeee\n")
    assert 'class "bee", which the given list has not; did you mean "beee"?' in said(f"{classes}@{named}")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bad")
    data = picture_folder(folder / "data", {"a": 20, "b": 20})
    assert run("shard", data, "--out", folder / "out", "--pictures-per-shard", 10).code == 0
    return folder


@pytest.fixture
def out(original: Path, tmp_path: Path) -> Path:
    """Shards, to be spoilt."""
    return Path(shutil.copytree(original / "out", tmp_path / "out"))


def test_shards_that_do_not_fit_their_index(out: Path) -> None:
    first = out / "train-000000.tar"
    content = first.read_bytes()
    first.write_bytes(content[:5000])
    assert "train-000000.tar has 5,000 bytes and should have" in said(out)
    first.unlink()
    assert "train-000000.tar is missing, which index.json lists" in said(out)
    assert "there is no file" in said(f"{out}/train-{{000000..000003}}.tar")
    first.write_bytes(content)
    tar_of(out / "other.tar", GOOD)
    assert "names none of the 5 shards that" in said(out)
    (out / "other.tar").unlink()
    assert "two of the given shards are train-000000.tar" in said(f"{out}/index.json@pipe:{{cat,tac}} {first}")
    assert "names several of the 5 shards" in said(f"{out}/index.json@pipe:cat {first} {out}/train-000001.tar")


def test_an_index_that_is_spoilt(out: Path) -> None:
    index, listing = out / "index.json", out / "pictures.npz"
    text, packed = index.read_text(), listing.read_bytes()
    listing.write_bytes(packed[:-10])
    assert "pictures.npz is not what" in said(out)
    listing.unlink()
    assert "pictures.npz cannot be read: No such file" in said(out)
    listing.write_bytes(packed)
    for spoilt, sentence in (
        ("{", "is not an index of shards"),
        ("[]", "index.json"),
        (json.dumps(json.loads(text) | {"format_version": 2}), "format version 2, which is newer"),
        (json.dumps(json.loads(text) | {"colour": 1}), 'unknown key "colour"'),
        (json.dumps(json.loads(text) | {"classes": ["a"]}), "does not list the pictures of"),
        (json.dumps(json.loads(text) | {"shards": json.loads(text)["shards"][:-1]}), "does not list the pictures of"),
    ):
        index.write_text(spoilt)
        assert sentence in said(out)


def test_a_shard_that_changes_while_it_is_used(out: Path) -> None:
    manifest = open_data(f"shards:{out}")
    inside = [i for i in range(len(manifest)) if manifest.pictures.shard_of[i] == 2]  # type: ignore[attr-defined]
    path = out / "train-000002.tar"
    content = bytearray(path.read_bytes())
    content[520:600] = b"x" * 80
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"train-000002\.tar cannot be decoded: .*; write that shard again without it"):
        manifest.pictures.read(inside[0], 3)
    manifest = open_data(f"shards:{out}")
    path.write_bytes(content + b"\0" * 512)
    with pytest.raises(UserError, match=r"train-000002\.tar has changed since the data were listed"):
        manifest.pictures.read(inside[0], 3)
    path.write_bytes(content)
    manifest = open_data(f"shards:{out}")
    path.unlink()
    with pytest.raises(UserError, match=r"train-000002\.tar was there when the data were listed and cannot be read"):
        manifest.pictures.read(inside[0], 3)


def test_a_folder_of_shards_is_not_taken_for_class_folders(original: Path) -> None:
    assert f"holds shards; write shards:{original}/out" in refused("train", original / "out")


@pytest.mark.parametrize("form", ["full", "file", "inside", "option", "parent", "data"])
def test_shard_refuses_before_it_writes(form: str, original: Path, tmp_path: Path) -> None:
    data, options = original / "data", ()
    out = {"full": original / "out", "inside": data / "shards", "parent": tmp_path / "file" / "out"}.get(
        form, tmp_path / "o"
    )
    (tmp_path / "file").write_text("x")
    if form == "file":
        out.write_text("x")
    if form == "option":
        options = ("--pictures-per-shard", 0)
    sentence = {
        "full": "is not empty; choose another --out", "file": "is there already and is no folder",
        "inside": "is inside of the data", "option": "--pictures-per-shard must be at least 1",
        "parent": "choose another --out", "data": "there is no folder",
    }[form]  # fmt: skip
    before = sorted(original.rglob("*"))
    assert sentence in refused("shard", tmp_path / "nothing" if form == "data" else data, "--out", out, *options)
    assert sorted(original.rglob("*")) == before
    assert {path.name for path in tmp_path.iterdir()} <= {"file", "o"}


def test_a_full_disk_leaves_nothing(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writing.os, "fsync", full)
    message = refused("shard", original / "data", "--out", tmp_path / "out")
    assert message == f"cannot write {tmp_path}/out: No space left on device; make room or choose another --out"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("what", ["bytes", "label", "pixels"])
def test_a_shard_that_differs_is_not_kept(
    what: str, original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk gives back something else than was written; or the source is changed while it is copied."""
    if what == "bytes":
        honest = writing.Files.read
        monkeypatch.setattr(writing.Files, "read", lambda *a: honest(*a)[:-1] + b"?")
    elif what == "label":
        honest_list = writing.list_tar
        monkeypatch.setattr(
            writing, "list_tar", lambda *a: [replace(s, label=1 - int(s.label)) for s in honest_list(*a)]
        )
    else:
        honest_pixels = originals.Source.pixels
        times = iter(range(10**6))
        monkeypatch.setattr(originals.Source, "pixels", lambda self, i: honest_pixels(self, i) ^ (next(times) > 2000))
    data = "digits" if what == "pixels" else original / "data"
    assert "nothing was kept" in refused("shard", data, "--out", tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_an_empty_folder_is_filled_and_its_mode_follows_the_umask(original: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert run("shard", original / "data", "--out", tmp_path / "out").code == 0
    (tmp_path / "plain").mkdir()
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "index.json", "pictures.npz", "train-000000.tar", "val-000000.tar"
    ]  # fmt: skip
    assert len(list(tmp_path.iterdir())) == 2


def test_a_recorded_command_is_not_run_again(tmp_path: Path) -> None:
    """A run or a model file from elsewhere must not be able to start a program."""
    folder = picture_folder(tmp_path / "data", {"ant": 12, "bee": 12})
    assert run("shard", folder, "--out", tmp_path / "shards", "--pictures-per-shard", "30").code == 0
    train = ("train", *TINY, "--recipe", "debug", "--steps", "2", "--batch-size", "8")
    pipes = "{train-000000,val-000000}.tar"
    pattern = f"shards:{tmp_path}/shards/index.json@pipe:touch {tmp_path}/ran; cat {tmp_path}/shards/{pipes}"
    assert run(*train, pattern, "--out", tmp_path / "run").code == 0
    (tmp_path / "ran").unlink()
    facts = record(tmp_path / "run")
    (tmp_path / "run" / "run.json").write_text(json.dumps(facts | {"status": "stopped"}))
    assert "give them again" in refused("train", "--resume", tmp_path / "run")
    pytest.importorskip("onnx")
    exported = run("export", tmp_path / "run" / "model.safetensors", "--to", "onnx", "--out", tmp_path / "m.onnx")
    assert exported.code == 0, exported.err
    assert "synthetic" in exported.out + exported.err
    assert not (tmp_path / "ran").exists()
    assert run("train", pattern, "--resume", tmp_path / "run").code == 0
    assert (tmp_path / "ran").exists()

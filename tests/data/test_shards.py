"""shards:PATTERN and residuum shard: what is read is what was written, from files, pipes and tars of other tools."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tars import tar_of
from test_archives import cifar

from commands import TINY, Death, refused, run, start
from residuum.data.manifest import Manifest
from residuum.data.opening import absolute
from residuum.data.sources import open_data
from runs import different_tensors, metrics, record
from samples import picture, picture_folder

MakeFolder = Callable[..., Path]


def shard(data: object, out: Path, *options: object) -> str:
    done = run("shard", data, "--out", out, *options)
    assert done.code == 0, done.err
    return done.out


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def by_name(manifest: Manifest) -> dict[str, tuple[str, str, str | None, bytes]]:
    """Name -> class, part, group and pixels."""
    part_of = {int(i): part for part, indices in manifest.parts.items() for i in indices}
    groups = manifest.groups_of(np.arange(len(manifest)))
    channels = 1 if manifest.pictures.grey else 3
    return {
        name: (
            manifest.classes[manifest.labels[i]],
            part_of[i],
            None if groups is None else groups[i],
            manifest.pictures.read(i, channels).tobytes(),
        )
        for i, name in enumerate(manifest.names)
    }


def encoded(seed: int, suffix: str = "JPEG", size: tuple[int, int] = (16, 16)) -> bytes:
    stream = io.BytesIO()
    picture(*size, seed).save(stream, suffix)
    return stream.getvalue()


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Class folders with train and test, with names and formats that people have."""
    root = picture_folder(tmp_path / "data" / "train", {"ant": 11, "été b": 9}, sides=(9, 30), suffix=".png").parent
    picture_folder(root / "test", {"ant": 3, "été b": 2}, suffix=".JPEG", seed=5)
    picture(8, 8, 1).save(root / "train" / "ant" / "a.b.c d.jpg")
    shutil.copy(root / "test" / "ant" / "000.JPEG", root / "train" / "ant" / "wrongly named.png")
    return root


def csv_source(root: Path) -> str:
    """A table with groups and given parts."""
    names = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    rows = [f"{name},{Path(name).parent.name},{name.split('/')[0]},{name[:2]}{i % 7}" for i, name in enumerate(names)]
    (root / "table.csv").write_text("\n".join(["path,label,split,group", *rows]))
    return f"csv:{root / 'table.csv'}"


@pytest.mark.parametrize("form", ["folder", "csv", "digits", "uncut", "archive"])
def test_shards_hold_what_the_source_holds(form: str, mixed: Path, tmp_path: Path) -> None:
    if form == "archive":
        source = f"cifar10:{cifar(tmp_path / 'c', hundred=False, binary=True)}"
    else:
        source = {"folder": str(mixed), "csv": csv_source(mixed), "uncut": str(mixed / "train")}.get(form, form)
    said = shard(source, tmp_path / "out", "--pictures-per-shard", 300 if form == "digits" else 7)
    assert "read back and equals the source" in said
    ours, theirs = open_data(f"shards:{tmp_path / 'out'}"), open_data(source)
    assert by_name(ours) == by_name(theirs)
    assert (ours.classes, ours.digest, ours.chiral) == (theirs.classes, theirs.digest, theirs.chiral)
    assert (ours.pictures.grey, ours.pictures.uniform) == (theirs.pictures.grey, theirs.pictures.uniform)
    # cut anew, both are cut alike
    again, there = open_data(f"shards:{tmp_path / 'out'}", val=0.3), open_data(source, val=0.3)
    assert {n: v[1] for n, v in by_name(again).items()} == {n: v[1] for n, v in by_name(there).items()}


def test_real_pictures_keep_their_bytes(realdata: Path, tmp_path: Path) -> None:
    source = realdata / "hymenoptera" / "train"
    shard(source, tmp_path / "out", "--pictures-per-shard", 50)
    originals = {path.read_bytes() for path in source.rglob("*.*")}
    found = set()
    for path in (tmp_path / "out").glob("*.tar"):
        with tarfile.open(path) as tar:
            found |= {tar.extractfile(m).read() for m in tar if not m.name.endswith(".cls")}  # type: ignore[union-attr]
    assert found <= originals
    ours, theirs = open_data(f"shards:{tmp_path / 'out'}"), open_data(str(source))
    assert len(found) == len(theirs)
    assert by_name(ours) == by_name(theirs)
    # heights and widths come from headers, upright
    read = [ours.pictures.read(i, 3).shape[:2] for i in range(len(ours))]
    np.testing.assert_array_equal(ours.pictures.sizes[np.arange(len(ours))], read)


def test_the_same_data_give_the_same_bytes_wherever_they_are(mixed: Path, tmp_path: Path) -> None:
    shard(mixed, tmp_path / "one", "--pictures-per-shard", 4)
    shutil.copytree(mixed, tmp_path / "elsewhere")
    answer = run("shard", tmp_path / "elsewhere", "--out", tmp_path / "two", "--pictures-per-shard", 4, "--json").json()
    assert files(tmp_path / "one") == files(tmp_path / "two")
    index = json.loads((tmp_path / "one" / "index.json").read_text())
    assert index["shards"] == answer["shards"]
    assert answer["compared"] == sum(each["pictures"] for each in index["shards"]) == 27
    for each in index["shards"]:
        content = (tmp_path / "one" / each["name"]).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (each["bytes"], each["sha256"])
    # written again from themselves, pictures and names stay
    shard(f"shards:{tmp_path / 'one'}", tmp_path / "three")
    assert by_name(open_data(f"shards:{tmp_path / 'three'}")) == by_name(open_data(str(mixed)))


def test_a_training_shard_is_a_fair_sample(tmp_path: Path) -> None:
    shard(picture_folder(tmp_path / "data", {"a": 60, "b": 60}), tmp_path / "out", "--pictures-per-shard", 18)
    manifest = open_data(f"shards:{tmp_path / 'out'}")
    shares = [manifest.labels[i : i + 18].mean() for i in range(0, 108, 18)]
    assert 0.15 < min(shares) <= max(shares) < 0.85


def test_every_pattern_names_the_same_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    shard(
        picture_folder(tmp_path / "data", {"a": 30, "b": 30}),
        out,
        "--pictures-per-shard",
        12,
    )
    whole = open_data(f"shards:{out}", val=0)
    numbers = "{000000..000004}"
    patterns = [
        f"{out}/*.tar",
        f"{out}/train-*.tar",
        f"{out}/train-{numbers}.tar",
        f"{out}/{{train-{numbers},val-000000}}.tar",
        f"{out}/index.json@pipe:cat {out}/train-{numbers}.tar",
        f"{out}/index.json@{out}/train-{numbers}.tar",
    ]
    for pattern in patterns:
        found = open_data(f"shards:{pattern}", val=0)
        every = "val" in pattern or "/*" in pattern
        assert found.digest == whole.digest if every else len(found) == 54
        assert by_name(found).items() <= by_name(whole).items()
        assert found.classes == ("a", "b")
    monkeypatch.chdir(out)
    for pattern in ("shards:.", "shards:*.tar", "shards:index.json@train-{000000..000004}.tar"):
        said = absolute(pattern)
        inside = open_data(pattern).names
        monkeypatch.chdir(tmp_path)
        assert open_data(said).names == inside
        monkeypatch.chdir(out)


@pytest.mark.parametrize("label", ["number", "name", "json", "json name"])
def test_tars_of_other_tools_are_gone_through_once(label: str, tmp_path: Path) -> None:
    forms = {
        "number": lambda k: ("cls", str(3 + k)),
        "name": lambda k: ("cls", f"kind {k}\n"),
        "json": lambda k: ("json", json.dumps({"caption": "x", "label": 3 + k})),
        "json name": lambda k: ("json", json.dumps(f"kind {k}")),
    }
    seed = iter(range(1000))
    for number in range(3):
        members: dict[str, bytes] = {"__about__.txt": b"no sample"}
        for i in range(8):
            extension, text = forms[label](i % 2)
            key = f"folder/{number}/{i:03d}"
            members |= {
                f"{key}.JPG": encoded(next(seed)),
                f"{key}.txt": b"caption",
                f"{key}.{extension}": text.encode(),
            }
        tar_of(tmp_path / "tars" / f"set-{'val' if number == 2 else 'train'}-{number}.tar", members)
    manifest = open_data(f"shards:{tmp_path / 'tars'}")
    assert manifest.classes == (("3", "4") if label in ("number", "json") else ("kind 0", "kind 1"))
    assert {part: len(indices) for part, indices in manifest.parts.items()} == {"train": 16, "val": 8}
    assert manifest.labels.tolist() == [0, 1] * 12
    for i in range(24):
        expected = np.asarray(Image.open(io.BytesIO(encoded(i))).convert("RGB"))
        assert np.array_equal(manifest.pictures.read(i, 3), expected)
    assert manifest.pictures.uniform == (16, 16)
    assert "no index.json" in manifest.notes[0]
    piped = open_data(f"shards:pipe:cat {tmp_path}/tars/set-{{train-0,train-1,val-2}}.tar")
    assert (piped.digest, piped.names) == (manifest.digest, manifest.names)
    names = tmp_path / "classes.txt"
    names.write_text("zero\none\ntwo\nthree\nfour\n" if "3" in manifest.classes else "kind 1\nkind 0\n")
    named = open_data(f"shards:{names}@{tmp_path}/tars/*.tar")
    assert [named.classes[k] for k in named.labels[:2]] == (
        ["three", "four"] if "3" in manifest.classes else ["kind 0", "kind 1"]
    )


def test_webdataset_reads_ours_and_we_read_its(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    shard(
        picture_folder(tmp_path / "data", {"a": 14, "b": 12}, suffix=".jpg"),
        tmp_path / "out",
        "--pictures-per-shard",
        9,
    )
    ours = open_data(f"shards:{tmp_path}/out/train-*.tar", val=0)
    urls = f"{tmp_path}/out/train-{{000000..000002}}.tar"
    seen = list(webdataset.WebDataset(urls, shardshuffle=False).decode("rgb8").to_tuple("jpg", "cls"))
    assert len(seen) == len(ours) == 23
    for i, (pixels, label) in enumerate(seen):
        assert label == ours.labels[i]
        assert np.array_equal(pixels, ours.pictures.read(i, 3))
    with webdataset.ShardWriter(f"{tmp_path}/theirs-%06d.tar", maxcount=10, verbose=0) as writer:
        for i, (pixels, label) in enumerate(seen):
            writer.write({"__key__": f"k{i:04d}", "png": pixels, "cls": int(label)})
    theirs = open_data(f"shards:{tmp_path}/theirs-{{000000..000002}}.tar", val=0)
    assert theirs.labels.tolist() == ours.labels.tolist()
    for i in range(23):
        assert np.array_equal(theirs.pictures.read(i, 3), ours.pictures.read(i, 3))


def test_a_few_unreadable_pictures_are_left_out_as_in_folders(tmp_path: Path) -> None:
    members: dict[str, bytes] = {}
    for i in range(20):
        members |= {f"{i}.jpg": b"<html>" if i == 7 else encoded(i), f"{i}.cls": str(i % 2).encode()}
    path = tar_of(tmp_path / "x.tar", members)
    manifest = open_data(f"shards:{path}", val=0)
    assert manifest.excluded == (("x/7.jpg", "not a picture: looks like HTML"),)
    assert len(manifest) == 19
    tar_of(path, members | {"8.jpg": b"", "9.jpg": b"no"})
    assert "3 of 20 pictures cannot be read" in refused("train", f"shards:{path}")
    assert len(open_data(f"shards:{path}", allow_bad=True)) == 17


def test_a_list_of_files_to_leave_out(tmp_path: Path) -> None:
    data = picture_folder(tmp_path / "data", {"a": 20, "b": 20})
    shard(data, tmp_path / "out", "--pictures-per-shard", 6)
    exclude = {"a/003.png": "blurred", "b/019.png": "twice"}
    whole, less = open_data(f"shards:{tmp_path / 'out'}"), open_data(f"shards:{tmp_path / 'out'}", exclude=exclude)
    expected = {name: value for name, value in by_name(whole).items() if name not in exclude}
    assert by_name(less) == expected
    assert less.digest != whole.digest
    assert less.listed_out == tuple((name, exclude[name]) for name in whole.names if name in exclude)


def test_commands_take_shards_and_a_model_knows_its_pictures_again(tmp_path: Path) -> None:
    data = picture_folder(tmp_path / "data", {"ant": 30, "bee": 30})
    shard(data, tmp_path / "out", "--pictures-per-shard", 10)
    steps = ("--recipe", "debug", "--steps", "12", "--batch-size", "8", "--workers", "2")
    assert run("train", f"shards:{tmp_path / 'out'}", *TINY, *steps, "--out", tmp_path / "run").code == 0
    assert record(tmp_path / "run")["data"]["classes"] == ["ant", "bee"]
    model = tmp_path / "run" / "model.safetensors"
    on_shards = run("evaluate", model, f"shards:{tmp_path / 'out'}", "--json").json()
    on_folder = run("evaluate", model, data, "--json").json()
    assert on_shards["images"] == on_folder["images"] == 6
    assert on_shards["loss"] == pytest.approx(on_folder["loss"], abs=1e-6)
    assert on_shards["correct_top1"] == on_folder["correct_top1"]
    assert run("check", f"shards:{tmp_path / 'out'}", "--out", tmp_path / "check", "--json").json()["pictures"] == 60


def test_a_run_from_pipes_resumes_bit_equal(tmp_path: Path) -> None:
    shard(picture_folder(tmp_path / "data", {"ant": 26, "bee": 26}), tmp_path / "out", "--pictures-per-shard", 9)
    tars = f"{tmp_path}/out/{{train-{{000000..000004}},val-000000}}.tar"
    data = f"shards:{tmp_path}/out/index.json@pipe:cat {tars}"
    steps = (*TINY, "--recipe", "debug", "--steps", "24", "--batch-size", "8", "--seed", "3")
    assert run("train", data, *steps, "--out", tmp_path / "whole").code == 0
    death = Death("replace", 3, after=True)
    command = start(tmp_path / "log", "train", data, *steps, "--out", tmp_path / "run", death=death)
    assert command.wait() == -9, command.text()
    assert run("train", data, "--resume", tmp_path / "run").code == 0
    assert different_tensors(tmp_path / "run", tmp_path / "whole") == []
    assert metrics(tmp_path / "run") == metrics(tmp_path / "whole")

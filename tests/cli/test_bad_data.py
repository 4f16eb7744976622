"""Data nobody can train on are refused in one sentence; odd data that can be trained on are."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from commands import TINY, Outcome, run, sentence
from runs import record
from samples import picture, picture_folder

Refuses = Callable[..., str]
DEBUG = (*TINY, "--recipe", "debug", "--steps", "3", "--set", "batch_size=4")


def trains(data: object, out: Path, *options: object) -> Outcome:
    outcome = run("train", data, *DEBUG, *options, "--out", out)
    assert outcome.code == 0, outcome
    assert (out / "model.safetensors").exists()
    return outcome


def test_missing_path(refuses_data: Refuses, tmp_path: Path) -> None:
    assert "missing" in refuses_data(tmp_path / "missing")
    assert "cifar10:PATH" in refuses_data("missing")
    assert "missing" in refuses_data(f"cifar10:{tmp_path}/missing")
    assert "missing.csv" in refuses_data(f"csv:{tmp_path}/missing.csv")
    assert '"digits"' in refuses_data("digts")
    assert '"cifar10"' in refuses_data("cifar:here")
    assert "cifar10:PATH" in refuses_data("cifar10")


def test_a_file_instead_of_a_folder(refuses_data: Refuses, folder: Path) -> None:
    assert "000.png" in refuses_data(folder / "ant" / "000.png")


def test_empty_folder(refuses_data: Refuses, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    assert "empty" in refuses_data(tmp_path / "data")
    (tmp_path / "data" / "ant").mkdir()
    (tmp_path / "data" / "bee").mkdir()
    assert "no pictures" in refuses_data(tmp_path / "data")


def test_one_class_only(refuses_data: Refuses, tmp_path: Path) -> None:
    message = refuses_data(picture_folder(tmp_path / "data", {"ant": 8}))
    assert "ant" in message
    assert "two" in message


def test_pictures_without_class_folders(refuses_data: Refuses, folder: Path) -> None:
    assert "class folders" in refuses_data(folder / "ant")


def test_a_class_with_one_picture_is_trained_on_with_a_note(tmp_path: Path) -> None:
    data = picture_folder(tmp_path / "data", {"ant": 12, "bee": 12, "cat": 1})
    outcome = trains(data, tmp_path / "run")
    assert "cat" in outcome.err
    facts = record(tmp_path / "run")
    assert facts["data"]["classes"] == ["ant", "bee", "cat"]
    assert any("cat" in note for note in facts["data"]["notes"])


def spoilt(folder: Path, name: str, content: bytes) -> Path:
    """One file more among the ants."""
    path = folder / "ant" / name
    path.write_bytes(content)
    return path


def jpeg(folder: Path) -> bytes:
    picture(40, 40, 0).save(folder / "x.jpg", quality=90)
    content = (folder / "x.jpg").read_bytes()
    (folder / "x.jpg").unlink()
    return content


def huge_png(side: int) -> bytes:
    """A grey square of side x side pixels in a few kilobytes."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    pack, row = zlib.compressobj(1), b"\0" + b"\x7f" * side
    body = b"".join(pack.compress(row) for _ in range(side)) + pack.flush()
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


UNREADABLE = {
    "truncated.jpg": ("truncated", lambda folder: jpeg(folder)[:-300]),
    "zero.jpg": ("empty file", lambda _: b""),
    "page.jpg": ("HTML", lambda _: b"<!doctype html><html><body>404</body></html>"),
    "huge.png": ("13300 x 13300", lambda _: huge_png(13_300)),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_one_unreadable_file_is_left_out_with_its_reason(name: str, folder: Path, tmp_path: Path) -> None:
    reason, content = UNREADABLE[name]
    path = spoilt(folder, name, content(tmp_path))
    before = path.read_bytes()
    outcome = trains(folder, tmp_path / "run")
    (line,) = [line for line in outcome.err.splitlines() if "left out" in line]
    assert name in line
    assert reason in line
    ((excluded, why),) = record(tmp_path / "run")["data"]["excluded"]
    assert excluded == f"ant/{name}"
    assert reason in why
    assert path.read_bytes() == before


def test_many_unreadable_files_stop_unless_allowed(refuses_data: Refuses, folder: Path, tmp_path: Path) -> None:
    for name in ("truncated.jpg", "zero.jpg", "page.jpg"):
        spoilt(folder, name, UNREADABLE[name][1](tmp_path))
    message = refuses_data(folder)
    assert all(word in message for word in ("3 of 27", "truncated.jpg", "zero.jpg", "page.jpg", "--allow-bad"))
    trains(folder, tmp_path / "run", "--allow-bad")
    assert len(record(tmp_path / "run")["data"]["excluded"]) == 3


def test_an_empty_class_stops_unless_allowed(refuses_data: Refuses, folder: Path, tmp_path: Path) -> None:
    (folder / "cat").mkdir()
    message = refuses_data(folder)
    assert "cat" in message
    assert "--allow-bad" in message
    trains(folder, tmp_path / "run", "--allow-bad")


@pytest.mark.parametrize("name", UNREADABLE)
def test_prediction_refuses_unreadable_files(name: str, model: Path, tmp_path: Path) -> None:
    reason, content = UNREADABLE[name]
    path = tmp_path / name
    path.write_bytes(content(tmp_path))
    outcome = run("predict", model, path)
    assert outcome.code == 2
    message = sentence(outcome)
    assert name in message
    assert reason in message
    assert outcome.out == ""


ODD_NAMES = ["a b", "caf\u00e9 \U0001f600", "new\nline", "-leading", "\udcff\udcfe", "'\"<b>&", "%s{}", "a" * 200]


def test_odd_names_of_files_and_classes(tmp_path: Path) -> None:
    data = tmp_path / "da ta\n\udcff"
    for number, name in enumerate(ODD_NAMES[:4]):
        picture_folder(data, {name: 3}, seed=number)
    for number, name in enumerate(ODD_NAMES):
        picture(16, 16, number).save(data / ODD_NAMES[1] / f"{name}.png")
    trains(data, tmp_path / "run\n\udcff \U0001f600")
    run_folder = tmp_path / "run\n\udcff \U0001f600"
    facts = record(run_folder)
    assert facts["data"]["classes"] == sorted(ODD_NAMES[:4], key=os.fsencode)
    assert "<b>&.png" not in (run_folder / "report.html").read_text()
    summary = run("evaluate", run_folder / "model.safetensors", data, "--split", "all", "--json").json()
    assert summary["images"] == 20
    assert run("evaluate", run_folder / "model.safetensors", data).code == 0


def test_a_class_whose_name_is_not_utf_8(tmp_path: Path) -> None:
    data = picture_folder(tmp_path / "data", {"ant": 6, "\udcff": 6})
    trains(data, tmp_path / "run")
    (answer,) = run("predict", tmp_path / "run" / "model.safetensors", data / "ant" / "000.png", "--json").json()
    assert {p["class"] for p in answer["predictions"]} == {"ant", "\udcff"}


def test_a_loop_of_symbolic_links(folder: Path, tmp_path: Path) -> None:
    (folder / "ant" / "up").symlink_to(folder)
    (folder / "self").symlink_to(folder / "self")
    (folder / "bee" / "again").symlink_to(folder / "bee")
    outcome = trains(folder, tmp_path / "run")
    assert "links" in outcome.err
    assert sum(record(tmp_path / "run")["data"]["counts"].values()) == 24


def test_pictures_of_1x1_and_20000x1_pixels(folder: Path, tmp_path: Path) -> None:
    picture(1, 1, 0).save(folder / "ant" / "dot.png")
    Image.new("RGB", (20_000, 1), (200, 10, 10)).save(folder / "bee" / "wide.png")
    Image.new("RGB", (1, 20_000), (10, 10, 200)).save(folder / "bee" / "tall.png")
    trains(folder, tmp_path / "run", "--size", "32", "--val", "0")
    facts = record(tmp_path / "run")
    assert facts["data"]["counts"] == {"train": 27}
    odd = [folder / "ant" / "dot.png", folder / "bee" / "wide.png", folder / "bee" / "tall.png"]
    assert len(run("predict", tmp_path / "run" / "model.safetensors", *odd, "--json").json()) == 3


def test_only_1x1_pictures(tmp_path: Path) -> None:
    trains(picture_folder(tmp_path / "data", {"ant": 6, "bee": 6}, sides=(1, 1)), tmp_path / "run")


def test_a_last_batch_of_one_picture_and_batches_of_one(folder: Path, tmp_path: Path) -> None:
    # 24 pictures without validation: batches of 23 leave one over
    trains(folder, tmp_path / "left", "--batch-size", "23", "--val", "0")
    trains(folder, tmp_path / "one", "--batch-size", "1")
    model = tmp_path / "left" / "model.safetensors"
    found = [
        run("evaluate", model, folder, "--split", "all", "--batch-size", size, "--json").json() for size in (23, 1, 24)
    ]
    assert all(one["images"] == 24 and one["correct_top1"] == found[0]["correct_top1"] for one in found)


@pytest.mark.parametrize(
    ("text", "word"),
    [("", "path,label"), ("path,lable\n", "label"), ("path,label\nx.png,a\ny.png,b\n", "x.png"), ("\0\0", "t.csv")],
)
def test_tables_that_make_no_sense(text: str, word: str, refuses_data: Refuses, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(text)
    assert word in refuses_data(f"csv:{tmp_path}/t.csv")


@pytest.mark.parametrize("val", ["-1", "2.5e9", "1.5", "nan", "inf", "24"])
def test_impossible_validation_parts(val: str, refuses_data: Refuses, folder: Path) -> None:
    assert "--val" in refuses_data(folder, "--val", val)


def test_classes_and_channels_that_the_data_do_not_have(refuses_data: Refuses, folder: Path) -> None:
    assert "--classes is 3 but the data have 2" in refuses_data(folder, "--classes", "3")
    assert "channels" in refuses_data(folder, "--channels", "2")
    assert "ndim" in refuses_data(folder, "--ndim", "1")


def test_evaluating_other_classes(model: Path, folder: Path) -> None:
    outcome = run("evaluate", model, folder)
    assert outcome.code == 2
    assert "ant, bee" in sentence(outcome)

"""Unknown words, keys and numbers are refused with the nearest right one, before anything is read or written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from commands import TINY, refused, run
from runs import record

DIGITS = ("train", "digits", *TINY, "--recipe", "debug")


def says(arguments: tuple[object, ...], *words: str) -> None:
    message = refused(*arguments)
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("trian", "digits"), ('"train"',)),
        (("train", "digits", "--modle", "resnet20"), ("--modle", "--model")),
        (("train", "digits", "--model", "resnet21"), ("resnet21", '"resnet20"')),
        (("train", "digits", "--model", "restnet50"), ("restnet50", '"resnet50"')),
        (("train", "digits", "--model", "res\nnet\udcff20"), (r"res\nnet",)),
        (("train", "digits", "--recipe", "fsat"), ("fsat", '"fast"')),
        (("train", "digits", "--recipe", "xyz"), ("xyz", "paper-cifar")),
        (("train", "digits", "--recipe", "paper-cifer"), ('"paper-cifar"',)),
        (("train", "digits", "--set", "lrr=1"), ("lrr", '"lr"')),
        (("train", "digits", "--set", "lable_smoothing=0"), ('"label_smoothing"',)),
        (("train", "digits", "--set", "lr"), ("key=value",)),
        (("train", "digits", "--set", "lr=fast"), ("lr", "fast")),
        (("train", "digits", "--set", "augment.mirror=perhaps"), ("mirror", "perhaps")),
        (("train", "digits", "--set", "precision=int8"), ("precision", "bfloat16")),
        (("train", "digits", "--set", "batch_size=1.5"), ("batch_size",)),
        (("train", "digits", "--set", "resolution=[[0.5,2]]"), ("resolution",)),
        (("train", "digits", "--set", "area=[2,3]"), ("area",)),
        (("train", "digits", "--shortcut", "E"), ("--shortcut", '"A"')),
        (("train", "digits", "--norm", "bacth"), ('"batch"',)),
        (("train", "digits", "--size", "16y"), ("--size", "16y")),
        (("train", "digits", "--epochs", "ten"), ("--epochs", "ten")),
        (("train", "digits", "--epochs", "1", "--steps", "3"), ("--epochs", "--steps")),
        (("train", "digits", "--device", "nonsense"), ("nonsense", "--device auto")),
        (("train", "digits", "--device", "meta"), ("meta", "--device auto")),
        (("train", "digits", "--device", "cuda:99"), ("cuda:99", "--device auto")),
        (("train",), ("digits", "folder")),
        (("train", "digits", "cifar10"), ("cifar10",)),
        (("predict",), ("MODEL",)),
        (("evaluate", "m"), ("data",)),
        (("import", "w.pth"), ("--model",)),
        (("models", "resnet21"), ('"resnet20"',)),
        (("models", "resnet20", "--depth", "21"), ("6n+2", "20")),
        (("models", "resnet50", "--groups", "0"), ("groups",)),
        (("models", "resnet50", "--base-width", "-4"), ("base_width",)),
        (("models", "--batch-size", "0"), ("--batch-size",)),
        (("models", "resnet18", "--bogus"), ("--bogus",)),
        (("--bogus",), ("--bogus",)),
    ],
    ids=str,
)
def test_unknown_words_are_refused_with_a_way_out(
    arguments: tuple[str, ...], words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    says(arguments, *words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("--batch-size", ("0", "-1")), ("--epochs", ("0", "-1", "nan", "inf")), ("--steps", ("0", "-3")),
        ("--seed", ("-1", str(2**63), str(2**70))), ("--lr", ("0", "-0.1", "nan", "inf")), ("--workers", ("-1",)),
        ("--val", ("-1", "2.5e9", "1438")), ("--depth", ("-4", "0", "9")), ("--size", ("0", "1x2x3")),
        ("--classes", ("0", "-1", "11")), ("--channels", ("0", "2", "4")), ("--ndim", ("0", "1", "3", "4")),
        ("--groups", ("-1",)),
    ],
    ids=str,
)  # fmt: skip
def test_numbers_out_of_range(option: str, values: tuple[str, ...], tmp_path: Path) -> None:
    others = [part for pair in (("--depth", "8"), ("--steps", "3")) if pair[0] != option for part in pair]
    if option == "--epochs":
        others = ["--depth", "8"]
    for value in values:
        message = refused(
            "train",
            "digits",
            "--model",
            "resnet20",
            "--recipe",
            "debug",
            *others,
            option,
            value,
            "--out",
            tmp_path / "run",
        )
        assert option.lstrip("-").replace("-", "_") in message.replace("-", "_")
    assert not (tmp_path / "run").exists()


def test_numbers_out_of_range_elsewhere(model: Path) -> None:
    says(("predict", model, "x.png", "--top", "0"), "--top")
    says(("predict", model, "x.png", "--top", "-1"), "--top")
    says(("predict", model, "x.png", "--batch-size", "0"), "--batch-size")
    says(("evaluate", model, "digits", "--batch-size", "0"), "batch size")
    says(("evaluate", model, "digits", "--workers", "-1"), "--workers")
    says(("evaluate", model, "digits", "--split", "tset"), "train, val, test")
    for command in ("evaluate", "predict"):
        for device in ("nonsense", "meta", ""):
            says((command, model, "digits", "--device", device), "--device auto")


def test_a_length_that_was_asked_for_is_kept(tmp_path: Path) -> None:
    """However small the data: `fast` would go on for longer."""
    assert run("train", "digits", *TINY, "--epochs", "0.02", "--batch-size", "8", "--out", tmp_path / "a").code == 0
    assert record(tmp_path / "a")["length"] == {"images": 1258, "batch_size": 8, "steps": 4}
    assert run("train", "digits", *TINY, "--steps", "2", "--seed", "0", "--out", tmp_path / "b").code == 0
    assert record(tmp_path / "b")["length"]["steps"] == 2


def test_settings_reach_the_recipe(tmp_path: Path) -> None:
    settings = (
        "--set",
        "optimizer.momentum=0.5",
        "--set",
        "label_smoothing=0.2",
        "--set",
        "warmup=0.5",
        "--lr",
        "0.02",
    )
    assert run(*DIGITS, "--steps", "2", *settings, "--out", tmp_path / "run").code == 0
    recipe = record(tmp_path / "run")["recipe"]
    assert recipe["optimizer"] | {"momentum": 0.5, "lr": 0.02} == recipe["optimizer"]
    assert recipe["label_smoothing"] == 0.2
    assert recipe["schedule"] == {"kind": "one-cycle", "warmup": 0.5}


# The output folder ---------------------------------------------------------------------------------------------


def test_a_folder_that_already_holds_a_run(digits_run: Path) -> None:
    before = {path: path.read_bytes() for path in digits_run.rglob("*") if path.is_file()}
    says((*DIGITS, "--out", digits_run), "already holds a run", "--resume", "--out")
    says(("train", digits_run / "missing data", "--out", digits_run), "already holds a run")
    assert {path: path.read_bytes() for path in digits_run.rglob("*") if path.is_file()} == before


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "run", Path("/proc/run"), tmp_path / ("x" * 300)):
        says((*DIGITS, "--steps", "1", "--out", out), str(out).replace("\n", ""))
    assert (tmp_path / "file").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_read_only_folder(tmp_path: Path, read_only: Callable[[Path], None]) -> None:
    (tmp_path / "out").mkdir()
    read_only(tmp_path / "out")
    says((*DIGITS, "--steps", "1", "--out", tmp_path / "out"), "--out")
    says((*DIGITS, "--steps", "1", "--out", tmp_path / "out" / "run"), "--out")


def test_without_out_runs_are_numbered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("resnet20-digits", "resnet20-digits-2"):
        outcome = run(*DIGITS, "--steps", "1")
        assert outcome.code == 0
        assert f"runs/{name}/model.safetensors" in outcome.out
        assert record(tmp_path / "runs" / name)["status"] == "finished"


def test_a_name_too_long_for_the_system(model: Path) -> None:
    says(("predict", model, "x" * 5000), "too long")
    says(("evaluate", "x" * 5000, "digits"), "too long")
    says(("train", "--resume", "x" * 5000), "x")

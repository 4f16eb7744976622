"""Weights from elsewhere become a model file whole or not at all, and nothing in them is executed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from commands import refused, run
from peers import lively, reference, relative_error
from residuum import catalog
from residuum.inference import load
from residuum.nets.naming import SCHEMES
from residuum.nets.network import make_network
from residuum.plan import make_plan
from samples import picture_folder, tiny_network

State = dict[str, Tensor]
SMALL = ("--model", "resnet20", "--depth", "8", "--size", "16")


def renamed(state: State, style: str, **axes: Any) -> State:
    """Our own weights under another library's names."""
    plan = make_plan(catalog.spec("resnet20", depth=8, **axes))
    (names,) = (scheme.rename(plan) for scheme in SCHEMES if scheme.name == style)
    return {f"{names[key.rpartition('.')[0]]}.{key.rpartition('.')[2]}": value for key, value in state.items()}


@pytest.fixture
def state() -> State:
    return dict(tiny_network(classes=3).state_dict())


@pytest.fixture
def weights(state: State, tmp_path: Path) -> Path:
    """A file in torchvision's style with three classes."""
    path = tmp_path / "weights.pth"
    torch.save(renamed(state, "torchvision"), path)
    return path


def classes_file(folder: Path, *names: str) -> Path:
    path = folder / "classes.txt"
    path.write_text("\n".join(names), encoding="utf-8")
    return path


@pytest.mark.parametrize("style", ["torchvision", "CIFAR third-party", "residuum"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_the_imported_network_is_the_one_exported(style: str, wrapped: bool, state: State, tmp_path: Path) -> None:
    theirs: Any = renamed(state, style)
    if wrapped:
        theirs = {"epoch": 3, "state_dict": {f"module.{key}": value for key, value in theirs.items()}}
    torch.save(theirs, tmp_path / "w.th")
    names = classes_file(tmp_path, "ant", "bee", "cat")
    statistics = ("--mean", "0.1", "0.2", "0.3", "--std", "0.5", "0.6", "0.7")
    outcome = run("import", tmp_path / "w.th", *SMALL, "--classes-file", names, *statistics, "--out", tmp_path / "m")
    assert outcome.code == 0, outcome
    assert outcome.err == ""
    assert str(tmp_path / "m") in outcome.out
    model = load(tmp_path / "m")
    assert model.classes == ("ant", "bee", "cat")
    view = model.artifact.preprocessing
    assert (view.mean, view.std, view.size, view.resize) == ((0.1, 0.2, 0.3), (0.5, 0.6, 0.7), (16, 16), 16)
    original = tiny_network(classes=3).eval()
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    inputs = (torch.from_numpy(pixels).permute(2, 0, 1) / 255 - torch.tensor(view.mean)[:, None, None]) / torch.tensor(
        view.std
    )[:, None, None]
    with torch.no_grad():
        expected = original(inputs[None]).double().softmax(1)[0]
    (answer,) = model.predict(pixels)
    for prediction in answer["predictions"]:
        assert prediction["probability"] == pytest.approx(float(expected[prediction["index"]]), abs=1e-5)


def test_without_statistics_and_names_it_says_what_it_assumed(weights: Path, tmp_path: Path) -> None:
    outcome = run("import", weights, *SMALL, "--out", tmp_path / "new" / "m.safetensors")
    assert outcome.code == 0
    assert outcome.out == f"wrote {tmp_path / 'new' / 'm.safetensors'}\n"
    assert "called 0 to 2" in outcome.err
    assert "ImageNet's" in outcome.err
    model = load(tmp_path / "new" / "m.safetensors")
    assert model.classes == ("0", "1", "2")
    assert model.artifact.preprocessing.mean == (0.485, 0.456, 0.406)
    assert model.artifact.training["imported_from"] == "weights.pth"


def test_a_grey_network_gets_the_mean_of_the_statistics(tmp_path: Path) -> None:
    torch.save(dict(tiny_network(classes=3, channels=1).state_dict()), tmp_path / "w.pt")
    assert run("import", tmp_path / "w.pt", *SMALL, "--channels", "1", "--out", tmp_path / "m").code == 0
    assert load(tmp_path / "m").artifact.preprocessing.mean == pytest.approx([(0.485 + 0.456 + 0.406) / 3])


@pytest.mark.parametrize("style", ["torchvision", "residuum"])
@pytest.mark.parametrize("said", [(), ("--stride-in", "1x1"), ("--stride-in", "3x3")])
def test_torchvisions_bottlenecks_stride_in_the_3x3(style: str, said: tuple[str, ...], tmp_path: Path) -> None:
    network = make_network(make_plan(catalog.spec("resnet20", branch="bottleneck", shortcut="B")))
    plan = network.plan
    (names,) = (scheme.rename(plan) for scheme in SCHEMES if scheme.name == style)
    theirs = {f"{names[k.rpartition('.')[0]]}.{k.rpartition('.')[2]}": v for k, v in network.state_dict().items()}
    torch.save(theirs, tmp_path / "w.pth")
    options = ("--model", "resnet20", "--branch", "bottleneck", "--shortcut", "B", *said)
    assert run("import", tmp_path / "w.pth", *options, "--out", tmp_path / "m").code == 0
    expected = said[1] if said else "3x3" if style == "torchvision" else "1x1"
    assert load(tmp_path / "m").artifact.spec.stride_in == expected


def test_an_imported_model_evaluates_by_the_order_of_classes(weights: Path, tmp_path: Path) -> None:
    run("import", weights, *SMALL, "--out", tmp_path / "m")
    data = picture_folder(tmp_path / "data", {"ant": 4, "bee": 4, "cat": 4})
    summary = run("evaluate", tmp_path / "m", data, "--json").json()
    assert summary["images"] == 12
    more = picture_folder(tmp_path / "more", {"ant": 2, "bee": 2, "cat": 2, "dog": 2})
    assert "ant" in refused("evaluate", tmp_path / "m", more)


# What does not fit ---------------------------------------------------------------------------------------------


def assert_refused(tmp_path: Path, *arguments: object) -> str:
    """Refused in one sentence, with no file left behind."""
    before = set(tmp_path.rglob("*"))
    message = refused("import", *arguments, "--out", tmp_path / "new" / "m.safetensors")
    assert set(tmp_path.rglob("*")) == before
    return message


def test_another_network_is_refused_with_names_and_shapes(weights: Path, tmp_path: Path) -> None:
    message = assert_refused(tmp_path, weights, "--model", "resnet20")
    assert "missing" in message
    assert "stage1.block2.branch.conv1.weight (16, 16, 3, 3)" in message
    message = assert_refused(tmp_path, weights, *SMALL, "--channels", "1")
    assert "stem.conv1.weight (16, 3, 3, 3) instead of (16, 1, 3, 3)" in message
    message = assert_refused(tmp_path, weights, *SMALL, "--classes", "5")
    assert "(3, 64) instead of (5, 64)" in message


def test_too_much_and_too_little_are_refused(state: State, tmp_path: Path) -> None:
    more, fewer = dict(state), dict(state)
    more["auxiliary.weight"] = torch.zeros(2, 7)
    del fewer["head.fc.bias"]
    torch.save(more, tmp_path / "more.pth")
    torch.save(fewer, tmp_path / "fewer.pth")
    assert "auxiliary.weight (2, 7)" in assert_refused(tmp_path, tmp_path / "more.pth", *SMALL)
    assert "head.fc.bias (3,)" in assert_refused(tmp_path, tmp_path / "fewer.pth", *SMALL)


def test_class_names_that_do_not_fit(weights: Path, tmp_path: Path) -> None:
    for names, word in (
        (("a", "b"), "2 classes"),
        (("a", "b", "c", "d"), "4 classes"),
        (("a", "b", "a"), "more than once"),
    ):
        path = classes_file(tmp_path, *names)
        message = assert_refused(tmp_path, weights, *SMALL, "--classes-file", path)
        assert "classes.txt" in message
        assert word in message
    (tmp_path / "classes.txt").write_bytes(b"\xff\xfe\x00a")
    assert "classes.txt" in assert_refused(tmp_path, weights, *SMALL, "--classes-file", tmp_path / "classes.txt")
    assert "nowhere" in assert_refused(tmp_path, weights, *SMALL, "--classes-file", tmp_path / "nowhere")


def test_class_names_may_be_anything_a_line_holds(weights: Path, tmp_path: Path) -> None:
    path = classes_file(tmp_path, "\ufeffcaf\u00e9 au lait", "  \U0001f600 ", "", '"sha256":"', "")
    assert run("import", weights, *SMALL, "--classes-file", path, "--out", tmp_path / "m").code == 0
    assert load(tmp_path / "m").classes == ("caf\u00e9 au lait", "\U0001f600", '"sha256":"')


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("--mean", "0.5", "0.5"), "mean"), (("--std", "1", "1", "0"), "std"), (("--std", "1", "1", "-1"), "std"),
        (("--mean", "nan", "0", "0"), "mean"), (("--ndim", "1"), "ndim"),
        (("--model", "resnet21"), "resnet20"), (("--size", "0"), "size"), (("--depth", "9"), "6n+2"),
    ],
    ids=str,
)  # fmt: skip
def test_options_that_make_no_sense(options: tuple[str, ...], word: str, weights: Path, tmp_path: Path) -> None:
    rest = [part for pair in zip(SMALL[::2], SMALL[1::2], strict=True) if pair[0] != options[0] for part in pair]
    assert word in assert_refused(tmp_path, weights, *rest, *options)


class Bomb:
    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.folder,)


@pytest.mark.parametrize("name", ["evil.pth", "evil.pt", "evil.th", "evil.bin", "evil", "evil.safetensors"])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_bomb_is_refused_unexecuted(name: str, zipped: bool, tmp_path: Path) -> None:
    bomb = {"state_dict": Bomb(str(tmp_path / "pwned"))}
    torch.save(bomb, tmp_path / name, _use_new_zipfile_serialization=zipped)
    message = assert_refused(tmp_path, tmp_path / name, *SMALL)
    assert name in message
    assert "weights_only=False" not in message
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("content", [b"", b"x", b"<html>", b"PK\x03\x04", b"\x80\x02.", b"\x80\x04N."])
@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_junk(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert name in assert_refused(tmp_path, tmp_path / name, *SMALL)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert "nowhere.pth" in assert_refused(tmp_path, tmp_path / "nowhere.pth", *SMALL)
    assert str(tmp_path) in refused("import", tmp_path, *SMALL, "--out", tmp_path / "m")


def test_an_output_that_cannot_be_written(weights: Path, tmp_path: Path) -> None:
    assert "weights.pth" in refused("import", weights, *SMALL, "--out", weights / "m")
    assert str(tmp_path) in refused("import", weights, *SMALL, "--out", tmp_path)


# Real ones -----------------------------------------------------------------------------------------------------


@pytest.mark.realdata
def test_a_third_partys_resnet20_is_right_on_real_pictures(realdata: Path, tmp_path: Path) -> None:
    folder = realdata / "cifar10_lossless"
    source = realdata / "reference" / "resnet20-12fca82f.th"
    options = ("--model", "resnet20", "--classes-file", folder / "label_names.txt")
    assert run("import", source, *options, "--out", tmp_path / "m").code == 0
    model, right, count = load(tmp_path / "m"), 0, 0
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as batch:
            answers = model.predict(list(batch["images"]), top=1, batch_size=256)
            right += sum(
                a["predictions"][0]["index"] == label for a, label in zip(answers, batch["labels"], strict=True)
            )
            count += len(answers)
    assert count == 5085
    assert right / count >= 0.97


PEERS = {
    "resnet50": ("resnet50_v1_5", "the 3x3 convolution strides", 0.485),
    "resnetv2_18": ("resnetv2_18", "0.5 and 0.5 are taken", 0.5),
    "squeezenet1_1": ("squeezenet1_1", "ImageNet's are taken", 0.485),
    "googlenet": ("googlenet", "auxiliary classifiers in the file", 0.5),
}
"""What is imported as what: the entry whose reference the weights are from, what is said, and the mean assumed."""


@pytest.mark.peer
@pytest.mark.parametrize("name", PEERS)
def test_the_references_weights_give_the_references_logits(name: str, tmp_path: Path) -> None:
    entry, said, mean = PEERS[name]
    auxiliary = {"aux_logits": True} if name == "googlenet" else {}
    theirs = lively(reference(catalog.CATALOG[entry], num_classes=7, **auxiliary))
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    outcome = run("import", tmp_path / "theirs.pth", "--model", name, "--size", "64", "--out", tmp_path / "m")
    assert outcome.code == 0, outcome
    assert said in outcome.err
    model = load(tmp_path / "m")
    assert len(model.classes) == 7
    assert model.artifact.preprocessing.mean[0] == mean
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert relative_error(model.network.cpu()(x), theirs(x.double())) < 1e-4

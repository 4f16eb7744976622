"""A protocol shows the network the views it says, made here by other means, and averages them as it says."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import residuum
from peers import import_torchvision
from residuum import artifact
from residuum.config import from_dict, to_dict
from residuum.data.batches import EvalBatches
from residuum.data.manifest import Manifest
from residuum.data.preprocessing import Preprocessing
from residuum.data.sources import open_data
from residuum.errors import UserError
from residuum.evaluation.evaluate import all_logits, judged, protocol_of
from residuum.evaluation.metrics import Evaluation
from residuum.evaluation.protocols import TAKES, Record, choose_protocol, record
from residuum.evaluation.views import views
from residuum.inference import Model, load
from residuum.progress import Reporter
from samples import picture_folder, tiny_model

QUIET = Reporter(quiet=True)
PHOTO = Preprocessing((224, 224), 256, 3, (0.5,) * 3, (0.25,) * 3)
WHOLE = Preprocessing((32, 32), 32, 3, (0.5,) * 3, (0.25,) * 3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of many sizes and shapes."""
    return picture_folder(tmp_path_factory.mktemp("data") / "data", {"ant": 7, "bee": 6, "cat": 5}, sides=(15, 40))


@pytest.fixture(scope="module")
def manifest(folder: Path) -> Manifest:
    return open_data(str(folder))


def undecided(path: Path, classes: tuple[str, ...] = ("ant", "bee", "cat"), **axes: Any) -> Path:
    """A tiny model whose logits differ by little, so that no probability is simply 0 or 1."""
    model = load(tiny_model(path, classes, **axes))
    spec = model.plan.spec
    noise = torch.rand(64, spec.channels, *spec.input_size(), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = model.network((noise - 0.4) / 0.25)
        scale = 2 / logits.std(0).mean()
        weight, bias = (model.network.get_parameter(f"head.fc.{kind}") for kind in ("weight", "bias"))
        weight *= scale
        bias.copy_((bias - logits.mean(0)) * scale)
    artifact.save(replace(model.artifact, tensors={**model.artifact.tensors, **model.network.state_dict()}), path)
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return undecided(tmp_path_factory.mktemp("model") / "m.safetensors")


@pytest.fixture(scope="module", params=[False, True], ids=["mean", "mean picture"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(undecided(tmp_path_factory.mktemp("model") / "m.safetensors", mean_picture=request.param))


def evaluate(model: Model, manifest: Manifest, name: str, batch_size: int = 64, **options: Any) -> Evaluation:
    return model.evaluate(
        manifest, None, batch_size, protocol=choose_protocol(name, model.artifact.preprocessing, **options)
    )


def logits(model: Model, crops: Sequence[Image.Image], mirror: bool = False) -> torch.Tensor:
    """Of pictures made with Pillow, by the network's own forward pass; as written in docs/protocols.md."""
    assert model.mean_picture is None or crops[0].size == (16, 16)
    mean = torch.full((3, 1, 1), 0.4) if model.mean_picture is None else torch.from_numpy(model.mean_picture)
    x = torch.stack([(torch.from_numpy(np.array(crop)).permute(2, 0, 1) / 255 - mean) / 0.25 for crop in crops])
    with torch.inference_mode():
        return model.network(x.flip(3) if mirror else x).double()


def resized(manifest: Manifest, index: int, side: int) -> Image.Image:
    image = Image.fromarray(manifest.pictures.read(index, 3))
    w, h = image.size
    size = (side, int(side * h / w)) if w <= h else (int(side * w / h), side)
    return image.resize(size, Image.Resampling.BILINEAR)


# Views ---------------------------------------------------------------------------------------------------------


@pytest.mark.peer
@settings(max_examples=60, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 40), st.integers(1, 40), st.integers(0, 20))
def test_ten_crops_are_torchvisions(height: int, width: int, h: int, w: int, margin: int) -> None:
    import_torchvision()
    from torchvision import transforms

    picture = np.random.default_rng(height * 1000 + width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    side = max(h, w) + margin
    crops = transforms.TenCrop((h, w))(transforms.Resize(side)(Image.fromarray(picture)))
    expected = np.stack([np.asarray(crop) for crop in crops])
    protocol = choose_protocol("ten-crop", replace(WHOLE, size=(h, w), resize=max(h, w)), resize=side)
    found = views(picture, protocol.view, side)
    np.testing.assert_array_equal(found, expected[:5])
    assert protocol.view.mirror
    # theirs are crops of the mirror image, ours mirror images of the crops: right is left there
    np.testing.assert_array_equal(found[:4, :, ::-1], expected[[6, 5, 8, 7]])


def test_corners_of_a_long_strip_need_no_whole_picture() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (2, 30_000, 3), dtype=np.uint8)
    found = views(picture, choose_protocol("ten-crop", PHOTO).view, 256)
    left = np.asarray(Image.fromarray(picture[:, :40]).resize((5120, 256), Image.Resampling.BILINEAR))
    assert np.abs(found[0].astype(int) - left[:224, :224]).max() <= 2


def test_center_is_what_it_was_bit_for_bit(model: Model, manifest: Manifest) -> None:
    view, every = model.artifact.preprocessing, np.arange(len(manifest))
    batches = EvalBatches(manifest, every, view, 7, mean_picture=model.mean_picture)
    record = protocol_of(manifest, "all", view.to_dict())
    logits = all_logits(model.network, batches)
    expected = judged(logits, manifest, every, model.classes, record, labels=manifest.labels)
    found = model.evaluate(manifest, batch_size=7)
    assert np.array_equal(found.probabilities, expected.probabilities)
    assert np.array_equal(found.losses, expected.losses)
    assert found.protocol == expected.protocol


@pytest.mark.parametrize("name", ["center", "flip", "ten-crop"])
def test_crops_of_one_size_ask_no_picture_for_its_own(name: str, model: Model, manifest: Manifest) -> None:
    """Of listed pictures the sizes are in their headers, each a file to open."""

    class Sizeless:
        def __getitem__(self, index: object) -> np.ndarray:
            raise AssertionError("a size was read")

    pictures = copy.copy(manifest.pictures)
    pictures.sizes = Sizeless()
    without = replace(manifest, pictures=pictures)
    np.testing.assert_array_equal(
        evaluate(model, without, name).probabilities, evaluate(model, manifest, name).probabilities
    )


@pytest.mark.parametrize("average", ["probabilities", "logits"])
@pytest.mark.parametrize("name", ["flip", "ten-crop"])
def test_crops_made_by_hand(name: str, average: str, model: Model, manifest: Manifest) -> None:
    found = evaluate(model, manifest, name, resize=20, average=average)
    for index, row in enumerate(found.probabilities):
        image = resized(manifest, index, 20)
        right, bottom = image.width - 16, image.height - 16
        corners = [(round(right / 2), round(bottom / 2))]
        if name == "ten-crop":
            corners += [(0, 0), (right, 0), (0, bottom), (right, bottom)]
        crops = [image.crop((x, y, x + 16, y + 16)) for x, y in corners]
        every = torch.cat([logits(model, crops), logits(model, crops, mirror=True)])
        expected = every.softmax(1).mean(0) if average == "probabilities" else every.mean(0).softmax(0)
        assert np.abs(row - expected.numpy()).max() < 1e-5  # rounding in float32


@pytest.mark.parametrize("average", ["probabilities", "logits"])
def test_every_position_of_the_whole_picture(average: str, file: Path, manifest: Manifest) -> None:
    model = load(file)
    found = evaluate(model, manifest, "fully-convolutional", resize=23, average=average)
    network = model.network
    for index, row in enumerate(found.probabilities):
        image = np.array(resized(manifest, index, 23))
        x = ((torch.from_numpy(image).permute(2, 0, 1) / 255 - 0.4) / 0.25)[None]
        with torch.inference_mode():
            features = network.features(x)["stage3"]
            pooled = torch.nn.functional.avg_pool2d(features, 4, 1).flatten(2)[0].T
            every = network.get_submodule("head.fc")(pooled).double()
        assert len(every) >= 9
        expected = every.softmax(1).mean(0) if average == "probabilities" else every.mean(0).softmax(0)
        assert np.abs(row - expected.numpy()).max() < 1e-5  # rounding in float32


@pytest.mark.parametrize("average", ["probabilities", "logits"])
def test_multi_scale_is_the_mean_of_its_sides(average: str, model: Model, manifest: Manifest) -> None:
    found = evaluate(model, manifest, "multi-scale", sides=(16, 19, 27), average=average)
    singles = [evaluate(model, manifest, "fully-convolutional", resize=s, average=average) for s in (16, 19, 27)]
    if average == "probabilities":
        expected = np.mean([single.probabilities for single in singles], 0)
    else:  # the mean of logits is the geometric mean of what they make
        expected = np.exp(np.mean([np.log(single.probabilities) for single in singles], 0))
        expected /= expected.sum(1, keepdims=True)
    assert np.abs(found.probabilities - expected).max() < 1e-12


def test_whole_pictures_of_the_networks_size_are_the_same_to_three_protocols(model: Model, tmp_path: Path) -> None:
    """Also with a mean picture, which larger views stretch."""
    data = open_data(str(picture_folder(tmp_path / "d", {"ant": 5, "bee": 4}, sides=(16, 16))))
    center = evaluate(model, data, "center")
    for other in (evaluate(model, data, "single-view"), evaluate(model, data, "fully-convolutional", resize=16)):
        assert np.abs(other.probabilities - center.probabilities).max() < 1e-5  # rounding in float32


def test_a_mean_picture_is_stretched_over_a_larger_view(tmp_path: Path, manifest: Manifest) -> None:
    """A constant one is a mean for each channel, at any size."""
    plain = load(undecided(tmp_path / "a"))
    pixels = load(undecided(tmp_path / "b", mean_picture=True))
    pixels.network.load_state_dict(plain.network.state_dict())
    pixels.mean_picture = np.full((3, 16, 16), 0.4, np.float32)
    for name, options in (("center", {"crop": 20, "resize": 24}), ("multi-scale", {}), ("ten-crop", {})):
        one, other = (evaluate(model, manifest, name, **options) for model in (plain, pixels))
        assert np.abs(one.probabilities - other.probabilities).max() < 1e-5


@pytest.mark.parametrize("name", TAKES)
def test_batch_size_and_workers_change_no_result(name: str, model: Model, manifest: Manifest, tmp_path: Path) -> None:
    if name == "single-view":
        manifest = open_data(str(picture_folder(tmp_path / "d", {"ant": 12, "bee": 9}, sides=(16, 16))))
    protocol = choose_protocol(name, model.artifact.preprocessing)
    first = model.evaluate(manifest, protocol=protocol)
    for batch_size, workers in ((1, 0), (5, 2), (1000, 0)):
        told: list[tuple[int, int]] = []
        found = model.evaluate(manifest, None, batch_size, workers, lambda *a, told=told: told.append(a), protocol)
        assert np.abs(found.probabilities - first.probabilities).max() < 1e-5  # rounding in float32
        assert found.summary()["confusion"] == first.summary()["confusion"]
        assert found.names == first.names == manifest.names
        assert told[-1][0] == told[-1][1] == len(manifest) * (5 if name == "multi-scale" else 1)


@pytest.mark.realdata
def test_photos(realdata: Path, tmp_path: Path) -> None:
    """Real photos of many shapes under every protocol that takes them: rows of probabilities, and views that differ."""
    for kind in ("ants", "bees"):
        (tmp_path / kind).mkdir()
        for photo in sorted((realdata / "hymenoptera" / "train" / kind).glob("*.jpg"))[:6]:
            (tmp_path / kind / photo.name).symlink_to(photo)
    model, manifest = load(undecided(tmp_path / "m", ("ants", "bees"), size=32)), open_data(str(tmp_path))
    found = [evaluate(model, manifest, name).probabilities for name in TAKES if name != "single-view"]
    for one in found:
        assert one.shape == (12, 2)
        assert np.abs(one.sum(1) - 1).max() < 1e-12
    assert len({one.tobytes() for one in found}) == len(found)


# The value ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "photo", "whole"),
    [
        ("center", (256, (224, 224)), (32, (32, 32))),
        ("single-view", (None, (224, 224)), (None, (32, 32))),
        ("flip", (256, (224, 224)), (32, (32, 32))),
        ("ten-crop", (256, (224, 224)), (37, (32, 32))),
        ("fully-convolutional", (256, None), (37, None)),
        ("multi-scale", ((224, 256, 384, 480, 640), None), ((32, 37, 55, 69, 91), None)),
    ],
)
def test_what_a_protocol_is_without_options(name: str, photo: tuple, whole: tuple) -> None:
    for preprocessing, expected in ((PHOTO, photo), (WHOLE, whole)):
        protocol = choose_protocol(name, preprocessing)
        assert (protocol.view.resize, protocol.view.size) == expected
        assert protocol.average == (None if name in ("center", "single-view") else "probabilities")


@pytest.mark.parametrize("name", TAKES)
def test_the_record_survives_a_round_trip(name: str, manifest: Manifest) -> None:
    for preprocessing in (PHOTO, WHOLE):
        stored = to_dict(record(choose_protocol(name, preprocessing), manifest, "val"))
        assert to_dict(from_dict(Record, json.loads(json.dumps(stored)), "protocol")) == stored
        assert stored["name"] == name


def test_a_record_is_read_strictly(manifest: Manifest) -> None:
    stored = protocol_of(manifest, "test", WHOLE.to_dict())
    before = {key: stored[key] for key in ("name", "data", "data_digest", "split", "precision", "backend")}
    before["view"] = {key: stored["view"][key] for key in ("resize", "size", "channels")}
    assert to_dict(from_dict(Record, before, "protocol")) == stored  # results of before there were protocols
    for key, value in (
        ("name", "centre"),
        ("average", "votes"),
        ("splits", "x"),
        ("view", {**stored["view"], "mirror": 1}),
    ):
        with pytest.raises(UserError):
            from_dict(Record, {**stored, key: value}, "protocol")
    with pytest.raises(UserError, match="smaller than the crop"):
        from_dict(Record, {**stored, "view": {**stored["view"], "resize": 31}}, "protocol")


# Ensembles ------------------------------------------------------------------------------------------------------


def test_an_ensemble_is_the_mean_of_its_members(folder: Path, tmp_path: Path) -> None:
    """Of other depths, sizes and orders of classes."""
    first = undecided(tmp_path / "a", ("ant", "bee", "cat"))
    turned = undecided(tmp_path / "b", ("cat", "ant", "bee"), seed=1, depth=14, size=24)
    every: tuple[dict[str, Any], ...] = ({}, {"protocol": "ten-crop", "average": "logits"}, {"protocol": "multi-scale"})
    for options in every:
        both = residuum.evaluate(first, folder, ensemble=[load(turned)], reporter=QUIET, **options)
        one, other = (residuum.evaluate(file, folder, reporter=QUIET, **options) for file in (first, turned))
        order = [other.classes.index(name) for name in one.classes]
        assert np.abs(both.probabilities - (one.probabilities + other.probabilities[:, order]) / 2).max() < 1e-15
        assert both.classes == one.classes
        assert [both.classes[label] for label in both.labels] == [name.split("/")[0] for name in both.names]
        of_label = both.probabilities[np.arange(len(both.labels)), both.labels]
        assert both.losses == pytest.approx(-np.log(of_label))
        stored = both.protocol["ensemble"]
        assert [member["view"] for member in stored] == [one.protocol["view"], other.protocol["view"]]
        assert [member["digest"] for member in stored] == [load(first).digest(), load(turned).digest()]
        assert {**both.protocol, "ensemble": []} == one.protocol


def test_a_digest_is_of_what_answers(tmp_path: Path) -> None:
    one, same = load(undecided(tmp_path / "a")), load(undecided(tmp_path / "b"))
    others = [
        load(undecided(tmp_path / "c", seed=1)),
        load(undecided(tmp_path / "d", ("bee", "ant", "cat"))),
        load(undecided(tmp_path / "e", mean_picture=True)),
    ]
    assert one.digest() == same.digest()
    assert len({one.digest(), *(other.digest() for other in others)}) == 4
    with torch.no_grad():
        same.network.get_parameter("head.fc.bias")[0] += 1e-3
    assert one.digest() != same.digest()


# Figures --------------------------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 30), st.integers(2, 9), st.integers(0, 10**6))
def test_probabilities_give_the_figures_of_their_logits(N: int, K: int, seed: int) -> None:
    draws = np.random.default_rng(seed)
    rows = draws.normal(0, 4, (N, K))
    labels = draws.integers(0, K, N)
    fixed = tuple(map(str, range(K))), tuple(map(str, range(N))), np.arange(N), labels
    expected = Evaluation.from_logits(*fixed, rows, {})
    found = Evaluation.from_probabilities(*fixed, expected.probabilities, {})
    assert found.losses == pytest.approx(expected.losses, rel=1e-9, abs=1e-12)
    assert found.summary() == expected.summary() | {"loss": found.summary()["loss"]}


def test_a_probability_of_zero_has_a_finite_loss() -> None:
    fixed = ("a", "b"), ("x", "y"), np.arange(2), np.array([0, 1])
    found = Evaluation.from_probabilities(*fixed, np.array([[1.0, 0.0], [1.0, 0.0]]), {})
    assert found.losses[0] == 0
    assert found.losses[1] == pytest.approx(708.4, abs=0.01)


@pytest.mark.parametrize("name", ["flip", "multi-scale"])
def test_output_that_is_not_finite_names_a_picture(name: str, file: Path, manifest: Manifest) -> None:
    model = load(file)
    with torch.no_grad():
        model.network.get_parameter("head.fc.bias")[1] = -torch.inf  # whose softmax is 0, a number
    with pytest.raises(UserError, match=r"not a finite number for 18 of 18 pictures, first for ant/000\.png"):
        evaluate(model, manifest, name)

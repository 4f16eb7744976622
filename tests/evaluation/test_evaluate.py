"""Every picture counts exactly once, whatever the batch size; which part is evaluated follows one rule."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import residuum
from residuum import artifact
from residuum.data.batches import EvalBatches
from residuum.data.manifest import Manifest
from residuum.data.preprocessing import Preprocessing
from residuum.data.sources import open_data
from residuum.errors import UserError
from residuum.evaluation.evaluate import all_logits, judged, logits_of, protocol_of
from residuum.inference import load
from residuum.progress import Reporter
from samples import picture_folder, tiny_model, tiny_network

QUIET = Reporter(quiet=True)


@pytest.fixture(scope="module")
def digits() -> Manifest:
    return open_data("digits")


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of digits that nobody trained."""
    classes = tuple(map(str, range(10)))
    return tiny_model(tmp_path_factory.mktemp("model") / "m.safetensors", classes, channels=1, size=16)


class Echo(torch.nn.Module):
    """Logits that tell which picture was seen: its mean and its first pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.anchor = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([x.mean((1, 2, 3)), x[:, 0, 0, 0]], 1)


@given(n=st.integers(1, 40), batch_size=st.integers(1, 45), seed=st.integers(0, 10**6))
def test_every_picture_counts_once_and_in_order(digits: Manifest, n: int, batch_size: int, seed: int) -> None:
    indices = np.random.default_rng(seed).choice(len(digits), n, replace=False)
    view = Preprocessing((8, 8), 8, 1, (0.0,), (1.0,))
    shapes: list[tuple[int, ...]] = []
    network = Echo()
    network.register_forward_hook(lambda _m, inputs, _o: shapes.append(tuple(inputs[0].shape)))
    told: list[tuple[int, int]] = []
    batches = EvalBatches(digits, indices, view, batch_size)
    logits = all_logits(network, batches, progress=lambda done, total: told.append((done, total)))
    evaluation = judged(logits, digits, indices, ("even", "odd"), {}, labels=digits.labels[indices] % 2)
    pixels = np.stack([digits.pictures.read(int(i), 1) for i in indices])[..., 0] / 255
    expected = torch.tensor(np.stack([pixels.mean((1, 2)), pixels[:, 0, 0]], 1)).softmax(1).numpy()
    assert np.abs(evaluation.probabilities - expected).max() < 1e-6
    assert evaluation.names == tuple(digits.names[i] for i in indices)
    assert evaluation.indices.tolist() == indices.tolist()
    assert evaluation.labels.tolist() == (digits.labels[indices] % 2).tolist()
    assert evaluation.summary()["images"] == n
    assert set(shapes) == {(batch_size, 1, 8, 8)}
    assert told[-1] == (n, n)


def test_the_batch_size_changes_no_count_and_hardly_the_loss(model_file: Path) -> None:
    found = [residuum.evaluate(model_file, "digits", batch_size=size, reporter=QUIET) for size in (1, 7, 64, 359, 1000)]
    first = found[0].summary()
    assert first["images"] == 359
    for evaluation in found[1:]:
        summary = evaluation.summary()
        for key in ("images", "correct_top1", "correct_top5", "top1_error", "top5_error", "confusion"):
            assert summary[key] == first[key]
        assert summary["loss"] == pytest.approx(first["loss"], rel=1e-6)
        assert np.array_equal(evaluation.predicted, found[0].predicted)


def test_digits_written_as_files_get_the_probabilities_of_the_evaluation(model_file: Path, tmp_path: Path) -> None:
    model = load(model_file)
    evaluation = residuum.evaluate(model, "digits", reporter=QUIET)
    data = open_data("digits")
    paths = []
    for place in evaluation.indices:
        paths.append(tmp_path / f"{place:05d}.png")
        Image.fromarray(data.pictures.read(int(place), 1)[..., 0]).save(paths[-1])
    answers = model.predict(paths, top=10)
    for answer, row, label in zip(answers, evaluation.probabilities, evaluation.predicted, strict=True):
        found = {p["index"]: p["probability"] for p in answer["predictions"]}
        assert max(abs(found[i] - row[i]) for i in range(10)) <= 1e-6
        assert answer["predictions"][0]["index"] == label


def test_logits_come_in_evaluation_mode_and_leave_no_trace() -> None:
    network = tiny_network().train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    inputs = torch.randn(5, 3, 16, 16)
    logits = logits_of(network, inputs)
    assert not network.training
    assert logits.dtype == torch.float32
    assert not logits.requires_grad
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert torch.allclose(logits, logits_of(network, torch.cat([inputs, inputs + 1]))[:5], atol=1e-5)


def test_the_protocol_is_told_in_full(model_file: Path, digits: Manifest) -> None:
    protocol = residuum.evaluate(model_file, "digits", split="val", reporter=QUIET).summary()["protocol"]
    assert protocol == {
        "name": "center",
        "data": "digits",
        "data_digest": digits.digest,
        "split": "val",
        "view": {"resize": 16, "size": [16, 16], "channels": 1, "crops": ["center"], "mirror": False},
        "average": None,
        "ensemble": [],
        "precision": "float32",
        "backend": "torch",
        "temperature": 1.0,
    }
    assert protocol_of(digits, "test", load(model_file).artifact.preprocessing.to_dict())["split"] == "test"


# Which part ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return picture_folder(tmp_path_factory.mktemp("data") / "data", {"ant": 20, "bee": 20, "cat": 20})


def trained_on(folder: Path, val: float | None, path: Path, seed: int = 0) -> Path:
    """A model file that says it was trained on a folder with so much held out."""
    content = artifact.load(tiny_model(path, seed=seed))
    facts = {"argument": str(folder), "digest": open_data(str(folder)).digest, "val": val}
    artifact.save(replace(content, training={"data": facts}), path)
    return path


def part_of(model: Path, data: Path, split: str | None = None) -> tuple[str, int]:
    evaluation = residuum.evaluate(model, data, split=split, reporter=QUIET)
    return evaluation.protocol["split"], len(evaluation.names)


def test_without_a_split_the_test_part(folder: Path, tmp_path: Path) -> None:
    for part, seed in (("train", 1), ("val", 2), ("test", 3)):
        picture_folder(tmp_path / "parts" / part, {"ant": 2 + seed, "bee": 2 + seed}, seed=seed)
    assert part_of(tiny_model(tmp_path / "m"), tmp_path / "parts") == ("test", 10)
    own = trained_on(tmp_path / "parts", None, tmp_path / "own")
    assert part_of(own, tmp_path / "parts") == ("test", 10)
    assert part_of(own, tmp_path / "parts", "val") == ("val", 8)
    assert part_of(own, tmp_path / "parts", "all") == ("all", 24)


@pytest.mark.parametrize(("val", "held_out"), [(None, 6), (0.25, 15), (30, 30)])
def test_else_what_was_held_out_in_training(val: float | None, held_out: int, folder: Path, tmp_path: Path) -> None:
    model = trained_on(folder, val, tmp_path / "m")
    assert part_of(model, folder) == ("val", held_out)
    assert part_of(model, folder, "train") == ("train", 60 - held_out)
    assert part_of(model, folder, "all") == ("all", 60)
    names = residuum.evaluate(model, folder, reporter=QUIET).names
    data = open_data(str(folder), val=val)
    assert names == tuple(data.names[i] for i in data.part("val"))


def test_else_every_picture(folder: Path, tmp_path: Path) -> None:
    assert part_of(tiny_model(tmp_path / "m"), folder) == ("all", 60)
    other = picture_folder(tmp_path / "other", {"ant": 5, "bee": 4}, seed=9)
    assert part_of(trained_on(folder, None, tmp_path / "a"), other) == ("all", 9)
    # more were held out in training than these data have
    assert part_of(trained_on(folder, 30, tmp_path / "b"), other) == ("all", 9)


def test_a_validation_part_of_other_data_is_theirs(folder: Path, tmp_path: Path) -> None:
    for part, seed in (("train", 1), ("val", 2)):
        picture_folder(tmp_path / "parts" / part, {"ant": 4 * seed, "bee": 4}, seed=seed)
    assert part_of(trained_on(folder, 0.25, tmp_path / "m"), tmp_path / "parts", "val") == ("val", 12)


def test_trained_on_everything(folder: Path, tmp_path: Path) -> None:
    model = trained_on(folder, 0, tmp_path / "m")
    with pytest.raises(UserError, match="nothing is held out"):
        part_of(model, folder)
    assert part_of(model, folder, "train") == ("train", 60)
    assert part_of(model, folder, "all") == ("all", 60)


def test_an_ensemble_is_judged_on_what_all_its_members_held_out(folder: Path, tmp_path: Path) -> None:
    stranger, own = tiny_model(tmp_path / "a", seed=1), trained_on(folder, None, tmp_path / "b")
    other = trained_on(folder, 0.25, tmp_path / "c", seed=2)

    def part(first: Path, second: Path, split: str | None = None) -> tuple[str, int]:
        found = residuum.evaluate(first, folder, ensemble=[second], split=split, reporter=QUIET)
        return found.protocol["split"], len(found.names)

    assert part(own, stranger) == part(stranger, own) == ("val", 6)
    assert part(stranger, own, "train") == ("train", 54)
    for split in (None, "val", "train"):
        with pytest.raises(UserError, match=r"b and .*c held out different parts of .* \(--val None and --val 0\.25\)"):
            part(own, other, split)
    assert part(own, other, "all") == ("all", 60)


def test_moved_data_are_still_those_trained_on(folder: Path, tmp_path: Path) -> None:
    model = trained_on(folder, None, tmp_path / "m")
    (tmp_path / "moved").symlink_to(folder)
    assert part_of(model, tmp_path / "moved") == ("val", 6)


def test_a_part_that_is_not_there_lists_those_that_are(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="train, val"):
        part_of(tiny_model(tmp_path / "m"), folder, "test")

"""Fine-tuning: what is kept, what learns, what is computed once, what a killed run resumes to, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import residuum
from commands import TINY, Death, refused, run, start
from residuum import artifact, finetuning
from residuum.data.batches import EvalBatches
from residuum.data.order import Shuffled
from residuum.data.preprocessing import Preprocessing
from residuum.data.sources import open_data
from residuum.nets.network import Network
from residuum.recipes.finetune import FINETUNE
from residuum.tasks.classification import Criterion
from residuum.training.finetune_head import Features, features_of, train_head
from residuum.training.learning import choose_learning
from residuum.training.pretrained import put_weights, read_pretrained
from residuum.training.recipe import FineTune
from runs import different_tensors, metrics, record
from samples import picture_folder, tiny_model, tiny_network

QUICK = ("--epochs", "4", "--set", "finetune.head_epochs=20")
VIEW = Preprocessing((16, 16), 16, 3, (0.4,) * 3, (0.25,) * 3)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return picture_folder(tmp_path_factory.mktemp("data"), {"bee": 24, "moth": 24})


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a network that has learned something else; of a random one, statistics that are frozen would be wild."""
    folder = tmp_path_factory.mktemp("weights")
    others = picture_folder(folder / "others", {"ant": 20, "bee": 20, "cat": 20}, seed=5)
    assert run("train", others, *TINY, "--recipe", "debug", "--val", "0", "--out", folder / "run").code == 0
    return folder / "run" / "model.safetensors"


@pytest.fixture(scope="module")
def tuned(data: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    out = tmp_path_factory.mktemp("tuned") / "run"
    assert run("train", data, "--weights", weights, *QUICK, "--out", out).code == 0
    return out


def test_lower_stages_stay_and_upper_ones_learn_more_the_higher_they_are(tuned: Path, weights: Path) -> None:
    before, after = load_file(weights), load_file(tuned / "model.safetensors")
    moved = [name for name in after if name in before and not torch.equal(before[name], after[name])]
    assert moved
    assert {name.split(".")[0] for name in moved} <= {"stage1", "stage2", "stage3", "head"}
    assert not [name for name in moved if "running" in name], "48 pictures are too few for statistics of their own"
    rates = record(tuned)["finetune"]["rates"]
    assert rates == {"head": 1.0, "stage3": 0.5, "stage2": 0.25, "stage1": 0.125}
    assert record(tuned)["preprocessing"] == residuum.load(weights).artifact.preprocessing.to_dict()


def test_the_kept_epoch_is_the_one_of_lowest_validation_loss(tuned: Path) -> None:
    found = record(tuned)["finetune"]
    losses = [found["head"]["val_loss"], *(row["val_loss"] for row in metrics(tuned))]
    assert found["kept"]["epoch"] == int(np.argmin(losses))
    assert record(tuned)["recipe"]["name"] == "finetune"
    assert not (tuned / "start.safetensors").exists()
    assert "optimistic" in (tuned / "report.html").read_text()


@pytest.mark.parametrize("call", [2, 3, 4, 6, 8])
def test_a_killed_run_resumes_to_the_same_weights(
    call: int, tuned: Path, data: Path, weights: Path, tmp_path: Path
) -> None:
    arguments = ("train", data, "--weights", weights, *QUICK, "--out", tmp_path / "run")
    assert start(tmp_path / "log", *arguments, death=Death("replace", call, after=True)).wait() == -9
    assert start(tmp_path / "log", "train", "--resume", tmp_path / "run").wait() == 0, (tmp_path / "log").read_text()
    assert different_tensors(tmp_path / "run", tuned) == []
    assert metrics(tmp_path / "run") == metrics(tuned)
    assert record(tmp_path / "run")["all_results"] == record(tuned)["all_results"]
    assert record(tmp_path / "run")["finetune"]["kept"] == record(tuned)["finetune"]["kept"]


def test_early_stopping_ends_before_the_recipe_does(data: Path, weights: Path, tmp_path: Path) -> None:
    still = ("--lr", "1e-12", "--set", "finetune.patience=2", "--epochs", "30")
    assert run("train", data, "--weights", weights, *still, "--out", tmp_path / "run").code == 0
    rows = metrics(tmp_path / "run")
    kept = record(tmp_path / "run")["finetune"]["kept"]
    assert kept["stopped_early"]
    assert len(rows) == kept["epoch"] + 2
    assert record(tmp_path / "run")["status"] == "finished"


def test_every_picture_goes_through_the_frozen_network_once(monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = open_data("digits")
    network = tiny_network(channels=1, classes=10)
    seen = []
    real = Network.forward
    monkeypatch.setattr(Network, "forward", lambda self, x: seen.append(len(x)) or real(self, x))
    indices = manifest.part("train")[:100]
    view = Preprocessing((16, 16), 16, 1, (0.3,), (0.4,))
    found = features_of(network, EvalBatches(manifest, indices, view, 50), lambda *_: None)
    before = len(seen)
    trained = train_head(network, found, None, FINETUNE, Criterion(), Shuffled(0, 100))
    assert sum(seen) == 100
    assert len(seen) == before
    assert trained.epochs == FINETUNE.finetune.head_epochs  # type: ignore[union-attr]
    # and what the classifier says of the features is what the network says of the pictures
    network.eval()
    batch = next(iter(EvalBatches(manifest, indices, view, 100)))
    layer = network.get_submodule("head.fc")
    assert torch.allclose(network(batch.inputs), layer(found.values), atol=1e-4)


def test_the_head_separates_what_can_be_separated_at_any_scale() -> None:
    draws = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    points = torch.randn(60, 64, generator=draws) + 4 * torch.nn.functional.one_hot(labels, 64).float()
    for factor in (1e-3, 1.0, 1e3):
        network = tiny_network(classes=3)
        nn.init.zeros_(network.get_submodule("head.fc").weight)  # type: ignore[arg-type]
        found = train_head(network, Features(factor * points + factor, labels), None, FINETUNE, Criterion(),
                           Shuffled(0, 60))  # fmt: skip
        layer = network.get_submodule("head.fc")
        with torch.no_grad():
            assert (layer(factor * points + factor).argmax(1) == labels).all()
        assert found.train_loss < 0.5


def test_classes_known_by_name_keep_their_weights(tmp_path: Path) -> None:
    given = read_pretrained(str(tiny_model(tmp_path / "m.safetensors")), None, {})
    network = tiny_network(seed=1, classes=4)
    kept = put_weights(network, ("cat", "dog", "ant", "eel"), given)
    rows = network.state_dict()["head.fc.weight"]
    assert kept == ["cat", "ant"]
    assert torch.equal(rows[0], given.content.tensors["head.fc.weight"][2])
    assert torch.equal(rows[2], given.content.tensors["head.fc.weight"][0])
    assert not rows[[1, 3]].any()


@pytest.mark.parametrize(
    ("pictures", "batch_size", "rule", "expected"),
    [(999, 64, "auto", "frozen"), (1000, 16, "auto", "re-estimated"), (5000, 15, "auto", "frozen"),
     (10, 2, "re-estimated", "re-estimated"), (5000, 64, "frozen", "frozen")],
)  # fmt: skip
def test_batch_norm_follows_its_rule(pictures: int, batch_size: int, rule: Any, expected: str) -> None:
    network = tiny_network()
    learning = choose_learning(network.plan, FineTune(batch_norm=rule, stages=1), pictures, batch_size)
    assert learning.batch_norm == expected
    learning.freeze(network)
    network.train()
    learning.settle_modes(network)
    for name, module in network.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            upper = name.startswith("stage3")
            assert module.training == (upper and expected == "re-estimated")
            assert module.weight.requires_grad == upper


def test_re_estimated_statistics_move_in_the_stages_that_learn_alone(data: Path, weights: Path, tmp_path: Path) -> None:
    norm = ("--set", "finetune.batch_norm=re-estimated", "--set", "finetune.patience=0", "--set", "finetune.stages=1")
    assert run("train", data, "--weights", weights, *QUICK, *norm, "--out", tmp_path / "run").code == 0
    before, after = load_file(weights), load_file(tmp_path / "run" / "model.safetensors")
    moved = {name.split(".")[0] for name in after if "running" in name and not torch.equal(before[name], after[name])}
    assert moved == {"stage3"}


def test_plain_weights_of_a_named_network_begin_as_a_model_file_does(weights: Path, tmp_path: Path) -> None:
    tensors = dict(artifact.load(weights).tensors)
    save_file(tensors, tmp_path / "plain.safetensors")
    given = read_pretrained(str(tmp_path / "plain.safetensors"), "resnet20", {"depth": 8, "size": 16})
    assert all(torch.equal(given.content.tensors[name], value) for name, value in tensors.items())
    network = tiny_network(seed=1, classes=3)
    assert put_weights(network, ("0", "1", "2"), given) == [], "numbers that an import made up are no names"


def test_another_size_keeps_the_weights_and_scales_the_view(weights: Path) -> None:
    given = read_pretrained(str(weights), None, {"size": 24})
    assert given.content.preprocessing.size == (24, 24)
    assert given.content.spec.input_size() == (24, 24)


def test_without_weights_it_says_that_it_starts_from_nothing(data: Path, tmp_path: Path) -> None:
    outcome = run("train", data, "--recipe", "finetune", "--model", "resnet20", "--depth", "8", "--epochs", "1",
                  "--out", tmp_path / "run")  # fmt: skip
    assert outcome.code == 0
    assert finetuning.FROM_NOTHING in outcome.err
    assert record(tmp_path / "run")["finetune"]["weights"] is None


def test_heads_are_compared_in_one_table(data: Path, weights: Path, tmp_path: Path) -> None:
    outcome = run("train", data, "--weights", weights, "--heads", "--set", "finetune.stages=0", "--out", tmp_path / "r")
    assert outcome.code == 0, outcome
    rows = record(tmp_path / "r")["finetune"]["heads"]
    assert [row["head"] for row in rows] == ["softmax", "linear SVM", "k nearest neighbours", "ridge",
                                             "Gaussian process"]  # fmt: skip
    assert all(0 <= row["wrong"] <= row["images"] for row in rows)
    page = (tmp_path / "r" / "report.html").read_text()
    assert all(row["head"] in page for row in rows)
    assert metrics(tmp_path / "r") == [], "with no stage to learn, the features are all there is"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--model", "resnet32"), "8 layers, not 32"),
        (("--depth", "14"), "--depth 14"),
        (("--channels", "1"), "--channels 1, and the file's is 3"),
        (("--shortcut", "B"), "--shortcut B"),
        (("--recipe", "fast"), "--recipe finetune"),
        (("--val", "0", "--heads"), "held-out"),
        (("--set", "finetune.decay=2"), "decay"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_does_not_fit_the_weights_is_named(
    arguments: tuple[str, ...], words: str, data: Path, weights: Path, tmp_path: Path
) -> None:
    assert words in refused("train", data, "--weights", weights, *arguments, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_weights_that_are_none_are_refused(data: Path, weights: Path, tmp_path: Path) -> None:
    save_file(dict(artifact.load(weights).tensors), tmp_path / "plain.safetensors")
    assert "--model" in refused("train", data, "--weights", tmp_path / "plain.safetensors")
    message = refused("train", data, "--weights", tmp_path / "plain.safetensors", "--model", "resnet20")
    assert "does not fit" in message
    assert "no such" in refused("train", data, "--weights", tmp_path / "none.safetensors").lower()
    assert "--weights" in refused("train", data, "--heads")
    (tmp_path / "cut.safetensors").write_bytes(weights.read_bytes()[:-9])
    assert "cut short" in refused("train", data, "--weights", tmp_path / "cut.safetensors")


def test_a_classifier_that_is_a_convolution_learns_with_the_upper_stages(data: Path, tmp_path: Path) -> None:
    weights = _squeezenet(tmp_path)
    command = ("train", data, "--weights", weights, "--epochs", "3", "--lr", "0.01", "--out", tmp_path / "run")
    for option in (("--heads",), ("--set", "finetune.stages=0")):
        assert "ends in a convolution" in refused(*command, *option)
    outcome = run(*command)
    assert outcome.code == 0, outcome.err
    assert "a convolution, which learns with the upper stages" in outcome.err
    before, after = load_file(weights), load_file(tmp_path / "run" / "model.safetensors")
    moved = {name.split(".")[0] for name in after if name in before and not torch.equal(before[name], after[name])}
    assert moved == {"stage1", "stage2", "stage3", "head"}
    found = record(tmp_path / "run")["finetune"]
    assert "head" not in found
    assert found["kept"]["epoch"] >= 1


def _squeezenet(folder: Path) -> Path:
    from residuum import catalog
    from residuum.artifact import Artifact
    from residuum.nets.network import make_network
    from residuum.plan import make_plan

    spec = catalog.spec("squeezenet1_1", classes=2, size=64)
    view = Preprocessing((64, 64), 64, 3, (0.4,) * 3, (0.25,) * 3)
    path = folder / "squeeze.safetensors"
    artifact.save(Artifact(spec, ("a", "b"), view, make_network(make_plan(spec)).state_dict()), path)
    return path

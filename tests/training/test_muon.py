"""Muon turns hidden convolutions by orthogonal steps and holds their length; everything else is SGD's, bit for bit."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import parts
import pytest
import torch
from together import in_processes
from torch import Tensor, nn

from commands import TINY, refused, run
from residuum import catalog
from residuum.data.batches import Batch
from residuum.nets.network import make_network
from residuum.nets.ops import NORMS
from residuum.plan import make_plan
from residuum.processes import ALONE, Processes, pieces_of
from residuum.training import loop
from residuum.training.learning import Learning
from residuum.training.muon import MuonSGD, hidden_convolutions, orthogonalise
from residuum.training.optimizer import make_optimizer
from residuum.training.recipe import SGD, Muon
from runs import metrics, record

SETTINGS = SGD(lr=0.3, nesterov=True, weight_decay=1e-3, decay_norms_and_biases=False)
BAND = (0.65, 1.2)
"""Where the iteration leaves singular values."""


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "shape", [(1, 16, 144), (5, 16, 144), (1, 64, 16), (3, 24, 8), (2, 12, 12), (4, 2, 9)], ids=str
)
def test_an_update_is_the_orthogonal_factor(shape: tuple[int, ...], precision: torch.dtype) -> None:
    matrices = 1e-3 * draw(*shape)
    found = orthogonalise(matrices, 5, precision)
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    core = u.mT @ found.float() @ v.mT
    values = core.diagonal(dim1=-2, dim2=-1)
    assert found.shape == matrices.shape
    assert found.dtype == precision
    assert BAND[0] < values.min()
    assert values.max() < BAND[1]
    assert (core - torch.diag_embed(values)).abs().max() < (1e-4 if precision == torch.float32 else 0.05)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_matrices_are_orthogonalised_each_for_itself_whatever_their_scale(precision: torch.dtype) -> None:
    matrices = draw(3, 8, 72)
    together = orthogonalise(matrices * torch.tensor([1e-4, 1.0, 1e4])[:, None, None], 5, precision)
    for one, matrix in zip(together, matrices, strict=True):
        torch.testing.assert_close(one, orthogonalise(matrix[None], 5, precision)[0], atol=0.02, rtol=0.02)
    assert not orthogonalise(torch.zeros(2, 3, 4), 5, precision).any()


CONVOLUTIONS = {
    "1 dimension": nn.Conv1d(8, 16, 9, bias=False),
    "2 dimensions": nn.Conv2d(8, 16, 3, bias=False),
    "3 dimensions": nn.Conv3d(8, 16, 3, bias=False),
    "1x1": nn.Conv2d(8, 16, 1, bias=False),
    "more outputs than inputs": nn.Conv2d(2, 48, 3, bias=False),
    "groups": nn.Conv2d(8, 16, 3, groups=4, bias=False),
    "last in memory": nn.Conv2d(8, 16, 3, bias=False).to(memory_format=torch.channels_last),  # type: ignore[call-overload]
}


def between(*hidden: nn.Module) -> nn.Sequential:
    """A network of such hidden convolutions."""
    return nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), *hidden, nn.Linear(16, 2))


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_a_step_turns_a_weight_by_the_rate_and_holds_its_length(name: str) -> None:
    conv = CONVOLUTIONS[name]
    network = between(conv)
    optimizer = make_optimizer(network, SETTINGS, muon=Muon(lr=1e-3))
    for group in optimizer.param_groups:
        group["lr"] = SETTINGS.lr * group["factor"]
    for seed in range(3):
        before = conv.weight.detach().clone()
        conv.weight.grad = draw(*conv.weight.shape, seed=seed)
        optimizer.step()
        after = conv.weight.detach()
        assert float(after.norm()) == pytest.approx(float(before.norm()), rel=1e-6)
        step = (after - before).reshape(conv.groups, len(before) // conv.groups, -1)
        one = 1e-3 * before.norm() / math.sqrt(conv.groups * min(step.shape[1:]))
        values = torch.linalg.svdvals(step) / one
        # what the step adds to the length is taken off again, along the weight
        assert BAND[0] - 0.1 < values.min()
        assert values.max() < BAND[1] + 0.1


def test_dimensions_are_no_matter() -> None:
    flat, square = nn.Conv1d(4, 6, 9, bias=False), nn.Conv2d(4, 6, 3, bias=False)
    found = []
    for conv in (flat, square):
        with torch.no_grad():
            conv.weight.copy_(draw(6, 36, seed=1).reshape(conv.weight.shape))
        optimizer = make_optimizer(between(conv), SETTINGS, muon=Muon())
        for seed in range(3):
            conv.weight.grad = draw(6, 36, seed=seed).reshape(conv.weight.shape)
            optimizer.step()
        found.append(conv.weight.detach().reshape(6, 36))
    assert torch.equal(*found)


def test_without_gradients_nothing_moves_but_what_decays() -> None:
    network = parts.network()
    before = parts.state(network)
    optimizer = make_optimizer(network, replace(SETTINGS, nesterov=False), muon=Muon())
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert set(parts.different(parts.state(network), before)) == {"stem.conv1.weight", "head.fc.weight"}
    for name in ("stem.conv1.weight", "head.fc.weight"):
        torch.testing.assert_close(network.state_dict()[name], before[name] * (1 - 0.3 * 1e-3))


def test_a_weight_of_zeros_stays() -> None:
    conv = nn.Conv2d(8, 16, 3, bias=False)
    nn.init.zeros_(conv.weight)
    optimizer = make_optimizer(between(conv), SETTINGS, muon=Muon())
    conv.weight.grad = draw(*conv.weight.shape)
    optimizer.step()
    assert not conv.weight.any()


@pytest.mark.parametrize(
    "settings", [SGD(), SETTINGS, SGD(momentum=0.0), SGD(momentum=0.5, weight_decay=0.1, decay_norms_and_biases=True)]
)
def test_everything_else_is_sgd_bit_for_bit(settings: SGD) -> None:
    ours, theirs = parts.network(), parts.network()
    muon, plain = make_optimizer(ours, settings, muon=Muon()), make_optimizer(theirs, settings)
    assert type(muon) is MuonSGD
    assert type(plain) is torch.optim.SGD
    for seed in range(3):
        for network, optimizer in ((ours, muon), (theirs, plain)):
            for number, parameter in enumerate(network.parameters()):
                parameter.grad = draw(*parameter.shape, seed=1000 * seed + number)
            optimizer.step()
    hidden = {name for name, parameter in ours.named_parameters() if parameter in hidden_convolutions(ours)}
    assert set(parts.different(parts.state(ours), parts.state(theirs))) == hidden


def names(model: str, **axes: object) -> tuple[set[str], set[str]]:
    """Layers of a network that are Muon's, and all its other convolutions."""
    network = make_network(make_plan(catalog.spec(model, **axes)), device="meta")
    hidden = hidden_convolutions(network)
    convs = {name: module for name, module in network.named_modules() if isinstance(module, nn.modules.conv._ConvNd)}
    ours = {name for name, module in convs.items() if module.weight in hidden}
    assert len(ours) == len(hidden), "nothing but weights of convolutions"
    return ours, convs.keys() - ours


def test_muon_is_for_convolutions_between_the_first_and_the_classifier() -> None:
    for model, axes in (("resnet11_pool", {}), ("resnet20", {"shortcut": "B"}), ("densenet40_12", {}), ("r3d_18", {})):
        assert names(model, **axes)[1] == {"stem.conv1"}, model
    assert names("resnet50d")[1] == {"stem.conv1"}, "those of a deep stem but the first are like others"
    assert names("resnext50_32x4d")[1] == {"stem.conv1"}, "grouped ones too"


def test_what_has_nothing_to_be_orthogonal_or_stands_beside_no_norm_is_left_to_sgd() -> None:
    rest = names("mobilenet_v2")[1]
    network = make_network(make_plan(catalog.spec("mobilenet_v2")), device="meta")
    depthwise = {name for name, each in network.named_modules() if isinstance(each, nn.Conv2d) and each.groups > 1}
    assert rest == depthwise | {"stem.conv1"}
    assert all(".attention." in name for name in names("seresnet18")[1] - {"stem.conv1"})
    gates = names("resnet20", merge="gate")[1] - {"stem.conv1"}
    assert gates
    assert all(".gate." in name for name in gates)


@pytest.mark.parametrize("model", ["resnet11_pool", "resnet50", "resnext50_32x4d", "mobilenet_v2", "r3d_18"])
def test_every_parameter_exactly_once(model: str) -> None:
    network = make_network(make_plan(catalog.spec(model)), device="meta")
    groups = make_optimizer(network, SETTINGS, muon=Muon()).param_groups
    found = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(found) == sorted(id(parameter) for parameter in network.parameters())
    spared = {id(each) for module in network.modules() if isinstance(module, NORMS) for each in module.parameters()}
    assert spared <= {id(each) for group in groups if not group["weight_decay"] for each in group["params"]}


def test_rates_of_parts_and_the_schedule_are_shares_of_each_other() -> None:
    network = parts.network()
    rates = {"head": 1.0, "stage3": 0.5, "stage2": 0.25}
    Learning(rates, "frozen").freeze(network)
    optimizer = make_optimizer(network, SETTINGS, rates, Muon(lr=0.03))
    factors = {id(each): group["factor"] for group in optimizer.param_groups for each in group["params"]}
    hidden = hidden_convolutions(network)
    for name, parameter in network.named_parameters():
        part = name.partition(".")[0]
        assert (id(parameter) in factors) == (part in rates)
        if part in rates:
            share = 0.1 if parameter in hidden else 1.0
            assert factors[id(parameter)] == pytest.approx(rates[part] * share)
    assert network.get_submodule("stage2.block1.branch.conv1").weight in hidden, "the first of what learns is no stem"


class Enough(Exception):
    pass


def _stop() -> Batch:
    raise Enough


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_interrupted_at_every_step_equals_uninterrupted(
    precision: torch.dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "SAVE_SECONDS", -1.0)
    of = parts.recipe(6, muon=Muon(), ema=0.5, kernels="torch")
    whole = parts.trainer(tmp_path / "whole", of, images=20, precision=precision)
    whole.train()
    for at in range(6):
        cut = parts.trainer(tmp_path / str(at), of, images=20, precision=precision)
        cut.batches = parts.Changed(parts.stream(), lambda step, batch, at=at: batch if step < at else _stop())
        with pytest.raises(Enough):
            cut.train()
        resumed = parts.trainer(tmp_path / str(at), of, images=20, precision=precision)
        resumed.train()
        assert parts.different(parts.state(resumed.network), parts.state(whole.network)) == []


def test_a_step_with_an_infinite_gradient_is_left_out_in_float16(tmp_path: Path) -> None:
    trainer = parts.trainer(tmp_path, parts.recipe(3, muon=Muon()), precision=torch.float16)
    engine = trainer.ready()
    engine.connect()
    engine.train_mode()
    batch = next(trainer.batches.from_step(0))
    for spoiled in (True, False):
        before = parts.state(engine.network)
        engine.gradients(0, [batch])
        if spoiled:
            weight = engine.network.get_submodule("stage1.block1.branch.conv1").weight
            assert isinstance(weight.grad, Tensor)
            weight.grad[0, 0, 0, 0] = math.inf
            # as a gradient that overflowed would have been found
            engine._scaler._per_optimizer_states.clear()
            engine._scaler.unscale_(engine.optimizer)
        engine.update(0.1)
        moved = any(not torch.equal(each, before[name]) for name, each in engine.network.named_parameters())
        assert moved != spoiled
        assert all(each.isfinite().all() for each in engine.network.parameters())


def _rows(batch: Batch) -> tuple[Any, ...]:
    return batch.inputs, batch.targets, batch.mask, batch.indices


def steps(processes: Processes, pieces: int, folder: Path) -> dict[str, Tensor]:
    """Parameters after three steps, in so many pieces of every batch."""
    share = pieces_of(processes, pieces)
    trainer = parts.trainer(
        folder / f"of {processes.rank}", parts.recipe(3, muon=Muon()), processes=processes, pieces=share
    )
    engine = trainer.ready()
    engine.connect()
    engine.train_mode()
    batches = parts.stream().from_step(0)
    for step, batch in enumerate(islice(batches, 3)):
        engine.gradients(step, [Batch(*(each[cut] for each in _rows(batch))) for cut in share.cuts(16)])
        engine.update(0.1)
    return {name: each.detach() for name, each in engine.network.named_parameters()}


def test_all_processes_do_the_same_update_and_it_is_that_of_one(tmp_path: Path) -> None:
    one, other = in_processes(2, steps, tmp_path, 2, tmp_path / "two")
    expected = steps(ALONE, 2, tmp_path / "one")
    assert parts.different(one, other) == []
    for name, value in expected.items():
        torch.testing.assert_close(one[name], value, rtol=1e-3, atol=1e-4)


DIGITS = ("train", "digits", "--steps", "6", "--batch-size", "32", "--seed", "1")


def test_the_recipe_trains_says_so_and_is_recorded(tmp_path: Path) -> None:
    command = (*DIGITS, "--model", "resnet11_pool", "--width", "0.25", "--recipe", "quickest")
    outcome = run(*command, "--out", tmp_path / "run")
    assert outcome.code == 0, outcome.err
    assert "lr 0.3, Muon's 0.03" in outcome.err
    assert record(tmp_path / "run")["recipe"]["muon"] == {"lr": 0.03, "momentum": 0.9, "iterations": 5}
    assert run(*command, "--lr", "0.15", "--out", tmp_path / "slower").code == 0
    assert record(tmp_path / "slower")["recipe"]["muon"]["lr"] == pytest.approx(0.015)


def test_it_is_put_in_and_taken_out_from_the_command_line(tmp_path: Path) -> None:
    tiny = (*DIGITS, *TINY, "--recipe", "debug")
    for name, settings in {
        "without": (),
        "taken out": ("--set", "muon={}", "--set", "muon=null"),
        "with": ("--set", "muon={}"),
        "slower": ("--set", 'muon={"lr": 0.01}', "--set", "muon.iterations=3"),
    }.items():
        assert run(*tiny, *settings, "--out", tmp_path / name).code == 0
    assert metrics(tmp_path / "without") == metrics(tmp_path / "taken out")
    assert record(tmp_path / "without")["recipe"]["muon"] is None
    assert record(tmp_path / "slower")["recipe"]["muon"] == {"lr": 0.01, "momentum": 0.9, "iterations": 3}
    assert metrics(tmp_path / "with") != metrics(tmp_path / "without")


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ('muon={"rate": 1}', 'unknown key "muon.rate"'),
        ("muon=true", "muon"),
        ('muon={"lr": 0}', "muon.lr must be a positive number"),
        ('muon={"iterations": 0}', "muon.iterations must be in 1..20"),
        ('muon={"momentum": 1}', "muon.momentum"),
    ],
)
def test_misuse_is_one_sentence(setting: str, words: str, tmp_path: Path) -> None:
    assert words in refused(*DIGITS, *TINY, "--recipe", "debug", "--set", setting, "--out", tmp_path / "run")


def test_a_network_without_norms_is_refused_before_there_is_a_run(tmp_path: Path) -> None:
    plain = (*DIGITS, *TINY, "--norm", "none", "--recipe", "quickest", "--out", tmp_path / "run")
    assert "muon=null" in refused(*plain)
    assert not (tmp_path / "run").exists()
    assert run(*plain, "--set", "muon=null").code == 0

"""Ways to compute the same training: in pieces, in little memory, in float16, compiled, and its moving average."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from itertools import islice
from pathlib import Path

import parts
import pytest
import torch

from commands import TINY, Death, refused, run, start
from residuum import catalog
from residuum.nets.network import Network, make_network
from residuum.plan import make_plan
from runs import different_tensors, metrics

NETWORKS = {
    "residual": ("resnet20", {}),
    "pre-activation": ("preact_resnet20", {}),
    "dense": ("densenet40_12", {}),
    "shake-shake": ("shake_shake26_2x32d", {}),
    "stochastic depth": ("resnet20", {"merge": "stochastic_depth"}),
    "dropout": ("wrn16_4", {"dropout": 0.3}),
}


def stepped(network: Network, frugal: bool) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Gradients, and the state after a step."""
    network.frugal = frugal
    network.train()
    torch.manual_seed(1)
    inputs = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    network(inputs).logsumexp(1).square().sum().backward()
    gradients = {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}
    network.zero_grad()
    return gradients, {name: value.clone() for name, value in network.state_dict().items()}


@pytest.mark.parametrize("kind", NETWORKS)
def test_little_memory_changes_nothing(kind: str) -> None:
    name, axes = NETWORKS[kind]
    plan = make_plan(catalog.spec(name, classes=10, **axes))
    network = make_network(plan, generator=torch.Generator().manual_seed(0)).double()
    start = {key: value.clone() for key, value in network.state_dict().items()}
    gradients, state = stepped(network, frugal=False)
    network.load_state_dict(start)
    again, frugal_state = stepped(network, frugal=True)
    assert gradients.keys() == again.keys()
    for key, value in gradients.items():
        assert torch.equal(value, again[key]), key
    for key, value in state.items():
        assert torch.equal(value, frugal_state[key]), f"{key}: running statistics see a batch once"


def kept_bytes(frugal: bool) -> int:
    """What the forward pass of 110 layers keeps for gradients."""
    network = make_network(make_plan(catalog.spec("resnet110")), generator=torch.Generator().manual_seed(0))
    network.frugal, total = frugal, 0
    weights = {each.data_ptr() for each in network.parameters()}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal total
        if tensor.data_ptr() not in weights:
            total += tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network(torch.rand(2, 3, 32, 32)).sum()
    return total


def test_little_memory_is_little() -> None:
    assert kept_bytes(True) < kept_bytes(False) / 8


PAGES = """
import resource, sys
import numpy as np, torch, residuum
from residuum.data.batches import Batch
from residuum.tasks.classification import Criterion
from residuum.training.engine import Engine
from residuum.training.recipe import Recipe

recipe = Recipe("pages", steps=1, memory=sys.argv[1])
of = Engine(residuum.build("resnet20"), recipe, torch.device("cpu"), torch.float32, Criterion())
of.connect()
of.train_mode()
batch = Batch(torch.rand(32, 3, 32, 32), torch.arange(32) % 10, torch.ones(32, dtype=torch.bool), np.arange(32))
for step in range(6):
    if step == 3:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    of.gradients(step, [batch])
    of.update(0.1)
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 3)
"""


def new_pages(memory: str) -> int:
    """Pages that a step of ResNet-20 has the system hand out."""
    done = subprocess.run([sys.executable, "-c", PAGES, memory], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has its own ways")
def test_the_next_step_has_the_memory_of_the_last() -> None:
    assert new_pages("normal") < new_pages("low") / 10


def test_the_average_follows_the_weights(tmp_path: Path) -> None:
    trainer = parts.trainer(tmp_path, parts.recipe(8, ema=0.9))
    of = trainer.ready()
    of.connect()
    of.train_mode()
    expected = None
    for step, batch in enumerate(islice(trainer.batches.from_step(0), 5)):
        of.gradients(step, [batch])
        of.update(0.1)
        weights = parts.state(of.network)
        if expected is None:
            expected = weights
            continue
        expected = {
            name: (0.9 * expected[name] + 0.1 * value) if value.is_floating_point() else value
            for name, value in weights.items()
        }
    found = parts.state(of.result)
    assert expected is not None
    for name, value in expected.items():
        if value.is_floating_point():
            assert torch.allclose(found[name], value, atol=1e-6), name
    of.finish()
    assert parts.different(parts.state(of.network), found) == []


COMPILES = pytest.mark.skipif(
    not os.environ.get("RESIDUUM_SLOW") or not shutil.which("g++"), reason="compiling takes a minute"
)
WAYS = ("--set", "ema=0.9", "--set", "accumulate=3", "--set", "memory=low", "--set", "muon={}")


def test_a_killed_run_in_all_these_ways_resumes_to_the_same_weights(tmp_path: Path) -> None:
    command = ("train", "digits", *TINY, "--recipe", "debug", "--steps", "9", "--batch-size", "96", *WAYS)
    assert run(*command, "--out", tmp_path / "whole").code == 0
    death = Death("replace", 1, after=True, at="last.safetensors")
    assert start(tmp_path / "log", *command, "--out", tmp_path / "cut", death=death).wait() == -9
    assert run("train", "--resume", tmp_path / "cut").code == 0
    assert different_tensors(tmp_path / "whole", tmp_path / "cut") == []
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "cut")


@pytest.mark.parametrize("setting", ["precision=float16", pytest.param("compile=true", marks=COMPILES)])
def test_it_learns(setting: str, tmp_path: Path) -> None:
    command = ("train", "digits", *TINY, "--recipe", "debug", "--steps", "30", "--batch-size", "64")
    outcome = run(*command, "--set", setting, "--out", tmp_path / "run")
    assert outcome.code == 0, outcome.err
    rows = metrics(tmp_path / "run")
    assert rows[-1]["train_loss"] < 0.7 * rows[0]["train_loss"]


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("accumulate=0", "accumulate must be in 1..batch_size"),
        ("ema=1", "ema must be in 0..1"),
        ("sync_batch_norm=true", "sync_batch_norm needs a GPU"),
        ("precision=float8", "precision"),
    ],
)
def test_misuse_is_one_sentence(setting: str, said: str, tmp_path: Path) -> None:
    if setting.startswith("sync") and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert said in refused("train", "digits", *TINY, "--set", setting, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_new_head_is_not_lost_to_an_average_that_has_not_begun(tmp_path: Path) -> None:
    of = parts.trainer(tmp_path, parts.recipe(8, ema=0.9)).ready()
    with torch.no_grad():
        for parameter in of.network.parameters():
            parameter.add_(1.0)
    before = parts.state(of.network)
    assert parts.different(parts.state(of.result), before) == []
    of.finish()
    assert parts.different(parts.state(of.network), before) == []

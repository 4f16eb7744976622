"""The quick twin of a network trains the same modules to the same gradients, and runs remember how they were made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from commands import TINY, Death, run, start
from residuum import catalog
from residuum.kernels import SHORTCUT, Link, build, kernels
from residuum.nets.network import Network, make_network
from residuum.plan import make_plan
from residuum.training import quick as twins
from residuum.training.quick import quick
from runs import different_tensors, record
from samples import lively

pytestmark = pytest.mark.skipif(kernels() is None, reason="needs a C compiler and torch with GNU's OpenMP")
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "residual": ("resnet20", {}),
    "projections": ("resnet20", {"shortcut": "B"}),
    "plain": ("plain20", {}),
    "pre-activation": ("preact_resnet20", {}),
    "bottlenecks": ("resnet50", {"size": 32}),
    "attention": ("resnet20", {"attention": "se"}),
    "dense": ("densenet40_12", {}),
    "another activation": ("resnet20", {"activation": "elu"}),
    "another norm": ("resnet20", {"norm": "group"}),
    "another merge": ("resnet20", {"merge": "stochastic_depth"}),
}


WATCHED = (nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.Linear)
CALM = [kind for kind in NETWORKS if kind not in ("bottlenecks", "plain")]
"""In the others, with such weights, rounding changes gradients by as much as there is."""


def network_of(kind: str) -> Network:
    name, axes = NETWORKS[kind]
    plan = make_plan(catalog.spec(name, classes=10, **axes))
    network = make_network(plan, generator=torch.Generator().manual_seed(0))
    lively(network)
    return network.to(memory_format=torch.channels_last).train()


def gradients(network: nn.Module, run_as: nn.Module, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Of all weights, as one vector, and the running statistics afterwards; the network is as it was."""
    before = {name: value.clone() for name, value in network.state_dict().items()}
    exact = dtype == torch.float64
    network.to(torch.float64 if exact else torch.float32)
    x = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x = x.to(torch.float64 if exact else torch.float32).contiguous(memory_format=torch.channels_last)
    torch.manual_seed(3)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        logits = run_as(x)
    nn.functional.cross_entropy(logits.double(), torch.arange(4)).backward()
    found = torch.cat([p.grad.double().flatten() for p in network.parameters() if p.grad is not None])
    after = torch.cat([torch.ones(1).double(), *(value.double().flatten() for value in network.buffers())])
    network.zero_grad()
    network.to(torch.float32).load_state_dict(before)
    return found, after


def apart(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize(("kind", "frugal"), [*((kind, False) for kind in CALM), ("residual", True)])
def test_twin_is_as_exact_as_the_network(kind: str, frugal: bool) -> None:
    network = network_of(kind)
    network.frugal = frugal
    twin = quick(network)
    assert {id(p) for p in twin.parameters()} == {id(p) for p in network.parameters()}
    exact, plain = gradients(network, network, torch.float64), gradients(network, network, torch.bfloat16)
    ours = gradients(network, twin, torch.bfloat16)
    for found, other, truth in zip(ours, plain, exact, strict=True):
        assert apart(found, truth) < 1.5 * apart(other, truth) + 1e-6


def test_what_it_cannot_do_is_done_by_the_network() -> None:
    """In float32, and where batch norms are frozen, the twin is the network, bit for bit."""
    network = network_of("residual")
    ours, plain = (gradients(network, each, torch.float32) for each in (quick(network), network))
    assert torch.equal(ours[0], plain[0])
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    twin = quick(network)
    assert not any(module.training for module in network.modules() if isinstance(module, nn.BatchNorm2d))
    with torch.autocast("cpu", torch.bfloat16):
        x = torch.randn(2, 3, 32, 32).contiguous(memory_format=torch.channels_last)
        assert torch.equal(twin(x), network(x))


def test_the_twin_does_join(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the comparisons would not notice: that the twin is just the network."""
    network = network_of("residual")
    calls: list[str] = []
    for kind in (nn.BatchNorm2d, nn.ReLU):
        monkeypatch.setattr(kind, "forward", lambda module, x, kind=kind: calls.append(kind.__name__))
    with torch.autocast("cpu", torch.bfloat16):
        quick(network)(torch.randn(2, 3, 32, 32).contiguous(memory_format=torch.channels_last))
    assert calls == [], "no norm and no activation is computed by itself"


@pytest.mark.parametrize("kind", NETWORKS)
def test_the_twin_is_wired_as_the_network(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With torch's arithmetic in the place of ours, gradients and statistics are the same to the last bit."""

    def by_torch(norm: nn.BatchNorm2d, x: Tensor, shortcut: Tensor | None, relu: bool) -> Tensor:
        y = norm(x) if shortcut is None else norm(x) + shortcut
        return y.relu() if relu else y

    monkeypatch.setattr(twins, "normalises", lambda norm, x, shortcut=None: norm.training)
    monkeypatch.setattr(twins, "normalise", by_torch)
    monkeypatch.setattr(twins, "convolve", lambda conv, x: conv(x))
    network = network_of(kind)
    ours, plain = (gradients(network, each, torch.float64) for each in (quick(network), network))
    assert all(torch.equal(a, b) for a, b in zip(ours, plain, strict=True))


@pytest.mark.parametrize(("kind", "chained"), [("residual", 3), ("plain", 3), ("projections", 3), ("another merge", 0)])
def test_chains_are_wired_as_the_network(kind: str, chained: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With torch's arithmetic, the links say all that the blocks do."""

    def by_torch(links: list[Link], x: Tensor, shortcut: Tensor | None) -> Tensor:
        activations = [x]
        for link in links:
            y = link.norm(link.conv(activations[-1]))
            joined = None if link.joined is None else shortcut if link.joined == SHORTCUT else activations[link.joined]
            activations.append((y if joined is None else y + joined).relu())
        calls.append(len(links))
        return activations[-1]

    calls: list[int] = []
    monkeypatch.setattr(
        twins, "links", lambda conv, norm: conv.in_channels == conv.out_channels and conv.stride == (1, 1)
    )
    monkeypatch.setattr(twins, "chains", lambda links, x, shortcut: True)
    monkeypatch.setattr(twins, "chain", by_torch)
    network = network_of(kind)
    twin, plain = quick(network), gradients(network, network, torch.float64)
    ours = gradients(network, twin, torch.float64)
    assert all(torch.equal(a, b) for a, b in zip(ours, plain, strict=True))
    assert len(calls) == chained
    assert not chained or sum(calls) == 16, "all but the first convolutions of the second and third stage"
    network.frugal = True
    assert not any(isinstance(module, twins.Chained) for module in quick(network).modules()), (
        "memory=low cuts blocks apart"
    )


def test_processes_with_and_without_tiles_agree_on_the_order_of_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    network = network_of("projections")
    orders = []
    for tiles in (True, False):
        monkeypatch.setattr(twins, "links", lambda conv, norm, tiles=tiles: tiles and conv.stride == (1, 1))
        orders.append([id(parameter) for parameter in quick(network).parameters()])
    assert orders[0] == orders[1]


def test_hooks_on_stages_are_called() -> None:
    network, calls = network_of("residual"), list[str]()
    for name in ("stem", "stage2", "head"):
        network.get_submodule(name).register_forward_hook(lambda *_, name=name: calls.append(name))
    gradients(network, quick(network), torch.bfloat16)
    assert calls == ["stem", "stage2", "head"]


def test_hooks_are_called() -> None:
    network = network_of("residual")
    twin, calls = quick(network), list[str]()
    layers = {name: module for name, module in network.named_modules() if isinstance(module, WATCHED)}
    for name, module in layers.items():
        module.register_forward_hook(lambda *_, name=name: calls.append(name))
    gradients(network, twin, torch.bfloat16)
    assert sorted(calls) == sorted(layers)


def test_modules_of_others_are_left_alone() -> None:
    """What is inside them may be used otherwise than one after the other."""

    class Theirs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.BatchNorm2d(16), nn.ReLU())

        def forward(self, x: Tensor) -> Tensor:
            return self.body[0](x)

    theirs = Theirs()
    assert quick(nn.Sequential(theirs))[0] is theirs


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """A function after which there is no compiler."""

    def remove() -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        build.kernels.cache_clear()

    yield remove
    monkeypatch.undo()
    build.kernels.cache_clear()


def test_a_run_says_how_it_was_computed(tmp_path: Path, no_compiler: Any) -> None:
    def trained(name: str, *settings: str) -> str:
        out = tmp_path / name
        command = ("train", "digits", *TINY, "--steps", "2", "--set", "precision=bfloat16", *settings, "--out", out)
        assert run(*command).code == 0
        return json.loads((out / "run.json").read_text())["environment"]["kernels"]

    found = kernels()
    assert found is not None
    assert trained("own") == found.compiler
    assert trained("torch", "--set", "kernels=torch") == "torch"
    no_compiler()
    assert trained("none") == "torch"


COMMAND = ("digits", *TINY, "--steps", "30", "--set", "precision=bfloat16")


def test_a_run_goes_on_as_it_was_begun(tmp_path: Path) -> None:
    """Without our routines where it was begun without them, though there is a compiler now."""
    assert run("train", *COMMAND, "--set", "kernels=torch", "--out", tmp_path / "whole").code == 0
    begun = start(
        tmp_path / "log", "train", *COMMAND, "--out", tmp_path / "part", death=Death("replace", 1, after=True)
    )
    assert begun.wait() == -9, begun.text()
    facts = record(tmp_path / "part")
    assert facts["environment"]["kernels"] != "torch"
    facts["environment"]["kernels"] = "torch"
    (tmp_path / "part" / "run.json").write_text(json.dumps(facts))
    assert run("train", "--resume", tmp_path / "part").code == 0
    assert not different_tensors(tmp_path / "whole", tmp_path / "part")


def test_a_run_that_cannot_go_on_so_says_it(tmp_path: Path, no_compiler: Any) -> None:
    begun = start(tmp_path / "log", "train", *COMMAND, "--out", tmp_path / "run", death=Death("replace", 3, after=True))
    assert begun.wait() == -9, begun.text()
    no_compiler()
    resumed = run("train", "--resume", tmp_path / "run")
    assert resumed.code == 0, resumed.err
    assert "from here on with those by torch" in resumed.err

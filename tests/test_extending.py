"""Parts from outside the package: the page about them runs as it stands, and what is wrong with one is said."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import residuum
from commands import refused
from residuum import artifact, catalog, plan
from residuum.artifact import Artifact
from residuum.catalog.others import Xception
from residuum.data.preprocessing import Preprocessing
from residuum.nets.network import make_network
from residuum.nets.norms import Norm as NormModule
from residuum.plan import Attention, Branch, Builder, ConvPlan, Layer, Norm, Part, Place, Scale, make_plan
from residuum.spec import NetworkSpec, Stage
from runs import different_tensors, record

PAGE = Path(__file__).resolve().parents[1] / "docs" / "extending.md"


@dataclass(frozen=True)
class Mine(Attention):
    """y = x * sigmoid(1x1 convolution to one map)."""

    def lower(self, at: Builder) -> None:
        factor = at.fork()
        factor.pointwise(1)
        factor.act(variant="sigmoid")
        at.append(Scale("attention", factor.chain("factor")))


class Learned(nn.Module):
    """x * weight, without anything that sets the weight."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight.view(-1, *(1,) * (x.ndim - 2))


class Settled(Learned):
    def reset_parameters(self) -> None:
        nn.init.constant_(self.weight, 0.5)


class SettledNorm(NormModule):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight.view(-1, *(1,) * (x.ndim - 2))

    def reset_parameters(self) -> None:
        nn.init.constant_(self.weight, 0.5)


def leaf(base: type[Part], made: type[nn.Module], count: int = 1) -> Part:
    """A norm or activation that makes such modules and claims `count` numbers for each channel."""

    @dataclass(frozen=True)
    class Outside(base):  # type: ignore[valid-type, misc]
        def parameters(self, layer: Layer) -> int:
            return count * layer.outputs

        def module(self, layer: Layer) -> nn.Module:
            return made(layer.outputs)

    return Outside()


# The page ------------------------------------------------------------------------------------------------------


@pytest.fixture
def in_a_module(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """A script of a user's, run in a folder of its own."""
    module = ModuleType("extending")
    monkeypatch.setitem(sys.modules, "extending", module)
    monkeypatch.chdir(tmp_path)
    return module


def test_every_block_of_the_page_runs_in_order(in_a_module: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    text = PAGE.read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert len(blocks) >= 7
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), vars(in_a_module))
    (said,) = re.findall(r"```text\n(.*?)```", text, flags=re.DOTALL)
    assert said in capsys.readouterr().out
    run = record(Path("runs/mine"))
    assert run["spec"]["attention"] == {"part": "Positions", "reduction": 4}
    assert run["spec"]["norm"] == {"part": "Groups", "size": 4}
    assert "Positions" in Path("runs/mine/report.html").read_text()
    model = Path("runs/mine/model.safetensors")
    assert said.strip() == refused("predict", model, "picture.jpg")
    assert "residuum.train" in refused("train", "--resume", "runs/mine")


def test_the_pages_table_has_every_axis_that_takes_a_part() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \| (.*?) \| .*? \|$", PAGE.read_text(), flags=re.MULTILINE)
    assert {axis for axis, _, _ in rows} == set(plan.lowering.AXIS_PARTS)
    for axis, name, gives in rows:
        cls = getattr(plan, name)
        assert cls is plan.lowering.AXIS_PARTS[axis] or axis == "activation"
        methods = re.findall(r"`(\w+)[(`]", gives)
        assert methods
        assert all(hasattr(plan.Leaf if axis == "activation" else cls, method) for method in methods)


# Training and reading ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> residuum.run.Run:
    """A finished training of a network with a part of ours in one stage and another in all."""
    stages = (Stage(1, 16), Stage(1, 24, 2, branch=Doubled()))
    axes = {"stages": stages, "attention": Mine()}
    out = tmp_path_factory.mktemp("outside") / "run"
    return residuum.train("digits", model="resnet20", axes=axes, recipe="debug", steps=2, out=out)


@dataclass(frozen=True)
class Doubled(Branch):
    """One convolution of `times` the width, one of the width."""

    times: int = 2

    def convs(self, spec: NetworkSpec, place: Place) -> tuple[ConvPlan, ...]:
        return ConvPlan(self.times * place.width, 3, place.stride), ConvPlan(place.width, 3)


def test_a_part_is_found_wherever_it_stands_in_a_spec(run: Any) -> None:
    spec = residuum.load(run.model, using=[Mine, Doubled]).artifact.spec
    assert spec.stages[1].branch == Doubled()
    assert spec.attention == Mine()
    with pytest.raises(residuum.UserError, match=r"not known.*: Doubled; .*using=\[Doubled\]"):
        residuum.load(run.model, using=[Mine])


def test_a_resumed_run_ends_with_the_same_weights(run: Any, tmp_path: Path) -> None:
    facts = run.read()
    again = tmp_path / "again"
    _interrupted(run.folder, again, facts)
    with pytest.raises(residuum.UserError, match=r"using=\[Doubled, Mine\]"):
        residuum.train(resume=again)
    residuum.train(resume=again, using=[Mine, Doubled])
    assert different_tensors(run.folder, again) == []
    _interrupted(run.folder, tmp_path / "other", facts)
    with pytest.raises(residuum.UserError, match="cannot change --attention"):
        residuum.train(resume=tmp_path / "other", using=[Mine, Doubled], axes={"attention": "se"})


def _interrupted(folder: Path, copy: Path, facts: dict[str, Any]) -> None:
    """The run as it was after its last checkpoint."""
    (copy / "checkpoints").mkdir(parents=True)
    for name in ("metrics.jsonl", "checkpoints/last.safetensors"):
        (copy / name).write_bytes((folder / name).read_bytes())
    (copy / "run.json").write_text(json.dumps(facts | {"status": "stopped"}))


def test_parts_of_the_catalogue_are_known_to_whoever_reads_a_file(tmp_path: Path) -> None:
    spec = catalog.spec("resnet20", stages=(Stage(1, 16, branch=Xception(2)),), size=16)
    network = make_network(make_plan(spec))
    view = Preprocessing((16, 16), 16, 3, (0.0,) * 3, (1.0,) * 3)
    artifact.save(Artifact(spec, tuple("abcdefghij"), view, network.state_dict()), tmp_path / "m")
    probe = f"from residuum.inference import load; print(load({str(tmp_path / 'm')!r}).classes[0])"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False)
    assert done.stdout == "a\n", done.stderr


# Weights -------------------------------------------------------------------------------------------------------


def test_no_weight_is_left_as_memory_had_it() -> None:
    axes: dict[str, Any] = {"norm": leaf(Norm, SettledNorm), "activation": leaf(Part, Settled), "attention": Mine()}
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)  # torch fills new memory with NaN then
    try:
        network = residuum.build("resnet20", **axes)
    finally:
        torch.use_deterministic_algorithms(before)
    assert all(torch.isfinite(tensor).all() for tensor in network.state_dict().values())
    set_by_us = [m for m in network.modules() if isinstance(m, (Settled, SettledNorm))]
    assert len(set_by_us) == 19 + 19
    assert all((module.weight == 0.5).all() for module in set_by_us)


def test_a_norm_from_outside_is_a_norm_for_weight_decay_and_for_the_beginning() -> None:
    from residuum.training.optimizer import make_optimizer
    from residuum.training.recipe import SGD

    network = residuum.build("resnet20", norm=leaf(Norm, SettledNorm))
    weights, spared = make_optimizer(network, SGD(decay_norms_and_biases=False)).param_groups
    assert all(p.ndim > 1 for p in weights["params"])
    assert len(spared["params"]) == 19 + 1
    convs = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert all(conv.weight.any() for conv in convs)  # Fixup, which begins at zero, is for nets without norms


def test_what_a_part_counts_is_what_its_network_has() -> None:
    for axes in ({"attention": Mine()}, {"branch": Doubled(3)}, {"norm": leaf(Norm, SettledNorm)}):
        network = residuum.build("resnet20", **axes)
        assert network.plan.parameters == sum(p.numel() for p in network.parameters())


# What is wrong with a part -------------------------------------------------------------------------------------


class Undecorated(Attention):
    def lower(self, at: Builder) -> None:
        """Nothing."""


@dataclass
class Melted(Undecorated):
    pass


@dataclass(frozen=True)
class Flat(Branch):
    """Forgets the stride."""

    def convs(self, spec: NetworkSpec, place: Place) -> tuple[ConvPlan, ...]:
        return (ConvPlan(place.width, 3),)


@dataclass(frozen=True)
class Secretive(Branch):
    """Does not say what leaves it."""

    def outputs(self, spec: NetworkSpec, stage: Stage, inputs: int) -> int:
        return 2 * inputs

    def lower(self, at: Builder, spec: NetworkSpec, place: Place, activated: bool) -> None:
        at.conv(place.width, 3, place.stride)


@dataclass(frozen=True)
class Twice(Attention):
    def lower(self, at: Builder) -> None:
        Mine().lower(at)
        Mine().lower(at)


@dataclass(frozen=True)
class SqueezeExcite(Attention):
    """Called as one of the package's own is, which a file could not tell apart."""

    def lower(self, at: Builder) -> None:
        """Nothing."""


@pytest.mark.parametrize(
    ("axes", "sentence"),
    [
        ({"attention": Mine}, r"attention is the class Mine: make a value of it, Mine\(\)"),
        ({"attention": Undecorated()}, r"attention is a Undecorated, .*@dataclass\(frozen=True\)"),
        ({"attention": Melted()}, r"attention is a Melted, .*@dataclass\(frozen=True\)"),
        ({"attention": SqueezeExcite()}, "give the class another name"),
        ({"attention": Doubled()}, "attention is a Doubled: use a part of class Attention"),
        ({"norm": Mine()}, "norm is a Mine: use a part of class Norm"),
        ({"activation": Mine()}, r"activation is a Mine: use a part with parameters\(layer\) and module\(layer\)"),
        ({"stem": Mine()}, "stem is a Mine: use a part of class StemPart"),
        ({"stages": (Stage(1, 16, branch=Mine()),)}, "branch of stage 1 is a Mine: use a part of class Branch"),
        ({"branch": Flat()}, r"block 1 of stage 2 .*\(32, 32\) .*\(16, 16\).*place.stride"),
        ({"branch": Secretive()}, r"block 1 of stage 1 .* 16 channels .* 32 of .*outputs\(\)"),
        ({"attention": Twice()}, "two layers of a branch are called attention"),
        ({"branch": Doubled(), "groups": 4}, "groups is for"),
        ({"branch": Doubled(), "base_width": 32}, "base_width is for"),
        ({"stages": (Stage(1, 16, dilation=2, branch=Doubled()),)}, "dilation of stage 1 is 2"),
        ({"stages": (Stage(1, 16, kernel=5, branch=Doubled()),)}, "kernel of stage 1 is 5"),
        ({"norm": leaf(Norm, Settled)}, r"makes a Settled, .*residuum\.nets\.norms\.Norm"),
        ({"activation": leaf(Part, Learned)}, r"Learned of Outside .*reset_parameters\(\)"),
        ({"norm": leaf(Norm, SettledNorm, 2)}, r"Outside.parameters\(layer\) is 32 where its module learns 16"),
        ({"activation": leaf(Part, nn.PReLU, 0)}, r"Outside.parameters\(layer\) is 0 where its module learns 16"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_a_part_that_cannot_work_is_refused_before_anything_is_trained(axes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(residuum.UserError, match=sentence) as error:
        residuum.build("resnet20", **axes)
    assert "\n" not in str(error.value)


def test_the_fields_of_a_part_are_checked_on_reading() -> None:
    data = json.loads(json.dumps(residuum.config.to_dict(catalog.spec("resnet20", branch=Doubled(3)))))
    assert plan.read_spec(data, "spec", [Doubled]).branch == Doubled(3)
    data["branch"] |= {"times": "three", "time": 3}
    with pytest.raises(residuum.UserError, match=r'branch\.times: .*"branch\.time"'):
        plan.read_spec(data, "spec", [Doubled])

"""Weights of the Hugging Face Hub: a fake of its library gives files of a folder, a real one finds no network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from commands import Outcome, refused, run
from residuum.inference import load
from samples import tiny_network

SMALL = ("--model", "resnet20", "--depth", "8")
VIEW = {"input_size": [3, 16, 16], "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "crop_pct": 0.8}


class RepositoryNotFoundError(Exception):
    pass


class HFValidationError(ValueError):
    pass


class Hub:
    """Repositories as folders; what was fetched, in order."""

    def __init__(self, root: Path) -> None:
        self.root, self.fetched = root, []
        self.reachable = True

    def head(self, url: str, timeout: float) -> None:
        assert timeout <= 10
        if not self.reachable:
            raise ConnectionError("[Errno -2] Name or service not known\nfor url")

    def list_repo_files(self, repo_id: str) -> list[str]:
        if " " in repo_id:
            raise HFValidationError(repo_id)
        folder = self.root / repo_id
        if not folder.is_dir():
            raise RepositoryNotFoundError("401 Client Error\nRepository Not Found")
        return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())

    def hf_hub_download(self, repo_id: str, filename: str) -> str:
        self.fetched.append(filename)
        return str(self.root / repo_id / filename)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """The library, replaced."""
    fake, module, errors = Hub(tmp_path / "hub"), ModuleType("huggingface_hub"), ModuleType("huggingface_hub.errors")
    vars(module).update(
        list_repo_files=fake.list_repo_files,
        hf_hub_download=fake.hf_hub_download,
        get_session=lambda: fake,
        constants=SimpleNamespace(ENDPOINT="https://hub.example"),
        errors=errors,
    )
    vars(errors).update(RepositoryNotFoundError=RepositoryNotFoundError, HFValidationError=HFValidationError)
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    monkeypatch.setitem(sys.modules, "huggingface_hub.errors", errors)
    return fake


def repository(hub: Hub, *files: str, config: Any = None, seed: int = 0) -> Path:
    """tiny/net with the same weights of three classes under each name."""
    folder = hub.root / "tiny" / "net"
    state = dict(tiny_network(seed, classes=3).state_dict())
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".safetensors"):
            save_file(state, folder / name)
        else:
            torch.save(state, folder / name)
    if config is not None:
        (folder / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    return folder


def fetch(out: Path, argument: str = "hub:tiny/net", *options: object) -> Outcome:
    return run("import", argument, *SMALL, *options, "--out", out)


def test_a_repository_of_timm_brings_preprocessing_and_class_names(hub: Hub, tmp_path: Path) -> None:
    labels = ["ant", "bee", "cat"]
    config = {"architecture": "resnet20", "num_classes": 3, "label_names": labels, "pretrained_cfg": VIEW}
    repository(hub, "model.safetensors", "pytorch_model.bin", config=config)
    outcome = fetch(tmp_path / "m")
    assert outcome.code == 0, outcome
    assert "resnet20" in outcome.err
    for word in ("--mean", "--classes-file"):
        assert word not in outcome.err
    content = load(tmp_path / "m").artifact
    view = content.preprocessing
    assert (view.size, view.resize, view.mean, view.std) == ((16, 16), 20, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert content.classes == ("ant", "bee", "cat")
    assert content.spec.input_size() == (16, 16)
    assert content.training["imported_from"] == "hub:tiny/net/model.safetensors"
    assert hub.fetched == ["model.safetensors", "config.json"]
    expected = tiny_network(0, classes=3).state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in content.tensors.items())


def test_what_is_said_on_the_command_line_wins(hub: Hub, tmp_path: Path) -> None:
    repository(hub, "model.safetensors", config={"pretrained_cfg": VIEW, "label_names": ["a", "b", "c"]})
    (tmp_path / "names").write_text("x\ny\nz")
    options = ("--size", "24", "--mean", "0", "0", "0", "--std", "1", "1", "1", "--classes-file", tmp_path / "names")
    assert fetch(tmp_path / "m", "hub:tiny/net", *options).code == 0
    content = load(tmp_path / "m").artifact
    assert content.preprocessing.size == (24, 24)
    assert content.preprocessing.mean == (0, 0, 0)
    assert content.classes == ("x", "y", "z")


def test_without_a_config_it_is_as_from_a_file(hub: Hub, tmp_path: Path) -> None:
    repository(hub, "weights/model.pth")
    outcome = fetch(tmp_path / "m", "hub:tiny/net", "--size", "16")
    assert outcome.code == 0
    assert "--mean" in outcome.err
    assert "called 0 to 2" in outcome.err


@pytest.mark.parametrize(
    ("files", "argument", "chosen"),
    [
        (("a.bin", "model.safetensors", "other.safetensors"), "hub:tiny/net", "model.safetensors"),
        (("pytorch_model.bin", "only.safetensors"), "hub:tiny/net", "only.safetensors"),
        (("pytorch_model.bin", "other.pth"), "hub:tiny/net", "pytorch_model.bin"),
        (("deep/only.pth",), "hub:tiny/net", "deep/only.pth"),
        (("a.pth", "deep/b.pth"), "hub:tiny/net/deep/b.pth", "deep/b.pth"),
    ],
)
def test_which_file_is_taken(files: tuple[str, ...], argument: str, chosen: str, hub: Hub, tmp_path: Path) -> None:
    repository(hub, *files)
    assert fetch(tmp_path / "m", argument).code == 0
    assert hub.fetched == [chosen]


@pytest.mark.parametrize(
    ("view", "word"),
    [({"interpolation": "bicubic"}, "bicubic"), ({"crop_mode": "squash"}, "squash"), ({}, "")],
)
def test_what_is_not_heeded_is_said(view: dict[str, Any], word: str, hub: Hub, tmp_path: Path) -> None:
    repository(hub, "model.safetensors", config={"pretrained_cfg": VIEW | view})
    outcome = fetch(tmp_path / "m")
    assert outcome.code == 0
    assert word in outcome.err
    assert word or "here" not in outcome.err


def test_what_cannot_be_chosen_or_read_is_refused(hub: Hub, tmp_path: Path) -> None:
    def refuses(argument: str, *words: str) -> None:
        message = refused("import", argument, *SMALL, "--out", tmp_path / "m")
        assert all(word in message for word in words), message
        assert not (tmp_path / "m").exists()

    folder = repository(hub, "a.pth", "b.pth")
    refuses("hub:tiny/net", "several", "a.pth, b.pth", "hub:tiny/net/a.pth")
    refuses("hub:tiny/net/c.pth", "no such file")
    refuses("hub:tiny", "OWNER/NAME")
    refuses("hub:", "OWNER/NAME")
    refuses("hub:tiny/nowhere", "tiny/nowhere", "no repository")
    refuses("hub:tiny/a b", "no repository")
    (folder / "a.pth").unlink()
    (folder / "b.pth").rename(folder / "b.onnx")
    refuses("hub:tiny/net", "no weights")
    for config in ("{", "[]", '{"mean": "grey"}', '{"input_size": [3]}', '{"pretrained_cfg": {"crop_pct": [1]}}'):
        if "crop" in config:
            config = config.replace("{}", "").replace('"crop_pct"', '"input_size": [3, 16, 16], "crop_pct"')
        repository(hub, "model.safetensors", config=config)
        refuses("hub:tiny/net", "config.json", "--mean")
    repository(hub, "model.safetensors", config={"label_names": ["a", "b"]})
    refuses("hub:tiny/net", "2 classes", "3")


def test_a_repository_runs_no_code(hub: Hub, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "pwned"),)

    repository(hub, "model.pth")
    torch.save({"state_dict": Bomb()}, hub.root / "tiny" / "net" / "model.pth")
    assert "refused" in refused("import", "hub:tiny/net", *SMALL, "--out", tmp_path / "m")
    assert not (tmp_path / "pwned").exists()


def test_out_of_reach_and_without_the_library(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.reachable = False
    message = refused("import", "hub:tiny/net", *SMALL, "--out", tmp_path / "m")
    assert "https://hub.example" in message
    assert "Name or service not known" in message
    assert hub.fetched == []
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert 'pip install "residuum[hub]"' in refused("import", "hub:tiny/net", *SMALL, "--out", tmp_path / "m")


def test_the_real_library_without_a_network_fails_soon_and_in_one_sentence(tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    environment = os.environ | {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "residuum", "import", "hub:timm/resnet18.a1_in1k", "--model", "resnet18"]
    began = time.monotonic()
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "m")], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("residuum: hub:timm/resnet18.a1_in1k cannot be fetched from http://127.0.0.1:9 (")
    assert done.stderr.count("\n") == 1
    assert time.monotonic() - began < 60

"""Foreign weights: read without running anything, loaded whole or not at all, and what does not fit is named."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from residuum.catalog import spec
from residuum.errors import UserError
from residuum.nets.naming import SCHEMES
from residuum.nets.network import Network, make_network
from residuum.nets.weights import load_weights, read_weights, recognise
from residuum.plan import NetworkPlan, make_plan
from residuum.spec import DEEP_STEM, AnySpec, NetworkSpec, Stage, Stem, StemConv

SMALL = NetworkSpec(Stem((StemConv(8, 3),)), (Stage(2, 8), Stage(2, 16, 2)), size=8, classes=3)
PLAN = make_plan(SMALL)

State = dict[str, Tensor]


def randomised(plan: NetworkPlan) -> State:
    """A state dict in which every number tells its place."""
    state = make_network(plan).state_dict()
    return {key: torch.rand(value.shape) if value.is_floating_point() else value + 7 for key, value in state.items()}


def in_scheme(plan: NetworkPlan, state: State, scheme: str) -> State:
    (names,) = (found.rename(plan) for found in SCHEMES if found.name == scheme)
    return {f"{names[key.rpartition('.')[0]]}.{key.rpartition('.')[2]}": value for key, value in state.items()}


def equal(network: Network, state: State) -> bool:
    ours = network.state_dict()
    return ours.keys() == state.keys() and all(torch.equal(ours[key], state[key]) for key in ours)


def snapshot(network: Network) -> State:
    return {key: value.clone() for key, value in network.state_dict().items()}


def shallow(name: str) -> NetworkSpec:
    """A network of the catalogue with one block in each stage."""
    found = spec(name, classes=3)
    assert isinstance(found, NetworkSpec)
    return replace(found, stages=tuple(replace(stage, depth=1) for stage in found.stages))


NETWORKS: list[tuple[str, AnySpec]] = [
    *(
        (scheme, replace(SMALL, **axes))
        for scheme in ("residuum", "torchvision", "CIFAR third-party")
        for axes in ({}, {"branch": "bottleneck"}, {"order": "pre"}, {"shortcut": "D"}, {"shortcut": "A"},
                     {"attention": "se"}, {"attention": "eca"}, {"branch": "res2net"}, {"stem": DEEP_STEM, "size": 32})
    ),
    ("torchvision video", replace(shallow("r3d_18"), size=(4, 16, 16))),
    ("torchvision video", replace(shallow("r2plus1d_18"), size=(4, 16, 16))),
    ("torchvision DenseNet", shallow("densenet121")),
    ("torchvision DenseNet, old", shallow("densenet121")),
    ("torchvision MobileNetV2", shallow("mobilenet_v2")),
    ("torchvision GoogLeNet", spec("googlenet", classes=3)),
    ("torchvision sequence", spec("squeezenet1_1", classes=3)),
    ("timm ResNetV2", shallow("resnetv2_50")),
    ("timm DarkNet", shallow("darknet53")),
    ("timm Xception", shallow("legacy_xception")),
    ("timm Inception-ResNet", shallow("inception_resnet_v2")),
]  # fmt: skip


@pytest.mark.parametrize(("scheme", "described"), NETWORKS, ids=lambda value: value if isinstance(value, str) else "")
def test_each_scheme_is_recognised_and_brings_every_number_home(scheme: str, described: AnySpec) -> None:
    plan = make_plan(described)
    state = randomised(plan)
    foreign = in_scheme(plan, state, scheme)
    assert len(foreign) == len(state)
    assert recognise(plan, foreign).name == scheme
    network = make_network(plan)
    assert load_weights(network, plan, foreign, "x.pth").name == scheme
    assert equal(network, state)


def test_every_scheme_is_tried_here() -> None:
    assert {scheme for scheme, _ in NETWORKS} == {scheme.name for scheme in SCHEMES}


@pytest.mark.parametrize(
    "axes",
    [{"norm": "ibn_a"}, {"norm": "switchable"}, {"norm": "filter_response", "activation": "tlu"}, {"merge": "gate"},
     {"attention": "cbam"}, {"order": "pre", "attention": "shrink_channel"}, {"merge": "shake_shake"}],
    ids=str,
)  # fmt: skip
def test_our_own_names_bring_every_number_home_whatever_the_layer_is_made_of(axes: dict[str, object]) -> None:
    plan = make_plan(replace(SMALL, **axes))
    state = randomised(plan)
    network = make_network(plan)
    assert load_weights(network, plan, state, "x.pth").name == "residuum"
    assert equal(network, state)


def test_ones_at_the_end_of_a_shape_do_not_count() -> None:
    state = randomised(PLAN)
    foreign = state | {"head.fc.weight": state["head.fc.weight"][..., None, None]}
    name = "stage2.block1.shortcut.conv.weight"
    foreign[name] = state[name].squeeze()
    assert foreign[name].ndim == 2
    network = make_network(PLAN)
    load_weights(network, PLAN, foreign, "x.pth")
    assert equal(network, state)
    for shape in (3, 16, 2, 1), (3, 16, 1, 2), (1, 3, 16), (16, 3), (48,):
        with pytest.raises(UserError, match=r"instead of \(3, 16\)"):
            load_weights(network, PLAN, foreign | {"head.fc.weight": torch.zeros(shape)}, "x.pth")


def plain(state: State) -> object:
    return state


def prefixed(state: State) -> object:
    return {f"module.{key}": value for key, value in state.items()}


def wrapped(state: State) -> object:
    return {"epoch": 3, "arch": "resnet", "state_dict": prefixed(state)}


def wrapped_with_a_tensor(state: State) -> object:
    """As PyTorch's ImageNet example saves it: the best accuracy is a tensor too."""
    return {"epoch": 3, "best_acc1": torch.tensor(76.1), "state_dict": state, "optimizer": {"state": {}}}


def wrapped_twice(state: State) -> object:
    return {"model": {"state_dict": {f"_orig_mod.module.{key}": value for key, value in state.items()}}}


@pytest.mark.parametrize("form", [plain, prefixed, wrapped, wrapped_with_a_tensor, wrapped_twice])
@pytest.mark.parametrize("suffix", [".pth", ".th", ".pt", ".bin"])
def test_wrappers_and_prefixes_come_off(tmp_path: Path, form: object, suffix: str) -> None:
    state = randomised(PLAN)
    path = tmp_path / f"weights{suffix}"
    torch.save(form(in_scheme(PLAN, state, "torchvision")), path)  # type: ignore[operator]
    network = make_network(PLAN)
    load_weights(network, PLAN, read_weights(path), path.name)
    assert equal(network, state)


def test_safetensors_are_read(tmp_path: Path) -> None:
    state = randomised(PLAN)
    save_file(in_scheme(PLAN, state, "CIFAR third-party"), tmp_path / "w.safetensors")
    network = make_network(PLAN)
    load_weights(network, PLAN, read_weights(tmp_path / "w.safetensors"), "w")
    assert equal(network, state)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_converted(tmp_path: Path, dtype: torch.dtype) -> None:
    state = {k: v.to(dtype) if v.is_floating_point() else v for k, v in randomised(PLAN).items()}
    torch.save(state, tmp_path / "w.pth")
    network = make_network(PLAN)
    load_weights(network, PLAN, read_weights(tmp_path / "w.pth"), "w")
    assert all(p.dtype == torch.float32 for p in network.parameters())
    assert equal(network, {k: v.to(torch.float32) if v.is_floating_point() else v for k, v in state.items()})


def test_files_without_a_count_of_batches_fit() -> None:
    state = {key: value for key, value in randomised(PLAN).items() if not key.endswith("num_batches_tracked")}
    network = make_network(PLAN)
    load_weights(network, PLAN, in_scheme(PLAN, state, "torchvision"), "old.pth")
    assert all(torch.equal(network.state_dict()[key], value) for key, value in state.items())


def test_what_does_not_fit_is_named_with_its_shape_and_nothing_is_loaded() -> None:
    state = in_scheme(PLAN, randomised(PLAN), "torchvision")
    del state["layer1.0.conv1.weight"]
    state["fc.weight"] = torch.zeros(10, 16)
    state["layer9.0.conv1.weight"] = torch.zeros(4, 5, 3, 3)
    state["conv1.gamma"] = torch.zeros(6)
    network = make_network(PLAN)
    before = snapshot(network)
    with pytest.raises(UserError) as error:
        load_weights(network, PLAN, state, "w.pth")
    message = str(error.value)
    for part in (
        "w.pth", "torchvision", "nothing was loaded", "missing: stage1.block1.branch.conv1.weight (8, 8, 3, 3)",
        "head.fc.weight (10, 16) instead of (3, 16)", "layer9.0.conv1.weight (4, 5, 3, 3)", "gamma (6,)",
    ):  # fmt: skip
        assert part in message
    assert "\n" not in message
    assert equal(network, before)


def test_weights_of_another_network_are_refused_and_nothing_is_loaded() -> None:
    deeper = make_plan(replace(SMALL, stages=(Stage(3, 8), Stage(2, 16, 2))))
    for foreign, plan in ((deeper, PLAN), (PLAN, deeper)):
        network = make_network(plan)
        before = snapshot(network)
        with pytest.raises(UserError, match="block3" if plan is deeper else "layer1.2"):
            load_weights(network, plan, in_scheme(foreign, randomised(foreign), "torchvision"), "w")
        assert equal(network, before)


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("name", ["evil.pth", "evil.th", "evil.safetensors", "evil"])
@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_bomb_is_refused_and_not_executed(tmp_path: Path, name: str, legacy: bool) -> None:
    torch.save({"state_dict": Bomb(tmp_path / "pwned")}, tmp_path / name, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(UserError) as error:
        read_weights(tmp_path / name)
    assert name in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("part", [0.0, 0.01, 0.5, 0.99])
def test_a_cut_file_is_refused_by_name(tmp_path: Path, suffix: str, part: float) -> None:
    whole, cut = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}"
    save_file(randomised(PLAN), whole) if suffix == ".safetensors" else torch.save(randomised(PLAN), whole)
    content = whole.read_bytes()
    cut.write_bytes(content[: int(len(content) * part)])
    read_weights(whole)
    with pytest.raises(UserError, match=rf"cut\{suffix}"):
        read_weights(cut)


@pytest.mark.parametrize("content", [[1, 2], {}, {"epoch": 3}, {"state_dict": {}}, {"state_dict": [1]}, torch.ones(3)])
def test_a_file_without_weights_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "odd\nname.pth")
    with pytest.raises(UserError, match=r"odd\\nname.*state_dict\(\)"):
        read_weights(tmp_path / "odd\nname.pth")


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.pth", tmp_path):
        with pytest.raises(UserError, match="no such weights file"):
            read_weights(path)


@pytest.mark.realdata
def test_third_party_weights_are_right_on_real_pictures(realdata: Path) -> None:
    plan = make_plan(spec("resnet20"))
    network = make_network(plan)
    state = read_weights(realdata / "reference" / "resnet20-12fca82f.th")
    assert load_weights(network, plan, state, "resnet20-12fca82f.th").name == "CIFAR third-party"
    network = network.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    pictures = right = 0
    for path in sorted((realdata / "cifar10_lossless").glob("data_batch_*.npz")):
        batch = np.load(path)
        for images, labels in zip(np.split(batch["images"], [512]), np.split(batch["labels"], [512]), strict=True):
            x = (torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - mean) / std
            with torch.inference_mode():
                right += int((network(x).argmax(1).numpy() == labels).sum())
            pictures += len(labels)
    assert pictures == 5085
    assert right / pictures >= 0.97

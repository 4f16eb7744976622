"""Weights of other libraries, renamed by maps that are derived from the plan (`residuum.nets.naming`).

Reading a file never runs pickle code: .safetensors, or torch's weights-only unpickler for .pth, .pt, .th, .bin.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from residuum.errors import UserError, shown
from residuum.nets.naming import SCHEMES, Scheme
from residuum.plan import NetworkPlan

PREFIXES = ("module.", "_orig_mod.", "model.", "network.", "backbone.")
WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "state_dict_ema")


def read_weights(path: Path) -> dict[str, Tensor]:
    """The state dict of a file, on the CPU, freed of wrappers and prefixes; nothing in the file is executed."""
    if not path.is_file():
        raise UserError(f"{shown(path)}: there is no such weights file")
    if path.suffix.lower() == ".safetensors":
        try:
            return _strip(load_file(path))
        except (SafetensorError, OSError, ValueError) as error:
            raise UserError(f"{shown(path)} is not a whole safetensors file ({error}); copy it again") from None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises whatever a hostile or cut file makes it raise
        # torch's own advice, to load it all the same, is the last thing to pass on
        raise UserError(
            f"{shown(path)} was refused ({type(error).__name__}): it is damaged or holds more than tensors, which "
            f"could run code; ask for a state dict saved as .safetensors"
        ) from None
    return _strip(_unwrap(content, path))


def _unwrap(content: Any, path: Path) -> dict[str, Tensor]:
    while isinstance(content, Mapping):  # other entries (epoch, best accuracy) may be tensors too
        inner = next((content[key] for key in WRAPPERS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            break
        content = inner
    if not isinstance(content, Mapping):
        raise UserError(f"{shown(path)} holds a {type(content).__name__}, not a state dict; save model.state_dict()")
    tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise UserError(f"{shown(path)} holds no tensors; save model.state_dict()")
    return tensors


def _strip(state: dict[str, Tensor]) -> dict[str, Tensor]:
    changed = True
    while changed:
        changed = False
        for prefix in PREFIXES:
            if state and all(key.startswith(prefix) for key in state):
                state = {key.removeprefix(prefix): value for key, value in state.items()}
                changed = True
    return state


def recognise(plan: NetworkPlan, state: Mapping[str, Tensor]) -> Scheme:
    """The scheme under which most of the file's tensors have a place in the plan."""

    def matches(scheme: Scheme) -> int:
        places = set(scheme.rename(plan).values())
        return sum(key.rpartition(".")[0] in places for key in state)

    return max(SCHEMES, key=matches)


def load_weights(network: nn.Module, plan: NetworkPlan, state: Mapping[str, Tensor], source: str) -> Scheme:
    """Put a foreign state dict into a network, all or nothing; UserError lists what does not fit."""
    scheme = recognise(plan, state)
    target = network.state_dict()
    ours = _their_keys(plan, scheme, target)
    renamed = {ours[key]: _shaped(value, target[ours[key]].shape) for key, value in state.items() if key in ours}
    unknown = [
        f"{key} {tuple(value.shape)}"
        for key, value in state.items()
        if key not in ours and not key.startswith(scheme.auxiliary)
    ]
    # a count of batches seen is no weight, and older files lack it
    missing = [
        f"{key} {tuple(value.shape)}"
        for key, value in target.items()
        if key not in renamed and not key.endswith("num_batches_tracked")
    ]
    wrong = [
        f"{key} {tuple(value.shape)} instead of {tuple(target[key].shape)}"
        for key, value in renamed.items()
        if value.shape != target[key].shape
    ]
    unusable = [f"{key} {why}" for key, value in renamed.items() if (why := _unusable(value, target[key]))]
    found = [
        f"{title}: {_some(names)}"
        for title, names in (
            ("missing", missing),
            ("wrong shape", wrong),
            ("unusable values", unusable),
            ("not in this network", unknown),
        )
        if names
    ]
    if found:
        raise UserError(
            f"{source} does not fit the network (names read as {scheme.name} style), and nothing was loaded; "
            + "; ".join(found)
        )
    network.load_state_dict(renamed, strict=False)
    return scheme


def _their_keys(plan: NetworkPlan, scheme: Scheme, target: Mapping[str, Tensor]) -> dict[str, str]:
    """{their key: ours}, for the layers that the scheme has a name for."""
    names, layers = scheme.rename(plan), {layer.name for layer in plan.layers}
    keys: dict[str, str] = {}
    for key in target:
        layer = key.rpartition(".")[0]
        while layer and layer not in layers:  # some layers, like IBN's norms, are made of several modules
            layer = layer.rpartition(".")[0]
        if layer in names:
            keys[names[layer] + key.removeprefix(layer)] = key
    return keys


def _shaped(value: Tensor, shape: torch.Size) -> Tensor:
    """A classifier may be a 1x1 convolution elsewhere, and a 1x1 convolution a matrix: ones at the end do not count."""
    ndim = max(value.ndim, len(shape))
    theirs, ours = ((*sides, *(1,) * (ndim - len(sides))) for sides in (value.shape, shape))
    return value.reshape(shape) if theirs == ours and value.layout == torch.strided else value


def _unusable(value: Tensor, target: Tensor) -> str:
    """Why a tensor of the right name cannot be a weight, or nothing."""
    if value.layout != torch.strided or value.is_meta or value.is_quantized:
        return "is not a dense tensor"
    if target.is_floating_point() and not value.is_floating_point():
        return f"is {value.dtype}"
    return "" if not value.is_floating_point() or torch.isfinite(value).all() else "is not finite"


def _some(names: list[str], most: int = 20) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")

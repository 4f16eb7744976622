"""Checkpoints: everything needed to go on, in one safetensors file, written whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from residuum.errors import UserError, shown
from residuum.files import write_atomic


def save_checkpoint(
    path: Path,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: dict[str, Any],
    average: nn.Module | None = None,
) -> None:
    """Write weights, their moving average where there is one, optimizer and `state` (JSON values).

    Random numbers are functions of seed and step, and need no state. A non-finite weight is an error: the last good
    checkpoint stays.
    """
    tensors: dict[str, Tensor] = {f"network.{name}": value for name, value in network.state_dict().items()}
    if average is not None:
        tensors |= {f"average.{name}": value for name, value in average.state_dict().items()}
    packed = optimizer.state_dict()
    scalars: dict[str, Any] = {}
    for index, slots in packed["state"].items():
        for slot, value in slots.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{index}.{slot}"] = value
            elif value is not None:
                scalars[f"{index}.{slot}"] = value
    for name, value in tensors.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise UserError(
                f"{name} is no longer finite: training diverged, and the last good checkpoint was kept; "
                f"use a lower learning rate (--lr)"
            )
    metadata = {"state": json.dumps(state), "scalars": json.dumps(scalars)}
    contiguous = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    write_atomic(path, safetensors.torch.save(contiguous, metadata))


def load_checkpoint(
    path: Path, network: nn.Module, optimizer: torch.optim.Optimizer, average: nn.Module | None = None
) -> dict[str, Any]:
    """Restore network, average and optimizer in place, and return `state`."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        state, scalars = json.loads(metadata["state"]), json.loads(metadata["scalars"])
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"the checkpoint {shown(path)} cannot be read ({error}); start again with a new --out"
        ) from None
    for prefix, module in (("network.", network), ("average.", average)):
        if module is not None:
            module.load_state_dict(
                {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
            )
    slots: dict[int, dict[str, Any]] = {}
    for name, value in [*tensors.items(), *((f"optimizer.{key}", value) for key, value in scalars.items())]:
        if name.startswith("optimizer."):
            _, index, slot = name.split(".", 2)
            slots.setdefault(int(index), {})[slot] = value
    optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
    return state


def save_weights(path: Path, network: nn.Module) -> None:
    """The network's state alone."""
    contiguous = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    write_atomic(path, safetensors.torch.save(contiguous))


def load_weights(path: Path, network: nn.Module) -> None:
    """Inverts `save_weights`, in place."""
    try:
        network.load_state_dict(safetensors.torch.load_file(path))
    except (SafetensorError, OSError, RuntimeError) as error:
        raise UserError(f"the weights {shown(path)} cannot be read ({error}); start again with a new --out") from None

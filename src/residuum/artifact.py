"""The model file: one .safetensors with weights and, as JSON, all that predict, evaluate and export need.

Metadata: `format` "residuum", `format_version`, `spec`, `classes`, `preprocessing`, `task`, `training`, `results`,
`calibration` (each JSON), and `sha256`: the SHA-256 of the whole file with these 64 digits set to zero, so that it
covers the tensor bytes, the tensor table and all other metadata. Loading runs no pickle and always checks it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

import residuum.catalog  # noqa: F401 - its parts, too, may be named in a file
from residuum.config import Part, to_dict
from residuum.data.preprocessing import Preprocessing
from residuum.errors import UserError, one_line, shown
from residuum.files import write_atomic
from residuum.plan import read_spec
from residuum.spec import AnySpec

FORMAT = "residuum"
FORMAT_VERSION = "1"
_ZEROS = "0" * 64
_MARK = '"sha256":"'
MEAN_PICTURE = "preprocessing.mean_picture"
"""The tensor that holds a per-pixel mean; every other tensor belongs to the network."""


@dataclass(frozen=True)
class Artifact:
    """What a model file holds.

    tensors        the network's state dict on the CPU, and the mean picture where preprocessing has one
    training       how it was trained: recipe, data (with digest), seed, environment; empty for imported weights
    results        evaluations, each with its protocol
    sha256         of the file it was read from; None where it was not read from one
    """

    spec: AnySpec
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    tensors: Mapping[str, Tensor]
    task: str = "classification"
    training: dict[str, Any] = field(default_factory=dict)
    results: list[dict[str, Any]] = field(default_factory=list)
    calibration: dict[str, Any] | None = None
    sha256: str | None = field(default=None, compare=False)


def save(artifact: Artifact, path: Path) -> None:
    """Write the model file, whole or not at all."""
    metadata = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "spec": json.dumps(to_dict(artifact.spec)),
        "classes": json.dumps(artifact.classes),
        "preprocessing": json.dumps(artifact.preprocessing.to_dict()),
        "task": json.dumps(artifact.task),
        "training": json.dumps(artifact.training),
        "results": json.dumps(artifact.results),
        "calibration": json.dumps(artifact.calibration),
        "sha256": _ZEROS,
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in artifact.tensors.items()}
    content = bytearray(safetensors.torch.save(tensors, metadata))
    at = _digest_position(content)
    content[at : at + 64] = hashlib.sha256(content).hexdigest().encode()
    write_atomic(path, bytes(content))


def load(path: Path, using: Iterable[type[Part]] = ()) -> Artifact:
    """Read and check a model file; UserError in one sentence where it is not whole, not ours or not of this version.

    `using` are the classes of parts from outside the package that its network was made with.
    """
    try:
        content = bytearray(path.read_bytes())
    except OSError as error:
        raise UserError(f"cannot read the model file {shown(path)}: {error.strerror or error}") from None
    metadata = _metadata(content, path)
    _check_digest(content, metadata, path)
    try:
        tensors = safetensors.torch.load(bytes(content))
        _refuse_no_numbers(tensors, path)
        return Artifact(
            spec=read_spec(json.loads(metadata["spec"]), shown(path), using),
            classes=tuple(json.loads(metadata["classes"])),
            preprocessing=Preprocessing.from_dict(json.loads(metadata["preprocessing"])),
            tensors=tensors,
            task=json.loads(metadata["task"]),
            training=json.loads(metadata["training"]),
            results=json.loads(metadata["results"]),
            calibration=json.loads(metadata["calibration"]),
            sha256=metadata["sha256"],
        )
    except (KeyError, TypeError, ValueError, safetensors.SafetensorError) as error:
        raise UserError(f"{shown(path)} was not written by Residuum: {one_line(repr(error))}") from None


def _metadata(content: bytearray, path: Path) -> dict[str, str]:
    not_ours = f"{shown(path)} is not a Residuum model file"
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or content[8:9] != b"{" or length > 100_000_000:
        raise UserError(f"{not_ours}: give the model.safetensors of a run")
    if len(content) < 8 + length:
        raise UserError(f"{shown(path)} is cut short; copy it again")
    try:
        metadata = json.loads(content[8 : 8 + length]).get("__metadata__")
    except (ValueError, RecursionError):
        raise UserError(f"{shown(path)} is damaged: its header cannot be read; copy it again") from None
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise UserError(
            f"{not_ours} but plain weights (or a changed file): bring them in with "
            f"`residuum import {shown(path)} --model NAME --out FILE.safetensors`"
        )
    if metadata.get("format_version") != FORMAT_VERSION:
        raise UserError(
            f"{shown(path)} has format version {metadata.get('format_version')!r} and this Residuum reads "
            f"{FORMAT_VERSION!r}; use the Residuum that wrote it, or a newer one"
        )
    return metadata


def _check_digest(content: bytearray, metadata: dict[str, str], path: Path) -> None:
    damaged = UserError(f"{shown(path)} was changed or cut short after it was written (SHA-256 differs); copy it again")
    at = _digest_position(content)
    if at < 0 or content[at : at + 64] != metadata.get("sha256", "").encode():
        raise damaged
    content[at : at + 64] = _ZEROS.encode()
    if hashlib.sha256(content).hexdigest() != metadata["sha256"]:
        raise damaged


def _refuse_no_numbers(tensors: Mapping[str, Tensor], path: Path) -> None:
    broken = [name for name, tensor in tensors.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    if broken:
        more = f" and {len(broken) - 1} more" if len(broken) > 1 else ""
        raise UserError(
            f"{shown(path)} has weights that are NaN or infinite, in {shown(broken[0])}{more}: its training or export "
            "went wrong; use an earlier model file, or train again at a lower learning rate"
        )


def _digest_position(content: bytearray) -> int:
    """Where the 64 digits stand; quotes inside JSON strings are escaped, so the mark is found only as a key."""
    at = content.find(_MARK.encode(), 8, 8 + int.from_bytes(content[:8], "little"))
    return at + len(_MARK) if at >= 0 else -1

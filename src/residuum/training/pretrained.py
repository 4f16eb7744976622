"""Weights to begin with: a model file of ours, plain weights of a named network, or those of a hub."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from residuum import artifact, catalog, hub
from residuum.artifact import MEAN_PICTURE, Artifact
from residuum.config import changed
from residuum.data.manifest import Manifest
from residuum.data.preprocessing import Preprocessing
from residuum.errors import UserError, shown
from residuum.importing import imported
from residuum.nets.naming import classifier
from residuum.nets.network import Network
from residuum.plan import NetworkPlan, layers_of_depth, make_plan
from residuum.spec import AnySpec, each


@dataclass(frozen=True)
class Pretrained:
    """A trained network that another one begins from, and what there is to say about it.

    digest      tells these weights from others: a training that is resumed needs the same
    """

    source: str
    name: str
    content: Artifact
    digest: str
    notes: tuple[str, ...] = ()

    def record(self) -> dict[str, Any]:
        """For run.json."""
        return {"weights": self.source, "digest": self.digest, "model": self.name}


def read_pretrained(weights: str, model: str | None, axes: Mapping[str, Any]) -> Pretrained:
    """The weights of `--weights`; with a model file, `model` and `axes` may only say what it holds, and `size`."""
    path = Path(weights)
    if weights.startswith(hub.PREFIX) or (path.is_file() and not _is_ours(path)):
        if model is None:
            raise UserError(
                f"{shown(weights)} holds plain weights, which do not say of what network: name it with --model"
            )
        given = {axis: value for axis, value in axes.items() if axis != "classes"}
        content, notes = imported(path, model, axes=given)
        return Pretrained(weights, model, content, _digest(content), tuple(notes))
    content = artifact.load(path)
    name = str(content.training.get("name", "unnamed"))
    _refuse_differences(shown(weights), name, content.spec, model, axes)
    if "size" in axes:
        content = _at_size(content, axes["size"])
    return Pretrained(weights, name, content, content.sha256 or "")


def _is_ours(path: Path) -> bool:
    """Whether a file says that it is a model file, whole or not."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = file.read(length) if length < 100_000_000 else b""
        return json.loads(header).get("__metadata__", {}).get("format") == artifact.FORMAT
    except (OSError, ValueError, AttributeError, RecursionError):
        return False


def _digest(content: Artifact) -> str:
    """SHA-256 over the tensors, in hexadecimal."""
    total = hashlib.sha256()
    for name, tensor in sorted(content.tensors.items()):
        total.update(name.encode() + b"\0" + tensor.contiguous().numpy().tobytes())
    return total.hexdigest()


def _refuse_differences(file: str, name: str, spec: AnySpec, model: str | None, axes: Mapping[str, Any]) -> None:
    """What is asked for must be what the file holds: a sentence that names the difference."""
    asked = {axis: value for axis, value in axes.items() if axis not in ("size", "classes")}
    said = [
        f"--{axis.replace('_', '-')} {value}, and the file's is {'its own' if axis == 'width' else _of(spec, axis)}"
        for axis, value in asked.items()
        if _of(spec, axis) != value
    ]
    if model is not None and model != name and (difference := _difference(spec, model, asked)):
        said.append(f"--model {shown(model)}, and the file holds {shown(name)} ({difference})")
    if said:
        raise UserError(
            f"the weights {file} are of another network than asked for: {'; '.join(said)}; leave these options out, "
            "or give weights that fit"
        )


def _of(spec: AnySpec, axis: str) -> Any:
    return layers_of_depth(spec) if axis == "depth" else getattr(spec, axis, None)


def _difference(spec: AnySpec, model: str, axes: dict[str, Any]) -> str:
    """In what a network of the catalogue differs from a spec, or nothing."""
    named = catalog.spec(model, **({"channels": spec.channels} | axes))
    asked = replace(named, size=spec.size, classes=spec.classes)
    if make_plan(asked).parts == make_plan(spec).parts:
        return ""
    depths = layers_of_depth(spec), layers_of_depth(asked)
    if depths[0] != depths[1]:
        return f"{depths[0]} layers, not {depths[1]}"
    ours, theirs = changed(spec), changed(asked)
    fields = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
    return f"it differs in {', '.join(fields)}"


def _at_size(content: Artifact, size: Any) -> Artifact:
    """The same network for pictures of another size; the margin around the crop keeps its share."""
    view, spec = content.preprocessing, content.spec
    sides = each(size, 2)
    if (sides[0], sides[1]) == view.size:
        return content
    if view.per_pixel:
        raise UserError(
            f"these weights came with a mean picture of {view.size[0]}x{view.size[1]} pixels: leave --size out"
        )
    resize = max(round(view.resize * max(sides) / max(view.size)), max(sides))
    return replace(
        content,
        spec=replace(spec, size=size),
        preprocessing=replace(view, size=(sides[0], sides[1]), resize=resize),
    )


def fitted_spec(pretrained: Pretrained, manifest: Manifest) -> AnySpec:
    """The network of the weights, with a classifier for the data's classes."""
    return replace(pretrained.content.spec, classes=len(manifest.classes))


def has_features(plan: NetworkPlan) -> bool:
    """Whether the classifier is linear, so that it can be fitted to features by itself."""
    return classifier(plan).kind == "linear"


def view_of(content: Artifact) -> tuple[Preprocessing, np.ndarray | None]:
    """The preprocessing of a model file, with its mean picture."""
    found = content.tensors.get(MEAN_PICTURE)
    return content.preprocessing, None if found is None else found.numpy()


def put_weights(network: Network, classes: tuple[str, ...], pretrained: Pretrained) -> list[str]:
    """Everything below the classifier, and of the classifier the rows of classes that both know by name.

    Returns the names of those classes. The other rows begin at zero, which suits features of any size; those of a
    convolution as the network has them, for behind zeros a ReLU would never learn.
    """
    last = classifier(network.plan).name
    tensors: dict[str, Tensor] = {
        name: value for name, value in pretrained.content.tensors.items() if name != MEAN_PICTURE
    }
    own = network.state_dict()
    theirs = _named_classes(pretrained.content)
    kept = [name for name in classes if name in theirs]
    for key in (f"{last}.weight", f"{last}.bias"):
        if key in own:
            rows = torch.zeros_like(own[key]) if has_features(network.plan) else own[key].clone()
            for name in kept:
                rows[classes.index(name)] = tensors[key][theirs.index(name)]
            tensors[key] = rows
    network.load_state_dict(tensors)
    return kept


def _named_classes(content: Artifact) -> tuple[str, ...]:
    """The classes, unless they are but numbers that an import made up."""
    named = content.training.get("classes_named", "imported_from" not in content.training)
    return content.classes if named else ()

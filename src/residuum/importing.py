"""Weights from elsewhere made into a model file: read without running code, mapped by the plan, all or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from residuum import artifact, catalog
from residuum.artifact import Artifact
from residuum.data.preprocessing import Preprocessing
from residuum.errors import UserError, shown
from residuum.files import make_folder
from residuum.nets.network import make_network
from residuum.nets.weights import load_weights, read_weights, recognise
from residuum.plan import make_plan

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""The statistics that torchvision's and most third parties' weights expect."""


def import_weights(
    weights: Path,
    model: str,
    out: Path,
    *,
    axes: dict[str, Any] | None = None,
    classes_file: Path | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> list[str]:
    """Write the model file `out`; returns sentences on what was assumed. Raises UserError; nothing is half-loaded.

    The number of classes is the classifier's in the file. Weights named in torchvision's style are taken to stride
    in the 3x3 convolution, as torchvision's do, unless `axes` says otherwise.
    """
    axes = dict(axes or {})
    notes: list[str] = []
    spec = catalog.spec(model, **axes)
    if spec.ndim != 2:
        raise UserError(f"a model file is for pictures, which need ndim 2, not {spec.ndim}")
    state = read_weights(weights)
    plan = make_plan(spec)
    scheme = recognise(plan, state)
    if scheme.name == "torchvision" and spec.branch == "bottleneck" and "stride_in" not in axes:
        spec = replace(spec, stride_in="3x3")
        notes.append("torchvision-style weights: the 3x3 convolution strides (--stride-in 1x1 for the paper's)")
    classifier = state.get(scheme.rename(plan)["head.fc"] + ".weight")
    if "classes" not in axes and classifier is not None and classifier.ndim == 2:
        spec = replace(spec, classes=len(classifier))
    plan = make_plan(spec)
    network = make_network(plan)
    load_weights(network, plan, state, shown(weights))
    classes = _classes(classes_file, spec.classes)
    if classes_file is None:
        notes.append(f"no --classes-file: the classes are called 0 to {spec.classes - 1}")
    if mean is None or std is None:
        notes.append("no --mean and --std: ImageNet's are taken")
    view = Preprocessing(
        size=(spec.input_size()[0], spec.input_size()[-1]),
        resize=_resize(max(spec.input_size())),
        channels=spec.channels,
        mean=tuple(mean or _grey(IMAGENET_MEAN, spec.channels)),
        std=tuple(std or _grey(IMAGENET_STD, spec.channels)),
    )
    make_folder(out.parent)
    training = {"name": model, "imported_from": weights.name, "names": scheme.name}
    artifact.save(Artifact(spec, classes, view, network.state_dict(), training=training), out)
    return notes


def _resize(size: int) -> int:
    """The usual margin of 256 for 224 around photos; small pictures have none."""
    return size if size <= 64 else round(size * 8 / 7)


def _grey(values: Sequence[float], channels: int) -> tuple[float, ...]:
    return tuple(values) if channels == len(values) else (sum(values) / len(values),) * channels


def _classes(file: Path | None, count: int) -> tuple[str, ...]:
    """One class name a line; without a file, numbers."""
    if file is None:
        return tuple(str(index) for index in range(count))
    try:
        names = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the class names {shown(file)}: {error}") from None
    if len(names) != count:
        raise UserError(f"{shown(file)} names {len(names)} classes and the weights have {count}; give one name a line")
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise UserError(f"{shown(file)} names {', '.join(twice[:5])} more than once; class names must differ")
    return tuple(names)

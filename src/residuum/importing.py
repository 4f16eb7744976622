"""Weights from elsewhere made into a model file: read without running code, mapped by the plan, all or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from residuum import artifact, catalog, hub
from residuum.artifact import Artifact
from residuum.data.preprocessing import Preprocessing
from residuum.errors import UserError, shown
from residuum.files import make_folder
from residuum.nets.naming import IMAGENET_MEAN, classifier
from residuum.nets.network import make_network
from residuum.nets.weights import load_weights, read_weights, recognise
from residuum.plan import make_plan
from residuum.spec import NetworkSpec


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
    """Write the model file `out`; returns sentences on what was assumed. Raises as `imported` does."""
    content, notes = imported(weights, model, axes=axes, classes_file=classes_file, mean=mean, std=std)
    make_folder(out.parent)
    artifact.save(content, out)
    return notes


def imported(
    weights: Path,
    model: str,
    *,
    axes: dict[str, Any] | None = None,
    classes_file: Path | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> tuple[Artifact, list[str]]:
    """What a model file of these weights holds, and sentences on what was assumed.

    Raises UserError; nothing is half-loaded. `weights` is a file, or hub:OWNER/NAME[/FILE] (`residuum.hub`), whose
    preprocessing and class names come along. The number of classes is the classifier's in the file. Bottlenecks stride
    where those of the library do whose names the weights have, unless `axes` says otherwise; a mean and deviation not
    given are those its weights expect.
    """
    found = hub.find(str(weights)) if str(weights).startswith(hub.PREFIX) else hub.Found(weights, weights.name)
    axes = found.axes() | (axes or {})
    notes = list(found.notes)
    mean, std = mean or found.mean, std or found.std
    spec = catalog.spec(model, **axes)
    if spec.ndim != 2:
        raise UserError(f"a model file is for pictures, which need ndim 2, not {spec.ndim}")
    state = read_weights(found.path)
    plan = make_plan(spec)
    scheme = recognise(plan, state)
    if isinstance(spec, NetworkSpec) and scheme.stride_in and "stride_in" not in axes:
        theirs = replace(spec, stride_in=scheme.stride_in)
        if make_plan(theirs) != replace(plan, spec=theirs):
            spec = theirs
            strides = f"the {spec.stride_in} convolution strides (--stride-in 1x1 for the paper's)"
            notes.append(f"{scheme.name}-style weights: {strides}")
    last = state.get(scheme.rename(plan).get(classifier(plan).name, "") + ".weight")
    if "classes" not in axes and last is not None and last.ndim >= 2:
        spec = replace(spec, classes=len(last))
    plan = make_plan(spec)
    network = make_network(plan)
    load_weights(network, plan, state, shown(weights))
    if classes_file is None and found.classes is not None:
        classes = _checked(found.classes, spec.classes, f"config.json beside {shown(found.source)}")
    else:
        classes = _classes(classes_file, spec.classes)
    if classes_file is None and found.classes is None:
        notes.append(f"no --classes-file: the classes are called 0 to {spec.classes - 1}")
    if any(key.startswith(scheme.auxiliary) for key in state):
        notes.append("the auxiliary classifiers in the file serve training only and are left out")
    if mean is None or std is None:
        taken = "ImageNet's are" if scheme.mean == IMAGENET_MEAN else f"{scheme.mean[0]} and {scheme.std[0]} are"
        notes.append(f"no --mean and --std: {taken} taken")
    size = (spec.input_size()[0], spec.input_size()[-1])
    view = Preprocessing(
        size=size,
        resize=found.resize if found.resize and size == found.size else _resize(max(size)),
        channels=spec.channels,
        mean=tuple(mean or _grey(scheme.mean, spec.channels)),
        std=tuple(std or _grey(scheme.std, spec.channels)),
    )
    named = classes_file is not None or found.classes is not None
    training = {"name": model, "imported_from": found.source, "names": scheme.name, "classes_named": named}
    return Artifact(spec, classes, view, network.state_dict(), training=training), notes


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
    return _checked(names, count, shown(file))


def _checked(names: Sequence[str], count: int, where: str) -> tuple[str, ...]:
    if len(names) != count:
        raise UserError(
            f"{where} names {len(names)} classes and the weights have {count}; give a file with one name a line"
        )
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise UserError(f"{where} names {', '.join(twice[:5])} more than once; class names must differ")
    return tuple(names)

"""A model made into a file that runs without us, checked in its own runtime before it is written."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from copy import copy, deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from residuum.deploy import to_onnx, to_openvino, to_torch
from residuum.deploy.card import model_card
from residuum.deploy.check import Agreement, compare, reference_logits, refuse_float, refuse_int8
from residuum.deploy.graph import OUTPUTS, Answers, Graph, described, graph_of
from residuum.deploy.libraries import library
from residuum.deploy.pictures import Sample, gather, graph_inputs
from residuum.errors import UserError, nearest, shown
from residuum.files import write_atomic
from residuum.inference import Model
from residuum.progress import Reporter

MIN_AGREEMENT = 0.9
"""Share of labels that an int8 export has to keep unless told otherwise."""

Write = Callable[[Graph, str, Path, np.ndarray | None], None]


@dataclass(frozen=True)
class Format:
    """What can be exported to.

    runtime    the library that runs it
    write      graph, what the file says of itself, path and, for int8, calibration inputs -> the file, perhaps others
    answers    the runtime on the file that was written
    """

    suffix: str
    runtime: str
    libraries: tuple[str, ...]
    write: Write
    answers: Callable[[Path], Answers]
    int8: bool = False


def _onnx(graph: Graph, facts: str, path: Path, inputs: np.ndarray | None) -> None:
    made = to_onnx.onnx_model(graph, facts)
    path.write_bytes((made if inputs is None else to_onnx.quantised_onnx(made, inputs)).SerializeToString())


def _openvino(graph: Graph, facts: str, path: Path, inputs: np.ndarray | None) -> None:
    made = to_openvino.openvino_model(graph, facts)
    to_openvino.save_openvino(made if inputs is None else to_openvino.quantised_openvino(made, inputs), path)


def _torch(graph: Graph, facts: str, path: Path, inputs: np.ndarray | None) -> None:
    to_torch.save_torch(graph, facts, path)


_ONNX = (".onnx", "onnxruntime", to_onnx.LIBRARIES, _onnx, to_onnx.onnx_session)
_OPENVINO = (".xml", "openvino", to_openvino.LIBRARIES, _openvino, to_openvino.openvino_session)
FORMATS: dict[str, Format] = {
    "onnx": Format(*_ONNX),
    "openvino": Format(*_OPENVINO),
    "torch": Format(".pt2", "torch", (), _torch, to_torch.torch_session),
    "int8-onnx": Format(*_ONNX, int8=True),
    "int8-openvino": Format(
        ".xml", "openvino", (*to_openvino.LIBRARIES, "nncf"), _openvino, to_openvino.openvino_session, int8=True
    ),
}


@dataclass(frozen=True)
class Exported:
    """What an export left behind: its files, the first being the one that was asked for, and how it was checked."""

    files: tuple[Path, ...]
    card: Path
    to: str
    input: dict[str, Any]
    outputs: tuple[str, ...]
    runtime: str
    agreement: Agreement
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return {
            "file": str(self.files[0]),
            "files": [str(path) for path in self.files],
            "bytes": sum(path.stat().st_size for path in self.files),
            "card": str(self.card),
            "to": self.to,
            "input": self.input,
            "outputs": list(self.outputs),
            "checked": {"runtime": self.runtime} | self.agreement.to_dict(),
            "notes": list(self.notes),
        }


def export(
    model: Model,
    to: str,
    out: Path,
    *,
    data: str | None = None,
    with_preprocessing: bool = False,
    min_agreement: float = MIN_AGREEMENT,
    reporter: Reporter | None = None,
) -> Exported:
    """Write `out` in the format `to` (`FORMATS`) and a model card beside it, or nothing at all.

    The file is run in its own runtime on real pictures (`data`, else those of the source it was trained on, else
    synthetic ones) and refused where it disagrees: in float32 unless all labels are equal and logits within 1e-4
    (`residuum.deploy.check`), in int8 where fewer than `min_agreement` (0 to 1) of the labels are equal. Raises
    UserError for that and for bad input.
    """
    reporter = reporter or Reporter()
    format = _checked(model, to, out, with_preprocessing, min_agreement)
    model = _on_cpu(model)
    samples = gather(model, data, format.int8, reporter)
    reference = _reference(model, samples.checked, reporter)
    graph = graph_of(model, with_preprocessing)
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / f"model{format.suffix}"
        inputs = None
        if samples.calibration is not None:
            reporter.say(f"calibrating int8 on {samples.calibration.source}")
            inputs = graph_inputs(model, samples.calibration.views, with_preprocessing)
        format.write(graph, described(model, graph), draft, inputs)
        reporter.say(f"checking it in {format.runtime} on {samples.checked.source}")
        found = compare(model, format.answers(draft), samples.checked, reference, with_preprocessing)
        if format.int8:
            refuse_int8(found, min_agreement)
        else:
            refuse_float(found)
        runtime = _named(format)
        notes = samples.notes
        if samples.calibration is not None:
            notes = (*notes, f"int8 was calibrated on {samples.calibration.source}, none of which was compared")
        card = model_card(model, graph, to, out, runtime, found, samples.checked.real, notes)
        files = _put(draft, out, card)
    return Exported(files, _card_path(out), to, graph.facts, OUTPUTS, runtime, found, notes)


def _on_cpu(model: Model) -> Model:
    """Where exported files run, and where float32 is not rounded further."""
    if next(model.network.parameters()).device.type == "cpu":
        return model
    found = copy(model)
    found.network = deepcopy(model.network).cpu()
    return found


def _checked(model: Model, to: str, out: Path, with_preprocessing: bool, min_agreement: float) -> Format:
    """The format, once nothing stands in the way of writing it; UserError before any work is done."""
    if to not in FORMATS:
        raise UserError(f'cannot export to "{shown(to)}"; {nearest(to, FORMATS)}')
    format = FORMATS[to]
    if not 0 <= min_agreement <= 1:
        raise UserError(f"--min-agreement is a share of labels from 0 to 1, not {min_agreement:g}")
    if out.suffix != format.suffix:
        raise UserError(
            f"--to {to} writes {format.suffix} files: name it {shown(out.with_suffix(format.suffix).name)}"
            if out.name
            else f"--out needs a file name that ends in {format.suffix}"
        )
    if not out.parent.is_dir():
        raise UserError(f"there is no folder {shown(out.parent)} to write {shown(out.name)} in: make it first")
    for path in (out, *_companions(out), _card_path(out)):
        if path.exists() or path.is_symlink():
            raise UserError(f"{shown(path)} exists already: remove it, or choose another --out")
    if model.artifact.spec.ndim != 2:
        raise UserError(
            f"only networks for pictures (ndim 2) are exported, and this one has ndim {model.artifact.spec.ndim}"
        )
    if model.mean_picture is not None and not with_preprocessing:
        raise UserError("this model subtracts a mean picture, which only the graph can hold: add --with-preprocessing")
    for name in format.libraries:
        library(name, f"--to {to}")
    return format


def _reference(model: Model, sample: Sample, reporter: Reporter) -> np.ndarray:
    with reporter.track("the model's own answers", "pictures") as update:
        return reference_logits(model, sample, update)


def _named(format: Format) -> str:
    """The runtime with its version."""
    return f"{format.runtime} {str(library(format.runtime, format.runtime).__version__).partition('-')[0]}"


def _companions(out: Path) -> tuple[Path, ...]:
    """Files that belong to `out`: OpenVINO keeps weights apart."""
    return (out.with_suffix(".bin"),) if out.suffix == ".xml" else ()


def _card_path(out: Path) -> Path:
    return out.with_name(out.name + ".md")


def _put(draft: Path, out: Path, card: str) -> tuple[Path, ...]:
    """Draft and card to where they belong: all or none, and `out` last, so that where it is the others are."""
    contents: list[tuple[Path, bytes]] = [(_card_path(out), card.encode())]
    pairs = zip((*_companions(out), out), (*_companions(draft), draft), strict=True)
    contents += [(path, source.read_bytes()) for path, source in pairs]
    written: list[Path] = []
    try:
        for path, content in contents:
            write_atomic(path, content)
            written.append(path)
    except BaseException:
        for path in written:
            with contextlib.suppress(OSError):
                path.unlink()
        raise
    return (out, *_companions(out))

"""The model card beside an exported file: what it is, how to use it, how good it is, how it was made, its limits.

After Mitchell et al. 2019, "Model Cards for Model Reporting" (arXiv 1810.03993), as far as a model file can tell.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from residuum import __version__
from residuum.deploy.check import Agreement
from residuum.deploy.graph import Graph, energies_of
from residuum.deploy.pictures import short
from residuum.deploy.snippets import snippet
from residuum.errors import shown
from residuum.inference import Model

LISTED = 100
"""Class names written out; the file itself has all."""
WORST = 5
FEW = 500
"""Pictures below which an error rate is said to be uncertain."""


def model_card(
    model: Model, graph: Graph, to: str, out: Path, runtime: str, found: Agreement, real: bool, notes: tuple[str, ...]
) -> str:
    """The card as Markdown. `runtime` names what it was checked in; `real` says whether on real pictures."""
    sections = [
        f"# {plain(out.name)}",
        _what(model, to),
        "## Use",
        f"```python\n{snippet(to, graph, out.name, unlike=energies_of(model) is not None)}```",
        "## Input and output",
        _interface(model, graph),
        "## Classes",
        _classes(model.classes),
        "## Results",
        _results(model.artifact.results),
        "## How it was trained",
        _training(model.artifact.training),
        "## Agreement with the model file",
        f"Checked in {runtime} before it was written: {plain(found.sentence())}. The difference of the logits is, for "
        "the worst picture, the largest one over that picture's largest absolute logit.",
        *([bullets([plain(note) for note in notes])] if notes else []),
        "## Limits",
        bullets(_limits(model, to, real)),
    ]
    return "\n\n".join(sections) + "\n"


def plain(text: object) -> str:
    """Any text as Markdown that shows it as it is; a name is never markup."""
    return re.sub(r"([\\`*_{}\[\]<>#|~!$&])", r"\\\1", shown(text))


def bullets(lines: list[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _what(model: Model, to: str) -> str:
    form = "int8, quantised after training" if to.startswith("int8") else "float32"
    name = model.artifact.training.get("name", "a network")
    return (
        f"An image classifier: {plain(name)}, {model.plan.parameters:,} parameters and {model.plan.macs / 1e6:,.1f} "
        f"million multiply-adds a picture, {form}, batch norms folded into the convolutions. Exported with residuum "
        f"{__version__} from the model file with SHA-256 `{model.artifact.sha256 or 'unknown'}`."
    )


def _interface(model: Model, graph: Graph) -> str:
    view, facts = model.artifact.preprocessing, graph.facts
    height, width = view.size
    shape = ", ".join(map(str, facts["shape"]))
    colours = "RGB" if view.channels == 3 else "grey"
    ready = "as it is: the graph normalises" if graph.input == "pictures" else "normalised: (x / 255 - mean) / std"
    return "\n".join(
        [
            "| | name | type | shape |",
            "|---|---|---|---|",
            f"| input | `{facts['name']}` | {facts['dtype']} | {shape} |",
            f"| output | `logits` | float32 | batch, {len(model.classes)} |",
            f"| output | `probabilities` | float32 | batch, {len(model.classes)} |",
            "",
            f"A picture is turned upright (EXIF) and made {colours}, its shorter side is resized to {view.resize} "
            f"pixels (bilinear, antialiased), and the centre of {height} x {width} is cut out. That goes in {ready}. "
            "Class names, sizes, mean and deviation are in the file's metadata.",
        ]
    )


def _classes(classes: tuple[str, ...]) -> str:
    named = ", ".join(plain(name) for name in classes[:LISTED])
    more = f", and {len(classes) - LISTED} more (in the file)" if len(classes) > LISTED else ""
    return f"{len(classes)}, in the order of the outputs: {named}{more}."


def _results(results: list[dict[str, Any]]) -> str:
    if not results:
        return "The model file records none."
    rows = [
        "Of the float32 model before export, as the model file records them:",
        "",
        "| protocol | data | part | pictures | top-1 error | top-5 error | loss | calibration error | computed in |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        protocol = result["protocol"]
        top5 = "" if result["top5_error"] is None else f"{result['top5_error']:.2f} %"
        rows.append(
            f"| {protocol['name']} | {plain(short(protocol['data']))} | {plain(protocol['split'])} "
            f"| {result['images']:,} | {result['top1_error']:.2f} % | {top5} | {result['loss']:.4f} "
            f"| {100 * result['calibration_error']:.2f} % | {protocol['backend']}, {protocol['precision']} |"
        )
    return "\n".join(rows)


def _training(training: dict[str, Any]) -> str:
    if "imported_from" in training:
        return f"Imported from {plain(short(training['imported_from']))}; how it was trained is not known here."
    if not training:
        return "The model file does not say."
    data, recipe, length = training["data"], training["recipe"], training["length"]
    counts = ", ".join(f"{count:,} {part}" for part, count in data["counts"].items())
    place = training["environment"]
    return bullets(
        [
            f"data: {plain(short(data['argument']))} ({counts}; digest `{data['digest'][:16]}`)",
            f"recipe: {plain(recipe['name'])}, {length['steps']:,} steps of {length['batch_size']} pictures, "
            f"seed {training['seed']}",
            f"machine: {plain(place['processor'])}, {plain(place['device'])} in {plain(place['precision'])}, "
            f"torch {plain(place['torch'])}, {training['time']['seconds'] / 60:.1f} minutes",
        ]
    )


def _limits(model: Model, to: str, real: bool) -> list[str]:
    warns = "nothing in it says that none of them fits"
    if energies_of(model) is not None:
        warns = (
            "the energy of its logits, beside those of held-out pictures, warns of some pictures unlike those it was "
            "trained on, not of all"
        )
    lines = [
        f"It answers with one of its classes whatever it is shown; {warns}.",
        "What lies outside the centre of a picture is not seen.",
    ]
    if model.artifact.results:
        first = model.artifact.results[0]
        lines.append(
            "Its errors were measured on pictures that came with the training data; other cameras, places and seasons "
            "can do worse."
        )
        if first["images"] < FEW:
            lines.append(f"They were measured on {first['images']} pictures only, so they are uncertain.")
        worst = sorted((row for row in first["per_class"] if row["recall"] is not None), key=lambda row: row["recall"])
        named = ", ".join(f"{plain(row['class'])} ({100 * row['recall']:.0f} %)" for row in worst[:WORST])
        if worst:
            lines.append(f"The classes found least often: {named}.")
    else:
        lines.append("How often it is wrong was never measured here: evaluate it before it is relied on.")
    if "temperature" not in (model.artifact.calibration or {}):
        lines.append("Probabilities are the softmax as it came out of training; they were not calibrated afterwards.")
    if to.startswith("int8"):
        lines.append("int8 rounds: answers near a decision differ from the float32 model's, as the agreement says.")
    if to == "int8-onnx":
        lines.append("Processors without VNNI instructions can saturate int8 sums; check there again.")
    if to.endswith("openvino"):
        lines.append(
            "On processors with bfloat16, OpenVINO computes in it unless told `INFERENCE_PRECISION_HINT` `f32`, as "
            "above; the agreement holds for float32."
        )
    if not real:
        lines.append("It was checked on synthetic pictures only.")
    return lines

"""Everything the report's template shows, gathered from the run's records and the evaluation."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from residuum.evaluation.metrics import Evaluation
from residuum.report import plots
from residuum.report.finetuning import finetune_record
from residuum.report.judging import judged
from residuum.report.pictures import Thumbnail, thumbnail
from residuum.report.plots import Plot, plotted
from residuum.report.wording import amount, duration, extent, number, percent, rows, section

COLUMNS = (
    *("name", "kind", "in", "out", "kernel", "stride", "padding", "groups"),
    *("output", "parameters", "macs"),
)
OWN_PLACE = ("excluded", "exclude", "classes", "notes")
"""The fields of the data's record that the page shows in other ways than as a row."""
SPLITS = {"test": "test pictures", "val": "held-out pictures", "train": "training pictures"}


@dataclass(frozen=True)
class OddTile:
    """A picture unlike the others, and the measure in which it is; without a thumbnail where it cannot be read."""

    name: str
    measure: str
    picture: Thumbnail | None


def contents(
    folder: Path,
    *,
    run: dict[str, Any],
    history: list[dict[str, Any]],
    evaluation: Evaluation | None,
    layers: list[dict[str, Any]],
    totals: dict[str, Any],
    read: Callable[[int], np.ndarray],
    odd: Sequence[tuple[int, str, str]],
) -> dict[str, Any]:
    """The template's variables; see `write_report` for the arguments."""
    data, time = section(run, "data"), section(run, "time")
    verdict = judged(evaluation, read)
    results = verdict["summary"] or section(run, "results")
    return verdict | {
        "network": totals.get("name") or run.get("name") or "Residual network",
        "data_name": data.get("argument"),
        "status": run.get("status"),
        "sentence": error_sentence(results),
        "protocol": rows(section(results, "protocol")),
        "facts": _facts(results, totals, time),
        "predict": _predict_command(folder),
        "curves": _curves(history),
        "odd": [OddTile(name, measure, thumbnail(read, index)) for index, name, measure in odd],
        "excluded": [tuple(pair) for pair in data.get("excluded") or []],
        "network_record": _network(totals),
        "layers": [{column: layer.get(column) for column in COLUMNS} for layer in layers],
        "spec": rows(section(run, "spec")),
        "recipe": rows(section(run, "recipe")),
        "environment": rows(section(run, "environment")),
        "data": rows({key: value for key, value in data.items() if key not in OWN_PLACE}),
        "classes": [str(name) for name in _listed(data.get("classes"))],
        "notes": [str(note) for note in _listed(data.get("notes"))],
        "made": _made(run, time),
        "finetune": finetune_record(section(run, "finetune")),
        "heads": _listed(section(run, "finetune").get("heads")),
        "costs": section(results, "costs"),
        "chosen": "kept" in section(run, "finetune"),
    }


def error_sentence(results: dict[str, Any]) -> str | None:
    """The error in plain words, as in "wrong on 14 of 360 held-out pictures (3.9%)"."""
    images, error = results.get("images"), results.get("top1_error")
    if not images or error is None:
        return None
    wrong = images - results["correct_top1"] if "correct_top1" in results else round(images * error / 100)
    pictures = SPLITS.get(str(section(results, "protocol").get("split")), "pictures")
    if wrong == 0:
        return f"right on all {number(images)} {pictures}"
    return f"wrong on {number(wrong)} of {number(images)} {pictures} ({percent(error / 100, images)})"


def _facts(results: dict[str, Any], totals: dict[str, Any], time: dict[str, Any]) -> list[tuple[str, str]]:
    """The few figures under the headline, those that are known."""
    images = results.get("images")

    def error(key: str) -> str | None:
        return percent(results[key] / 100, images) if results.get(key) is not None else None

    facts = [
        ("top-1 error", error("top1_error")),
        ("top-5 error", error("top5_error")),
        ("loss (nats)", number(results["loss"]) if results.get("loss") is not None else None),
        ("parameters", amount(totals["parameters"]) if totals.get("parameters") else None),
        ("multiply-adds", amount(totals["macs"]) if totals.get("macs") else None),
        ("training time", duration(time["seconds"]) if time.get("seconds") is not None else None),
        ("images/s", number(time["images_per_second"]) if time.get("images_per_second") else None),
    ]
    return [(name, value) for name, value in facts if value is not None]


def _predict_command(folder: Path) -> str:
    return f"residuum predict {shlex.quote(str(folder / 'model.safetensors'))} picture.jpg"


def _curves(history: list[dict[str, Any]]) -> list[Plot]:
    def column(key: str) -> list[plots.Point]:
        return plots.points(history, key)

    result = []
    if column("train_loss") or column("val_loss"):
        both = plots.curves("nats", training=column("train_loss"), validation=column("val_loss"))
        result.append(plotted("loss", "Loss", both))
    if column("val_top1_error"):
        error = plots.curves("wrong (%)", validation=column("val_top1_error"))
        result.append(plotted("error", "Validation error", error))
    if column("lr"):
        result.append(plotted("lr", "Learning rate", plots.curves("learning rate", training=column("lr"))))
    return result


def _network(totals: dict[str, Any]) -> list[tuple[str, str]]:
    memory, batch = totals.get("activation_bytes"), totals.get("batch_size")
    record = {
        "name": totals.get("name"),
        "input": extent(totals["input"]) if "input" in totals else None,
        "parameters": number(totals["parameters"]) if "parameters" in totals else None,
        "multiply-adds": number(totals["macs"]) if "macs" in totals else None,
        "activation memory" + (f" (float32, batch of {batch})" if batch else ""): amount(memory, "B")
        if memory is not None
        else None,
        "receptive field": extent(totals["receptive_field"]) if "receptive_field" in totals else None,
    }
    return rows({key: value for key, value in record.items() if value is not None})


def _made(run: dict[str, Any], time: dict[str, Any]) -> list[tuple[str, str]]:
    """By what, when, and how fast."""
    command = run.get("command")
    record = {
        "command": shlex.join(map(str, command)) if isinstance(command, list) else command,
        "residuum": run.get("residuum"),
        "status": run.get("status"),
        "created": run.get("created"),
        "finished": run.get("finished"),
        "seed": run.get("seed"),
        "training time": duration(time["seconds"]) if "seconds" in time else None,
        "images/s": number(time["images_per_second"]) if "images_per_second" in time else None,
    }
    return rows({key: value for key, value in record.items() if value is not None})


def _listed(value: object) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]

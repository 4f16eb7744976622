"""What the commands print for people, on stdout."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from residuum.errors import shown
from residuum.run import Run
from residuum.training.stop import Stopped


def _print(table: Table) -> None:
    Console(soft_wrap=not sys.stdout.isatty(), width=None if sys.stdout.isatty() else 200).print(table)


def _table(*columns: str, title: str | None = None) -> Table:
    """Text columns to the left, columns whose name begins with '#' (numbers) to the right."""
    table = Table(box=SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
    for column in columns:
        table.add_column(column.lstrip("#"), justify="right" if column.startswith("#") else "left")
    return table


def finished(run: Run) -> None:
    """Where the results are, and what to do with them."""
    print(f"model   {shown(run.model)}")
    print(f"report  {shown(run.report)}")
    print(f"next    residuum predict {shown(run.model)} PICTURE")


def stopped(stop: Stopped, folder: Path | None) -> None:
    where = shown(folder) if folder else "RUN"
    print(
        f"residuum: stopped after step {stop.step}; go on with `residuum train --resume {where}`",
        file=sys.stderr,
    )


def print_evaluation(summary: dict[str, Any]) -> None:
    """The figures of an evaluation, its protocol first."""
    protocol, images = summary["protocol"], summary["images"]
    wrong = images - summary["correct_top1"]
    print(f"{wrong} of {images} pictures wrong: top-1 error {summary['top1_error']:.2f}%")
    if summary["top5_error"] is not None:
        print(f"top-5 error {summary['top5_error']:.2f}%")
    print(f"loss {summary['loss']:.4f}, calibration error {100 * summary['calibration_error']:.2f}%")
    print(
        f"protocol {protocol['name']}: {shown(protocol['data'])}, split {protocol['split']}, view {protocol['view']}, "
        f"{protocol['precision']}, {protocol['backend']}"
    )
    table = _table("class", "#images", "#precision", "#recall", "#F1", "#specificity", "#AUC")
    for row in summary["per_class"]:
        keys = ("precision", "recall", "f1", "specificity", "auc")
        figures = ("-" if row[key] is None else f"{row[key]:.3f}" for key in keys)
        table.add_row(shown(row["class"]), str(row["images"]), *figures)
    _print(table)


def print_predictions(answers: list[dict[str, Any]]) -> None:
    for answer in answers:
        ranked = ", ".join(f"{shown(p['class'])} {100 * p['probability']:.1f}%" for p in answer["predictions"])
        print(f"{shown(answer['image'])}: {ranked}")


def print_catalogue(rows: list[dict[str, Any]]) -> None:
    table = _table("name", "family", "#parameters", "#multiply-adds", "source")
    for row in rows:
        table.add_row(row["name"], row["family"], f"{row['parameters']:,}", f"{row['macs'] / 1e9:.3f}e9", row["source"])
    _print(table)


def print_plan(described: dict[str, Any]) -> None:
    """The layers of a network and its totals."""
    table = _table("layer", "kind", "#in", "#out", "kernel", "stride", "output", "#parameters", "#multiply-adds")
    for row in described["layers"]:
        table.add_row(
            row["name"], row["kind"], str(row["in"]), str(row["out"]), _times(row["kernel"]), _times(row["stride"]),
            _times(row["output"]), f"{row['parameters']:,}", f"{row['macs']:,}",
        )  # fmt: skip
    _print(table)
    channels, *size = described["input"]
    print(f"{described['name']}: input {channels}x{_times(size)}")
    print(f"parameters       {described['parameters']:,}")
    print(f"multiply-adds    {described['macs']:,}")
    megabytes = described["activation_bytes"] / 1e6
    print(f"activations      {megabytes:,.1f} MB kept for the backward pass, float32, batch {described['batch_size']}")
    print(f"receptive field  {_times(described['receptive_field'])}")


def _times(values: list[int]) -> str:
    return "x".join(map(str, values)) or "-"

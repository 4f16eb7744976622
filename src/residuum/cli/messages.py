"""What the commands print for people, on stdout."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from residuum.errors import shown
from residuum.run import Run
from residuum.training.stop import Stopped


def _console() -> Console:
    """As wide as the terminal; a pipe or file gets whole lines."""
    return Console(soft_wrap=not sys.stdout.isatty(), width=None if sys.stdout.isatty() else 200, highlight=False)


def _print(table: Table) -> None:
    _console().print(table)


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
    """The networks by family; where a source does not fit the terminal, only its authors and year."""
    console = _console()
    names = max(len(row["name"]) for row in rows)
    figures = max(len(f"{row['parameters']:,}") for row in rows)
    room = console.width - (2 + names + 2 + figures + 15 + 2)
    families: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        families.setdefault(row["family"], []).append(row)
    head = f"{'':{2 + names}}  {'parameters':>{figures}}  multiply-adds  source"
    console.print(Text(head, style="dim"), no_wrap=True, overflow="ellipsis")
    for family, members in families.items():
        console.print(Text(f"\n{family}", style="bold"))
        for row in members:
            source = row["source"] if len(row["source"]) <= room else re.sub(r"(\b\d{4}\b).*", r"\1", row["source"])
            line = f"  {row['name']:{names}}  {row['parameters']:{figures},}  {row['macs'] / 1e9:>11.3f}e9  {source}"
            console.print(Text(line), no_wrap=True, overflow="ellipsis")
    console.print(f"\n{len(rows)} networks; the layers of one: residuum models NAME", highlight=False)


def print_plan(described: dict[str, Any]) -> None:
    """The layers of a network under the blocks they belong to, and its totals."""
    rows = [
        (*_split(row["name"]), _operation(row), f"{row['in']} > {row['out']}", _times(row["output"]),
         f"{row['parameters']:,}", f"{row['macs']:,}")
        for row in described["layers"]
    ]  # fmt: skip
    columns = [("", "layer", "operation", "channels", "output", "parameters", "multiply-adds"), *rows]
    widths = [max(map(len, column)) for column in zip(*columns, strict=True)][1:]
    console, last = _console(), ""
    for block, *cells in columns:
        if block != last:
            console.print(Text(f"\n{block}", style="bold"))
            last = block
        justified = (text.rjust if i in (2, 4, 5) else text.ljust for i, text in enumerate(cells))
        print("  " + "  ".join(justify(width) for justify, width in zip(justified, widths, strict=True)).rstrip())
    print()
    channels, *size = described["input"]
    print(f"{described['name']}: input {channels}x{_times(size)}")
    print(f"parameters       {described['parameters']:,}")
    print(f"multiply-adds    {described['macs']:,}")
    megabytes = described["activation_bytes"] / 1e6
    print(f"activations      {megabytes:,.1f} MB kept for the backward pass, float32, batch {described['batch_size']}")
    print(f"receptive field  {_times(described['receptive_field'])}")


def _split(name: str) -> tuple[str, str]:
    """stage1.block2.branch.conv1 as (stage1.block2, branch.conv1)."""
    path = name.split(".")
    cut = min(2 if path[0].startswith("stage") else 1, len(path) - 1)
    return ".".join(path[:cut]), ".".join(path[cut:])


def _operation(row: dict[str, Any]) -> str:
    """conv 3x3/2 x32: kernel, stride and groups where there is anything to say."""
    words = [row["kind"]]
    if max(row["kernel"], default=1) > 1 or row["kind"] == "conv":
        words.append(_times(row["kernel"]))
    if max(row["stride"], default=1) > 1:
        alike = len(set(row["stride"])) == 1
        words[-1] += f"/{row['stride'][0] if alike else _times(row['stride'])}"
    if row["groups"] > 1:
        words.append(f"groups {row['groups']}")
    return " ".join(words)


def _times(values: list[int]) -> str:
    return "x".join(map(str, values)) or "-"

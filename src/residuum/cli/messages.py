"""What the commands print for people, on stdout."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from residuum.errors import shown
from residuum.run import Run
from residuum.training.stop import Stopped

if TYPE_CHECKING:
    from residuum.studies import Findings


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
    if costs := summary["costs"]:
        print(
            f"mean cost {costs['mean_cost']:.4g} by minimum expected cost ({costs['wrong']} wrong), "
            f"{costs['mean_cost_of_most_probable']:.4g} by highest probability"
        )
    print(f"loss {summary['loss']:.4f}, calibration error {100 * summary['calibration_error']:.2f}%")
    members = protocol["ensemble"]
    print(f"protocol {protocol['name']}: " + _view(protocol["view"], protocol["average"]))
    print(f"data {shown(protocol['data'])}, split {protocol['split']}, {protocol['precision']}, {protocol['backend']}")
    if members:
        named = ", ".join(f"{shown(member['name'])} ({member['digest'][:8]})" for member in members)
        print(f"ensemble of {len(members)}, mean of probabilities: {named}")
    table = _table("class", "#images", "#precision", "#recall", "#F1", "#specificity", "#AUC")
    for row in summary["per_class"]:
        keys = ("precision", "recall", "f1", "specificity", "auc")
        figures = ("-" if row[key] is None else f"{row[key]:.3f}" for key in keys)
        table.add_row(shown(row["class"]), str(row["images"]), *figures)
    _print(table)


def print_groups(rows: list[dict[str, Any]]) -> None:
    """The error of each group of the data, the worst first."""
    table = _table("group", "#images", "#wrong", "#error (%)")
    for row in rows:
        table.add_row(shown(row["group"]), str(row["images"]), str(row["wrong"]), f"{row['error']:.2f}")
    _print(table)


def print_rejection(rejection: dict[str, Any], images: int) -> None:
    """What would be left to a person, and the error on the rest."""
    kept, error = rejection["kept"], rejection["error"]
    rest = "none would be answered" if error is None else f"{rejection['wrong']} of them wrong: error {error:.2f}%"
    print(f"answering only from {rejection['reject_below']:g}: {kept} of {images} pictures answered, {rest}")


def print_robustness(stressed: list[dict[str, Any]]) -> None:
    """Error by change and severity; each cell is a number of its own protocol."""
    rows: dict[str, dict[int, float]] = {}
    for each in stressed:
        rows.setdefault(each["name"], {})[each["severity"]] = each["top1_error"]
    plain = rows.pop("none")[0]
    table = _table("error (%)", *(f"#{severity}" for severity in range(1, 6)), "#mean", title="Robustness by severity")
    for name, errors in rows.items():
        cells = [f"{errors[s]:.1f}" if s in errors else "" for s in range(1, 6)]
        table.add_row(name, *cells, f"{sum(errors.values()) / len(errors):.1f}")
    _print(table)
    print(f"unchanged: {plain:.1f}% of the same {stressed[0]['images']} pictures")


def print_findings(findings: Findings, page: Path) -> None:
    """A study's answer and tables, and where its page is."""
    console = _console()
    console.print(f"{findings.title}\n\n{findings.answer}\n", markup=False)
    for found in findings.tables:
        table = _table(*found.columns, title=found.title)
        for row in found.rows:
            table.add_row(*(Text(cell) for cell in row))
        console.print(table)
    print(f"page  {shown(page)}")
    if findings.next is not None:
        print(f"next  {shown(findings.next[1])}")


def _view(view: dict[str, Any], average: str | None) -> str:
    """What the network was shown, in words."""
    resize, size = view["resize"], view["size"]
    if resize is None:
        words = [f"whole as {_times(size)}"]
    elif isinstance(resize, int):
        words = [f"shorter side {resize}"]
    else:
        words = [f"shorter sides {', '.join(map(str, resize))}"]
    if view["crops"]:
        words.append(f"{_times(size)} at {', '.join(view['crops'])}")
    if size is None:
        words.append("every position")
    words += ["and mirrored"] * view["mirror"] + [f"mean of {average}"] * (average is not None)
    return "; ".join(words)


def print_predictions(answers: list[dict[str, Any]]) -> None:
    """One line for each picture, and what makes its answer doubtful."""
    from residuum.evaluation.unlike import is_strange  # numpy, which the other commands that print can do without

    for answer in answers:
        ranked = ", ".join(f"{shown(p['class'])} {100 * p['probability']:.1f}%" for p in answer["predictions"])
        strange = "  (unlike the training pictures)" if is_strange(answer.get("unlike")) else ""
        unsure = "  (unsure: below --reject-below)" if answer.get("rejected") else ""
        print(f"{shown(answer['image'])}: {ranked}{unsure}{strange}")


def print_explanation(found: dict[str, Any]) -> None:
    """Each picture with its classes and overlays, what the maps are worth, and where the page is."""
    from residuum.evaluation.unlike import is_strange

    for number, picture in enumerate(found["pictures"], start=1):
        ranked = ", ".join(f"{shown(p['class'])} {100 * p['probability']:.1f}%" for p in picture["predictions"][:3])
        true = "" if picture["true"] is None else f" (in truth {shown(picture['true'])})"
        strange = "  (unlike the training pictures)" if is_strange(picture["unlike"]) else ""
        print(f"{shown(picture['image']) or number}{true}: {ranked}{strange}")
        for look in picture["looks"]:
            print(f"  {shown(look['class'])}: {shown(look['overlay'])}")
    print(found["sanity"]["sentence"])
    for note in found["notes"]:
        print(note)
    print(f"page  {shown(found['page'])}")


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

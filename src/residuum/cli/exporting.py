"""residuum export, bench: a model in other runtimes, and how fast each of them is here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from residuum.cli.base import Flag, Json, Several, app, print_json


@app.command
def export(
    model: Path,
    *,
    to: str,
    out: Path,
    data: str | None = None,
    with_preprocessing: Annotated[bool, Flag] = False,
    min_agreement: float = 0.9,
    json: Json = False,
) -> None:
    """Write a model for another runtime, checked there on real pictures first, with a model card beside it.

    Args:
        model: A model file.
        to: onnx, openvino, torch, int8-onnx or int8-openvino.
        out: The file to write: .onnx, .xml (with a .bin beside it) or .pt2.
        data: Pictures to check on, and for int8 to calibrate on, as for `train`; else those it was trained on.
        with_preprocessing: Take uint8 pictures (batch, height, width, channels) and normalise them in the graph.
        min_agreement: Share of labels that int8 has to keep, 0 to 1; otherwise nothing is written.
    """
    from residuum.api import export as run_export

    found = run_export(
        model, to=to, out=out, data=data, with_preprocessing=with_preprocessing, min_agreement=min_agreement
    ).to_dict()
    if json:
        print_json(found)
    else:
        _print_export(found)


@app.command
def bench(
    model: Path,
    *,
    batch_size: Annotated[tuple[int, ...], Several] = (1, 16),
    data: str | None = None,
    device: str = "auto",
    json: Json = False,
) -> None:
    """Measure every runtime and precision of this machine on a model: images per second and agreement.

    Args:
        model: A model file.
        batch_size: Pictures at a time, one or several numbers.
        data: Pictures that agreement is judged on, as for `train`; else those it was trained on.
        device: auto, cpu, cuda, ...
    """
    from residuum.api import bench as run_bench

    found = run_bench(model, batch_sizes=batch_size, data=data, device=device).to_dict()
    if json:
        print_json(found)
    else:
        _print_bench(found)


def _print_export(found: dict[str, Any]) -> None:
    """The files, what goes in and comes out, and how far it agrees."""
    from residuum.errors import shown

    checked, given = found["checked"], found["input"]
    lines = [("wrote", shown(path)) for path in found["files"]]
    lines += [
        ("card", shown(found["card"])),
        ("size", f"{found['bytes'] / 1e6:.1f} MB"),
        ("input", f"{given['name']}: {given['dtype']} ({', '.join(map(str, given['shape']))})"),
        ("outputs", f"{', '.join(found['outputs'])}: float32 (batch, classes)"),
        ("checked", f"in {checked['runtime']} on {shown(checked['source'])}"),
        ("", f"{100 * checked['labels_equal']:.2f}% of labels equal to the float32 model's"),
        ("", f"largest difference {checked['logit_difference']:.1e} of the logits, "
             f"{checked['probability_difference']:.1e} of a probability"),
    ]  # fmt: skip
    if checked["accuracy"] is not None:
        lost = f"{checked['reference_accuracy']:.2f}%: {checked['points_lost']:.2f} points lost"
        lines.append(("", f"accuracy {checked['accuracy']:.2f}%, of the float32 model {lost}"))
    for word, text in (*lines, *(("note", shown(note)) for note in found["notes"])):
        print(f"{word:8} {text}")


def _print_bench(found: dict[str, Any]) -> None:
    """The table, under what it was measured on."""
    from residuum.errors import shown

    place = found["environment"]
    print(f"{shown(place['processor'])}, {place['device']}, {place['threads']} threads, torch {place['torch']}")
    print(f"input {'x'.join(map(str, found['input']))}; agreement on {shown(found['pictures'])}\n")
    rows = [("runtime", "batch", "images/s", "slowest", "fastest", "ratio", "labels equal", "probability", "")]
    for row in found["rows"]:
        taken = "" if row["agrees"] else "disagrees: auto does not take it"
        folded = ", folded" if row["folded"] and row["backend"] == "torch" else ""
        rows.append((
            f"{row['backend']} {row['precision']}{folded}", str(row["batch_size"]),
            f"{row['images_per_second']:.1f}", f"{row['slowest']:.1f}", f"{row['fastest']:.1f}", f"{row['ratio']:.2f}",
            f"{100 * row['labels_equal']:.1f}%", f"{row['probability_difference']:.1e}", taken,
        ))  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *rest in rows:
        cells = [text.rjust(width) for text, width in zip(rest[:-1], widths[1:-1], strict=True)]
        print("  ".join([first.ljust(widths[0]), *cells, rest[-1]]).rstrip())
    print(f"\nmedians of {found['rounds']} rounds in turns; ratio to the first row of the batch size, round by round;")
    print("probability: the largest difference of one from the float32 model's")
    print("fastest that agrees: " + "; ".join(_fastest(found["rows"])) + " (--backend auto finds it by itself)")
    for note in found["notes"]:
        print(f"note: {shown(note)}")


def _fastest(rows: list[dict[str, Any]]) -> list[str]:
    """Of each batch size, in words."""
    best: dict[int, dict[str, Any]] = {}
    for row in rows:
        size = row["batch_size"]
        if row["agrees"] and (size not in best or row["images_per_second"] > best[size]["images_per_second"]):
            best[size] = row
    return [f"{row['backend']} {row['precision']} at {size} at a time" for size, row in best.items()]

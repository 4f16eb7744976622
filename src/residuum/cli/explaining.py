"""residuum explain."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from residuum.cli.base import Files, Flag, Json, app, print_json


@app.command
def explain(
    model: Path,
    images: Files | None = None,
    /,
    *,
    method: str = "grad-cam",
    of_class: Annotated[str | None, Parameter(name="--class")] = None,
    mistakes: str | None = None,
    split: str | None = None,
    data: str | None = None,
    out: Path = Path("explain"),
    device: str = "auto",
    allow_bad: Annotated[bool, Flag] = False,
    json: Json = False,
) -> None:
    """Show where a network looks: overlays on pictures, and a page with classes and nearest training pictures.

    Args:
        model: A model file.
        images: Picture files, folders of them, or quoted globs; after -- also names that begin with a dash.
        method: grad-cam, integrated-gradients or occlusion.
        of_class: The class to look for; by default the one each picture is taken for.
        mistakes: Instead of pictures, a set as for `evaluate`: its most confused classes and worst mistakes.
        split: The part of --mistakes: train, val, test or all; by default as for `evaluate`.
        data: Training pictures to show the nearest ones of, as for `train`.
        out: Folder for the page explain.html and the overlays.
        device: auto, cpu, cuda, ...
        allow_bad: Go on even if more than 1% of the files of a set are unreadable.
    """
    from residuum.api import explain as run_explanation
    from residuum.cli.messages import print_explanation
    from residuum.errors import UserError
    from residuum.report.explaining import summary

    explanation = run_explanation(
        model, images or None, method=method, of_class=of_class, mistakes=mistakes, split=split, data=data, out=out,
        device=device, allow_bad=allow_bad,
    )  # fmt: skip
    found = summary(explanation, out)
    if json:
        print_json(found)
    else:
        print_explanation(found)
    if explanation.unreadable:
        raise UserError("; ".join(explanation.unreadable))

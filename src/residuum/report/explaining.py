"""Explanations as a page, as overlay files, and as JSON."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path
from typing import Any

from PIL import Image

from residuum.analysis.explain import Explained, Explanation
from residuum.analysis.sanity import Sanity
from residuum.errors import shown
from residuum.evaluation.unlike import is_strange
from residuum.files import make_folder, write_atomic
from residuum.report.mistakes import confusion
from residuum.report.page import error_sentence
from residuum.report.pictures import embedded, thumbnail
from residuum.report.render import render

PAGE_SIDE = 480
"""Pixels of the longer side of a picture on the page, twice what is seen of it; the overlays as files have more."""
PAIRS = 8
TITLES = {"grad-cam": "Grad-CAM", "integrated-gradients": "integrated gradients", "occlusion": "occlusion"}
HOW = {
    "grad-cam": "Grad-CAM (Selvaraju et al. 2017): the last convolutional map, each channel weighted by how fast the "
    "class's score rises with it.",
    "integrated-gradients": "Integrated gradients (Sundararajan et al. 2017): each pixel's part in the rise of the "
    "class's score from an even picture in the training mean to this one.",
    "occlusion": "Occlusion (Zeiler and Fergus 2014): how far the class's score falls when a square a sixth of the "
    "picture's side is covered with the training mean.",
}


def write_explanation(folder: Path, explanation: Explanation, model: str, file: str | None = None) -> Path:
    """Write `folder/explain.html` and `folder/overlays/*.png`; returns the path of the page.

    `model` is what the network is called, `file` its model file.

    Files of the same names are replaced, others are left. Raises UserError when the folder cannot be written.
    """
    make_folder(folder / "overlays")
    for number, explained in enumerate(explanation.pictures, start=1):
        for look, name in zip(explained.looks, overlay_names(number, explained), strict=True):
            content = io.BytesIO()
            look.overlay.save(content, "PNG")
            write_atomic(folder / "overlays" / name, content.getvalue())
    path = folder / "explain.html"
    write_atomic(path, render("explain.html", _contents(explanation, model, file)))
    return path


def check_folder(folder: Path) -> None:
    """UserError where the folder could not be made or written; nothing is made yet."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        make_folder(folder / "overlays")  # says why not


def overlay_names(number: int, explained: Explained) -> list[str]:
    """Files of a picture's overlays: its number, its name and the class, in letters that every system takes."""
    begin = [f"{number:03d}", _plain(Path(explained.image).stem)]
    return ["-".join(filter(None, (*begin, _plain(look.of)))) + ".png" for look in explained.looks]


def _plain(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]+", "-", text).strip("-")[:60]


def summary(explanation: Explanation, folder: Path | None = None) -> dict[str, Any]:
    """All that the page says, ready for JSON; the overlays are named by their files where they lie in `folder`."""
    evaluation = explanation.evaluation
    return {
        "method": explanation.method,
        "page": None if folder is None else str(folder / "explain.html"),
        "sanity": {
            "mean_rank_correlation": explanation.sanity.mean,
            "comparisons": len(explanation.sanity.correlations),
            "passed": explanation.sanity.passed,
            "sentence": sanity_sentence(explanation.sanity),
        },
        "map_size": explanation.map_size,
        "evaluation": evaluation and {key: evaluation.summary()[key] for key in ("protocol", "images", "correct_top1")},
        "confused": [vars(pair) for pair in confusion(evaluation).pairs] if evaluation else None,
        "pictures": [
            {
                "image": explained.image,
                "true": explained.true,
                "predictions": explained.predictions,
                "unlike": explained.unlike,
                "looks": [
                    {
                        "class": look.of,
                        "probability": look.probability,
                        "overlay": None if folder is None else str(folder / "overlays" / name),
                    }
                    for look, name in zip(explained.looks, overlay_names(number, explained), strict=True)
                ],
                "neighbours": [
                    {"image": near.name, "class": near.of, "distance": near.distance} for near in explained.neighbours
                ],
            }
            for number, explained in enumerate(explanation.pictures, start=1)
        ],
        "unreadable": list(explanation.unreadable),
        "notes": notes(explanation),
    }


def sanity_sentence(sanity: Sanity) -> str:
    """What came of the check, in words."""
    if sanity.mean is None:
        return "The maps could not be checked against random weights: they are the same everywhere."
    count = len(sanity.correlations)
    measured = f"mean rank correlation {sanity.mean:.2f} in {count} comparisons, where 1 would be the same map"
    if sanity.passed:
        return f"The maps depend on what the network learned: with random weights they become others ({measured})."
    return (
        f"Do not trust these maps: with random weights they stay much the same ({measured}), so they show the picture "
        "more than what the network learned."
    )


def notes(explanation: Explanation) -> list[str]:
    """Sentences on what limits the explanation."""
    found = list(explanation.notes)
    if explanation.map_size == (1, 1):
        found.append(
            "The last convolutional map of this network is 1 x 1 at its input size, so Grad-CAM cannot tell places "
            "apart: use --method occlusion."
        )
    return found


def _contents(explanation: Explanation, model: str, file: str | None) -> dict[str, Any]:
    evaluation, likeness = explanation.evaluation, explanation.likeness
    read = None if likeness is None else (lambda index: likeness.manifest.pictures.read(index, 3))
    found = None if evaluation is None else evaluation.summary()
    return {
        "model": model,
        "file": file,
        "method": TITLES[explanation.method],
        "how": HOW[explanation.method],
        "sanity": sanity_sentence(explanation.sanity),
        "trusted": explanation.sanity.passed,
        "notes": notes(explanation),
        "unreadable": explanation.unreadable,
        "sentence": found and error_sentence(found),
        "data": found and found["protocol"]["data"],
        "mistakes": None if evaluation is None else int((evaluation.predicted != evaluation.labels).sum()),
        "confused": confusion(evaluation).pairs[:PAIRS] if evaluation else [],
        "compared_with": None if likeness is None else likeness.manifest.argument,
        "cards": [
            {
                "name": shown(explained.image) or f"picture {number}",
                "true": explained.true,
                "said": explained.predictions[0]["class"],
                "picture": embedded(Image.fromarray(explained.picture), PAGE_SIDE),
                "looks": [(look, embedded(look.overlay, PAGE_SIDE)) for look in explained.looks],
                "empty": [look.of for look in explained.looks if not look.heat.any()],
                "predictions": explained.predictions,
                "strange": is_strange(explained.unlike),
                "neighbours": [(near, thumbnail(read, near.index) if read else None) for near in explained.neighbours],
            }
            for number, explained in enumerate(explanation.pictures, start=1)
        ],
    }

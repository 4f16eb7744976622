"""`residuum train --folds K`: as many trainings as folds, each picture held out once; the mean error and its spread."""

from __future__ import annotations

import json
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

from residuum import session
from residuum.config import to_dict
from residuum.data.folds import Fold, fold_of
from residuum.data.manifest import Manifest
from residuum.data.opening import open_for
from residuum.errors import UserError, shown
from residuum.files import make_folder, write_json
from residuum.progress import Reporter
from residuum.report.folds import write_folds
from residuum.run import Run
from residuum.wishes import Wishes, settled_recipe


def cross_validate(
    data: str | Path | Manifest,
    folds: int,
    *,
    out: str | Path | None = None,
    reporter: Reporter | None = None,
    **wishes: Any,
) -> dict[str, Any]:
    """Train as often as there are `folds`, in out/fold-1, out/fold-2, ..., each time holding out another one.

    `wishes` are those of `residuum.train`. Given again, finished folds are not repeated and one that was interrupted is
    resumed. Returns what folds.json holds: {"folds": [...], "mean_error", "std_error" (n - 1), "images", "wrong", ...},
    errors in percent. Raises UserError, and `residuum.training.stop.Stopped` after a signal.
    """
    wanted, reporter = Wishes(**wishes), reporter or Reporter()
    if folds < 2:
        raise UserError(f"--folds must be at least 2, not {folds}: each fold is held out from training on the others")
    if wanted.val is not None:
        raise UserError("--folds holds out each picture once: leave --val out")
    recipe = settled_recipe(wanted)
    if isinstance(data, Manifest):
        manifest = data
    else:
        manifest = open_for(reporter, str(data), None, wanted.allow_bad, wanted.exclude)
    folder = Path(out) if out is not None else Path("runs") / f"folds-{Path(manifest.argument).name}"
    seed = wanted.seed or 0
    for index in range(1, folds + 1):  # all of them can be cut, before hours of training
        fold_of(manifest, Fold(index, folds, seed))
    make_folder(folder)
    asked = {
        "of": folds,
        "seed": seed,
        "data": manifest.argument,
        "digest": manifest.digest,
        "recipe": to_dict(recipe),
        "model": wanted.model,
        "axes": {axis: str(value) for axis, value in (wanted.axes or {}).items()} or None,
        "weights": None if wanted.weights is None else str(wanted.weights),
        "costs": None if wanted.costs is None else str(wanted.costs),
    }
    _refuse_others(folder, asked)
    write_json(folder / "folds.json", asked | {"folds": []})
    rows = []
    for index in range(1, folds + 1):
        run = _one(manifest, folder / f"fold-{index}", replace(wanted, fold=Fold(index, folds, seed)), reporter)
        rows.append(_row(index, run))
    found = asked | _summary(rows)
    write_json(folder / "folds.json", found)
    found["page"] = str(write_folds(folder, found))
    reporter.say(sentence(found))
    return found


def _refuse_others(folder: Path, asked: dict[str, Any]) -> None:
    """A folder of folds goes on with the same ones alone."""
    if (folder / "run.json").exists():
        raise UserError(f"{shown(folder)} holds a run; choose another --out for the folds")
    path = folder / "folds.json"
    if not path.exists():
        return
    try:
        earlier = json.loads(path.read_text())
        changed = [key for key, value in asked.items() if key != "data" and earlier.get(key) != value]
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"{shown(path)} cannot be read ({error}); choose another --out") from None
    if changed:
        names = {"of": "--folds", "digest": "the data", "recipe": "the recipe", "axes": "the network"}
        what = ", ".join(names.get(key, f"--{key}") for key in changed)
        raise UserError(f"{shown(folder)} holds folds begun otherwise ({what} differs); choose another --out")


def _one(manifest: Manifest, folder: Path, wanted: Wishes, reporter: Reporter) -> Run:
    assert wanted.fold is not None
    reporter.say(f"fold {wanted.fold.index} of {wanted.fold.of}")
    if (folder / "run.json").exists():
        begun = session.resume(folder, manifest, Wishes(using=wanted.using), reporter)
        return Run(folder) if begun is None else session.carry_out(begun)
    return session.carry_out(session.begin(manifest, folder, wanted, reporter))


def _row(index: int, run: Run) -> dict[str, Any]:
    facts = run.read()
    result = facts["all_results"]["val"]
    costs = result.get("costs")
    return {
        "fold": index,
        "run": run.folder.name,
        "images": result["images"],
        "wrong": result["images"] - result["correct_top1"],
        "error": result["top1_error"],
        "loss": result["loss"],
        "mean_cost": None if costs is None else costs["mean_cost"],
        "test_error": facts["all_results"].get("test", {}).get("top1_error"),
        "chosen_by_validation": "kept" in (facts.get("finetune") or {}),
    }


def _summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    def spread(key: str) -> tuple[float | None, float | None]:
        values = [row[key] for row in rows if row[key] is not None]
        return (statistics.fmean(values), statistics.stdev(values)) if len(values) > 1 else (None, None)

    mean, std = spread("error")
    cost, cost_std = spread("mean_cost")
    return {
        "folds": rows,
        "images": sum(row["images"] for row in rows),
        "wrong": sum(row["wrong"] for row in rows),
        "mean_error": mean,
        "std_error": std,
        "mean_cost": cost,
        "std_cost": cost_std,
        "optimistic": any(row["chosen_by_validation"] for row in rows),
    }


def sentence(found: dict[str, Any]) -> str:
    """The result in words."""
    said = (
        f"{found['of']} folds: error {found['mean_error']:.2f} +- {found['std_error']:.2f} % (mean, standard deviation "
        f"over folds), {found['wrong']} of {found['images']} pictures wrong when held out"
    )
    if found["mean_cost"] is not None:
        said += f", mean cost {found['mean_cost']:.4g} +- {found['std_cost']:.4g}"
    if found["optimistic"]:
        said += "; each fold's weights were chosen by the pictures it held out, so this is optimistic"
    return said

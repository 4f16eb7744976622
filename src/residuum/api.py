"""The functions most people need: build, train, evaluate, load. The commands call these."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from residuum import catalog, session
from residuum.data.opening import default_workers, open_for
from residuum.errors import UserError, shown
from residuum.evaluation.metrics import Evaluation
from residuum.inference import Model, load
from residuum.nets.network import Network, make_network
from residuum.plan import make_plan
from residuum.progress import Reporter
from residuum.run import Run
from residuum.session import Wishes

__all__ = ["build", "evaluate", "load", "train"]


def build(name: str, num_classes: int | None = None, *, depth: int | None = None, **axes: Any) -> Network:
    """A freshly initialised network of the catalogue, (N, channels, *size) -> logits (N, num_classes).

    `axes` are fields of `NetworkSpec`: build("resnet50", num_classes=10, shortcut="C", stride_in="3x3"). Weights
    come from torch's global random state. Raises UserError for an unknown name or axis, or a spec that is unsound.
    """
    if num_classes is not None:
        axes["classes"] = num_classes
    return make_network(make_plan(catalog.spec(name, depth=depth, **axes)))


def train(
    data: str | Path | None = None,
    *,
    out: str | Path | None = None,
    resume: str | Path | None = None,
    reporter: Reporter | None = None,
    **wishes: Any,
) -> Run:
    """Train a network on `data` into the run directory `out`, or go on with the run `resume`.

    `wishes` are the fields of `Wishes`. Returns the finished run. Raises UserError for bad input and for training
    that diverges, `residuum.training.stop.Stopped` after a signal (the state is saved).
    """
    wanted = Wishes(**wishes)
    reporter = reporter or Reporter()
    if resume is not None:
        if out is not None:
            raise UserError("a resumed run goes on in its own folder; leave --out out")
        resumed = session.resume(Path(resume), str(data) if data else None, wanted, reporter)
        return session.carry_out(resumed) if resumed else Run(Path(resume))
    if data is None:
        raise UserError("give the data to train on: a folder of class folders, or digits, cifar10:PATH, csv:FILE, ...")
    return session.carry_out(session.begin(str(data), Path(out) if out else None, wanted, reporter))


def evaluate(
    model: str | Path | Model,
    data: str | Path,
    *,
    split: str | None = None,
    batch_size: int = 64,
    workers: int | None = None,
    device: str = "auto",
    allow_bad: bool = False,
    reporter: Reporter | None = None,
) -> Evaluation:
    """Evaluate a model file (or a loaded model) on a data set, in float32.

    Without `split`: the test part if there is one; else, where the data are those the model was trained on, their
    validation part; else every picture.
    """
    model = model if isinstance(model, Model) else load(model, device)
    reporter = reporter or Reporter()
    trained_on = model.artifact.training.get("data", {})
    if workers is not None and workers < 0:
        raise UserError(f"--workers must be 0 or more, not {workers}")
    manifest = open_for(reporter, str(data), None, allow_bad)
    part = "test" if split is None and "test" in manifest.parts else split
    own = manifest.digest == trained_on.get("digest")
    if own and trained_on["val"] is not None and part not in ("test", "all"):
        manifest = open_for(reporter, str(data), trained_on["val"], allow_bad)  # cut as it was for training
    if part is None and own:
        if "val" not in manifest.parts:
            raise UserError(
                f"this model was trained on every picture of {shown(manifest.argument)}: nothing is held out; "
                f"give other data, or --split train to see the training error"
            )
        part = "val"
    elif part == "all":
        part = None
    with reporter.track("evaluating", "pictures") as update:
        workers = default_workers(manifest) if workers is None else workers
        return model.evaluate(manifest, part, batch_size, workers, update)

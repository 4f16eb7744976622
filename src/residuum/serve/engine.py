"""The engine process: the models, their answers a batch at a time, and what explains them."""

from __future__ import annotations

import base64
import io
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from residuum.config import to_dict
from residuum.data.manifest import Manifest
from residuum.data.synsets import places
from residuum.errors import UserError, nearest, shown
from residuum.evaluation.runtime import Runtime
from residuum.inference import Model, load
from residuum.judging import part_of
from residuum.progress import Reporter
from residuum.serve.frames import Channel, arrays_of

NEIGHBOURS = 6
SMALL_SIDE = 256
"""Pictures that go to a page are no larger than this."""


class Served:
    """One model under the name by which it is asked for."""

    def __init__(
        self, model: Model, name: str, manifest: Manifest | None, runtime: Runtime | None, reporter: Reporter
    ) -> None:
        self.model, self.name, self.manifest, self.runtime = model, name, manifest, runtime
        view = self.model.artifact.preprocessing
        # decoders send views: a resize to the crop's own size leaves them as they are
        viewed = replace(self.model.artifact, preprocessing=replace(view, resize=max(view.size)))
        self.of_views = Model(viewed, str(next(model.network.parameters()).device))
        if runtime is not None:
            self.of_views = self.of_views.on(runtime)
        self.neighbours = None if manifest is None else self._neighbours(manifest, reporter)

    def _neighbours(self, manifest: Manifest, reporter: Reporter) -> Any:
        from residuum.analysis.neighbours import Neighbours

        found = places(manifest.classes, self.model.classes)
        unknown = [name for name, place in zip(manifest.classes, found, strict=True) if place is None]
        if unknown:
            raise UserError(
                f"--data {shown(manifest.argument)} has classes that the model {shown(self.name)} does not know: "
                f"{', '.join(map(shown, unknown[:5]))}; it knows {', '.join(map(shown, self.model.classes[:10]))}"
            )
        with reporter.track(f"looking at the training pictures with {self.name}", "pictures") as update:
            return Neighbours.of(self.model, manifest, progress=update)

    def described(self) -> dict[str, Any]:
        """What /v1/model says; of paths only their last part."""
        content = self.model.artifact
        return {
            "name": self.name,
            "task": content.task,
            "classes": content.classes,
            "preprocessing": content.preprocessing.to_dict(),
            "spec": to_dict(content.spec),
            "results": [_without_paths(result) for result in content.results],
            "calibration": content.calibration,
            "sha256": content.sha256,
            "backend": "torch" if self.runtime is None else self.runtime.backend,
            "precision": "float32" if self.runtime is None else self.runtime.precision,
            "neighbours": self.neighbours is not None,
        }

    def predict(self, pictures: list[np.ndarray], tops: list[int]) -> list[dict[str, Any]]:
        """What `Model.predict` says of views of pictures."""
        answers = self.of_views.predict(pictures, top=max(tops), batch_size=len(pictures))
        told = {} if self.runtime is None else {"backend": self.runtime.backend, "precision": self.runtime.precision}
        return [
            answer | {"predictions": answer["predictions"][:top]} | told
            for answer, top in zip(answers, tops, strict=True)
        ]  # fmt: skip

    def explain(self, picture: np.ndarray, wanted: str | None) -> dict[str, Any]:
        """Where the network looked for a class (its first choice), and the training pictures nearest in features."""
        from residuum.analysis.overlay import overlay
        from residuum.analysis.saliency import grad_cam

        if wanted is not None and wanted not in self.model.classes:
            known = nearest(wanted[:100], self.model.classes)
            raise UserError(f'the model {shown(self.name)} has no class "{shown(wanted)[:100]}"; {known}')
        said = wanted or self.model.predict(picture, top=1)[0]["predictions"][0]["class"]
        heat = grad_cam(self.model, [picture], [self.model.classes.index(said)])[0]
        return {
            "class": said,
            "picture": data_uri(Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture)),
            "overlay": data_uri(overlay(picture, heat, self.model.artifact.preprocessing)),
            "neighbours": self._nearest(picture),
        }

    def _nearest(self, picture: np.ndarray) -> list[dict[str, Any]]:
        if self.neighbours is None or self.manifest is None:
            return []
        manifest = self.manifest
        return [
            {
                "class": manifest.classes[manifest.labels[index]],
                "name": shown(manifest.names[index].rpartition("/")[2]),
                "distance": float(distance),
                "picture": _thumbnail(manifest, int(index)),
            }
            for index, distance in self.neighbours.nearest(picture, NEIGHBOURS)
        ]


def main() -> None:
    channel = Channel()
    asked = iter(channel)
    settings, _ = next(asked)
    try:
        models = start(settings)
        channel.send({"models": [model.described() for model in models]})
    except (UserError, OSError) as error:
        channel.send({"error": str(error)})
        return
    for question, payload in asked:
        channel.send(answer(models, question, payload))


def start(settings: dict[str, Any]) -> list[Served]:
    """The models, warm. `settings`: {"models": [[path, name], ...], "data", "device", "backend"}."""
    reporter, data = Reporter(), settings["data"]
    models = [(load(Path(path), settings["device"]), name) for path, name in settings["models"]]
    manifests = _training_pictures(models, data, reporter) if data else [None] * len(models)
    found = [
        Served(model, name, manifest, _runtime(model, settings["backend"], data, reporter), reporter)
        for (model, name), manifest in zip(models, manifests, strict=True)
    ]
    for each in found:
        view = each.model.artifact.preprocessing
        each.predict([np.zeros((*view.size, view.channels), np.uint8)], [1])
    return found


def _runtime(model: Model, backend: str | None, data: str | None, reporter: Reporter) -> Runtime | None:
    """What computes the answers, chosen on `data`, else on what the model was trained on; None is torch in float32."""
    if backend is None:
        return None
    from residuum.deploy.choice import COMPARED, choose
    from residuum.deploy.pictures import gather

    return choose(model, backend, gather(model, data, False, reporter, COMPARED).checked, reporter)


def _training_pictures(models: list[tuple[Model, str]], data: str, reporter: Reporter) -> list[Manifest]:
    """The data set for each model, as it was trained on it: what it left out or held out is no neighbour.

    Models that were trained alike share it, so that it is read once.
    """
    read: dict[str, Manifest] = {}
    found = []
    for model, name in models:
        facts = model.artifact.training.get("data", {})
        cut = json.dumps([facts.get(key) for key in ("digest", "val", "fold", "exclude")])
        if cut not in read:
            read[cut], _ = part_of([model], [name], data, "train", allow_bad=False, reporter=reporter)
        found.append(read[cut])
    return found


def answer(models: list[Served], question: dict[str, Any], payload: bytes) -> dict[str, Any]:
    """{"answers": one for each picture}, or {"error", "status"}."""
    served, pictures = models[question["model"]], arrays_of(payload, question["shapes"])
    wishes = question["wishes"]
    try:
        if question["task"] == "predict":
            return {"answers": served.predict(pictures, wishes)}
        return {"answers": [served.explain(picture, wish) for picture, wish in zip(pictures, wishes, strict=True)]}
    except UserError as error:
        return {"status": 400, "error": str(error)}
    except Exception as error:
        print(f"residuum: the engine failed: {error!r}", file=sys.stderr, flush=True)
        return {"status": 500, "error": "the model failed on this picture"}


def data_uri(picture: Image.Image) -> str:
    """A picture for an `img` element: PNG where it is small, JPEG else."""
    picture = picture.convert("RGB")
    picture.thumbnail((2 * SMALL_SIDE, 2 * SMALL_SIDE))
    buffer, small = io.BytesIO(), max(picture.size) <= 64
    picture.save(buffer, "PNG" if small else "JPEG", **({} if small else {"quality": 88}))
    kind = "png" if small else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _thumbnail(manifest: Manifest, index: int) -> str | None:
    try:
        pixels = manifest.pictures.read(index, 3)
    except UserError:  # moved or changed since the start
        return None
    picture = Image.fromarray(pixels)
    picture.thumbnail((SMALL_SIDE, SMALL_SIDE))
    return data_uri(picture)


def _without_paths(value: Any) -> Any:
    """A record with every text that holds a path cut down to its last part."""
    if isinstance(value, dict):
        return {key: _without_paths(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_paths(item) for item in value]
    if isinstance(value, str) and "/" in value:
        kind, colon, rest = value.partition(":")
        kind = f"{kind}:" if colon and "/" not in kind else ""
        return kind + (rest if kind else value).rstrip("/").rpartition("/")[2]
    return value


if __name__ == "__main__":
    main()

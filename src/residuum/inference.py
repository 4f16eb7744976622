"""A trained model at work: load a model file, classify pictures, evaluate on a data set."""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from residuum import artifact
from residuum.artifact import MEAN_PICTURE, Artifact
from residuum.config import Part
from residuum.data.batches import EvalBatches, prepare
from residuum.data.decoding import as_channels, decode, is_picture_name, of_image
from residuum.data.manifest import Manifest
from residuum.devices import pick_device
from residuum.errors import UserError, shown
from residuum.evaluation.evaluate import evaluate_network, logits_of, protocol_of
from residuum.evaluation.metrics import Evaluation
from residuum.nets.network import make_network
from residuum.plan import make_plan
from residuum.progress import Update

Picture = str | Path | Image.Image | np.ndarray


class Model:
    """A network with all it needs to be used: classes, preprocessing, and how it came to be."""

    def __init__(self, content: Artifact, device: str = "auto") -> None:
        self.artifact = content
        self.plan = make_plan(content.spec)
        self.network = make_network(self.plan, device="meta")
        state = {name: tensor for name, tensor in content.tensors.items() if name != MEAN_PICTURE}
        try:
            self.network.load_state_dict(state, assign=True)
        except RuntimeError as error:
            raise UserError(
                f"the weights in the model file do not fit its spec ({str(error).splitlines()[-1].strip()})"
            ) from None
        self.network.to(pick_device(device)).eval()
        mean = content.tensors.get(MEAN_PICTURE)
        self.mean_picture = None if mean is None else mean.numpy()

    @property
    def classes(self) -> tuple[str, ...]:
        return self.artifact.classes

    def predict(
        self,
        pictures: Picture | Iterable[Picture],
        top: int = 5,
        batch_size: int = 64,
        on_unreadable: Callable[[str], None] | None = None,
    ) -> list[dict[str, Any]]:
        """The most probable classes of each picture, best first.

        Pictures are paths, PIL pictures or uint8 arrays (H, W), (H, W, 1) or (H, W, 3). Returns, for each,
        {"image": name, "predictions": [{"class", "index", "probability"}, ...]}. An unreadable picture is a
        UserError, or goes, as a sentence, to `on_unreadable` and is left out of the answers.
        """
        if isinstance(pictures, (str, Path, Image.Image, np.ndarray)):
            pictures = [pictures]
        items = list(pictures)
        answers: list[dict[str, Any]] = []
        for start in range(0, len(items), batch_size):
            readable: list[tuple[Picture, np.ndarray]] = []
            for item in items[start : start + batch_size]:
                try:
                    readable.append((item, self._read(item)))
                except UserError as error:
                    if on_unreadable is None:
                        raise
                    on_unreadable(str(error))
            if not readable:
                continue
            inputs = prepare([pixels for _, pixels in readable], self.artifact.preprocessing, self.mean_picture)
            probabilities = torch.softmax(logits_of(self.network, inputs).double(), dim=1)
            answers += [self._answer(item, row, top) for (item, _), row in zip(readable, probabilities, strict=True)]
        return answers

    def evaluate(
        self,
        manifest: Manifest,
        part: str | None = None,
        batch_size: int = 64,
        workers: int = 0,
        progress: Update | None = None,
    ) -> Evaluation:
        """Evaluate in float32 on a part of a data set; None means every picture."""  # fmt: skip
        indices = manifest.part(part) if part else np.arange(len(manifest.names))
        view = self.artifact.preprocessing
        batches = EvalBatches(
            manifest,
            indices,
            view,
            min(batch_size, len(indices)),
            workers=workers,
            mean_picture=self.mean_picture,
        )
        return evaluate_network(
            self.network,
            manifest,
            indices,
            batches,
            self.classes,
            protocol_of(manifest, part or "all", view.to_dict()),
            labels=self._labels(manifest)[indices],
            progress=progress,
        )

    def _labels(self, manifest: Manifest) -> np.ndarray:
        """The manifest's labels as indices into the model's classes, matched by name."""
        if "imported_from" in self.artifact.training and self.classes == tuple(map(str, range(len(manifest.classes)))):
            return manifest.labels  # imported without class names: the order is all there is to go by
        unknown = [name for name in manifest.classes if name not in self.classes]
        if unknown:
            raise UserError(
                f"{shown(manifest.argument)} has classes this model does not know: "
                f"{', '.join(shown(name) for name in unknown[:10])}; it knows {len(self.classes)}: "
                f"{', '.join(shown(name) for name in self.classes[:10])}"
            )
        return np.array([self.classes.index(name) for name in manifest.classes])[manifest.labels]

    def _read(self, item: Picture) -> np.ndarray:
        channels = self.artifact.preprocessing.channels
        if isinstance(item, (str, Path)):
            try:
                return decode(Path(item), channels)
            except UserError as error:
                raise UserError(f"{shown(item)}: {error}") from None
        if isinstance(item, Image.Image):
            return as_channels(of_image(item), channels)
        if item.dtype != np.uint8 or not item.size or (item.ndim != 2 and item.shape[2:] not in ((1,), (3,))):
            raise UserError(
                f"a picture array must be uint8 (H, W), (H, W, 1) or (H, W, 3), not {item.dtype} {item.shape}"
            )
        return as_channels(item if item.ndim == 3 else item[..., None], channels)

    def _answer(self, item: Picture, probabilities: torch.Tensor, top: int) -> dict[str, Any]:
        best = torch.argsort(probabilities, descending=True, stable=True)[:top].tolist()
        return {
            "image": str(item) if isinstance(item, (str, Path)) else "",
            "predictions": [
                {"class": self.classes[index], "index": index, "probability": float(probabilities[index])}
                for index in best
            ],
        }


def load(path: str | Path, device: str = "auto", using: Iterable[type[Part]] = ()) -> Model:
    """The model of a model file (`model.safetensors` of a run, or of `residuum import`).

    `using` are the classes of parts from outside the package that its network was made with (docs/extending.md).
    """
    return Model(artifact.load(Path(path), using), device)


def find_pictures(arguments: Sequence[str | Path]) -> list[Path]:
    """Files as given, the pictures below folders, and what globs match, in order and each once."""
    found: dict[Path, None] = {}
    for argument in map(str, arguments):
        path = Path(argument)
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if is_picture_name(p.name) and p.is_file())
            if not inside:
                raise UserError(f"the folder {shown(path)} holds no pictures")
            found |= dict.fromkeys(inside)
        elif path.exists() or not glob.has_magic(argument):
            found[path] = None
        else:
            matches = sorted(Path(match) for match in glob.glob(argument, recursive=True))
            if not matches:
                raise UserError(f"nothing matches {shown(argument)}")
            found |= dict.fromkeys(matches)
    return list(found)

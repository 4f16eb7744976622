"""A trained model at work: load a model file, classify pictures, evaluate on a data set."""

from __future__ import annotations

import copy
import glob
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from PIL import Image

from residuum import artifact
from residuum.artifact import MEAN_PICTURE, Artifact
from residuum.config import Part, to_dict
from residuum.data.batches import prepare
from residuum.data.decoding import as_channels, decode, is_picture_name, of_image
from residuum.data.manifest import Manifest
from residuum.data.synsets import places
from residuum.devices import pick_device
from residuum.errors import UserError, shown
from residuum.evaluation.evaluate import logits_of
from residuum.evaluation.metrics import Evaluation
from residuum.evaluation.protocols import Protocol, choose_protocol, record
from residuum.evaluation.runtime import Runtime
from residuum.evaluation.scoring import score
from residuum.evaluation.temperature import temperature_of
from residuum.evaluation.unlike import unlike
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
        self.runtime: Runtime | None = None
        "What computes logits; None is torch in float32."

    def on(self, runtime: Runtime) -> Model:
        """The same model with its logits computed by `runtime`."""
        found = copy.copy(self)
        found.runtime = runtime
        return found

    def logits(self, inputs: torch.Tensor) -> torch.Tensor:
        """(N, K) float32 on the CPU, of normalised pictures (N, C, H, W)."""
        return logits_of(self.network, inputs) if self.runtime is None else self.runtime.logits(inputs)

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
        {"image": name, "predictions": [{"class", "index", "probability"}, ...], "unlike": score or None}; the score:
        how unlike the training pictures it is (evaluation/unlike.py). An unreadable picture is a UserError, or goes, as
        a sentence, to `on_unreadable` and is left out of the answers.
        """
        if isinstance(pictures, (str, Path, Image.Image, np.ndarray)):
            pictures = [pictures]
        items = list(pictures)
        answers: list[dict[str, Any]] = []
        for start in range(0, len(items), batch_size):
            readable: list[tuple[Picture, np.ndarray]] = []
            for item in items[start : start + batch_size]:
                try:
                    readable.append((item, self.read(item)))
                except UserError as error:
                    if on_unreadable is None:
                        raise
                    on_unreadable(str(error))
            if not readable:
                continue
            inputs = prepare([pixels for _, pixels in readable], self.artifact.preprocessing, self.mean_picture)
            names = [str(item) if isinstance(item, (str, Path)) else "" for item, _ in readable]
            answers += self.answers(names, self.logits(inputs), top)
        return answers

    def evaluate(
        self,
        manifest: Manifest,
        part: str | None = None,
        batch_size: int = 64,
        workers: int = 0,
        progress: Update | None = None,
        protocol: Protocol | None = None,
    ) -> Evaluation:
        """Evaluate on a part of a data set, None being every picture, under a protocol (center)."""
        view = self.artifact.preprocessing
        protocol = protocol or choose_protocol("center", view)
        indices = manifest.part(part) if part else np.arange(len(manifest.names))
        labels = self.labels(manifest)[indices]
        found = score(
            self.network, manifest, indices, protocol, view, self.mean_picture,
            batch_size=batch_size, workers=workers, temperature=self.temperature, runtime=self.runtime,
            progress=progress,
        )  # fmt: skip
        averaged = protocol.average == "probabilities"
        found = (Evaluation.from_probabilities if averaged else Evaluation.from_logits)(
            self.classes,
            tuple(manifest.names[i] for i in indices),
            indices,
            labels,
            found,
            to_dict(record(protocol, manifest, part or "all", self.temperature, self.runtime)),
        )
        found = replace(found, groups=manifest.groups_of(indices))
        costs = self.artifact.training.get("costs")
        return replace(found, costs=np.array(costs["matrix"], float)) if costs else found

    @property
    def name(self) -> str:
        """What the network is called in the catalogue, as far as the model file says."""
        return str(self.artifact.training.get("name", "unnamed"))

    @property
    def temperature(self) -> float:
        """What logits are divided by before the softmax (evaluation/temperature.py)."""
        return temperature_of(self.artifact.calibration)

    def digest(self) -> str:
        """SHA-256, in hexadecimal, over all that decides an answer: spec, classes, preprocessing and weights."""
        known = [to_dict(self.artifact.spec), list(self.classes), self.artifact.preprocessing.to_dict()]
        total = hashlib.sha256(json.dumps(known, sort_keys=True).encode())
        tensors = {name: tensor.cpu().contiguous() for name, tensor in self.network.state_dict().items()}
        if self.mean_picture is not None:
            tensors[MEAN_PICTURE] = torch.from_numpy(self.mean_picture)
        total.update(safetensors.torch.save(tensors))
        return total.hexdigest()

    def labels(self, manifest: Manifest) -> np.ndarray:
        """The manifest's labels as indices into the model's classes, matched by name or by WordNet ID."""
        if "imported_from" in self.artifact.training and self.classes == tuple(map(str, range(len(manifest.classes)))):
            return manifest.labels  # imported without class names: the order is all there is to go by
        found = places(manifest.classes, self.classes)
        unknown = [name for name, place in zip(manifest.classes, found, strict=True) if place is None]
        if unknown:
            raise UserError(
                f"{shown(manifest.argument)} has classes this model does not know: "
                f"{', '.join(shown(name) for name in unknown[:10])}; it knows {len(self.classes)}: "
                f"{', '.join(shown(name) for name in self.classes[:10])}"
            )
        return np.array(found)[manifest.labels]

    def read(self, item: Picture) -> np.ndarray:
        """A picture decoded, uint8 (H, W, channels); UserError where it cannot be."""
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

    def answers(self, names: Sequence[str], logits: torch.Tensor, top: int = 5) -> list[dict[str, Any]]:
        """What `predict` says of pictures whose logits (N, K) are known."""
        scores = unlike(logits.numpy(), self.artifact.calibration)
        probabilities = torch.softmax(logits.double() / self.temperature, dim=1)
        best = torch.argsort(probabilities, dim=1, descending=True, stable=True)[:, :top].tolist()
        return [
            {
                "image": name,
                "predictions": [
                    {"class": self.classes[index], "index": index, "probability": float(row[index])} for index in places
                ],
                "unlike": None if scores is None else float(scores[number]),
            }
            for number, (name, row, places) in enumerate(zip(names, probabilities, best, strict=True))
        ]


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

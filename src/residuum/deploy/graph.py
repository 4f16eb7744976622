"""What is exported: the folded network with softmax behind it and, if wanted, the normalisation before it.

inputs    float32 (batch, C, H, W), normalised: (x / 255 - mean) / std; or, with preprocessing inside,
pictures  uint8 (batch, H, W, C), as decoders give them, resized and cropped to the network's size
logits    float32 (batch, classes)
probabilities  float32 (batch, classes): softmax of the logits, over the temperature where the model file has one
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from residuum import __version__
from residuum.data.preprocessing import Preprocessing
from residuum.deploy.fold import folded
from residuum.errors import UserError, one_line
from residuum.inference import Model

Answers = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""What a runtime does with a batch of inputs: (logits, probabilities)."""
KEY = "residuum"
"""Under which a file says of itself what it is: ONNX metadata, OpenVINO runtime information, an extra file."""
OUTPUTS = ("logits", "probabilities")
EXAMPLES = 2
"""Pictures in the batch that is traced; one would be taken for a constant."""


class Deployed(nn.Module):
    """Normalised float32 (batch, C, H, W) -> (logits, probabilities)."""

    def __init__(self, network: nn.Module, temperature: float) -> None:
        super().__init__()
        self.network, self.temperature = network, temperature

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.network(inputs)
        return logits, torch.softmax(logits / self.temperature, 1)


class WithPreprocessing(nn.Module):
    """uint8 (batch, H, W, C) -> x scale + offset as (batch, C, H, W) -> (logits, probabilities)."""

    scale: Tensor
    offset: Tensor

    def __init__(self, deployed: nn.Module, view: Preprocessing, mean: Tensor) -> None:
        super().__init__()
        std = torch.tensor(view.std)
        self.deployed = deployed
        self.register_buffer("scale", 1 / (255 * std))
        self.register_buffer("offset", -mean / std)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        x = pictures.to(torch.float32) * self.scale + self.offset
        return self.deployed(x.permute(0, 3, 1, 2))


@dataclass(frozen=True)
class Graph:
    """A module to export, an example of its one input, and that input's name."""

    module: nn.Module
    example: Tensor
    input: str

    @property
    def channels(self) -> int:
        return self.example.shape[-1 if self.example.dtype == torch.uint8 else 1]

    @property
    def facts(self) -> dict[str, Any]:
        """The input in words and numbers."""
        layout = "NHWC" if self.example.dtype == torch.uint8 else "NCHW"
        dtype = str(self.example.dtype).removeprefix("torch.")
        return {"name": self.input, "dtype": dtype, "layout": layout, "shape": ["batch", *self.example.shape[1:]]}


def graph_of(model: Model, with_preprocessing: bool = False) -> Graph:
    """The graph of a model, on the CPU."""
    view = model.artifact.preprocessing
    (height, width), channels = view.size, view.channels
    module: nn.Module = Deployed(folded(model.network).cpu(), model.temperature)
    if not with_preprocessing:
        return Graph(module, torch.zeros(EXAMPLES, channels, height, width), "inputs")
    mean = torch.tensor(view.mean)
    if model.mean_picture is not None:
        mean = torch.from_numpy(model.mean_picture).permute(1, 2, 0).contiguous()
    example = torch.zeros(EXAMPLES, height, width, channels, dtype=torch.uint8)
    return Graph(WithPreprocessing(module, view, mean).eval(), example, "pictures")


def described(model: Model, graph: Graph) -> str:
    """What an exported file says of itself under the key `residuum`, as JSON, so that it can be used alone."""
    values = {
        "classes": model.classes,
        "preprocessing": model.artifact.preprocessing.to_dict(),
        "preprocessing_inside": graph.input == "pictures",
        "input": graph.facts,
        "outputs": OUTPUTS,
        "temperature": model.temperature,
        "energies": energies_of(model),
        "source_sha256": model.artifact.sha256,
        "written_by": f"residuum {__version__}",
    }
    return json.dumps(values)


def energies_of(model: Model) -> list[float] | None:
    """Quantiles of the energies of held-out pictures (evaluation/unlike.py), as the model file has them."""
    return (model.artifact.calibration or {}).get("energies")


def traced(graph: Graph) -> torch.export.ExportedProgram:
    """torch's exported program, with a batch of any size; a UserError where the network has a part that cannot be."""
    shapes = ({0: torch.export.Dim("batch")},)
    try:
        with quiet():
            program = torch.export.export(graph.module, (graph.example,), dynamic_shapes=shapes)
    except Exception as error:  # whatever a part of somebody's own does that a tracer cannot follow
        raise UserError(f"this network cannot be exported: {reason(error)}") from None
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths of the machine it was exported on
    return program


def reason(error: BaseException) -> str:
    """The first line of an error that says something, short."""
    lines = [one_line(line) for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}{': ' + lines[0][:200] if lines else ''}"


@contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings with which exporters speak of their own insides."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield

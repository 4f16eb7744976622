"""OpenVINO: the graph as its intermediate representation, in float32 or quantised to int8, and its runtime."""

from __future__ import annotations

import contextlib
import io
import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch

from residuum.deploy.graph import KEY, OUTPUTS, Answers, Graph, quiet, reason, traced
from residuum.deploy.libraries import library
from residuum.errors import UserError

PURPOSE = "OpenVINO"
LIBRARIES = ("openvino",)
PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}


def openvino_model(graph: Graph, facts: str) -> Any:
    """The graph as an openvino.Model; `facts` are in its runtime information."""
    openvino = library("openvino", PURPOSE)
    program = traced(graph)
    try:
        with quiet():
            model = openvino.convert_model(program)
    except Exception as error:  # an operator that OpenVINO has no counterpart for
        raise UserError(f"this network cannot be converted to OpenVINO: {reason(error)}") from None
    model.reshape([-1, *graph.example.shape[1:]])
    model.inputs[0].set_names({graph.input})
    for output, name in zip(model.outputs, OUTPUTS, strict=True):
        output.set_names({name})
    model.set_rt_info(facts, KEY)
    return model


def quantised_openvino(model: Any, pictures: np.ndarray) -> Any:
    """The model with int8 weights and activations where that is known to keep accuracy (NNCF, post-training).

    `pictures` (n, ...) are inputs of the graph, over which ranges and biases are found.
    """
    nncf = library("nncf", PURPOSE)
    nncf.set_log_level(logging.ERROR)
    facts = model.get_rt_info(KEY).astype(str)
    with quiet(), contextlib.redirect_stdout(io.StringIO()):  # its progress bars
        made = nncf.quantize(
            model,
            nncf.Dataset([picture[None] for picture in pictures]),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(pictures),
        )
    made.set_rt_info(facts, KEY)
    return made


def openvino_session(model: Any | Path, precision: str = "float32") -> Answers:
    """OpenVINO on the CPU with torch's number of threads: inputs -> (logits, probabilities)."""
    openvino = library("openvino", PURPOSE)
    settings = {
        "INFERENCE_PRECISION_HINT": PRECISIONS[precision],
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    compiled = openvino.Core().compile_model(str(model) if isinstance(model, Path) else model, "CPU", settings)
    request = compiled.create_infer_request()

    def answers(inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found = request.infer([inputs], share_inputs=True)
        logits, probabilities = (np.array(found[name]) for name in OUTPUTS)
        return logits, probabilities

    return answers


def save_openvino(model: Any, path: Path) -> None:
    """Writes `path` (.xml) and the weights beside it (.bin), in float32."""
    library("openvino", PURPOSE).save_model(model, str(path), compress_to_fp16=False)

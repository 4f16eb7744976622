"""ONNX: the graph as an ONNX model, in float32 or quantised to int8, and its runtime, ONNX Runtime."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch

from residuum.deploy.graph import KEY, OUTPUTS, Answers, Graph, quiet, reason, traced
from residuum.deploy.libraries import library
from residuum.errors import UserError

PURPOSE = "ONNX"
LIBRARIES = ("onnx", "onnxscript", "onnxruntime")
CALIBRATION_BATCH = 8


def onnx_model(graph: Graph, facts: str) -> Any:
    """The graph as an onnx.ModelProto; `facts` are in its metadata."""
    library("onnx", PURPOSE)
    library("onnxscript", PURPOSE)
    program = traced(graph)
    try:
        with quiet():
            made = torch.onnx.export(
                program, dynamo=True, verbose=False, input_names=[graph.input], output_names=list(OUTPUTS)
            )
    except Exception as error:  # an operator that ONNX has no counterpart for
        raise UserError(f"this network cannot be written as ONNX: {reason(error)}") from None
    if made is None:
        raise RuntimeError("torch.onnx.export gave nothing")
    model = made.model_proto
    _forget_the_exporter(model)
    model.metadata_props.add(key=KEY, value=facts)
    return model


def _forget_the_exporter(model: Any) -> None:
    """Takes away notes on the tracer's insides and calls the free dimension `batch`."""
    graph = model.graph
    for item in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del item.metadata_props[:]
    names = {dim.dim_param for value in graph.input for dim in value.type.tensor_type.shape.dim if dim.dim_param}
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in names:
                dim.dim_param = "batch"


def quantised_onnx(model: Any, pictures: np.ndarray) -> Any:
    """The model with int8 weights (a scale per output channel) and uint8 activations, as QDQ pairs.

    `pictures` (n, ...) are inputs of the graph; the range of an activation is what it reaches over them. Normalisation
    and softmax stay in float32.
    """
    onnx = library("onnx", PURPOSE)
    library("onnxruntime", PURPOSE)
    quantization = library("onnxruntime.quantization", PURPOSE)
    shapes = library("onnxruntime.quantization.shape_inference", PURPOSE)
    facts = list(model.metadata_props)
    with tempfile.TemporaryDirectory() as folder, quiet(), redirect_stdout(sys.stderr):
        plain, ready, done = (Path(folder) / f"{name}.onnx" for name in ("plain", "ready", "done"))
        onnx.save(model, plain)
        shapes.quant_pre_process(str(plain), str(ready), skip_symbolic_shape=True)
        quantization.quantize_static(
            str(ready),
            str(done),
            _Feed(quantization.CalibrationDataReader, model.graph.input[0].name, pictures).reader,
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            weight_type=quantization.QuantType.QInt8,
            activation_type=quantization.QuantType.QUInt8,
            calibrate_method=quantization.CalibrationMethod.MinMax,
            nodes_to_exclude=_kept(onnx.load(ready).graph.node),
        )
        made = onnx.load(done)
    del made.metadata_props[:]
    made.metadata_props.extend(facts)
    return made


def _kept(nodes: Any) -> list[str]:
    """Names of the nodes that stay in float32: those before the first convolution, and softmax."""
    kinds = [node.op_type for node in nodes]
    first = kinds.index("Conv") if "Conv" in kinds else 0
    return [node.name for i, node in enumerate(nodes) if i < first or node.op_type == "Softmax"]


class _Feed:
    """Calibration pictures as onnxruntime asks for them: `reader.get_next()` until there are none."""

    def __init__(self, base: type, name: str, pictures: np.ndarray) -> None:
        starts: Iterator[int] = iter(range(0, len(pictures), CALIBRATION_BATCH))

        def get_next(_: Any) -> dict[str, np.ndarray] | None:
            start = next(starts, None)
            return None if start is None else {name: pictures[start : start + CALIBRATION_BATCH]}

        self.reader = type("Reader", (base,), {"get_next": get_next})()


def onnx_session(content: bytes | Path) -> Answers:
    """ONNX Runtime on the CPU with torch's number of threads: inputs -> (logits, probabilities)."""
    runtime = library("onnxruntime", PURPOSE)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    given = content if isinstance(content, bytes) else str(content)
    session = runtime.InferenceSession(given, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def answers(inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        logits, probabilities = session.run(list(OUTPUTS), {name: inputs})
        return logits, probabilities

    return answers

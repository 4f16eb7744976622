"""A model in the runtimes of this machine: torch, ONNX Runtime and OpenVINO, each in the precisions it has here.

All of them answer the same question, normalised float32 pictures (N, C, H, W) -> logits (N, K), for pictures of the
model's own size and batches of any size. They are made in memory, in a few seconds.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from residuum.deploy import to_onnx, to_openvino
from residuum.deploy.fold import folded
from residuum.deploy.graph import Answers, graph_of
from residuum.deploy.libraries import available, library
from residuum.errors import UserError, nearest, shown
from residuum.evaluation.evaluate import logits_of
from residuum.evaluation.runtime import Runtime
from residuum.inference import Model
from residuum.nets.ops import dense_format

BACKENDS = ("torch", "onnx", "openvino")
LIBRARIES: dict[str, tuple[str, ...]] = {
    "torch": (),
    "onnx": to_onnx.LIBRARIES,
    "openvino": to_openvino.LIBRARIES,
}


def reference(model: Model) -> Runtime:
    """torch in float32, eager, batch norms not folded: what predict and evaluate do unless told otherwise."""
    return Runtime("torch", "float32", lambda inputs: logits_of(model.network, inputs))


def candidates(model: Model, backend: str = "auto") -> list[tuple[str, str]]:
    """The (backend, precision) that this machine has for a model; `backend` narrows them to one unless it is auto.

    Those that are not installed are left out under auto, and a UserError by name; a model on a GPU has torch's alone.
    """
    if backend not in (*BACKENDS, "auto"):
        raise UserError(f'there is no backend "{shown(backend)}"; {nearest(backend, (*BACKENDS, "auto"))}')
    device = next(model.network.parameters()).device
    if backend not in ("auto", "torch"):
        if device.type != "cpu":
            raise UserError(f"--backend {backend} runs on the CPU, and the device is {device.type}: add --device cpu")
        for name in LIBRARIES[backend]:
            library(name, f"--backend {backend}")
    found = []
    for each in BACKENDS if backend == "auto" else (backend,):
        if each == "torch" or (device.type == "cpu" and available(*LIBRARIES[each])):
            found += [(each, precision) for precision in _precisions(each, device)]
    return found


def _precisions(backend: str, device: torch.device) -> tuple[str, ...]:
    if backend == "onnx":
        return ("float32",)
    return ("float32", "bfloat16") if computes_in_bfloat16(device) else ("float32",)


def computes_in_bfloat16(device: torch.device) -> bool:
    """Whether the processor has instructions for it, rather than emulating it."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def make_runtime(model: Model, backend: str, precision: str) -> Runtime:
    """One of the `candidates`."""
    if backend == "torch":
        return Runtime(backend, precision, _eager(folded(model.network), getattr(torch, precision)))
    graph = graph_of(model)
    if backend == "onnx":
        answers = to_onnx.onnx_session(to_onnx.onnx_model(graph, "").SerializeToString())
    else:
        answers = to_openvino.openvino_session(to_openvino.openvino_model(graph, ""), precision)
    return Runtime(backend, precision, _of(answers))


def _eager(network: nn.Module, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    device = next(network.parameters()).device
    network = network.to(dtype)
    for parameter in network.parameters():
        if parameter.ndim in (4, 5):
            parameter.data = parameter.data.contiguous(memory_format=dense_format(parameter))

    def logits(inputs: Tensor) -> Tensor:
        with torch.inference_mode():
            x = inputs.to(device, dtype).contiguous(memory_format=dense_format(inputs))
            return network(x).float().cpu()

    return logits


def _of(answers: Answers) -> Callable[[Tensor], Tensor]:
    return lambda inputs: torch.from_numpy(answers(np.ascontiguousarray(inputs.numpy()))[0])

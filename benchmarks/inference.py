"""Inference of ResNet-50 at 224 pixels, batch 1 and 16: ours in OpenVINO against torchvision's model in eager float32,
our runtimes against ONNX Runtime and OpenVINO called bare on the same network, and int8 against our own bfloat16.

Ours goes all the way that `residuum predict` goes from normalised pictures to logits. Needs torchvision and the extra
`export`.

    python benchmarks/inference.py [--rounds 5] [--json FILE]
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import openvino
import torch
from PIL import Image
from turns import Row, in_turns, options, write

import residuum
from peers import import_torchvision
from residuum import artifact
from residuum.artifact import Artifact
from residuum.data.preprocessing import Preprocessing
from residuum.deploy.graph import graph_of
from residuum.deploy.runtimes import computes_in_bfloat16, make_runtime
from residuum.deploy.to_openvino import openvino_model, openvino_session, quantised_openvino
from residuum.evaluation.runtime import Runtime
from residuum.nets.weights import load_weights

SECONDS = 2.0
VIEW = Preprocessing((224, 224), 256, 3, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def rate(call: Callable[[], object], images: int) -> float:
    """Images/s over at least two seconds."""
    calls, began = 0, time.perf_counter()
    while (spent := time.perf_counter() - began) < SECONDS:
        call()
        calls += 1
    return calls * images / spent


def model_file(folder: Path) -> Path:
    """A ResNet-50 with torchvision's random weights, whose batch norms have seen something."""
    theirs = import_torchvision().models.resnet50(weights=None)
    ours = residuum.build("resnet50_v1_5")
    load_weights(ours, ours.plan, theirs.state_dict(), "torchvision")
    ours.train()
    with torch.no_grad():
        ours(torch.randn(16, 3, 224, 224))
    path = folder / "resnet50.safetensors"
    classes = tuple(f"class {number}" for number in range(1000))
    artifact.save(Artifact(ours.plan.spec, classes, VIEW, dict(ours.state_dict())), path)
    return path


def bare_openvino(file: Path, precision: str) -> Callable[[np.ndarray], object]:
    compiled = openvino.Core().compile_model(str(file), "CPU", {"INFERENCE_PRECISION_HINT": precision})
    request = compiled.create_infer_request()
    return lambda x: request.infer({0: x})


def against_bare(model: residuum.Model, exported: dict[str, Path], x: torch.Tensor, rounds: int) -> list[Row]:
    """Our runtimes against the same libraries called without us."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(exported["onnx"]), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    pixels = x.numpy()
    bares: list[tuple[str, str, Callable[[np.ndarray], object], str]] = [
        ("onnx", "float32", lambda p: session.run(None, {name: p}), "ONNX Runtime"),
        ("openvino", "float32", bare_openvino(exported["openvino"], "f32"), "OpenVINO"),
    ]
    if computes_in_bfloat16(torch.device("cpu")):
        bares.append(("openvino", "bfloat16", bare_openvino(exported["openvino"], "bf16"), "OpenVINO"))
    rows = []
    for backend, precision, bare, called in bares:
        ours = make_runtime(model, backend, precision)
        ours.logits(x), bare(pixels)
        rows.append(
            in_turns(
                f"ResNet-50, batch {len(x)}, {backend} in {precision}",
                lambda o=ours: rate(lambda: o.logits(x), len(x)),
                lambda b=bare: rate(lambda: b(pixels), len(x)), unit="images/s", against=f"{called} bare",
                rounds=rounds, target=0.95,
            )
        )  # fmt: skip
    return rows


def int8(model: residuum.Model, best: Runtime, x: torch.Tensor, rounds: int) -> Row:
    """OpenVINO with int8 weights and activations. How fast it is does not depend on what the weights are."""
    graph = graph_of(model)
    calibration = torch.randn(16, *x.shape[1:]).numpy()
    answers = openvino_session(quantised_openvino(openvino_model(graph, ""), calibration))
    pixels = x.numpy()
    answers(pixels), best.logits(x)
    return in_turns(
        f"ResNet-50, batch {len(x)}, openvino in int8", lambda: rate(lambda: answers(pixels), len(x)),
        lambda: rate(lambda: best.logits(x), len(x)), unit="images/s", against=f"ours in {best.precision}",
        rounds=rounds, target=1.7,
    )  # fmt: skip


def main() -> None:
    arguments = options(__doc__, 5).parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        for number in range(64):
            pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
            (folder / "data").mkdir(exist_ok=True)
            Image.fromarray(pixels).resize((256, 256), Image.Resampling.BICUBIC).save(folder / "data" / f"{number}.png")
        model = residuum.load(model_file(folder))
        exported = {}
        for kind in ("onnx", "openvino"):
            exported[kind] = folder / f"resnet50.{'onnx' if kind == 'onnx' else 'xml'}"
            residuum.export(model, kind, exported[kind])
        theirs = import_torchvision().models.resnet50(weights=None).eval()
        best = make_runtime(model, "openvino", "bfloat16" if computes_in_bfloat16(torch.device("cpu")) else "float32")
        for batch in (1, 16):
            x = torch.randn(batch, 3, 224, 224)

            def eager(x: torch.Tensor = x) -> object:
                with torch.inference_mode():
                    return theirs(x)

            best.logits(x), eager()
            rows.append(
                in_turns(
                    f"ResNet-50, batch {batch}, {best.backend} in {best.precision}",
                    lambda x=x: rate(lambda: best.logits(x), len(x)), lambda x=x: rate(lambda: eager(x), len(x)),
                    unit="images/s", against="torchvision, eager float32", rounds=arguments.rounds, target=3.0,
                )
            )  # fmt: skip
            rows += against_bare(model, exported, x, arguments.rounds)
            rows.append(int8(model, best, x, arguments.rounds))
    write(arguments.json, rows)


if __name__ == "__main__":
    main()

"""The lines of Python with which an exported file is used alone: no code of ours, and the file's own metadata."""

from __future__ import annotations

import json

from residuum.deploy.graph import Graph
from residuum.evaluation.unlike import STRANGE

_READ = """import json

import numpy as np
{imports}
from PIL import Image, ImageOps

{load}
view = facts["preprocessing"]
height, width = view["size"]

picture = ImageOps.exif_transpose(Image.open("picture.jpg")).convert("{mode}")
shorter = min(picture.size)
if picture.size != (width, height) or view["resize"] > max(width, height):
    size = [int(view["resize"] * side / shorter) for side in picture.size]
    picture = picture.resize(size, Image.Resampling.BILINEAR)
left, top = round((picture.width - width) / 2), round((picture.height - height) / 2)
pixels = np.asarray(picture.crop((left, top, left + width, top + height)))
pixels = pixels.reshape(1, height, width, view["channels"])
{inputs}
{run}
best = int(probabilities[0].argmax())
print(facts["classes"][best], float(probabilities[0, best]))
"""

_UNLIKE = """
energy = -np.logaddexp.reduce(np.asarray(logits[0], np.float64))
unlike = np.searchsorted(facts["energies"], energy) / len(facts["energies"])
if unlike >= {strange}:
    print("unlike the training pictures: a person should look")
"""

_LOAD = {
    "onnx": (
        "import onnxruntime",
        "session = onnxruntime.InferenceSession({file})\n"
        'facts = json.loads(session.get_modelmeta().custom_metadata_map["residuum"])',
        'logits, probabilities = session.run(["logits", "probabilities"], {{"{input}": inputs}})',
    ),
    "openvino": (
        "import openvino",
        "core = openvino.Core()\n"
        "model = core.read_model({file})\n"
        'facts = json.loads(model.get_rt_info("residuum").astype(str))\n'
        'network = core.compile_model(model, "CPU", {{"INFERENCE_PRECISION_HINT": "f32"}})',
        'found = network([inputs])\nlogits, probabilities = found["logits"], found["probabilities"]',
    ),
    "torch": (
        "import torch",
        'told = {{"residuum.json": ""}}\n'
        "network = torch.export.load({file}, extra_files=told).module()\n"
        'facts = json.loads(told["residuum.json"])',
        "with torch.inference_mode():\n    logits, probabilities = network(torch.from_numpy(inputs))",
    ),
}

_INPUTS = {
    "pictures": "inputs = pixels.copy()",
    "inputs": 'x = (pixels / 255 - np.array(view["mean"])) / np.array(view["std"])\n'
    "inputs = np.ascontiguousarray(x.transpose(0, 3, 1, 2), dtype=np.float32)",
}


def snippet(to: str, graph: Graph, file: str, *, unlike: bool) -> str:
    """A script that classifies picture.jpg with the file beside it; with `unlike` it warns of strange pictures too."""
    imports, load, run = _LOAD[to.removeprefix("int8-")]
    mode = "L" if graph.channels == 1 else "RGB"
    named = {"file": json.dumps(file), "input": graph.input}
    script = _READ.format(
        imports=imports, load=load.format(**named), mode=mode, inputs=_INPUTS[graph.input], run=run.format(**named)
    )
    return script + _UNLIKE.format(strange=STRANGE) if unlike else script

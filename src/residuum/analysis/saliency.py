"""Where on a picture the evidence for a class lies: Grad-CAM, integrated gradients, occlusion.

Each explains the class's score before the softmax, so that a network that is sure of itself still answers. A map shows
what speaks for the class: where the score would fall; what speaks against it is left at 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor

from residuum.analysis.geometry import spread
from residuum.analysis.halves import after_last_map, grid, halves
from residuum.data.batches import prepare
from residuum.errors import UserError, nearest, shown
from residuum.inference import Model
from residuum.nets.network import Network, make_network

BATCH = 16
STEPS = (32, 64, 128, 256)
"""Points on the path of integrated gradients: as many as are needed (Sundararajan et al. 2017, section 5)."""
COMPLETE = 0.05
"""The share of the score's rise that a sum of integrated gradients may miss (there: within 5%)."""
BRIGHTEST = 99
"""The percentile of integrated gradients shown as the strongest: a few pixels may be far above all others."""
WINDOWS = 6
"""Side by side so many occluding squares cover a picture's shorter side; they move on by half of theirs."""


def grad_cam(model: Model, pictures: Sequence[np.ndarray], classes: Sequence[int] | None = None) -> np.ndarray:
    """Grad-CAM of each picture for its class, by default the most probable one: float32 (N, H, W) in 0..1.

    Pictures are uint8 (H', W', 1 or 3) of any size; H and W are those of the network's input, and a map lies on the
    view of its picture (`geometry.seen` says which part that is). 1 is a picture's strongest place; a map without any
    evidence for the class is 0 everywhere. Selvaraju et al. 2017 (arXiv 1610.02391), section 3, on the last
    convolutional map. A cell of this map is drawn where the plan says it looks, not where an even grid would put it:
    with strided convolutions these differ by up to half a cell.
    """
    network = network_of(model)
    cells = grid(network.plan, after_last_map(network.plan))
    height, width = model.artifact.preprocessing.size
    found = []
    for start in range(0, len(pictures), BATCH):
        chosen = None if classes is None else classes[start : start + BATCH]
        for coarse in cam(network, inputs_of(model, pictures[start : start + BATCH]), chosen).numpy():
            found.append(_of_largest(spread(coarse, cells, (height, width))))
    return np.stack(found) if found else np.zeros((0, height, width), np.float32)


def cam(network: Network, inputs: Tensor, classes: Sequence[int] | None = None) -> Tensor:
    """L = relu(sum over k of a_k A_k), a_k the mean over A_k of dy/dA_k (eq. 1 and 2): (N, h, w) on the CPU.

    A is the last convolutional map, y the score of each picture's class before the softmax.
    """
    before, after = halves(network, after_last_map(network.plan))
    with torch.inference_mode(False):
        with torch.no_grad():
            maps = before(inputs)
        with torch.enable_grad():
            scores = after(maps.requires_grad_())
            target = scores.argmax(1) if classes is None else torch.tensor(classes, device=scores.device)
            (slopes,) = torch.autograd.grad(scores.gather(1, target[:, None]).sum(), maps)
        weights = slopes.mean((2, 3), keepdim=True)
        return torch.relu((weights * maps.detach()).sum(1)).cpu()


def last_map_size(model: Model) -> tuple[int, int]:
    """Height and width of the map that Grad-CAM weighs; on one of 1 x 1 it cannot tell places apart."""
    before, _ = halves(network_of(model), after_last_map(model.plan))
    view = model.artifact.preprocessing
    with torch.inference_mode():
        size = before(inputs_of(model, [np.zeros((*view.size, view.channels), np.uint8)])).shape[2:]
    return int(size[0]), int(size[1])


def integrated_gradients(model: Model, pictures: Sequence[np.ndarray], classes: Sequence[int]) -> np.ndarray:
    """As `grad_cam`, by `path_integral`: each pixel's part of the score, of all its channels together."""
    network = network_of(model)
    parts = [
        path_integral(network, inputs_of(model, [picture]), index).sum(1)[0].numpy()
        for picture, index in zip(pictures, classes, strict=True)
    ]
    return np.stack([_of_largest(part, np.percentile(part.clip(0), BRIGHTEST)) for part in parts])


def path_integral(network: Network, inputs: Tensor, index: int) -> Tensor:
    """Integrated gradients (Sundararajan et al. 2017, arXiv 1703.01365, eq. 1): (N, C, H, W), one value per number.

    The path begins at the training mean, which is 0 in a normalised input. A picture's values add up to the class's
    score less that at the mean, to 5%: steps are doubled until they do, to at most 256.
    """
    integrate = _captum().IntegratedGradients(network)
    with torch.inference_mode(False), torch.enable_grad():
        mean = torch.zeros_like(inputs)
        with torch.no_grad():
            rise = (network(inputs) - network(mean))[:, index]
        values = mean
        for steps in STEPS:
            values = integrate.attribute(
                inputs, mean, target=index, n_steps=steps, internal_batch_size=max(BATCH, len(inputs))
            ).detach()
            missed = values.sum((1, 2, 3)) - rise
            if bool((missed.abs() <= COMPLETE * rise.abs()).all()):
                break
        return values.cpu()


def occlusion(model: Model, pictures: Sequence[np.ndarray], classes: Sequence[int]) -> np.ndarray:
    """As `grad_cam`, by `covered` with squares of a sixth of the shorter side, moved on by half of that."""
    network = network_of(model)
    side = max(round(min(model.artifact.preprocessing.size) / WINDOWS), 1)
    return np.stack(
        [
            _of_largest(covered(network, inputs_of(model, [picture]), index, side, max(side // 2, 1))[0].numpy())
            for picture, index in zip(pictures, classes, strict=True)
        ]
    )


def covered(network: Network, inputs: Tensor, index: int, side: int, stride: int) -> Tensor:
    """How far a class's score falls when a square is put over the picture (Zeiler and Fergus 2014, arXiv 1311.2901).

    (N, H, W): for each pixel the mean over the squares that cover it. A square is the training mean, which is 0 in a
    normalised input.
    """
    cover = _captum().Occlusion(network)
    channels = inputs.shape[1]
    with torch.inference_mode(False):
        falls = cover.attribute(
            inputs,
            sliding_window_shapes=(channels, side, side),
            strides=(channels, stride, stride),
            baselines=0.0,
            target=index,
            perturbations_per_eval=BATCH,
        )
        return falls[:, 0].cpu()


Maps = Callable[[Model, Sequence[np.ndarray], Sequence[int]], np.ndarray]
"""Maps float32 (N, H, W) in 0..1 of N pictures for a class each."""


@dataclass(frozen=True)
class Method:
    """A way to explain. `comparisons` with random weights tell whether its maps can be trusted (`sanity`).

    Two of Grad-CAM's coarse maps agree or disagree by chance (measured: a standard deviation of 0.4 in their rank
    correlation), finer ones much less (0.04 to 0.2), and they take longer.
    """

    maps: Maps
    needs_captum: bool
    comparisons: int


METHODS = {
    "grad-cam": Method(grad_cam, needs_captum=False, comparisons=16),
    "integrated-gradients": Method(integrated_gradients, needs_captum=True, comparisons=4),
    "occlusion": Method(occlusion, needs_captum=True, comparisons=4),
}


def method_of(name: str) -> Method:
    """The method of this name. Raises UserError for an unknown one, and for one whose library is not installed."""
    if name not in METHODS:
        raise UserError(f"unknown method {shown(name)}; {nearest(name, METHODS)}")
    if METHODS[name].needs_captum:
        _captum()
    return METHODS[name]


def network_of(model: Model) -> Network:
    """The network, in evaluation mode, with weights that slopes can be taken through.

    Those of a model that was loaded in inference mode are copied: torch keeps none of them for a backward pass.
    """
    if not any(parameter.is_inference() for parameter in model.network.parameters()):
        return model.network.eval()
    with torch.inference_mode(False):
        network = make_network(model.plan, device="meta")
        network.load_state_dict({name: each.clone() for name, each in model.network.state_dict().items()}, assign=True)
    return network.eval()


def inputs_of(model: Model, pictures: Sequence[np.ndarray]) -> Tensor:
    """Pictures as the network is fed them, on its device, and free of inference mode."""
    with torch.inference_mode(False):
        inputs = prepare(pictures, model.artifact.preprocessing, model.mean_picture)
        return inputs.to(next(model.network.parameters()).device)


def _of_largest(values: np.ndarray, largest: float | None = None) -> np.ndarray:
    """The positive part as a share of the largest value, at most 1; 0 where nothing is positive."""
    positive = values.clip(0)
    top = float(positive.max()) if not largest else float(largest)
    return np.minimum(positive / top, 1).astype(np.float32) if top > 0 else np.zeros(values.shape, np.float32)


def _captum() -> Any:
    try:
        return import_module("captum.attr")
    except ImportError:
        raise UserError(
            'this method needs the library captum: install it with `pip install "residuum[explain]"`, or use '
            "--method grad-cam"
        ) from None

"""A protocol carried out: the views of every picture through the network, and the mean of its answers.

With p(v) = softmax of the logits of view v (of position v, where the network is fully convolutional), the answer is
mean of p(v), or softmax(mean of the logits): first over the views of one size, then over the sizes. Logits are divided
by the model's temperature before anything else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from math import prod

import numpy as np
import torch
from torch import Tensor

from residuum.data.manifest import Manifest
from residuum.data.parallel import ordered
from residuum.data.preprocessing import Preprocessing
from residuum.data.tensors import Normaliser
from residuum.errors import UserError, shown
from residuum.evaluation.evaluate import logits_of
from residuum.evaluation.protocols import Average, Protocol
from residuum.evaluation.runtime import Runtime
from residuum.evaluation.sized import Sized
from residuum.evaluation.views import passes, seen_sizes, views
from residuum.nets.network import Network

LARGEST = 2**24
"""Pixels of a view above which a network would need tens of gigabytes."""


@dataclass(frozen=True)
class _Group:
    """Pictures, by position, that the network sees at one size in one pass."""

    side: int | None
    size: tuple[int, int]
    positions: np.ndarray


def score(
    network: Network,
    manifest: Manifest,
    indices: np.ndarray,
    protocol: Protocol,
    preprocessing: Preprocessing,
    mean_picture: np.ndarray | None = None,
    *,
    batch_size: int = 64,
    workers: int = 0,
    temperature: float = 1.0,
    runtime: Runtime | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """What the network says of the pictures `indices`: (N, K) float64.

    Probabilities where the protocol averages these, else logits. `batch_size` is a number of views of the network's
    own size: of larger ones fewer are computed at a time. `progress` counts each picture once for each pass.
    UserError, before any picture is read, where one does not go through the network, or not through the `runtime` that
    takes its place.
    """
    if batch_size < 1:
        raise UserError(f"the batch size must be at least 1, and is {batch_size}")
    view = protocol.view
    sized = Sized(network, view.dense)
    groups = _groups(manifest, indices, protocol, sized)
    if runtime is not None and (view.dense or any(group.size != preprocessing.size for group in groups)):
        raise UserError(
            f"protocol {protocol.name} shows the network other sizes than its own, and --backend {runtime.backend} is "
            "made for that one: leave --backend out"
        )
    shots = max(len(view.crops), 1) * (1 + view.mirror)

    def read(position: int, side: int | None) -> np.ndarray:
        return views(manifest.pictures.read(int(indices[position]), view.channels), view, side)

    def calls() -> Iterator[tuple[tuple[_Group, np.ndarray, int], list[Callable[[], np.ndarray]]]]:
        for group in groups:
            fit = batch_size * prod(preprocessing.size) // (shots * prod(group.size))
            count = min(max(fit, 1), batch_size, len(group.positions))
            for start in range(0, len(group.positions), count):
                cut = group.positions[start : start + count]
                yield (group, cut, count), [partial(read, position, group.side) for position in cut]

    total = np.zeros((len(indices), network.plan.spec.classes))
    done, every = 0, len(indices) * len(passes(view))
    size, normalise = None, None
    work = ordered(calls(), workers)
    try:
        for (group, cut, count), pictures in work:
            if normalise is None or size != group.size:  # one keeps a row for each size that it has met
                size, normalise = group.size, Normaliser(preprocessing, mean_picture)
            rows = np.minimum(np.arange(count), len(cut) - 1)  # the last batch is filled up: shapes stay
            pixels = np.stack(pictures)[rows]
            inputs = normalise(pixels.reshape(-1, *pixels.shape[2:])).permute(0, 3, 1, 2)
            if view.mirror:
                inputs = torch.cat((inputs, inputs.flip(3)))
            found = runtime.logits(inputs) if runtime is not None else logits_of(sized.at(group.size), inputs)
            logits = found.reshape(1 + view.mirror, *pixels.shape[:2], total.shape[1], -1)
            total[cut] += _mean(logits, protocol.average, temperature)[: len(cut)].numpy()
            done += len(cut)
            if progress:
                progress(done, every)
    finally:
        work.close()
    return total / len(passes(view))


def _mean(logits: Tensor, average: Average | None, temperature: float) -> Tensor:
    """(B, K) float64 of logits (mirrors, B, crops, K, positions); NaN where a logit is not finite."""
    answers = torch.where(logits.isfinite(), logits, torch.nan).double() / temperature
    if average == "probabilities":
        answers = answers.softmax(3)
    return answers.mean((0, 2, 4))


def _groups(manifest: Manifest, indices: np.ndarray, protocol: Protocol, sized: Sized) -> list[_Group]:
    """Passes and sizes in order, pictures of one size together, each size tried on the plan.

    The pictures' own sizes, which may have to be read from their headers, are asked for only where they matter.
    """
    view = protocol.view
    found = []
    for side in passes(view):
        if side is None:
            _refuse_other_shapes(manifest, indices, protocol)
        if view.size is not None:
            distinct, which = np.array([view.size])[: len(indices)], np.zeros(len(indices), np.int64)
        else:
            assert side is not None
            seen = seen_sizes(side, manifest.pictures.sizes[indices])
            distinct, which = np.unique(seen, axis=0, return_inverse=True)
        for number, (height, width) in enumerate(distinct.tolist()):
            group = _Group(side, (height, width), np.flatnonzero(which.reshape(-1) == number))
            name = shown(manifest.names[indices[group.positions[0]]])
            where = f"{name} at a shorter side of {side}" if view.dense else f"a crop of {height}x{width}"
            if height * width > LARGEST:
                raise UserError(
                    f"{where} has {height}x{width} pixels, too many for one view: leave it out, or use protocol center"
                )
            try:
                sized.at(group.size)
            except UserError as error:
                raise UserError(f"protocol {protocol.name}, {where}: {error}") from None
            found.append(group)
    return found


def _refuse_other_shapes(manifest: Manifest, indices: np.ndarray, protocol: Protocol) -> None:
    """A picture that is shown whole in one view has the view's shape."""
    assert protocol.view.size is not None
    height, width = protocol.view.size
    for index in indices:
        h, w = manifest.pictures.sizes[index].tolist()
        if h * width != w * height:
            raise UserError(
                f"protocol {protocol.name} shows pictures whole, and {shown(manifest.names[index])} of {h}x{w} has not "
                f"the shape of the network's {height}x{width}: use protocol center or fully-convolutional"
            )

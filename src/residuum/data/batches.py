"""Batches: normalised tensors of fixed shape, for training an endless stream and for evaluation each picture
once.

Training batch b holds positions b * B .. (b + 1) * B - 1 of the continuous stream of epochs' permutations, so
it is a function of the seed and the step alone: to resume, the step is enough. Processes that share a batch, or one
that computes it in several pieces, cut it into ranges of rows; what happens to a picture does not depend on the cut.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count

import numpy as np
import torch
from torch import Tensor

from residuum.data.augment import MOST_OPERATIONS, Augment
from residuum.data.crops import crop, random_box, shrunk
from residuum.data.jpeg import Need
from residuum.data.lanes import order_of
from residuum.data.manifest import Manifest
from residuum.data.mixing import erase, mix
from residuum.data.parallel import ordered
from residuum.data.preprocessing import Preprocessing, view
from residuum.data.randaugment import rand_augment
from residuum.data.random import uniforms
from residuum.data.statistics import pca_colour
from residuum.data.tensors import Normaliser, add_colour, crop_and_mirror, mirror, shrink
from residuum.data.views import Views
from residuum.errors import UserError
from residuum.processes import WHOLE, Pieces

# Columns of a picture's random numbers: each use has its own, so that switching one on leaves others alone.
_ROW, _COLUMN, _MIRROR, _BOX, _COLOUR = 0, 1, 2, slice(3, 7), slice(7, 13)
_OPERATIONS, _ERASING, _MIXING = slice(13, 13 + 2 * MOST_OPERATIONS), slice(21, 26), slice(26, 30)
_CHANCES, _MORE_CHANCES = 13, 30


@dataclass
class Batch:
    """`inputs` float32 (B, C, H, W), normalised, channels_last; `targets` int64 (B,); `mask` bool (B,), False
    for rows that only fill the batch up; `indices` int64 (B,) into the manifest.

    Where pictures are mixed, row b is `shares[b]` (float32) of a picture of class `targets[b]`, the rest being one of
    class `partners[b]` (int64)."""

    inputs: Tensor
    targets: Tensor
    mask: Tensor
    indices: np.ndarray
    partners: Tensor | None = None
    shares: Tensor | None = None


@dataclass(frozen=True)
class _Plan:
    """A piece of a training batch before its pixels: positions in the part, random numbers (B, n), input size.

    `mirrored`, bool (B,), says which pictures are, or is None where none ever is. Where pictures are mixed, the last
    row is there for the one before it alone.
    """

    positions: np.ndarray
    chances: np.ndarray
    size: tuple[int, int]
    mirrored: np.ndarray | None


class TrainBatches:
    """The augmented batches of a part, by step.

    `size_at(step)` is the longer side of the input at a step, for training that begins at a lower resolution;
    the shape of `preprocessing.size` is kept. `workers` threads decode and resize what does not lie in memory
    in the network's size (0: the calling thread); they change no value. `balanced` draws every class equally
    often. `pieces` says which of the pieces of every batch are given, one after the other; `lanes` cuts the order of
    pictures in shards (`lanes.Lanes`). Raises UserError where the fields contradict each other.
    """

    def __init__(
        self,
        manifest: Manifest,
        part: str = "train",
        *,
        preprocessing: Preprocessing,
        augment: Augment,
        batch_size: int,
        seed: int,
        workers: int = 0,
        size_at: Callable[[int], int] | None = None,
        mean_picture: np.ndarray | None = None,
        balanced: bool = False,
        pieces: Pieces = WHOLE,
        lanes: int = 1,
    ) -> None:
        augment.check(preprocessing.size)
        self._indices = manifest.part(part)
        self._labels = manifest.labels
        self._preprocessing = preprocessing
        self._augment = augment
        self._batch_size = _positive(batch_size)
        self._cuts = pieces.cuts(batch_size)
        self._seed = seed
        self._workers = workers
        self._size_at = size_at
        self._normalise = Normaliser(preprocessing, mean_picture)
        self._views = Views(manifest.pictures, self._indices, preprocessing)
        self._in_memory = self._views.cheap and not augment.rescales
        self._order = order_of(manifest, self._indices, seed, batch_size, balanced, lanes, self._cuts)
        self._mixes = bool(augment.mixup or augment.cutmix)
        plain = augment.rand_augment is None and not (augment.erasing or self._mixes)
        self._chances = _CHANCES if plain else _MORE_CHANCES
        self._colours: tuple[np.ndarray, np.ndarray] | None = None
        if augment.colour > 0:
            self._colours = pca_colour(manifest, part, preprocessing.channels)

    @property
    def pictures(self) -> int:
        """The number of pictures in an epoch."""
        return len(self._indices)

    def from_step(self, step: int) -> Iterator[Batch]:
        """The batches of steps `step`, `step` + 1, ... without end: for each step one for each own piece."""
        plans = (plan for s in count(step) for plan in self._plans(s))
        if self._in_memory:
            return (self._finish(plan, self._views.stack(plan.positions)) for plan in plans)
        return self._from_pictures(plans)

    def _from_pictures(self, plans: Iterator[_Plan]) -> Iterator[Batch]:
        work = ordered(((plan, self._calls(plan)) for plan in plans), self._workers)
        try:
            for plan, pictures in work:
                yield self._finish(plan, np.stack(pictures))
        finally:
            work.close()

    def _plans(self, step: int) -> Iterator[_Plan]:
        size = self._preprocessing.size
        stream = np.arange(step * self._batch_size, (step + 1) * self._batch_size)
        positions, rounds = self._order.at(stream)
        if self._size_at is not None:
            scale = self._size_at(step) / max(size)
            size = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
        for cut in self._cuts:
            rows = np.arange(cut.start, cut.stop)
            if self._mixes:
                rows = np.append(rows, cut.stop % self._batch_size)
            indices = self._indices[positions[rows]]
            chances = uniforms(self._seed, rounds[rows], indices, self._chances)
            yield _Plan(positions[rows], chances, size, self._mirrored(rounds[rows], indices, chances[:, _MIRROR]))

    def _mirrored(self, rounds: np.ndarray, indices: np.ndarray, chances: np.ndarray) -> np.ndarray | None:
        """Which pictures are mirrored: by a number of this round, or by that of round 0 and then in turns."""
        if self._augment.mirror == "alternating":
            first = uniforms(self._seed, 0, indices, _MIRROR + 1)[:, _MIRROR]
            return (first < 0.5) ^ (rounds % 2 == 1)
        return chances < 0.5 if self._augment.mirror else None

    def _calls(self, plan: _Plan) -> list[Callable[[], np.ndarray]]:
        """What the workers do: one call for each picture, giving uint8 (*plan.size, C)."""
        if self._augment.rescales:
            return [
                partial(self._random_crop, position, chance, plan.size)
                for position, chance in zip(plan.positions, plan.chances[:, _BOX], strict=True)
            ]
        full = self._preprocessing
        if plan.size == full.size:
            return [partial(self._views.own, position) for position in plan.positions]
        resize = max(round(full.resize * max(plan.size) / max(full.size)), max(plan.size))
        smaller = replace(full, size=plan.size, resize=resize)
        return [partial(self._views.one, position, smaller) for position in plan.positions]

    def _random_crop(self, position: int, chance: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        height, width = self._views.sides(position)
        box = random_box(height, width, self._preprocessing.size, self._augment, chance)
        rows = math.ceil(box[3]) + 1
        if not self._augment.reduced:
            return crop(self._views.picture(position, Need(rows)), size, box)
        by = self._views.reduction(position)
        return crop(self._views.part(position, Need(rows, by)), size, shrunk(box, by))

    def _finish(self, plan: _Plan, pixels: np.ndarray) -> Batch:
        """Everything that is done to a whole batch at once."""
        augment, chances, mirrored = self._augment, plan.chances, plan.mirrored
        if augment.rand_augment is not None:
            pixels = rand_augment(pixels, *augment.rand_augment, chances[:, _OPERATIONS])
        padding = round(augment.crop_padding * pixels.shape[1] / self._preprocessing.size[0])
        if mirrored is not None and not padding and self._normalise.level:
            mirror(pixels, mirrored)  # bytes, with a quarter of the work
            mirrored = None
        batch = self._normalise(pixels)
        if self._colours is not None:
            batch = add_colour(batch, self._colour_shift(chances[:, _COLOUR], *self._colours))
        offsets = np.floor(chances[:, [_ROW, _COLUMN]] * (2 * padding + 1)).astype(np.int64)
        batch = crop_and_mirror(batch, padding, augment.padding == "reflect", offsets, mirrored)
        inputs = batch.permute(0, 3, 1, 2)
        if inputs.shape[2:] != plan.size:
            inputs = shrink(inputs, plan.size)
        if augment.erasing:
            inputs = erase(inputs, augment.erasing, chances[:, _ERASING])
        indices = self._indices[plan.positions]
        targets = torch.from_numpy(self._labels[indices])
        if not self._mixes:
            return Batch(inputs, targets, torch.ones(len(indices), dtype=torch.bool), indices)
        inputs, shares = mix(inputs, augment.mixup, augment.cutmix, chances[:-1, _MIXING])
        mask = torch.ones(len(indices) - 1, dtype=torch.bool)
        return Batch(inputs, targets[:-1], mask, indices[:-1], targets[1:], shares)

    def _colour_shift(self, chances: np.ndarray, values: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        """AlexNet's [p1 p2 p3] [a1 l1, a2 l2, a3 l3]^T for each picture, in units of the normalised input:
        (B, C)."""
        # Box-Muller: two uniform numbers give a normal one.
        radius = np.sqrt(-2 * np.log1p(-chances[:, 0::2]))
        alpha = self._augment.colour * radius * np.cos(2 * np.pi * chances[:, 1::2])
        shift = (alpha[:, : len(values)] * values) @ vectors.T
        return shift / np.asarray(self._preprocessing.std)


class EvalBatches:
    """Batches of fixed shape over the pictures at `indices`, in their order; the last is filled up and
    masked.

    The rows that fill it repeat the last picture. `workers` as in `TrainBatches`. With `kept` a second pass decodes
    nothing again, if there is room.
    """

    def __init__(
        self,
        manifest: Manifest,
        indices: np.ndarray,
        preprocessing: Preprocessing,
        batch_size: int,
        workers: int = 0,
        mean_picture: np.ndarray | None = None,
        kept: bool = False,
    ) -> None:
        if not len(indices):
            raise UserError("there are no pictures to evaluate")
        self._indices = np.asarray(indices, np.int64)
        self._labels = manifest.labels
        self._preprocessing = preprocessing
        self._batch_size = _positive(batch_size)
        self._workers = workers
        self._normalise = Normaliser(preprocessing, mean_picture)
        self._views = Views(manifest.pictures, self._indices, preprocessing)
        self._one = self._views.own if kept else partial(self._views.one, preprocessing=preprocessing)

    @property
    def pictures(self) -> int:
        """The number of pictures."""
        return len(self._indices)

    def __len__(self) -> int:
        return -(-len(self._indices) // self._batch_size)

    def __iter__(self) -> Iterator[Batch]:
        every = np.arange(len(self._indices))
        cuts = (every[i : i + self._batch_size] for i in range(0, len(every), self._batch_size))
        if self._views.cheap:
            for positions in cuts:
                yield self._finish(positions, self._views.stack(positions))
            return
        calls = ((p, [partial(self._one, i) for i in p]) for p in cuts)
        work = ordered(calls, self._workers)
        try:
            for positions, pictures in work:
                yield self._finish(positions, np.stack(pictures))
        finally:
            work.close()

    def _finish(self, positions: np.ndarray, pixels: np.ndarray) -> Batch:
        rows = np.minimum(np.arange(self._batch_size), len(positions) - 1)
        indices = self._indices[positions[rows]]
        inputs = self._normalise(pixels[rows]).permute(0, 3, 1, 2)
        mask = torch.arange(self._batch_size) < len(positions)
        return Batch(inputs, torch.from_numpy(self._labels[indices]), mask, indices)


def prepare(
    pictures: Sequence[np.ndarray], preprocessing: Preprocessing, mean_picture: np.ndarray | None = None
) -> Tensor:
    """Decoded pictures, uint8 (H, W, 1 or 3) each, as the network's input: float32 (B, C, H, W),
    channels_last.

    The values are those that `EvalBatches` gives for the same pictures.
    """
    views = np.stack([view(picture, preprocessing) for picture in pictures])
    return Normaliser(preprocessing, mean_picture)(views).permute(0, 3, 1, 2)


def _positive(batch_size: int) -> int:
    if batch_size < 1:
        raise UserError(f"the batch size must be at least 1, and is {batch_size}")
    return batch_size

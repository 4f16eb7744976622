"""Statistics of a part's pixels: mean and deviation per channel, principal colours, mean picture."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from residuum.data.manifest import Manifest
from residuum.data.parallel import ordered
from residuum.data.preprocessing import Preprocessing, resized_crop, view
from residuum.data.sampling import sample
from residuum.data.scan import Progress

SAMPLE = 10_000
"""Pictures, chosen by a constant, on which channel statistics and principal colours are computed at most."""

MEAN_SAMPLE = 50_000
"""Pictures, chosen likewise, of which the mean picture is made at most: all of CIFAR, a 25th of ImageNet, where every
pixel is then known to about 0.3 of 255 levels (docs/decisions/0007)."""

STD_FLOOR = 1e-3
"""A smaller standard deviation, of a constant channel, would turn rounding into signal."""

_CHUNK = 32


def channel_statistics(
    manifest: Manifest, part: str = "train", *, channels: int, size: tuple[int, int]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of a part's pixels per channel, on the 0..1 scale, as seen by an input of
    `size`."""
    counts = np.zeros((channels, 256), np.int64)
    for picture in _pictures(manifest, part, channels, lambda p: resized_crop(p, max(size), size), SAMPLE):
        for channel in range(channels):
            counts[channel] += np.bincount(picture[..., channel].ravel(), minlength=256)
    values = np.arange(256) / 255
    mean = counts @ values / counts.sum(1)
    variance = (counts * (values - mean[:, None]) ** 2).sum(1) / counts.sum(1)
    return tuple(mean.tolist()), tuple(np.maximum(np.sqrt(variance), STD_FLOOR).tolist())


def pca_colour(manifest: Manifest, part: str, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues (C,) and eigenvectors (C, C), in columns, of the covariance of a part's pixels on the 0..1 scale.

    The scale matters: the shift of Krizhevsky et al. 2012, section 4.1, is in proportion to eigenvalues, which go with
    the square of pixel values. Their paper does not name it; on 0..1 the values are those in common use for ImageNet.
    """
    count, total, products = 0, np.zeros(channels), np.zeros((channels, channels))
    for picture in _pictures(manifest, part, channels, _thinned, SAMPLE):
        pixels = picture.reshape(-1, channels) / 255
        count += len(pixels)
        total += pixels.sum(0)
        products += pixels.T @ pixels
    mean = total / count
    values, vectors = np.linalg.eigh(products / count - np.outer(mean, mean))
    # The sign of an eigenvector is arbitrary; it is fixed so that the same data give the same shifts.
    signs = np.sign(vectors[np.abs(vectors).argmax(0), np.arange(channels)])
    return np.maximum(values, 0), vectors * signs


def mean_picture(
    manifest: Manifest, part: str, preprocessing: Preprocessing, progress: Progress | None = None
) -> np.ndarray:
    """The mean of the evaluation views of a part, the paper's per-pixel mean: float32 (C, H, W) on the 0..1 scale.

    Pictures of several sizes have no common pixels but in a view of one size; of random crops, too, this mean is
    subtracted. `progress` is called with the number of pictures read and of all that will be.
    """
    total, count = np.zeros((*preprocessing.size, preprocessing.channels), np.int64), 0
    change = partial(view, preprocessing=preprocessing)
    for seen in _pictures(manifest, part, preprocessing.channels, change, MEAN_SAMPLE, progress):
        total += seen
        count += 1
    mean = total / (255 * count)
    return np.ascontiguousarray(mean.transpose(2, 0, 1), dtype=np.float32)


def _thinned(picture: np.ndarray) -> np.ndarray:
    """Every k-th pixel of a large picture, as they are: averaging them would change their covariance."""
    step = max(1, max(picture.shape[:2]) // 256)
    return picture[::step, ::step].copy()  # a view would keep the whole picture in memory


def _pictures(
    manifest: Manifest,
    part: str,
    channels: int,
    change: Callable[[np.ndarray], np.ndarray],
    most: int,
    progress: Progress | None = None,
) -> Iterator[np.ndarray]:
    """The part's pictures, or `most` of them, changed."""
    indices = sample(manifest, manifest.part(part), most)

    def one(index: int) -> np.ndarray:
        return change(manifest.pictures.read(int(index), channels))

    workers = 0 if manifest.pictures.in_memory else min(4, os.cpu_count() or 1)
    chunks = ((i, indices[i : i + _CHUNK]) for i in range(0, len(indices), _CHUNK))
    for start, changed in ordered(((i, [partial(one, index) for index in chunk]) for i, chunk in chunks), workers):
        yield from changed
        if progress is not None:
            progress(start + len(changed), len(indices))

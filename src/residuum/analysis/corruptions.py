"""Corruptions of pictures, in five severities (Hendrycks and Dietterich 2019, arXiv 1903.12261, "ImageNet-C").

Fourteen of the fifteen kinds; frost needs photographs of frost and is left out. The strengths are those published
for pictures of about 224 pixels, and for CIFAR-10's 32 (used below 64 pixels) where the two differ. Deviations: motion
blur, also that of snow, is a line kernel of whole pixels; glass blur moves all pixels at once; zoom blur and elastic
transform interpolate linearly; and random numbers come from the seed and the picture's place, so that a corrupted set
is always the same. Pictures are uint8 (H, W, C), and stay so.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage

Corrupt = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]
SEVERITIES = (1, 2, 3, 4, 5)
SMALL_SIDE = 64


def corrupt(picture: np.ndarray, name: str, severity: int, seed: int, index: int) -> np.ndarray:
    """The picture, uint8 (H, W, C), corrupted; the same seed and index give the same result."""
    random = np.random.Generator(np.random.Philox(key=[seed, index]))
    values = CORRUPTIONS[name](picture.astype(np.float64) / 255, severity, random)
    return np.rint(255 * np.clip(values, 0, 1)).astype(np.uint8)


def _pick(picture: np.ndarray, severity: int, large: tuple[Any, ...], small: tuple[Any, ...] | None = None) -> Any:
    """A strength by severity and size."""
    table = small if small is not None and max(picture.shape[:2]) < SMALL_SIDE else large
    return table[severity - 1]


def _gaussian_noise(x: np.ndarray, severity: int, random: np.random.Generator) -> np.ndarray:
    return x + random.normal(
        scale=_pick(x, severity, (0.08, 0.12, 0.18, 0.26, 0.38), (0.04, 0.06, 0.08, 0.09, 0.10)), size=x.shape
    )


def _shot_noise(x: np.ndarray, severity: int, random: np.random.Generator) -> np.ndarray:
    photons = _pick(x, severity, (60, 25, 12, 5, 3), (500, 250, 100, 75, 50))
    return random.poisson(x * photons) / photons


def _impulse_noise(x: np.ndarray, severity: int, random: np.random.Generator) -> np.ndarray:
    share = _pick(x, severity, (0.03, 0.06, 0.09, 0.17, 0.27), (0.01, 0.02, 0.03, 0.05, 0.07))
    drawn = random.random(x.shape)
    return np.where(drawn < share / 2, 0.0, np.where(drawn < share, 1.0, x))


def _defocus_blur(x: np.ndarray, severity: int, random: np.random.Generator) -> np.ndarray:
    radius, soft = _pick(
        x, severity, ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
        ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    )  # fmt: skip
    reach = max(8, math.ceil(radius)) if radius <= 8 else math.ceil(radius)
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disk = (rows**2 + columns**2 <= radius**2).astype(np.float64)
    kernel = ndimage.gaussian_filter(disk / disk.sum(), soft)
    return _each_channel(x, partial(ndimage.convolve, weights=kernel / kernel.sum(), mode="mirror"))


def _glass_blur(x: np.ndarray, severity: int, random: np.random.Generator) -> np.ndarray:
    sigma, reach, times = _pick(
        x, severity, ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
        ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    )  # fmt: skip
    x = _blurred(x, sigma)
    height, width = x.shape[:2]
    for _ in range(times):
        # every pixel trades places with one nearby, all at once rather than one after the other
        rows, columns = np.mgrid[:height, :width]
        move = random.integers(-reach, reach + 1, (2, height, width))
        x = x[np.clip(rows + move[0], 0, height - 1), np.clip(columns + move[1], 0, width - 1)]
    return _blurred(x, sigma)


def _motion_blur(x: np.ndarray, severity: int, random: np.random.Generator) -> np.ndarray:
    radius, sigma = _pick(
        x, severity, ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)), ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5))
    )
    return _streaked(x, radius, sigma, random.uniform(-45, 45))


def _zoom_blur(x: np.ndarray, severity: int, random: np.random.Generator) -> np.ndarray:
    most, step = _pick(
        x, severity, ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
        ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
    )  # fmt: skip
    factors = np.arange(1 + step, most, step)
    return (x + sum(_zoomed(x, factor) for factor in factors)) / (len(factors) + 1)


def _snow(x: np.ndarray, severity: int, random: np.random.Generator) -> np.ndarray:
    mean, std, zoom, floor, radius, sigma, keep = _pick(
        x, severity,
        ((0.1, 0.3, 3, 0.5, 10, 4, 0.8), (0.2, 0.3, 2, 0.5, 12, 4, 0.7), (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
         (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65), (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55)),
        ((0.1, 0.2, 1, 0.6, 8, 3, 0.95), (0.1, 0.2, 1, 0.5, 10, 4, 0.9), (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
         (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85), (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8)),
    )  # fmt: skip
    flakes = _zoomed(random.normal(mean, std, x.shape[:2])[..., None], zoom)
    flakes = np.where(flakes < floor, 0.0, flakes)
    flakes = _streaked(np.clip(flakes, 0, 1), radius, sigma, random.uniform(-135, -45))
    pale = np.maximum(x, x.mean(axis=2, keepdims=True) * 1.5 + 0.5)
    return keep * x + (1 - keep) * pale + flakes + flakes[::-1, ::-1]


def _fog(x: np.ndarray, severity: int, random: np.random.Generator) -> np.ndarray:
    strength, decay = _pick(
        x, severity, ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
        ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
    )  # fmt: skip
    highest = x.max()
    fog = _plasma(max(x.shape[:2]), decay, random)[: x.shape[0], : x.shape[1], None]
    return (x + strength * fog) * highest / (highest + strength)


def _brightness(x: np.ndarray, severity: int, random: np.random.Generator) -> np.ndarray:
    more = _pick(x, severity, (0.1, 0.2, 0.3, 0.4, 0.5), (0.05, 0.1, 0.15, 0.2, 0.3))
    # HSV's value is the largest channel: raising it keeps hue and saturation
    value = x.max(axis=2, keepdims=True)
    return np.where(value > 0, x * np.minimum(value + more, 1) / np.maximum(value, 1e-12), np.minimum(more, 1))


def _contrast(x: np.ndarray, severity: int, random: np.random.Generator) -> np.ndarray:
    factor = _pick(x, severity, (0.4, 0.3, 0.2, 0.1, 0.05), (0.75, 0.5, 0.4, 0.3, 0.15))
    mean = x.mean(axis=(0, 1), keepdims=True)
    return (x - mean) * factor + mean


def _elastic(x: np.ndarray, severity: int, random: np.random.Generator) -> np.ndarray:
    side = min(x.shape[:2])
    large = ((2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02))
    small = ((0, 0.01, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03))
    alpha, sigma, affine = (side * value for value in _pick(x, severity, large, small))
    corner, third = side // 3, side / 3
    centre = np.array(x.shape[:2]) / 2
    points = np.array([centre + third, [centre[0] + corner, centre[1] - corner], centre - third])
    moved = points + random.uniform(-affine, affine, points.shape)
    matrix = np.linalg.solve(np.c_[moved, np.ones(3)], points)  # moved -> where it came from
    rows, columns = np.mgrid[: x.shape[0], : x.shape[1]].astype(np.float64)
    source = np.stack([rows, columns, np.ones_like(rows)], -1) @ matrix
    shift = [
        alpha * ndimage.gaussian_filter(random.uniform(-1, 1, x.shape[:2]), sigma, mode="reflect", truncate=3)
        for _ in range(2)
    ]
    places = [source[..., 0] + shift[0], source[..., 1] + shift[1]]
    return _each_channel(x, partial(ndimage.map_coordinates, coordinates=places, order=1, mode="reflect"))


def _pixelate(x: np.ndarray, severity: int, random: np.random.Generator) -> np.ndarray:
    share = _pick(x, severity, (0.6, 0.5, 0.4, 0.3, 0.25), (0.95, 0.9, 0.85, 0.75, 0.65))
    height, width = x.shape[:2]
    small = _resized(x, (max(1, int(width * share)), max(1, int(height * share))), Image.Resampling.BOX)
    return _resized(small, (width, height), Image.Resampling.NEAREST)


def _jpeg(x: np.ndarray, severity: int, random: np.random.Generator) -> np.ndarray:
    quality = _pick(x, severity, (25, 18, 15, 10, 7), (80, 65, 58, 50, 40))
    return jpeg(np.rint(255 * x).astype(np.uint8), quality) / 255


CORRUPTIONS: Mapping[str, Corrupt] = {
    "gaussian-noise": _gaussian_noise,
    "shot-noise": _shot_noise,
    "impulse-noise": _impulse_noise,
    "defocus-blur": _defocus_blur,
    "glass-blur": _glass_blur,
    "motion-blur": _motion_blur,
    "zoom-blur": _zoom_blur,
    "snow": _snow,
    "fog": _fog,
    "brightness": _brightness,
    "contrast": _contrast,
    "elastic": _elastic,
    "pixelate": _pixelate,
    "jpeg": _jpeg,
}


def jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    """A uint8 (H, W, C) picture through a JPEG file of this quality."""
    file = io.BytesIO()
    _image(picture).save(file, "JPEG", quality=quality)
    return _array(Image.open(file), picture.shape[2])


def rotated(picture: np.ndarray, degrees: float) -> np.ndarray:
    """A uint8 (H, W, C) picture turned around its centre, linearly interpolated, the border mirrored outwards."""
    turn = partial(ndimage.rotate, angle=degrees, reshape=False, order=1, mode="mirror")
    return np.rint(np.clip(_each_channel(picture.astype(np.float64), turn), 0, 255)).astype(np.uint8)


def _each_channel(x: np.ndarray, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    return np.stack([change(x[..., channel]) for channel in range(x.shape[2])], axis=2)


def _blurred(x: np.ndarray, sigma: float) -> np.ndarray:
    return _each_channel(x, partial(ndimage.gaussian_filter, sigma=sigma, mode="nearest"))


def _streaked(x: np.ndarray, radius: int, sigma: float, degrees: float) -> np.ndarray:
    """A one-sided Gaussian along a direction."""
    weights = np.exp(-(np.arange(2 * radius + 1) ** 2) / (2 * sigma**2))
    weights /= weights.sum()
    angle = math.radians(degrees)
    total = np.zeros_like(x)
    for distance, weight in enumerate(weights):
        shift = (round(distance * math.sin(angle)), round(distance * math.cos(angle)), 0)
        total += weight * ndimage.shift(x, shift, order=0, mode="nearest")
    return total


def _zoomed(x: np.ndarray, factor: float) -> np.ndarray:
    """The centre, enlarged to the whole: linear interpolation."""
    height, width = x.shape[:2]
    rows = (np.arange(height) - (height - 1) / 2) / factor + (height - 1) / 2
    columns = (np.arange(width) - (width - 1) / 2) / factor + (width - 1) / 2
    places = np.meshgrid(rows, columns, indexing="ij")
    return _each_channel(x, partial(ndimage.map_coordinates, coordinates=places, order=1, mode="nearest"))


def _plasma(side: int, decay: float, random: np.random.Generator) -> np.ndarray:
    """A cloud of values in 0..1 by the diamond-square algorithm on a torus, of at least `side` pixels."""
    size = 1 << max(1, math.ceil(math.log2(side)))
    cloud = np.zeros((size, size))
    step, wobble = size, 1.0
    while step > 1:
        half = step // 2

        def noisy(mean: np.ndarray, wobble: float = wobble) -> np.ndarray:
            return mean + wobble * random.uniform(-1, 1, mean.shape)

        corners = cloud[::step, ::step]
        pairs = corners + np.roll(corners, -1, 0)
        cloud[half::step, half::step] = noisy((pairs + np.roll(pairs, -1, 1)) / 4)
        middles = cloud[half::step, half::step]
        upright = middles + np.roll(middles, 1, 0) + corners + np.roll(corners, -1, 1)
        cloud[::step, half::step] = noisy(upright / 4)
        across = middles + np.roll(middles, 1, 1) + corners + np.roll(corners, -1, 0)
        cloud[half::step, ::step] = noisy(across / 4)
        step, wobble = half, wobble / decay
    cloud -= cloud.min()
    return cloud / cloud.max()


def _image(picture: np.ndarray) -> Image.Image:
    return Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture)


def _array(image: Image.Image, channels: int) -> np.ndarray:
    values = np.asarray(image.convert("L" if channels == 1 else "RGB"))
    return values[..., None] if channels == 1 else values


def _resized(x: np.ndarray, size: tuple[int, int], how: Image.Resampling) -> np.ndarray:
    picture = np.rint(255 * np.clip(x, 0, 1)).astype(np.uint8)
    return _array(_image(picture).resize(size, how), x.shape[2]) / 255

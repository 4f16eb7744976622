"""The input of He et al. 2015 (section 3.4) and Krizhevsky et al. 2012 (section 4.1), against other ways to compute it.

Every training input is looked up among all windows of all resized forms of its picture, made by Pillow; what was found
must be distributed as the papers say.
"""

from __future__ import annotations

from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from residuum.data.augment import Augment
from residuum.data.batches import TrainBatches
from residuum.data.crops import Box, random_box
from residuum.data.decoding import decode
from residuum.data.manifest import Manifest
from residuum.data.pictures import ListPictures
from residuum.data.preprocessing import Preprocessing, resample
from residuum.data.random import uniforms
from residuum.data.statistics import mean_picture, pca_colour
from residuum.recipes import recipe

SIDE = 12
LOW, HIGH = 14, 17
HEIGHT, WIDTH = 26, 20
PER_PIXEL = Preprocessing((SIDE, SIDE), SIDE, 3, (0.0,) * 3, (1.0,) * 3, per_pixel=True)
Found = tuple[int, int, int, bool]
"""Shorter side, top, left, mirrored."""


def manifest(pictures: list[np.ndarray]) -> Manifest:
    n = len(pictures)
    return Manifest(
        argument="made",
        names=tuple(map(str, range(n))),
        labels=np.arange(n) % 2,
        classes=("a", "b"),
        parts={"train": np.arange(n)},
        pictures=ListPictures(pictures),
        digest="",
    )


def noise(n: int, height: int, width: int) -> list[np.ndarray]:
    random = np.random.default_rng(n)
    return list(random.integers(0, 256, (n, height, width, 3), dtype=np.uint8))


def inputs(
    data: Manifest, augment: Augment, epochs: int, p: Preprocessing = PER_PIXEL
) -> tuple[np.ndarray, np.ndarray]:
    """Picture numbers (epochs * n,) and inputs (epochs * n, H, W, 3) of the first epochs."""
    mean = mean_picture(data, "train", p) if p.per_pixel else None
    batches = TrainBatches(data, preprocessing=p, augment=augment, batch_size=len(data), seed=5, mean_picture=mean)
    seen = list(islice(batches.from_step(0), epochs))
    return (
        np.concatenate([batch.indices for batch in seen]),
        np.concatenate([batch.inputs.permute(0, 2, 3, 1).numpy() for batch in seen]),
    )


def windows(picture: np.ndarray) -> tuple[list[tuple[int, int, int]], np.ndarray]:
    """All windows of all resized forms of a picture: (side, top, left) and pixels (n, SIDE * SIDE * 3)."""
    places, pixels = [], []
    for side in range(LOW, HIGH + 1):
        whole = bilinear(Image.fromarray(picture), (side, side * HEIGHT // WIDTH))
        for top in range(whole.shape[0] - SIDE + 1):
            for left in range(side - SIDE + 1):
                places.append((side, top, left))
                pixels.append(whole[top : top + SIDE, left : left + SIDE].ravel())
    return places, np.stack(pixels).astype(np.float32)


@pytest.fixture(scope="module")
def found() -> list[Found]:
    """Where each of 2,400 inputs was taken from: all places that fit, once the mirror is undone and the mean added."""
    data = manifest(noise(12, HEIGHT, WIDTH))
    every = [windows(data.pictures.read(i, 3)) for i in range(12)]
    mean = mean_picture(data, "train", PER_PIXEL).transpose(1, 2, 0)
    result: list[Found] = []
    for index, given in zip(*inputs(data, Augment(shorter_side=(LOW, HIGH), mirror=True), 200), strict=True):
        places, pixels = every[index]
        for mirrored in (False, True):
            crop = 255 * ((given[:, ::-1] if mirrored else given) + mean)
            far = np.abs(pixels - crop.ravel()).max(1)
            result += [(*places[i], mirrored) for i in np.flatnonzero(far <= 2.01)]
    return result


def test_every_input_is_one_window_of_the_resized_picture_or_its_mirror_minus_the_mean_there(
    found: list[Found],
) -> None:
    """To two grey levels of noise, of rounding; the mean picture is mirrored with the picture."""
    assert len(found) == 2400


def test_every_shorter_side_is_equally_likely_both_ends_included(found: list[Found]) -> None:
    sides = Counter(side for side, *_ in found)
    assert sorted(sides) == list(range(LOW, HIGH + 1))
    assert stats.chisquare(list(sides.values())).pvalue > 0.01


def test_every_position_is_equally_likely_both_ends_included(found: list[Found]) -> None:
    for side in range(LOW, HIGH + 1):
        seen = Counter((top, left) for s, top, left, _ in found if s == side)
        rows, columns = side * HEIGHT // WIDTH - SIDE + 1, side - SIDE + 1
        counts = [seen[top, left] for top in range(rows) for left in range(columns)]
        assert sum(counts) == sum(seen.values())
        assert stats.chisquare(counts).pvalue > 0.01


def test_half_of_the_inputs_are_mirrored_whatever_else_was_drawn(found: list[Found]) -> None:
    mirrored = sum(flip for *_, flip in found)
    assert stats.binomtest(mirrored, len(found)).pvalue > 0.01
    table = [[sum(s == side and f == flip for s, _, _, f in found) for side in range(LOW, HIGH + 1)] for flip in (0, 1)]
    assert stats.chi2_contingency(table).pvalue > 0.01


def test_the_mean_over_inputs_of_whole_pictures_is_zero_everywhere_mirrored_or_not() -> None:
    """Which holds only where the mean is mirrored with its picture: this one is bright on the left."""
    ramp = np.linspace(255, 0, SIDE).astype(np.uint8)[None, :, None]
    data = manifest([np.clip(p // 4 + ramp // 2, 0, 255).astype(np.uint8) for p in noise(30, SIDE, SIDE)])
    _, given = inputs(data, Augment(shorter_side=(SIDE, SIDE), mirror=True), 100)
    assert np.abs(given.mean(0)).max() < 0.02
    left, right = given[..., : SIDE // 2, :].mean(), given[..., SIDE // 2 :, :].mean()
    assert abs(left - right) < 1e-3


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["n01855672_goose", "n02692877_airship", "n02951585_can_opener"])
def test_crops_of_real_photos_at_the_recipes_size(name: str, realdata: Path) -> None:
    """Of a tall, a small grey and a turned photo: Pillow's whole resized picture, cropped, but for two roundings."""
    picture = decode(realdata / "imagenet_sample" / f"{name}.JPEG", 3)
    height, width = picture.shape[:2]
    augment = recipe("paper-imagenet").augment
    assert augment.shorter_side == (256, 480)
    for chance in np.random.default_rng(0).random((6, 4)):
        box = random_box(height, width, (224, 224), augment, chance)
        new_width, new_height = round(224 * width / (box[2] - box[0])), round(224 * height / (box[3] - box[1]))
        assert 256 <= min(new_height, new_width) <= 480
        assert max(new_height, new_width) == min(new_height, new_width) * max(height, width) // min(height, width)
        x, y = box[0] * new_width / width, box[1] * new_height / height
        assert (x, y) == pytest.approx((round(x), round(y)), abs=1e-6)
        here = slice(round(y), round(y) + 224), slice(round(x), round(x) + 224)
        got = resample(picture, (224, 224), box)
        whole = bilinear(Image.fromarray(picture), (new_width, new_height))
        assert np.abs(got.astype(int) - whole[here]).max() <= 2
        unrounded = Image.fromarray(picture[..., 0].astype(np.float32))
        smooth, whole = bilinear(unrounded, (224, 224), box), bilinear(unrounded, (new_width, new_height))
        assert np.abs(smooth - whole[here]).max() < 0.01


def bilinear(image: Image.Image, size: tuple[int, int], box: Box | None = None) -> np.ndarray:
    """A Pillow picture, or its box, as (width, height) = `size`."""
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR, box=box))


def coloured(n: int) -> Manifest:
    """Pictures whose channels go together, as those of photos do, with three distinct principal variances."""
    mix = np.array([[50.0, 20.0, 3.0], [48.0, -2.0, -8.0], [46.0, -18.0, 5.0]])
    pixels = np.random.default_rng(1).normal(size=(n, 6, 6, 3)) @ mix.T + 128
    return manifest(list(np.clip(np.rint(pixels), 0, 255).astype(np.uint8)))


def shifts(data: Manifest, epochs: int) -> np.ndarray:
    """What the colour shift adds to each pixel, on the 0..1 scale: (epochs, n, 3), by picture."""
    p = Preprocessing((6, 6), 6, 3, (0.4, 0.5, 0.6), (0.2, 0.25, 0.3))
    order, plain = inputs(data, Augment(mirror=True), epochs, p)
    _, shifted = inputs(data, Augment(mirror=True, colour=0.1), epochs, p)
    added = (shifted - plain) * np.array(p.std)
    np.testing.assert_allclose(added, np.broadcast_to(added[:, :1, :1], added.shape), atol=1e-6)
    by_epoch = added[:, 0, 0].reshape(epochs, len(data), 3)
    ranks = order.reshape(epochs, len(data)).argsort(1)
    return np.take_along_axis(by_epoch, ranks[..., None], 1)


def test_the_colour_shift_has_alexnets_covariance() -> None:
    """V diag((0.1 l)^2) V^T, l and V of the covariance of all pixels' 0..1 values; the draws are Gaussian."""
    data = coloured(100)
    every = np.concatenate([data.pictures.read(i, 3).reshape(-1, 3) for i in range(100)]) / 255
    values, vectors = np.linalg.eigh(np.cov(every.T, bias=True))
    added = shifts(data, 80).reshape(-1, 3)
    alpha = added @ vectors / values
    assert np.abs(alpha.mean(0)).max() < 4 * 0.1 / np.sqrt(len(alpha))
    expected = vectors @ np.diag((0.1 * values) ** 2) @ vectors.T
    np.testing.assert_allclose(np.cov(added.T), expected, atol=0.05 * expected.max())
    np.testing.assert_allclose(np.cov(alpha.T), 0.01 * np.eye(3), atol=0.0006)
    for column in alpha.T:
        assert stats.kstest(column / 0.1, "norm").pvalue > 0.01


def test_the_colour_shift_is_drawn_once_for_each_picture_and_use() -> None:
    added = shifts(coloured(50), 40)
    assert len(np.unique(added.reshape(-1, 3).round(7), axis=0)) == 50 * 40
    one, other = added[:, :-1, 2].ravel(), added[:, 1:, 2].ravel()
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.1
    assert abs(np.corrcoef(added[:-1, :, 2].ravel(), added[1:, :, 2].ravel())[0, 1]) < 0.1
    np.testing.assert_array_equal(added[:3], shifts(coloured(50), 3))


def test_draws_of_one_picture_are_independent_of_each_other() -> None:
    """Scale, place, mirror and colour come from numbers of their own."""
    chances = uniforms(0, 0, np.arange(20_000), 13)
    assert np.abs(np.corrcoef(chances.T) - np.eye(13)).max() < 0.03


@pytest.mark.realdata
def test_principal_colours_of_photos_are_those_known_of_imagenet(realdata: Path) -> None:
    """fb.resnet.torch's constants for the whole training set: 58 photos come within a fifth of them.

    So they are eigenvalues, not their roots, of values on the 0..1 scale.
    """
    files = sorted((realdata / "imagenet_sample").glob("*.JPEG"))
    values, vectors = pca_colour(manifest([decode(file, 3) for file in files]), "train", 3)
    np.testing.assert_allclose(values[::-1], (0.2175, 0.0188, 0.0045), rtol=0.2)
    assert abs(vectors[:, 2] @ (-0.5675, -0.5808, -0.5836)) > 0.999

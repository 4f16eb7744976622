"""What mixes, erases and balances training pictures: pure functions of seed, epoch and index, and nothing where off."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from residuum.data.augment import Augment
from residuum.data.batches import Batch, TrainBatches
from residuum.data.mixing import erase, mix
from residuum.data.order import Balanced, Shuffled
from residuum.data.preprocessing import Preprocessing
from residuum.data.randaugment import OPERATIONS, rand_augment
from residuum.data.random import permutation, uniforms
from residuum.data.sources import open_data
from residuum.errors import UserError

VIEW = Preprocessing((8, 8), 8, 1, (0.3,), (0.4,))
EVERYTHING = Augment(crop_padding=1, mirror=True, rand_augment=(2, 9), erasing=0.5, mixup=0.4, cutmix=1.0)


def batches(augment: Augment, **options: Any) -> TrainBatches:
    settings: dict[str, Any] = {"preprocessing": VIEW, "batch_size": 32, "seed": 3} | options
    return TrainBatches(open_data("digits"), augment=augment, **settings)


def equal(one: Batch, other: Batch) -> bool:
    assert (one.shares is None) == (other.shares is None)
    same = torch.equal(one.inputs, other.inputs) and np.array_equal(one.indices, other.indices)
    return same and (one.shares is None or torch.equal(one.shares, other.shares))  # type: ignore[arg-type]


@pytest.mark.parametrize("balanced", [False, True])
def test_a_batch_depends_on_the_seed_and_the_step_alone(balanced: bool) -> None:
    stream = batches(EVERYTHING, balanced=balanced).from_step(0)
    there = [next(stream) for _ in range(60)][-1]
    assert equal(there, next(batches(EVERYTHING, balanced=balanced).from_step(59)))
    assert not equal(there, next(batches(EVERYTHING, balanced=balanced, seed=4).from_step(59)))


def test_what_is_off_changes_nothing_of_what_is_on() -> None:
    """An ingredient has random numbers of its own, so the same pictures are cropped and mirrored alike."""
    plain = next(batches(Augment(crop_padding=1, mirror=True)).from_step(5))
    mixed = next(batches(Augment(crop_padding=1, mirror=True, mixup=1.0)).from_step(5))
    assert np.array_equal(plain.indices, mixed.indices)
    assert mixed.partners is not None
    assert mixed.shares is not None
    shares = mixed.shares[:, None, None, None]
    again = shares * plain.inputs + (1 - shares) * plain.inputs.roll(-1, 0)
    assert torch.allclose(mixed.inputs, again, atol=1e-5)
    assert torch.equal(mixed.partners, plain.targets.roll(-1))


def test_the_order_of_epochs_is_what_it_was() -> None:
    order = Shuffled(7, 50)
    positions, rounds = order.at(np.arange(30, 130))
    expected = np.concatenate([permutation(7, epoch, 50) for epoch in range(3)])[30:130]
    assert np.array_equal(positions, expected)
    assert np.array_equal(rounds, np.arange(30, 130) // 50)


def test_balanced_rounds_have_every_class_once_and_every_picture_of_it_in_turn() -> None:
    labels = np.array([0] * 50 + [1] * 3 + [2] * 11)
    positions, rounds = Balanced(1, labels).at(np.arange(300))
    assert (np.sort(labels[positions].reshape(-1, 3), axis=1) == [0, 1, 2]).all()
    for label, size in enumerate((50, 3, 11)):
        drawn = positions[labels[positions] == label]
        for turn in range(100 // size):
            assert len(set(drawn[turn * size : (turn + 1) * size].tolist())) == size
    seen = Counter(zip(positions.tolist(), rounds.tolist(), strict=True))
    assert max(seen.values()) == 1, "a picture is never changed in the same way twice"


def test_cutmix_shares_are_the_area_that_is_left() -> None:
    inputs = torch.arange(1.0, 65).view(64, 1, 1, 1).expand(64, 3, 20, 30).contiguous()
    mixed, shares = mix(torch.cat((inputs, inputs[:1])), 0.0, 1.0, uniforms(0, 0, np.arange(64), 4))
    own = (mixed == inputs).float().mean((1, 2, 3))
    assert torch.allclose(own, shares, atol=1e-6)
    others = inputs.roll(-1, 0)
    assert ((mixed == inputs) | (mixed == others)).all()
    assert shares.min() < 0.3
    assert shares.max() > 0.7


def test_erasing_takes_a_rectangle_from_a_share_of_the_pictures() -> None:
    inputs = torch.ones(400, 3, 16, 24)
    gone = (erase(inputs, 0.25, uniforms(0, 0, np.arange(400), 5)) == 0).all(1)
    touched = gone.flatten(1).any(1)
    assert 0.18 < touched.float().mean() < 0.32
    for picture in gone[touched]:
        rows, columns = picture.any(1).nonzero().flatten(), picture.any(0).nonzero().flatten()
        filled = (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1)
        assert picture.sum() == filled, "one rectangle"
        assert 0.01 < filled / picture.numel() < 0.45


def photo() -> np.ndarray:
    small = np.random.default_rng(0).integers(40, 200, (6, 8, 3), np.uint8)
    return np.array(Image.fromarray(small).resize((32, 24), Image.Resampling.BICUBIC))


@pytest.mark.parametrize(
    ("name", "ours", "sign"),
    [
        ("autocontrast", ImageOps.autocontrast, 1),
        ("solarize", lambda p: ImageOps.solarize(p, 128), 1),
        ("posterize", lambda p: ImageOps.posterize(p, 6), 1),
        ("colour", lambda p: ImageEnhance.Color(p).enhance(1.45), 1),
        ("brightness", lambda p: ImageEnhance.Brightness(p).enhance(0.55), -1),
        ("contrast", lambda p: ImageEnhance.Contrast(p).enhance(1.45), 1),
        ("sharpness", lambda p: ImageEnhance.Sharpness(p).enhance(0.55), -1),
    ],
)
def test_operations_on_pixels_are_pillows(name: str, ours: Any, sign: int) -> None:
    x = torch.from_numpy(photo()).permute(2, 0, 1)[None].float() / 255
    found = OPERATIONS[name](x, 0.5, torch.tensor([float(sign)])).clamp(0, 1)
    expected = np.asarray(ours(Image.fromarray(photo())), np.float32)
    difference = np.abs(255 * found[0].permute(1, 2, 0).numpy() - expected)
    inner = difference[1:-1, 1:-1]  # Pillow leaves the border as it is when it smooths
    assert inner.max() <= 3.0, inner.max()


def test_equalized_levels_keep_their_order_and_are_equally_frequent() -> None:
    levels = np.random.default_rng(1).integers(100, 140, (1, 64, 64)) ** 2 / 140**2
    x = torch.from_numpy(levels.astype(np.float32))[None]
    found = OPERATIONS["equalize"](x, 0.5, torch.ones(1))
    assert found.min() == 0
    assert found.max() == 1
    order = x.flatten().argsort()
    assert (found.flatten()[order].diff() >= 0).all()
    assert np.histogram(found.numpy(), 8)[0] / found.numel() == pytest.approx([1 / 8] * 8, abs=0.03)
    even = torch.full((1, 3, 4, 4), 0.3)
    assert torch.equal(OPERATIONS["equalize"](even, 0.5, torch.ones(1)), even)


def test_moving_by_nothing_moves_nothing_and_signs_are_opposite() -> None:
    x = torch.from_numpy(photo()).permute(2, 0, 1)[None].float() / 255
    for name in ("rotate", "shear-x", "shear-y", "translate-x", "translate-y"):
        still = OPERATIONS[name](x, 0.0, torch.ones(1))
        assert torch.allclose(still, x, atol=1e-5), name
        moved = [OPERATIONS[name](x, 0.5, torch.tensor([sign])) for sign in (1.0, -1.0)]
        assert not torch.allclose(moved[0], x, atol=0.05), name
        mirrored = OPERATIONS[name](x.flip(3), 0.5, torch.tensor([-1.0])).flip(3)
        if name != "translate-y":
            assert torch.allclose(mirrored, moved[0], atol=1e-4), name


def test_rand_augment_draws_every_operation_and_treats_pictures_by_themselves() -> None:
    pixels = np.stack([photo()] * 200)
    chances = uniforms(0, 0, np.arange(200), 8)
    found = rand_augment(pixels, 2, 7, chances)
    assert found.dtype == np.uint8
    assert len(np.unique(np.floor(chances[:, 0] * len(OPERATIONS)))) == len(OPERATIONS)
    some = [3, 77, 150]
    assert np.array_equal(rand_augment(pixels[some], 2, 7, chances[some]), found[some])
    assert rand_augment(np.full((2, 8, 8, 1), 7, np.uint8), 4, 10, chances[:2]).shape == (2, 8, 8, 1)


@pytest.mark.parametrize(
    ("changed", "words"),
    [({"mixup": -1.0}, "mixup"), ({"cutmix": float("nan")}, "cutmix"), ({"erasing": 1.5}, "erasing"),
     ({"rand_augment": (0, 5.0)}, "rand_augment"), ({"rand_augment": (2, 11.0)}, "rand_augment")],
    ids=str,
)  # fmt: skip
def test_ingredients_that_make_no_sense_are_refused(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        Augment(**changed).check()

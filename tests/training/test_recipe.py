"""Recipes: the paper's values, what a data set settles, where epochs end, and which settings are refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from residuum.config import from_dict, to_dict
from residuum.data.augment import Augment
from residuum.errors import UserError
from residuum.recipes import RECIPES
from residuum.recipes.fast import FAST
from residuum.recipes.paper_cifar import PAPER_CIFAR
from residuum.recipes.paper_imagenet import PAPER_IMAGENET
from residuum.training.recipe import SGD, Drops, Length, Muon, OneCycle, Plateau, Recipe, WarmUp, fit, resolution_at


def settled(recipe: Recipe, **changed: Any) -> tuple[Recipe, Length]:
    data = {"images": 50_000, "size": (32, 32), "whole": True, "layers": 20, "chiral": False} | changed
    return fit(recipe, **data)


def test_paper_cifar_is_section_4_2() -> None:
    assert PAPER_CIFAR.steps == 64_000
    assert PAPER_CIFAR.epochs is None
    assert PAPER_CIFAR.batch_size == 128
    assert PAPER_CIFAR.optimizer == SGD(0.1, 0.9, nesterov=False, weight_decay=1e-4, decay_norms_and_biases=True)
    assert PAPER_CIFAR.schedule == Drops((0.5, 0.75), 0.1, WarmUp(0.01, 80.0, 110))
    assert PAPER_CIFAR.augment == Augment(crop_padding=4, padding="zero", mirror=True)
    assert PAPER_CIFAR.per_pixel_mean
    assert PAPER_CIFAR.label_smoothing == 0
    assert PAPER_CIFAR.resolution == ()
    assert PAPER_CIFAR.min_steps == 0
    assert PAPER_CIFAR.precision == "float32"


def test_paper_imagenet_is_section_3_4() -> None:
    assert PAPER_IMAGENET.steps == 600_000
    assert PAPER_IMAGENET.epochs is None
    assert PAPER_IMAGENET.batch_size == 256
    assert PAPER_IMAGENET.optimizer == SGD(0.1, 0.9, nesterov=False, weight_decay=1e-4, decay_norms_and_biases=True)
    assert isinstance(PAPER_IMAGENET.schedule, Plateau)
    assert PAPER_IMAGENET.schedule.factor == 0.1
    assert PAPER_IMAGENET.augment == Augment(shorter_side=(256, 480), mirror=True, colour=0.1)
    assert PAPER_IMAGENET.per_pixel_mean
    assert PAPER_IMAGENET.label_smoothing == 0
    assert PAPER_IMAGENET.precision == "float32"


@pytest.mark.parametrize("recipe", [PAPER_CIFAR, PAPER_IMAGENET], ids=lambda recipe: recipe.name)
def test_nothing_of_the_papers_recipes_is_settled_otherwise(recipe: Recipe) -> None:
    size = (32, 32) if recipe is PAPER_CIFAR else (224, 224)
    assert settled(recipe, layers=110, size=size, whole=recipe is PAPER_CIFAR) == (
        recipe,
        Length(50_000, recipe.batch_size, recipe.steps or 0),
    )


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_sound_and_can_be_replayed_from_its_record(name: str) -> None:
    recipe = RECIPES[name]
    assert recipe.name == name
    assert recipe.check() is recipe
    assert from_dict(Recipe, to_dict(recipe), "here") == recipe


def test_handwriting_is_never_mirrored() -> None:
    for name, recipe in RECIPES.items():
        if name == "paper-imagenet":
            continue
        for mirror in (recipe.augment.mirror, "alternating"):
            turned = replace(recipe, augment=replace(recipe.augment, mirror=mirror))
            assert not settled(turned, chiral=True)[0].augment.mirror
            assert settled(turned, chiral=False)[0].augment.mirror == mirror


def test_small_pictures_fed_whole_are_padded_and_larger_ones_cropped_by_area() -> None:
    assert FAST.augment.crop_padding
    assert FAST.augment.area
    whole, cropped = (settled(FAST, whole=whole)[0].augment for whole in (True, False))
    assert (whole.crop_padding, whole.area) == (FAST.augment.crop_padding, None)
    assert (cropped.crop_padding, cropped.area) == (0, FAST.augment.area)


@given(images=st.integers(1, 10**7), smallest=st.sampled_from([1, 8, 32, 256]), batch_size=st.integers(1, 512))
def test_small_sets_get_small_batches(images: int, smallest: int, batch_size: int) -> None:
    recipe, length = settled(Recipe("r", epochs=1, batch_size=batch_size, smallest_batch=smallest), images=images)
    size = length.batch_size
    assert size == recipe.batch_size
    assert min(smallest, batch_size) <= size <= batch_size
    assert size in (batch_size, smallest) or (size & (size - 1) == 0 and size <= images / 32 < 2 * size)
    if images >= 64 * batch_size:
        assert size == batch_size


@given(images=st.integers(1, 10**6), least=st.integers(1, 2000), epochs=st.floats(0.1, 30))
def test_small_sets_are_gone_through_more_often(images: int, least: int, epochs: float) -> None:
    longer = settled(Recipe("r", epochs=epochs, min_steps=least), images=images)[1]
    plain = settled(Recipe("r", epochs=epochs), images=images)[1]
    assert longer.steps == max(plain.steps, least)
    assert settled(Recipe("r", steps=7, min_steps=least), images=images)[1].steps == 7


@given(images=st.integers(1, 10**6), epochs=st.floats(0.01, 300), batch_size=st.integers(1, 4096))
def test_a_recipe_without_least_steps_keeps_its_batches_and_epochs(images: int, epochs: float, batch_size: int) -> None:
    recipe = Recipe("r", epochs=epochs, batch_size=batch_size)
    _, length = settled(recipe, images=images)
    assert length.batch_size == batch_size
    seen = int(epochs * images)
    assert length.steps == max(1, -(-seen // batch_size))


@given(images=st.integers(1, 2000), batch_size=st.integers(1, 300), steps=st.integers(1, 400))
def test_epochs_divide_the_steps(images: int, batch_size: int, steps: int) -> None:
    length = Length(images, batch_size, steps)
    at, epoch, ends = 0, -1, []
    for step in range(steps):
        assert length.epoch_of(step) >= epoch
        if length.epoch_of(step) > epoch:
            assert step == at, "an epoch begins where the one before it ended"
            epoch = length.epoch_of(step)
            at = length.epoch_end(epoch)
            assert step < at <= steps
            ends.append(at)
    assert ends[-1] == steps
    # at an epoch's end every picture has been seen once more
    for step in range(steps):
        end = length.epoch_end(length.epoch_of(step))
        assert end == steps or end * batch_size >= (length.epoch_of(step) + 1) * images


resolutions = st.lists(
    st.tuples(st.floats(0.01, 1.0), st.floats(0.05, 1.0)), max_size=4, unique_by=lambda pair: pair[0]
)


@given(resolutions, st.integers(1, 300))
def test_training_sides_grow_stay_within_the_input_and_above_16(pairs: list[tuple[float, float]], size: int) -> None:
    fractions, scales = sorted(pair[0] for pair in pairs), sorted(pair[1] for pair in pairs)
    recipe = Recipe("r", epochs=1, resolution=tuple(zip(fractions, scales, strict=True))).check()
    sides = [resolution_at(recipe, i / 100, size) for i in range(101)]
    assert sides == sorted(sides)
    assert all(min(16, size) <= side <= size for side in sides)
    assert sides[100] == size


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"epochs": None}, "either epochs or steps"),
        ({"steps": 5}, "either epochs or steps"),
        ({"epochs": 0.0}, "epochs"),
        ({"epochs": -1.0}, "epochs"),
        ({"epochs": float("inf")}, "epochs"),
        ({"epochs": float("nan")}, "epochs"),
        ({"epochs": None, "steps": 0}, "steps"),
        ({"batch_size": 0}, "batch_size"),
        ({"optimizer": SGD(lr=0.0)}, "lr"),
        ({"optimizer": SGD(lr=-0.1)}, "lr"),
        ({"optimizer": SGD(lr=float("nan"))}, "lr"),
        ({"optimizer": SGD(momentum=1.0)}, "momentum"),
        ({"optimizer": SGD(momentum=0.0, nesterov=True)}, "nesterov"),
        ({"optimizer": SGD(weight_decay=-1e-4)}, "weight_decay"),
        ({"label_smoothing": 1.0}, "label_smoothing"),
        ({"label_smoothing": -0.1}, "label_smoothing"),
        ({"resolution": ((0.5, 0.5), (0.2, 1.0))}, "resolution"),
        ({"resolution": ((0.5, 1.5),)}, "resolution"),
        ({"resolution": ((0.5, 0.0),)}, "resolution"),
        ({"augment": Augment(crop_padding=-1)}, "crop_padding"),
        ({"muon": Muon(lr=0.0)}, "muon.lr"),
        ({"muon": Muon(lr=float("inf"))}, "muon.lr"),
        ({"muon": Muon(momentum=1.0)}, "muon.momentum"),
        ({"muon": Muon(iterations=21)}, "muon.iterations"),
    ],
    ids=str,
)
def test_unsound_recipes_are_refused(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        replace(Recipe("r", epochs=1.0), **changed).check()


def test_another_rate_is_another_for_all_in_proportion() -> None:
    for muon in (None, Muon(lr=0.02)):
        recipe = Recipe("r", epochs=1.0, optimizer=SGD(lr=0.4), muon=muon)
        slower = recipe.at_lr(0.1)
        assert slower.optimizer == SGD(lr=0.1)
        assert slower.muon == (muon and Muon(lr=pytest.approx(0.005)))
        assert slower.at_lr(0.4) == recipe


def test_everything_wrong_is_said_at_once() -> None:
    with pytest.raises(UserError) as error:
        Recipe("r", epochs=1, batch_size=0, label_smoothing=2, optimizer=SGD(lr=-1), schedule=OneCycle()).check()
    assert all(word in str(error.value) for word in ("batch_size", "label_smoothing", "lr"))

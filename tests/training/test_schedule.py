"""Learning rates are pure functions of the step, and for warm-up and plateau of the errors seen."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from residuum.recipes.paper_cifar import PAPER_CIFAR
from residuum.training.recipe import SGD, Cosine, Drops, OneCycle, Plateau, Recipe, WarmUp, fit
from residuum.training.schedule import Progress, learning_rate

COLD = Progress()


def one_cycle(warmup: float, lr: float = 1.0) -> Recipe:
    return Recipe("r", steps=1, optimizer=SGD(lr=lr), schedule=OneCycle(warmup=warmup))


@given(steps=st.integers(1, 500), warmup=st.floats(0.0, 1.0), lr=st.floats(1e-4, 10))
def test_one_cycle_rises_to_its_peak_at_the_end_of_warm_up_and_falls(steps: int, warmup: float, lr: float) -> None:
    rates = [learning_rate(one_cycle(warmup, lr), step, steps, COLD) for step in range(steps)]
    assert all(0 < rate <= lr * (1 + 1e-12) for rate in rates)
    for step, (rate, following) in enumerate(pairwise(rates)):
        if step + 1.5 <= warmup * steps:
            assert following > rate
        elif step + 0.5 >= warmup * steps:
            assert following < rate


@given(steps=st.integers(2, 300), rise=st.integers(0, 300), lr=st.floats(1e-3, 10))
def test_one_cycle_is_two_straight_lines_with_mean_half_the_peak(steps: int, rise: int, lr: float) -> None:
    rise = min(rise, steps)
    rates = [learning_rate(one_cycle(rise / steps, lr), step, steps, COLD) for step in range(steps)]
    for step, rate in enumerate(rates):
        middle = step + 0.5
        expected = middle / rise if middle < rise else (steps - middle) / (steps - rise)
        assert rate == pytest.approx(lr * expected, rel=1e-9)
    assert sum(rates) / steps == pytest.approx(lr / 2, rel=1e-9)


@given(steps=st.integers(2, 300), rise=st.integers(0, 299), lr=st.floats(1e-3, 10))
def test_cosine_rises_in_a_line_and_falls_in_half_a_wave(steps: int, rise: int, lr: float) -> None:
    rise = min(rise, steps - 1)
    recipe = Recipe("r", steps=1, optimizer=SGD(lr=lr), schedule=Cosine(warmup=rise / steps))
    rates = [learning_rate(recipe, step, steps, COLD) for step in range(steps)]
    assert all(0 < rate <= lr * (1 + 1e-12) for rate in rates)
    assert rates[:rise] == pytest.approx([lr * (step + 0.5) / rise for step in range(rise)], rel=1e-9)
    # a half wave is as far above its middle at one end as below it at the other
    falling = rates[rise:]
    assert [a + b for a, b in zip(falling, reversed(falling), strict=True)] == pytest.approx([lr] * len(falling))
    assert all(a > b for a, b in pairwise(falling))


def test_the_paper_drops_at_32k_and_48k_of_64k_iterations() -> None:
    recipe, _ = fit(PAPER_CIFAR, images=45_000, size=(32, 32), whole=True, layers=20, chiral=False)
    changes = {0: 0.1, 31_999: 0.1, 32_000: 0.01, 47_999: 0.01, 48_000: 0.001, 63_999: 0.001}
    assert {s: learning_rate(recipe, s, 64_000, COLD) for s in changes} == pytest.approx(changes, rel=1e-12)
    rates = [learning_rate(recipe, step, 64_000, COLD) for step in range(64_000)]
    assert [s for s in range(1, 64_000) if rates[s] != rates[s - 1]] == [32_000, 48_000]


@pytest.mark.parametrize(("layers", "warms_up"), [(20, False), (56, False), (104, False), (110, True), (1202, True)])
def test_only_nets_of_110_layers_and_more_warm_up(layers: int, warms_up: bool) -> None:
    recipe, _ = fit(PAPER_CIFAR, images=45_000, size=(32, 32), whole=True, layers=layers, chiral=False)
    assert learning_rate(recipe, 0, 64_000, COLD) == (0.01 if warms_up else 0.1)


def warm_up_steps(errors: list[float]) -> list[float]:
    """The rate of each step of a 110-layer net whose batches have these errors, in percent."""
    recipe, _ = fit(PAPER_CIFAR, images=45_000, size=(32, 32), whole=True, layers=110, chiral=False)
    progress, rates = Progress(), []
    for step, error in enumerate(errors):
        rates.append(learning_rate(recipe, step, 64_000, progress))
        progress.after_step(recipe, error)
    return rates


def test_warm_up_ends_for_good_once_the_error_is_below_80() -> None:
    rates = warm_up_steps([90.0] * 100 + [60.0] * 100 + [95.0] * 300)
    assert set(rates) == {0.01, 0.1}
    first = rates.index(0.1)
    assert 100 < first < 200
    assert rates[first:] == [0.1] * (500 - first)


def test_one_lucky_batch_does_not_end_warm_up() -> None:
    assert set(warm_up_steps([90.0] * 100 + [0.0] + [90.0] * 100)) == {0.01}
    assert set(warm_up_steps([80.5] * 500)) == {0.01}


PLATEAU = Recipe("r", steps=1, optimizer=SGD(lr=1.0), schedule=Plateau(factor=0.1, patience=3))


def plateau(errors: list[float]) -> list[int]:
    """Powers of ten by which the rate has fallen after each epoch."""
    progress, drops = Progress(), []
    for error in errors:
        progress.after_epoch(PLATEAU, error)
        assert learning_rate(PLATEAU, 0, 1, progress) == pytest.approx(0.1**progress.drops)
        drops.append(progress.drops)
    return drops


def test_the_rate_falls_when_the_error_has_not_for_as_many_epochs_as_patience() -> None:
    assert plateau([50, 40, 40, 41, 40, 39, 38]) == [0, 0, 0, 0, 1, 1, 1]
    assert plateau([50] * 10) == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3]
    assert plateau([50, 51, 52, 49, 51, 52, 48]) == [0] * 7


@given(st.lists(st.floats(0, 100), min_size=1))
def test_a_falling_error_never_drops_the_rate(errors: list[float]) -> None:
    assert plateau(sorted(set(errors), reverse=True))[-1] == 0


@given(
    steps=st.lists(st.floats(0, 100), max_size=30),
    epochs=st.lists(st.floats(0, 100), max_size=30),
    schedule=st.sampled_from([Plateau(), Drops(warmup=WarmUp()), OneCycle(), Cosine()]),
)
def test_what_a_schedule_remembers_survives_json(steps: list[float], epochs: list[float], schedule) -> None:
    recipe, progress = Recipe("r", steps=100, schedule=schedule), Progress()
    for error in steps:
        progress.after_step(recipe, error)
    for error in epochs:
        progress.after_epoch(recipe, error)
    assert Progress.restore(json.loads(json.dumps(progress.state()))) == progress

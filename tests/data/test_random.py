"""Randomness is a pure function of (seed, epoch, index), and looks random."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from residuum.data.random import permutation, uniforms

seeds = st.integers(-(2**63), 2**64 - 1)


@given(seeds, st.integers(0, 10**6), st.lists(st.integers(0, 10**9), min_size=1, max_size=30), st.integers(1, 9))
def test_each_picture_depends_on_its_own_three_numbers(seed: int, epoch: int, indices: list[int], count: int) -> None:
    together = uniforms(seed, epoch, np.array(indices), count)
    assert together.shape == (len(indices), count)
    assert together.min() >= 0
    assert together.max() < 1
    for row, index in zip(together, indices, strict=True):
        np.testing.assert_array_equal(row, uniforms(seed, epoch, np.array([index]), count)[0])
    np.testing.assert_array_equal(together, uniforms(seed, np.full(len(indices), epoch), np.array(indices), count))
    np.testing.assert_array_equal(together[:, :1], uniforms(seed, epoch, np.array(indices), 1))


def test_each_of_the_three_changes_everything() -> None:
    base = uniforms(0, 0, np.arange(100), 4)
    for other in (uniforms(1, 0, np.arange(100), 4), uniforms(0, 1, np.arange(100), 4)):
        assert not (base == other).any()
    assert len(np.unique(base)) == base.size


def test_uniform_and_uncorrelated() -> None:
    values = np.concatenate([uniforms(3, epoch, np.arange(10_000), 4) for epoch in range(4)])
    counts, _ = np.histogram(values, 64, (0, 1))
    expected = values.size / 64
    assert ((counts - expected) ** 2 / expected).sum() < 120  # chi-square, 63 degrees of freedom
    correlation = np.corrcoef(values.T) - np.eye(4)
    assert np.abs(correlation).max() < 0.02
    assert abs(np.corrcoef(values[:-1, 0], values[1:, 0])[0, 1]) < 0.02
    assert abs(np.corrcoef(values[:10_000, 0], values[10_000:20_000, 0])[0, 1]) < 0.04


@given(seeds, st.integers(0, 100), st.integers(1, 300))
def test_permutation_is_one(seed: int, epoch: int, n: int) -> None:
    order = permutation(seed, epoch, n)
    assert sorted(order.tolist()) == list(range(n))
    np.testing.assert_array_equal(order, permutation(seed, epoch, n))


def test_epochs_and_seeds_are_ordered_differently() -> None:
    orders = {tuple(permutation(seed, epoch, 50).tolist()) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25


def test_values_stay_the_same_from_version_to_version() -> None:
    """A resumed run must see the pictures that the interrupted one would have seen."""
    assert permutation(0, 0, 8).tolist() == PERMUTATION
    np.testing.assert_array_equal(uniforms(7, 2, np.array([5]), 2)[0], UNIFORMS)


PERMUTATION = [7, 2, 5, 4, 0, 3, 6, 1]
UNIFORMS = [0.4752567042343395, 0.19402832361651645]

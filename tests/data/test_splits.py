"""The validation part is stratified, never straddles a group, and depends on names alone."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from residuum.data.splits import cut, quotas, validation_count
from residuum.errors import UserError

labelled = st.lists(st.integers(0, 4), min_size=1, max_size=120)


@settings(max_examples=200, deadline=None)
@given(labelled, st.integers(0, 130))
def test_cut_divides_and_every_class_keeps_a_training_picture(labels: list[int], count: int) -> None:
    target = np.array(labels)
    names = [f"{i:03d}" for i in range(len(labels))]
    train, val = cut(names, target, np.arange(len(labels)), count)
    assert sorted([*train, *val]) == list(range(len(labels)))
    assert (np.diff(train) > 0).all()
    assert (np.diff(val) > 0).all()
    assert set(target[train]) == set(labels)
    assert len(val) == min(count, len(labels) - len(set(labels)))


@settings(max_examples=100, deadline=None)
@given(labelled, st.floats(0.05, 0.5))
def test_cut_is_stratified(labels: list[int], share: float) -> None:
    target, sizes = np.array(labels), Counter(labels)
    count = round(share * len(labels))
    _, val = cut([str(i) for i in range(len(labels))], target, np.arange(len(labels)), count)
    for label, n in Counter(target[val].tolist()).items():
        assert n <= count * sizes[label] / len(labels) + 1 + len(sizes)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12)), min_size=1, max_size=80), st.integers(0, 40))
def test_groups_never_straddle(rows: list[tuple[int, int]], count: int) -> None:
    labels, groups = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    train, val = cut([f"{i:03d}" for i in range(len(rows))], labels, np.arange(len(rows)), count, groups)
    assert not set(groups[train]) & set(groups[val])
    assert set(labels[train]) == set(labels)
    assert len(train) + len(val) == len(rows)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), min_size=2, max_size=60),
    st.integers(1, 20),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_the_order_of_files_changes_nothing(rows, count: int, grouped: bool, random) -> None:
    names = [f"{i:03d}" for i in range(len(rows))]
    shuffled = list(range(len(rows)))
    random.shuffle(shuffled)

    def chosen(order: list[int]) -> set[str]:
        labels, groups = np.array([rows[i][0] for i in order]), np.array([rows[i][1] for i in order])
        listed = [names[i] for i in order]
        _, val = cut(listed, labels, np.arange(len(order)), count, groups if grouped else None)
        return {listed[i] for i in val}

    assert chosen(list(range(len(rows)))) == chosen(shuffled)


def test_groups_are_still_stratified() -> None:
    labels = np.repeat([0, 1, 2], 100)
    groups = np.arange(300) // 5
    _, val = cut([f"{i:03d}" for i in range(300)], labels, np.arange(300), 30, groups)
    assert Counter(labels[val].tolist()) == {0: 10, 1: 10, 2: 10}


def test_only_candidates_are_cut() -> None:
    labels = np.array([0, 1] * 10)
    train, val = cut([str(i) for i in range(20)], labels, np.arange(4, 14), 4)
    assert set(train) | set(val) == set(range(4, 14))


@given(st.dictionaries(st.integers(0, 6), st.integers(1, 50), min_size=1), st.integers(0, 400))
def test_quotas_add_up(sizes: dict[int, int], count: int) -> None:
    shares = quotas(Counter(sizes), count)
    assert all(0 <= shares[c] < n for c, n in sizes.items())
    assert sum(shares.values()) == min(count, sum(sizes.values()) - len(sizes))


@pytest.mark.parametrize(
    ("val", "available", "count"),
    [(None, 50000, 5000), (None, 16, 2), (None, 3, 1), (0, 100, 0), (0.2, 100, 20), (0.001, 100, 1), (7, 100, 7)],
)
def test_what_val_means(val: float | None, available: int, count: int) -> None:
    assert validation_count(val, available) == count


@pytest.mark.parametrize("val", [-1, 1.5, float("nan"), float("inf"), 100, 1000])
def test_impossible_val_is_refused(val: float) -> None:
    with pytest.raises(UserError, match="--val"):
        validation_count(val, 100)

"""The order of pictures in shards: exactly once an epoch, a pure function, each lane within a few shards."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from residuum.data.lanes import WINDOW, Lanes
from residuum.errors import UserError


def shards(*sizes: int) -> np.ndarray:
    return np.repeat(np.arange(len(sizes)), sizes)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=12),
    st.integers(1, 9),
    st.integers(1, 50),
    st.integers(0, 2**63 - 1),
    st.integers(1, 7),
)
def test_every_picture_once_an_epoch_for_any_shards_lanes_and_batches(
    sizes: list[int], lanes: int, batch: int, seed: int, chunk: int
) -> None:
    lanes = min(lanes, batch)
    n = sum(sizes)
    order = Lanes(seed, shards(*sizes), batch, lanes)
    positions, rounds = order.at(np.arange(3 * n))
    for epoch in range(3):
        assert sorted(positions[epoch * n : (epoch + 1) * n]) == list(range(n))
        assert (rounds[epoch * n : (epoch + 1) * n] == epoch).all()
    # a pure function of the place: asked in other portions and from a fresh start
    other = Lanes(seed, shards(*sizes), batch, lanes)
    backwards = [other.at(np.arange(i, min(i + chunk, 3 * n)))[0] for i in range(0, 3 * n, chunk)][::-1]
    assert np.array_equal(np.concatenate(backwards[::-1]), positions)
    assert np.array_equal(
        Lanes(seed, shards(*sizes), batch, lanes).at(np.array([2 * n]))[0], positions[2 * n : 2 * n + 1]
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 30), st.integers(1, 50), st.integers(1, 8), st.integers(1, 64), st.integers(0, 1000))
def test_a_lane_uses_few_shards_at_a_time_and_leaves_none_before_it_is_through(
    count: int, size: int, lanes: int, batch: int, seed: int
) -> None:
    lanes = min(lanes, batch)
    shard_of = shards(*[size] * count)
    order = Lanes(seed, shard_of, batch, lanes)
    n = len(shard_of)
    stream = np.arange(n)
    positions, _ = order.at(stream)
    bounds = np.arange(lanes + 1) * batch // lanes
    lane = np.searchsorted(bounds, stream % batch, "right") - 1
    owners: dict[int, set[int]] = {}
    for each in range(lanes):
        read = shard_of[positions[lane == each]]
        spans = [(np.flatnonzero(read == s)[0], np.flatnonzero(read == s)[-1]) for s in np.unique(read)]
        for place in range(len(read)):
            assert sum(first <= place <= last for first, last in spans) <= WINDOW + 2
        for shard in np.unique(read).tolist():
            owners.setdefault(shard, set()).add(each)
    # lanes cut the row of shards lanes - 1 times, so at most as many shards have a second reader
    assert sum(len(each) - 1 for each in owners.values()) <= lanes - 1


def test_the_order_differs_between_epochs_and_seeds_and_mixes() -> None:
    shard_of = shards(*[100] * 20)
    n = len(shard_of)
    order = Lanes(1, shard_of, 10)
    first, second = order.at(np.arange(n))[0], order.at(np.arange(n, 2 * n))[0]
    other = Lanes(2, shard_of, 10).at(np.arange(n))[0]
    assert (first == second).mean() < 0.05
    assert (first == other).mean() < 0.05
    # of ten pictures that follow each other in a tar, hardly two still do
    assert (np.abs(np.diff(first)) == 1).mean() < 0.02
    # a batch draws on several shards
    spread = [len(np.unique(shard_of[first[i : i + 50]])) for i in range(200, n - 200, 50)]
    assert np.mean(spread) > 3
    # one shard alone is shuffled altogether
    alone = Lanes(1, shards(1000), 10).at(np.arange(1000))[0]
    assert abs(np.corrcoef(alone, np.arange(1000))[0, 1]) < 0.15


def test_the_rows_of_a_process_are_those_of_its_lanes() -> None:
    shard_of = shards(*[50] * 16)
    n, batch = len(shard_of), 32
    stream = np.arange(n)
    for processes in (1, 2, 4, 8):
        order = Lanes(3, shard_of, batch, lanes=8)
        positions, _ = order.at(stream)
        readers: dict[int, set[int]] = {}
        for process in range(processes):
            own = (stream % batch >= process * batch // processes) & (
                stream % batch < (process + 1) * batch // processes
            )
            for shard in np.unique(shard_of[positions[own]]).tolist():
                readers.setdefault(shard, set()).add(process)
        assert np.mean([len(each) for each in readers.values()]) <= 1 + (processes - 1) / 16
        assert sorted(order.lane_sizes(0)) == [100] * 8


def test_what_is_expected_is_there_before_it_is_read_and_others_are_not() -> None:
    shard_of = shards(*[60, 50, 40, 50] * 10)
    n, batch = len(shard_of), 16
    for lanes, own in ((1, None), (4, slice(4, 8)), (4, slice(0, 8))):
        told: list[list[int]] = []
        order = Lanes(5, shard_of, batch, lanes, None if own is None else [own], told.append)
        rows = np.arange(batch) if own is None else np.arange(own.start, own.stop)
        most = 0
        for step in range(2 * n // batch):
            positions, _ = order.at(np.arange(step * batch, (step + 1) * batch))
            read = set(shard_of[positions[rows]].tolist())
            assert read <= set(told[-1])
            if step > 8:
                assert read <= set(told[-2]) & set(told[-5]), "expected some batches earlier"
            most = max(most, len(told[-1]))
        own_lanes = 1 if own is None else (own.stop - own.start) * lanes // batch
        assert most <= own_lanes * (WINDOW + 6)


def test_more_lanes_than_rows_are_refused() -> None:
    with pytest.raises(UserError, match="a batch of 4 pictures cannot be drawn from 5 lanes"):
        Lanes(0, shards(10), 4, 5)

"""Batches: a pure function of (seed, step); the number of workers and the way pictures are kept change nothing."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import islice, pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from residuum.data.augment import Augment
from residuum.data.batches import Batch, EvalBatches, TrainBatches, prepare
from residuum.data.manifest import Manifest
from residuum.data.parallel import ordered
from residuum.data.pictures import ArrayPictures, ListPictures
from residuum.data.preprocessing import Preprocessing
from residuum.data.random import permutation
from residuum.data.sources import open_data
from residuum.data.statistics import mean_picture
from residuum.errors import UserError

MakeFolder = Callable[..., Path]
EVERYTHING = Augment(crop_padding=2, padding="reflect", mirror=True, colour=0.1)
TURNS = Augment(crop_padding=1, mirror="alternating")


def prep(size: int = 16, resize: int | None = None, channels: int = 3, per_pixel: bool = False) -> Preprocessing:
    mean, std = (0.4, 0.5, 0.6)[:channels], (0.2, 0.25, 0.3)[:channels]
    return Preprocessing((size, size), resize or size, channels, mean, std, per_pixel)


def arrays(n: int = 20, side: int = 16, channels: int = 3, listed: bool = False) -> Manifest:
    pixels = np.random.default_rng(n).integers(0, 256, (n, side, side, channels), dtype=np.uint8)
    return Manifest(
        argument="arrays",
        names=tuple(f"{i:03d}" for i in range(n)),
        labels=np.arange(n) % 3,
        classes=("a", "b", "c"),
        parts={"train": np.arange(0, n, 2), "val": np.arange(1, n, 2)},
        pictures=ListPictures(list(pixels)) if listed else ArrayPictures(pixels),
        digest="",
    )


def train(manifest: Manifest, augment: Augment, batch_size: int = 4, seed: int = 0, **options) -> TrainBatches:
    options = {"preprocessing": prep(), **options}
    return TrainBatches(manifest, augment=augment, batch_size=batch_size, seed=seed, **options)


def same(a: Batch, b: Batch) -> bool:
    return (
        torch.equal(a.inputs, b.inputs)
        and torch.equal(a.targets, b.targets)
        and torch.equal(a.mask, b.mask)
        and bool((a.indices == b.indices).all())
    )


@pytest.fixture
def photos(folder: MakeFolder) -> Manifest:
    root = folder({"a": 5, "b": 5}, size=(40, 30))
    folder({"a": 8, "b": 7}, size=(24, 150))  # large enough to stay on disk
    return open_data(str(root))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 30), st.integers(1, 40), st.integers(0, 5))
def test_the_stream_is_cut_from_epochs_of_permutations(n: int, batch_size: int, start: int) -> None:
    manifest = arrays(2 * n)
    stream = np.concatenate([manifest.parts["train"][permutation(7, e, n)] for e in range(9 * batch_size // n + 2)])
    batches = islice(train(manifest, Augment(), batch_size, seed=7).from_step(start), 3)
    for step, batch in enumerate(batches, start):
        np.testing.assert_array_equal(batch.indices, stream[step * batch_size : (step + 1) * batch_size])
        np.testing.assert_array_equal(batch.targets, manifest.labels[batch.indices])
        assert batch.mask.all()


@pytest.mark.parametrize(
    "augment", [EVERYTHING, TURNS, Augment(area=(0.2, 1.0), mirror=True), Augment(shorter_side=(16, 20))]
)
def test_going_on_from_a_step_is_never_having_stopped(augment: Augment, photos: Manifest) -> None:
    for manifest in (arrays(), photos):
        whole = list(islice(train(manifest, augment, 7).from_step(0), 6))
        rest = list(islice(train(manifest, augment, 7).from_step(3), 3))
        assert all(same(a, b) for a, b in zip(whole[3:], rest, strict=True))
        other = list(islice(train(manifest, augment, 7, seed=1).from_step(3), 3))
        assert not any(same(a, b) for a, b in zip(rest, other, strict=True))


@pytest.mark.parametrize("augment", [EVERYTHING, Augment(area=(0.2, 1.0), mirror=True), Augment(shorter_side=(16, 20))])
@pytest.mark.parametrize("size_at", [None, lambda step: 8 if step < 2 else 16])
def test_workers_change_nothing(augment: Augment, size_at: Callable[[int], int] | None, photos: Manifest) -> None:
    assert not photos.pictures.in_memory
    results = [
        list(islice(train(photos, augment, 5, workers=workers, size_at=size_at).from_step(0), 5))
        for workers in (0, 1, 3)
    ]
    for others in results[1:]:
        assert all(same(a, b) for a, b in zip(results[0], others, strict=True))
    p = prep(16, 20)
    evaluated = [list(EvalBatches(photos, np.arange(len(photos)), p, 4, workers=workers)) for workers in (0, 3)]
    assert all(same(a, b) for a, b in zip(*evaluated, strict=True))


def test_how_pictures_are_kept_changes_nothing() -> None:
    for augment in (EVERYTHING, Augment(area=(0.2, 1.0))):
        in_array = islice(train(arrays(), augment).from_step(0), 8)
        in_list = islice(train(arrays(listed=True), augment).from_step(0), 8)
        assert all(same(a, b) for a, b in zip(in_array, in_list, strict=True))


def test_randomness_depends_on_seed_epoch_and_index_only() -> None:
    """The same epoch, cut into batches of another size, gives the same pictures."""
    by_index: dict[int, torch.Tensor] = {}
    for batch in islice(train(arrays(), EVERYTHING, 5).from_step(0), 2):
        by_index.update(zip(batch.indices.tolist(), batch.inputs, strict=True))
    (whole,) = islice(train(arrays(), EVERYTHING, 10).from_step(0), 1)
    for index, inputs in zip(whole.indices.tolist(), whole.inputs, strict=True):
        assert torch.equal(by_index[index], inputs)
    (later,) = islice(train(arrays(), EVERYTHING, 10).from_step(1), 1)
    assert not any(torch.equal(by_index[int(i)], x) for i, x in zip(later.indices, later.inputs, strict=True))


@pytest.mark.parametrize("channels", [1, 3])
def test_normalised_and_channels_last(channels: int) -> None:
    manifest, p = arrays(channels=channels), prep(channels=channels)
    (batch,) = islice(train(manifest, Augment(), preprocessing=p).from_step(0), 1)
    assert batch.inputs.shape == (4, channels, 16, 16)
    assert batch.inputs.dtype == torch.float32
    assert batch.targets.dtype == torch.int64
    assert batch.inputs.is_contiguous(memory_format=torch.channels_last)
    pixels = np.stack([manifest.pictures.read(int(i), channels) for i in batch.indices])
    expected = (pixels / 255 - np.array(p.mean)) / np.array(p.std)
    np.testing.assert_allclose(batch.inputs, expected.transpose(0, 3, 1, 2), atol=2e-6)


def windows(manifest: Manifest, augment: Augment) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(padded picture, augmented input), both normalised, (H, W, C)."""
    pad = augment.crop_padding
    plain = {}
    for batch in EvalBatches(manifest, np.arange(len(manifest)), prep(), 64):
        plain = dict(enumerate(batch.inputs.permute(0, 2, 3, 1).numpy()))
    mode: Literal["constant", "reflect"] = "constant" if augment.padding == "zero" else "reflect"
    for batch in islice(train(manifest, augment, 10).from_step(0), 30):
        for i, inputs in zip(batch.indices, batch.inputs, strict=True):
            padded = np.pad(plain[int(i)], ((pad, pad), (pad, pad), (0, 0)), mode=mode)
            yield padded, inputs.permute(1, 2, 0).numpy()


@pytest.mark.parametrize("padding", ["zero", "reflect"])
def test_every_input_is_a_window_of_the_padded_picture_or_its_mirror(padding) -> None:
    seen: dict[tuple[int, int, bool], int] = {}
    for padded, inputs in windows(arrays(), Augment(crop_padding=1, padding=padding, mirror=True)):
        found = [
            (y, x, flip)
            for y in range(3)
            for x in range(3)
            for flip in (False, True)
            if np.array_equal(padded[y : y + 16, x : x + 16][:, :: -1 if flip else 1], inputs)
        ]
        assert len(found) == 1
        seen[found[0]] = seen.get(found[0], 0) + 1
    assert len(seen) == 18
    assert max(seen.values()) < 5 * min(seen.values())
    assert 110 < sum(n for (_, _, flip), n in seen.items() if flip) < 190


@pytest.mark.parametrize("balanced", [False, True])
def test_alternating_mirror_images_show_each_picture_either_way_in_two_rounds(balanced: bool) -> None:
    manifest = arrays(24)
    views = {
        mirror: [
            (int(index), inputs)
            for batch in islice(train(manifest, Augment(mirror=mirror), 5, balanced=balanced).from_step(0), 40)
            for index, inputs in zip(batch.indices, batch.inputs, strict=True)
        ]
        for mirror in (False, True, "alternating")
    }
    seen: dict[int, list[bool]] = {}
    for (index, plain), (_, random), (_, found) in zip(*views.values(), strict=True):
        mirrored = torch.equal(found, plain.flip(2))
        assert mirrored or torch.equal(found, plain)
        if index not in seen:
            assert torch.equal(found, random), "the first time chance decides"
        seen.setdefault(index, []).append(mirrored)
    assert seen.keys() == set(manifest.part("train").tolist())
    for turns in seen.values():
        assert len(turns) > 4
        assert all(one != other for one, other in pairwise(turns))
    assert {turns[0] for turns in seen.values()} == {False, True}


def test_switching_one_augmentation_on_leaves_the_others_alone() -> None:
    crop = islice(train(arrays(), Augment(crop_padding=2)).from_step(0), 5)
    both = islice(train(arrays(), Augment(crop_padding=2, mirror=True)).from_step(0), 5)
    for a, b in zip(crop, both, strict=True):
        for x, y in zip(a.inputs, b.inputs, strict=True):
            assert torch.equal(x, y) or torch.equal(x, y.flip(2))


def test_colour_shifts_each_picture_along_the_principal_components() -> None:
    manifest = arrays(200)
    plain = islice(train(manifest, Augment(), 50).from_step(0), 4)
    shifted = islice(train(manifest, Augment(colour=0.1), 50).from_step(0), 4)
    shifts = torch.cat([b.inputs - a.inputs for a, b in zip(plain, shifted, strict=True)])
    np.testing.assert_allclose(shifts, shifts[:, :, :1, :1].expand_as(shifts), atol=1e-5)
    from residuum.data.statistics import pca_colour

    values, vectors = pca_colour(manifest, "train", 3)
    alpha = (shifts[:, :, 0, 0].double().numpy() * prep().std) @ vectors / values
    assert np.abs(alpha.mean(0)).max() < 0.03
    np.testing.assert_allclose(alpha.std(0), 0.1, rtol=0.2)


@pytest.mark.parametrize("manifest_side", [16, 20])
def test_a_smaller_size_for_some_steps(manifest_side: int) -> None:
    manifest = arrays(side=manifest_side)
    augment = Augment(crop_padding=2, mirror=True)
    small = islice(train(manifest, augment, size_at=lambda step: 8 if step < 2 else 16).from_step(0), 4)
    full = islice(train(manifest, augment).from_step(0), 4)
    for step, (a, b) in enumerate(zip(small, full, strict=True)):
        expected = b.inputs
        if step < 2:
            expected = torch.nn.functional.interpolate(b.inputs, (8, 8), mode="bilinear", antialias=True)
        assert torch.equal(a.inputs, expected)
        assert a.inputs.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("augment", [Augment(crop_padding=2), Augment(area=(0.3, 1.0))])
def test_a_smaller_size_for_photos(augment: Augment, photos: Manifest) -> None:
    (batch,) = islice(train(photos, augment, size_at=lambda step: 8).from_step(0), 1)
    assert batch.inputs.shape == (4, 3, 8, 8)


def test_the_mean_picture_is_subtracted_before_padding(photos: Manifest) -> None:
    p = prep(per_pixel=True)
    for manifest in (arrays(), photos):
        mean = mean_picture(manifest, "train", p)
        total = torch.zeros(3, 16, 16)
        part = manifest.part("train")
        for batch in EvalBatches(manifest, part, p, 4, mean_picture=mean):
            total += batch.inputs[batch.mask].sum(0)
        assert (total / len(part)).abs().max() < 1e-4
        padded = train(manifest, Augment(crop_padding=16), preprocessing=p, mean_picture=mean, batch_size=50)
        (batch,) = islice(padded.from_step(0), 1)
        assert (batch.inputs == 0).float().mean() > 0.3
    with pytest.raises(UserError, match="needs a mean picture"):
        train(arrays(), Augment(), preprocessing=p)
    with pytest.raises(UserError, match="takes no mean picture"):
        train(arrays(), Augment(), mean_picture=mean)
    with pytest.raises(UserError, match=r"has shape \(3, 16, 16\)"):
        EvalBatches(arrays(), np.arange(3), prep(8, per_pixel=True), 4, mean_picture=mean)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 50))
def test_every_picture_is_evaluated_once(n: int, batch_size: int) -> None:
    manifest = arrays(40)
    indices = np.random.default_rng(n).permutation(40)[:n]
    batches = EvalBatches(manifest, indices, prep(), batch_size)
    seen = list(batches)
    assert len(seen) == len(batches)
    assert all(b.inputs.shape == (batch_size, 3, 16, 16) for b in seen)
    np.testing.assert_array_equal(np.concatenate([b.indices[b.mask.numpy()] for b in seen]), indices)
    assert sum(int(b.mask.sum()) for b in seen) == n
    assert all(same(a, b) for a, b in zip(seen, batches, strict=True))


def test_the_rows_that_fill_the_last_batch_repeat_the_last_picture() -> None:
    last = list(EvalBatches(arrays(9), np.arange(9), prep(), 4))[-1]
    assert last.mask.tolist() == [True, False, False, False]
    assert last.indices.tolist() == [8, 8, 8, 8]
    assert all(torch.equal(row, last.inputs[0]) for row in last.inputs)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_prediction_sees_what_evaluation_sees(channels: int, batch_size: int, photos: Manifest) -> None:
    for manifest in (photos, arrays(side=23)):
        p = prep(16, 20, channels)
        for batch in EvalBatches(manifest, np.arange(len(manifest)), p, batch_size):
            for i, inputs in zip(batch.indices, batch.inputs, strict=True):
                assert torch.equal(prepare([manifest.pictures.read(int(i), 3)], p)[0], inputs)


def test_one_picture_batches_and_tiny_or_long_pictures(folder: MakeFolder) -> None:
    root = folder({"a": 2, "b": 2}, size=(1, 1))
    folder({"c": 2}, size=(1, 20000))
    folder({"d": 2}, size=(20000, 1))
    manifest = open_data(str(root), val=0)
    for augment in (Augment(), Augment(area=(0.1, 1.0)), Augment(shorter_side=(16, 24)), EVERYTHING):
        for batch in islice(train(manifest, augment, 1).from_step(0), 8):
            assert batch.inputs.shape == (1, 3, 16, 16)
            assert batch.inputs.isfinite().all()


def test_a_picture_that_vanishes_is_named(photos: Manifest, tmp_path: Path) -> None:
    (tmp_path / "pictures" / "a" / "006.png").unlink()
    for workers in (0, 2):
        with pytest.raises(UserError, match=r"006\.png"):
            list(EvalBatches(photos, np.arange(len(photos)), prep(), 4, workers=workers))


@pytest.mark.parametrize("batch_size", [0, -1])
def test_batch_size_must_be_positive(batch_size: int) -> None:
    with pytest.raises(UserError, match="batch size"):
        train(arrays(), Augment(), batch_size)
    with pytest.raises(UserError, match="batch size"):
        EvalBatches(arrays(), np.arange(3), prep(), batch_size)


def test_no_pictures_and_no_such_part() -> None:
    with pytest.raises(UserError, match="no pictures to evaluate"):
        EvalBatches(arrays(), np.arange(0), prep(), 4)
    with pytest.raises(UserError, match="has no test part"):
        train(arrays(), Augment(), part="test")


def workers_alive() -> int:
    return sum(thread.name.startswith("residuum-data") for thread in threading.enumerate())


def test_threads_end_with_the_iterator(photos: Manifest) -> None:
    batches = train(photos, Augment(), workers=3).from_step(0)
    next(batches)
    assert workers_alive() > 0
    batches.close()  # pyright: ignore[reportAttributeAccessIssue]
    deadline = time.monotonic() + 5
    while workers_alive() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert workers_alive() == 0


FOREVER = """
import sys
import numpy as np
from residuum.data.batches import EvalBatches
from residuum.data.preprocessing import Preprocessing
from residuum.data.sources import open_data
data = open_data(sys.argv[1])
p = Preprocessing((16, 16), 16, 3, (0.5,) * 3, (0.25,) * 3)
print("ready", flush=True)
while True:
    list(EvalBatches(data, np.arange(len(data)), p, 4, workers=3))
"""


def test_an_interrupt_ends_the_program(photos: Manifest) -> None:
    command = [sys.executable, "-c", FOREVER, photos.argument]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as program:
        assert program.stdout is not None
        assert program.stderr is not None
        assert program.stdout.readline() == b"ready\n"
        time.sleep(0.1)
        program.send_signal(signal.SIGINT)
        try:
            program.wait(timeout=60)
        finally:
            program.kill()
        assert b"KeyboardInterrupt" in program.stderr.read()


def test_ordered_keeps_order_and_works_ahead() -> None:
    started: list[int] = []

    def call(i: int) -> int:
        started.append(i)
        time.sleep(0.001 * (5 - i % 5))
        return i

    def work() -> Iterator[tuple[int, list[Callable[[], int]]]]:
        for key in range(20):
            yield key, [lambda i=key * 3 + j: call(i) for j in range(3)]

    results = ordered(work(), workers=4)
    assert next(results) == (0, [0, 1, 2])
    assert max(started, default=0) < 9
    assert list(results) == [(key, [key * 3, key * 3 + 1, key * 3 + 2]) for key in range(1, 20)]


@pytest.mark.realdata
def test_real_photos_through_the_whole_way(realdata: Path) -> None:
    manifest = open_data(str(realdata / "hymenoptera" / "train"))
    augment = Augment(shorter_side=(72, 96), mirror=True, colour=0.1)
    p = Preprocessing((64, 64), 72, 3, (0.5,) * 3, (0.25,) * 3)
    gif = np.array([manifest.names.index("ants/imageNotFound.gif")])
    (batch,) = EvalBatches(manifest, gif, p, 2, workers=1)
    assert batch.inputs.shape == (2, 3, 64, 64)
    (batch,) = islice(train(manifest, augment, 8, preprocessing=p, workers=2).from_step(0), 1)
    assert batch.inputs.isfinite().all()
    assert 0.1 < batch.inputs.std() < 3

"""Shards through pipes: each is opened about once an epoch, ahead of need, and what goes wrong is said."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from commands import refused, run
from residuum.data.augment import Augment
from residuum.data.batches import EvalBatches, TrainBatches
from residuum.data.preprocessing import Preprocessing
from residuum.data.sampling import SHARDS, sample
from residuum.data.sources import open_data
from residuum.data.statistics import channel_statistics
from residuum.errors import UserError
from residuum.processes import Pieces
from samples import picture_folder

VIEW = Preprocessing((16, 16), 16, 3, (0.5,) * 3, (0.25,) * 3)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 training shards of 10 pictures and 3 for validation."""
    folder = tmp_path_factory.mktemp("pipes")
    data = picture_folder(folder / "data", {"a": 111, "b": 111})
    assert run("shard", data, "--out", folder / "out", "--pictures-per-shard", 10).code == 0
    return folder / "out"


def piped(out: Path, log: Path, before: str = "") -> str:
    """Shards through pipes that note in `log` when they are opened."""
    names = "{train-{000000..000019},val-{000000..000002}}"
    return f"shards:{out}/index.json@pipe:{before} f={out}/{names}.tar; basename $f .tar >> {log}; cat $f"


def opened(log: Path) -> Counter[str]:
    found = Counter(log.read_text().split())
    log.write_text("")
    return found


@pytest.mark.parametrize("workers", [0, 3])
def test_pipes_are_opened_about_once_an_epoch_and_give_what_files_give(
    workers: int, written: Path, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    manifest, local = (open_data(each) for each in (piped(written, log), f"shards:{written}"))
    assert not log.exists(), "with an index nothing is opened to list the pictures"
    assert manifest.digest == local.digest
    settings = {"preprocessing": VIEW, "augment": Augment(crop_padding=2, mirror=True), "batch_size": 4, "seed": 1}
    batches, others = (TrainBatches(m, **settings, workers=workers).from_step(0) for m in (manifest, local))
    epochs, n = 3, len(manifest.part("train"))
    for step in range(epochs * n // 4):
        ours, theirs = next(batches), next(others)
        assert np.array_equal(ours.inputs, theirs.inputs)
        assert np.array_equal(ours.indices, theirs.indices)
        if step % 25 == 24:
            for _ in EvalBatches(manifest, manifest.part("val"), VIEW, 8, workers):
                pass
    found = opened(log)
    training = [count for name, count in found.items() if name.startswith("train")]
    assert len(training) == 20
    # a shard that ends an epoch and soon comes again in the next is not opened again; a few of the fourth epoch are
    assert epochs * 20 * 0.75 <= sum(training) <= epochs * 20 * 1.2


def test_a_process_opens_the_pipes_of_its_own_lanes(written: Path, tmp_path: Path) -> None:
    counts = []
    for process in range(2):
        log = tmp_path / f"log{process}"
        manifest = open_data(piped(written, log))
        batches = TrainBatches(
            manifest,
            preprocessing=VIEW,
            augment=Augment(),
            batch_size=20,
            seed=1,
            pieces=Pieces(process, 1, 2),
            lanes=2,
        ).from_step(0)
        for _ in range(9):
            next(batches)
        counts.append(opened(log))
    assert all(10 <= sum(each.values()) <= 14 for each in counts)
    assert len(set(counts[0]) & set(counts[1])) <= 4


def test_evaluation_and_statistics_go_through_shards_one_by_one(written: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    manifest = open_data(piped(written, log))
    local = open_data(f"shards:{written}")
    sized = {"channels": 3, "size": (16, 16)}
    np.testing.assert_allclose(channel_statistics(manifest, **sized), channel_statistics(local, **sized), rtol=1e-12)
    assert max(opened(log).values()) == 1
    for _ in EvalBatches(manifest, np.arange(len(manifest)), VIEW, 32, 2):
        pass
    assert set(opened(log).values()) == {1}


def test_without_an_index_pipes_are_gone_through_once_to_list_them(written: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    manifest = open_data(piped(written, log).replace(f"{written}/index.json@", ""))
    assert set(opened(log).values()) == {1}
    assert manifest.classes == ("0", "1")
    assert len(manifest) == 222


def test_pipes_become_shards_in_their_own_order(written: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert run("shard", piped(written, log), "--out", tmp_path / "again", "--pictures-per-shard", 25).code == 0
    assert max(opened(log).values()) <= 2, "once to write and once to compare"
    ours, theirs = open_data(f"shards:{tmp_path / 'again'}"), open_data(f"shards:{written}")
    assert (ours.names, ours.digest) == (theirs.names, theirs.digest)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("echo no such bucket >&2; exit 3; echo", "ended with 3: no such bucket"),
        ("exit 4; echo", "ended with 4 and said nothing"),
        ("kill -9 $$; echo", "was killed by signal 9"),
        ("true", "wrote nothing"),
        ("head -c 3000", "gave 3,000 bytes instead of"),
        ("sed s/ant/bee/g <", "gave other bytes than were written"),
    ],
)
def test_a_pipe_that_fails_is_named_with_what_it_said(command: str, said: str, tmp_path: Path) -> None:
    data = picture_folder(tmp_path / "data", {"a": 8, "b": 8})
    assert run("shard", data, "--out", tmp_path / "out").code == 0
    tar = tmp_path / "out" / "train-000000.tar"
    if "sed" in command:
        content = bytearray(tar.read_bytes())
        content[600] ^= 1
        (tmp_path / "changed").mkdir()
        tar = tmp_path / "changed" / tar.name
        tar.write_bytes(content)
        command = "cat"
    pattern = f"shards:{tmp_path}/out/index.json@pipe:{command} {tar}"
    message = refused("train", pattern, "--val", "0", "--out", tmp_path / "run")
    assert message.startswith(f"pipe:{command}"[:20])
    assert said in message
    assert not (tmp_path / "run").exists()
    if command != "cat" and "head" not in command:
        assert said in refused("train", f"shards:pipe:{command} {tar}")


def test_a_pipe_that_fails_in_training_ends_it(written: Path, tmp_path: Path) -> None:
    manifest = open_data(piped(written, tmp_path / "log", f"test -e {tmp_path}/gone && exit 5;"))
    batches = TrainBatches(manifest, preprocessing=VIEW, augment=Augment(), batch_size=8, seed=1, workers=2).from_step(
        0
    )
    next(batches)
    (tmp_path / "gone").touch()
    with pytest.raises(UserError, match=r"train-0000\d\d.tar; .* ended with 5 and said nothing"):
        list(islice(batches, 30))


def test_balanced_drawing_needs_files(written: Path, tmp_path: Path) -> None:
    settings = {"preprocessing": VIEW, "augment": Augment(), "batch_size": 8, "seed": 1, "balanced": True}
    TrainBatches(open_data(f"shards:{written}"), **settings)
    with pytest.raises(UserError, match="give shards as files"):
        TrainBatches(open_data(piped(written, tmp_path / "log")), **settings)


def test_a_sample_of_many_shards_opens_few_of_them_and_is_always_the_same(tmp_path: Path) -> None:
    data = picture_folder(tmp_path / "data", {"a": 70, "b": 70})
    assert run("shard", data, "--out", tmp_path / "out", "--pictures-per-shard", 2).code == 0
    manifest, train = open_data(f"shards:{tmp_path / 'out'}"), np.arange(126)
    shard_of = manifest.pictures.shard_of  # type: ignore[attr-defined]
    some = sample(manifest, train, 30)
    assert len(set(shard_of[some].tolist())) <= SHARDS < len(set(shard_of[train].tolist()))
    assert len(some) == len(set(some.tolist())) == 30
    assert (np.diff(some) > 0).all()
    assert np.array_equal(some, sample(open_data(f"shards:{tmp_path / 'out'}"), train, 30))
    more = sample(manifest, train, 100)
    assert len(more) == 100
    assert len(set(shard_of[more].tolist())) == 50, "as many shards as hold enough"
    assert np.array_equal(sample(manifest, train, 126), train)

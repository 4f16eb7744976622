"""Training pictures/s (decode, augment, batch) from the same pictures in 1, 10, 100 and 1,000 shards, in turn.

One process, no network. Besides wall time it counts processor time, which a busy machine disturbs less, and how often
each pipe is opened in an epoch. The files lie in the page cache: what is measured is the program, not the disk.

    python benchmarks/shards.py FOLDER [--rounds 5] [--shards 1 10 100 1000] [--workers 2] [--json FILE]

FOLDER holds class folders of small pictures; the first 10,000 of the training part are taken.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections import Counter
from itertools import islice
from pathlib import Path

from residuum.data.augment import Augment
from residuum.data.batches import TrainBatches
from residuum.data.folders import list_folder
from residuum.data.manifest import Manifest
from residuum.data.pictures import ListedPictures
from residuum.data.preprocessing import Preprocessing
from residuum.data.shards.writing import write_shards
from residuum.data.sources import open_data
from residuum.progress import Reporter

PICTURES, BATCH = 10_000, 100


def subset(folder: str, to: Path) -> int:
    """Links to so many pictures, spread over the classes, that `PICTURES` are left for training; their number."""
    paths = list_folder(Path(folder)).paths
    wanted = PICTURES + round(PICTURES / 9)
    if len(paths) < wanted:
        raise SystemExit(f"the folder needs {wanted:,} pictures")
    for i in range(wanted):
        path = paths[i * len(paths) // wanted].resolve()
        (to / path.parent.name).mkdir(parents=True, exist_ok=True)
        (to / path.parent.name / path.name).symlink_to(path)
    return wanted


def epoch(manifest: Manifest, workers: int) -> tuple[float, float]:
    """Wall and processor microseconds for each picture of an epoch."""
    view = Preprocessing((32, 32), 32, 3, (0.5,) * 3, (0.25,) * 3)
    augment = Augment(crop_padding=4, mirror=True)
    batches = TrainBatches(manifest, preprocessing=view, augment=augment, batch_size=BATCH, seed=0, workers=workers)
    steps = batches.pictures // BATCH
    wall, used = time.perf_counter(), time.process_time()
    for _ in islice(batches.from_step(0), steps):
        pass
    scale = 1e6 / (steps * BATCH)
    return (time.perf_counter() - wall) * scale, (time.process_time() - used) * scale


def as_files(folder: Path) -> Manifest:
    """The pictures as files that are decoded at each reading, which `open_data` would keep in memory."""
    manifest = open_data(str(folder))
    lengths = [(folder / name).stat().st_size for name in manifest.names]
    object.__setattr__(manifest, "pictures", ListedPictures(folder, manifest.names, lengths))  # type: ignore[arg-type]
    return manifest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shards", type=int, nargs="+", default=[1, 10, 100, 1000])
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        pictures = Path(place) / "pictures"
        subset(arguments.folder, pictures)
        cases: dict[str, Manifest] = {"files, no shards": as_files(pictures)}
        logs: dict[str, Path] = {}
        sizes: dict[str, int] = {}
        for count in arguments.shards:
            out = Path(place) / str(count)
            index = write_shards(
                str(pictures), out, pictures_per_shard=PICTURES // count, reporter=Reporter(quiet=True)
            )
            shards = [shard for shard in index.shards if shard.part == "train"]
            names = f"{{000000..{len(shards) - 1:06d}}}"
            log = Path(place) / f"log{count}"
            command = f"f={out}/train-{names}.tar; echo $f >> {log}; cat $f"
            cases[f"{count} shards"] = open_data(f"shards:{out}")
            cases[f"{count} pipes"] = open_data(f"shards:{out}/index.json@pipe:{command}", val=0)
            logs[f"{count} pipes"] = log
            sizes[f"{count} shards"] = sizes[f"{count} pipes"] = shards[0].bytes
        rows: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
        opened: dict[str, list[int]] = {name: [] for name in logs}
        for _ in range(arguments.rounds):
            for name, manifest in cases.items():
                rows[name].append(epoch(manifest, arguments.workers))
                if name in logs:
                    opened[name].append(sum(Counter(logs[name].read_text().split()).values()))
                    logs[name].write_text("")
    print(f"{PICTURES:,} pictures, batches of {BATCH}, {arguments.workers} workers, {arguments.rounds} rounds in turn")
    print(f"{'':18}{'pictures/s':>11}{'least..most':>15}{'CPU µs each':>12}{'MB a shard':>11}{'opened an epoch':>16}")
    table = {}
    for name, measured in rows.items():
        rates = sorted(1e6 / wall for wall, _ in measured)
        used = statistics.median(cpu for _, cpu in measured)
        times = statistics.median(opened[name]) if name in opened else None
        size = sizes[name] / 1e6 if name in sizes else None
        table[name] = {"rates": rates, "median": statistics.median(rates), "cpu": used, "opened": times, "mb": size}
        print(
            f"{name:18}{statistics.median(rates):11,.0f}{f'{rates[0]:,.0f}..{rates[-1]:,.0f}':>15}{used:12.0f}"
            f"{'' if size is None else f'{size:.2f}':>11}{'' if times is None else f'{times:g}':>16}"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()

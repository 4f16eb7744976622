"""`make bench`: every ratio against a peer, one after the other; a table, bench/bench.json and bench/bench.png.

python benchmarks/everything.py [--out bench] [--data FOLDER] [--photos FOLDER] [--only NAME ...]
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from turns import Row

from residuum.devices import describe_environment, pick_precision

HERE = Path(__file__).resolve().parent
NAMES = ("startup", "pipeline", "training", "inference", "memory", "frozen_finetuning")


def picture(rows: list[Row], path: Path) -> None:
    """Every ratio, its extremes, and its target, as how many times better than the peer."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    def times(row: Row, value: float) -> float:
        return value if row.better == "more" else 1 / value

    figure, axes = plt.subplots(figsize=(10, 0.42 * len(rows) + 1.2), layout="constrained")
    for place, row in enumerate(reversed(rows)):
        colour = {True: "#1b7f5c", False: "#b3402a", None: "#5a6b7b"}[row.reached]
        axes.barh(place, times(row, row.ratio), color=colour, height=0.6)
        axes.plot([times(row, row.lowest), times(row, row.highest)], [place, place], color="black", linewidth=1)
        if row.target is not None:
            axes.plot([times(row, row.target)] * 2, [place - 0.4, place + 0.4], color="black", linewidth=2)
        axes.text(times(row, row.ratio), place, f" {times(row, row.ratio):.2g}", va="center")
    axes.set_yticks(range(len(rows)), [f"{row.work}\nagainst {row.against}" for row in reversed(rows)], fontsize=7)
    axes.set_xscale("log")
    axes.set_xlabel("times better than the peer (thick line: what is aimed at; thin: extremes of the rounds)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("bench"))
    parser.add_argument("--data", type=Path, help="class folders of 32-pixel JPEG files")
    parser.add_argument("--photos", type=Path, help="a folder with photos")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    given = {"training": arguments.data, "pipeline": arguments.photos}
    rows, failed = [], []
    for name in arguments.only:
        print(f"{name} ...", file=sys.stderr, flush=True)
        part = arguments.out / f"{name}.json"
        extra = ["--data", str(given[name])] if given.get(name) else []
        done = subprocess.run([sys.executable, str(HERE / f"{name}.py"), "--json", str(part), *extra], check=False)
        if done.returncode:
            failed.append(name)
            continue
        rows += [Row(**row) for row in json.loads(part.read_text())]
    cpu = torch.device("cpu")
    facts: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "environment": describe_environment(cpu, pick_precision("auto", cpu)),
        "rows": [vars(row) | {"reached": row.reached} for row in rows],
        "failed": failed,
    }
    (arguments.out / "bench.json").write_text(json.dumps(facts, indent=1) + "\n")
    picture(rows, arguments.out / "bench.png")
    print("\n".join(row.line() for row in rows))
    print(f"table {arguments.out / 'bench.json'}, picture {arguments.out / 'bench.png'}")
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()

"""The time to the error of the paper's recipe: `residuum train`, some seeds, against the usual loop's 64,000 steps.

The error to reach is that of ResNet-20 under `paper-cifar` after 64,000 steps of 128 pictures, measured once on the
same pictures (docs/performance.md). Ours is the whole command, from its start to its report, and its last epoch counts.
The peer's time is 8,192,000 pictures by the images/s of the usual loop (benchmarks/training.py), measured beside each
of our runs, its start and its evaluation not counted. Needs torchvision and an hour.

    python benchmarks/time_to_error.py FOLDER [--model resnet11_pool] [--recipe quickest] [--set FIELD=VALUE ...]
        [--epochs N] [--seeds 0 1 2] [--error 12.88] [--aim 40] [--out time-to-error] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from itertools import chain
from pathlib import Path

from turns import in_turns, write

from training import usual_loop

PICTURES = 64_000 * 128
STEPS = 100
"""Of the usual loop, for one figure."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="class folders of CIFAR-10's training pictures")
    parser.add_argument("--model", default="resnet11_pool")
    parser.add_argument("--recipe", default="quickest")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--error", type=float, default=12.88, help="percent wrong, to be reached by the mean")
    parser.add_argument("--aim", type=float, default=40, help="how many times sooner")
    parser.add_argument("--out", type=Path, default=Path("time-to-error"))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    settings = list(chain.from_iterable(("--set", each) for each in arguments.set))
    settings += ["--epochs", str(arguments.epochs)] if arguments.epochs else []
    errors = list[float]()

    def ours() -> float:
        """Seconds of one seed."""
        seed = str(arguments.seeds[len(errors)])
        out = arguments.out / f"{arguments.recipe}-seed{seed}"
        command = ["train", str(arguments.data), "--model", arguments.model, "--recipe", arguments.recipe, *settings]
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "residuum", *command, "--seed", seed, "--out", str(out)], check=True)
        seconds = time.perf_counter() - began
        errors.append(json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])["val_top1_error"])
        return seconds

    row = in_turns(
        f"{arguments.model}, {arguments.recipe} {' '.join(settings)}".strip(), ours,
        lambda: PICTURES / usual_loop(arguments.data, STEPS), unit="s", against="64,000 steps of the usual loop",
        rounds=len(arguments.seeds), target=1 / arguments.aim, better="less",
    )  # fmt: skip
    mean, spread = statistics.mean(errors), f" ± {statistics.stdev(errors):.2f}" if len(errors) > 1 else ""
    each = ", ".join(f"{error:.2f}" for error in errors)
    reached = "reached" if mean <= arguments.error else "MISSED"
    print(f"{1 / row.ratio:.1f} times sooner; held-out error {each}: {mean:.2f}{spread} %")
    print(f"to reach {arguments.error} %: {reached}")
    write(arguments.json, [row])


if __name__ == "__main__":
    main()

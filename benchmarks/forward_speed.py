"""Forward time of our ResNet-50 over torchvision's, the same weights and input, in turn.

Eager and compiled, float32 and bfloat16. 1.00 is the same speed; the catalogue's promise is at most 1.03. Needs
torchvision, and g++ to compile.

    python benchmarks/forward_speed.py [--batch 8] [--rounds 9] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import torch
from torch import Tensor, nn

import residuum
from residuum.nets.weights import load_weights

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from peers import import_torchvision


def seconds(network: nn.Module, x: Tensor, dtype: torch.dtype) -> float:
    """One forward pass."""
    with torch.inference_mode(), torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        began = time.perf_counter()
        network(x)
        return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    theirs = import_torchvision().models.resnet50(weights=None).eval()
    ours = residuum.build("resnet50_v1_5").eval()
    load_weights(ours, ours.plan, theirs.state_dict(), "torchvision")
    x = torch.randn(arguments.batch, 3, 224, 224)
    rows = []
    for compiled in (False, True):
        pair = [torch.compile(n) if compiled else n for n in (ours, theirs)]
        for dtype in (torch.float32, torch.bfloat16):
            for network in pair:  # compiles, and fills caches
                seconds(network, x, dtype), seconds(network, x, dtype)
            times = [[seconds(network, x, dtype) for network in pair] for _ in range(arguments.rounds)]
            ratios = sorted(a / b for a, b in times)
            rows.append(
                {
                    "mode": "compiled" if compiled else "eager",
                    "precision": str(dtype).removeprefix("torch."),
                    "ours_ms": 1e3 * statistics.median(a for a, _ in times),
                    "torchvision_ms": 1e3 * statistics.median(b for _, b in times),
                    "ratio": statistics.median(ratios),
                    "lowest": ratios[0],
                    "highest": ratios[-1],
                }
            )
            row = rows[-1]
            print(
                f"{row['mode']:8} {row['precision']:8}  ours {row['ours_ms']:.0f} ms  torchvision "
                f"{row['torchvision_ms']:.0f} ms  "
                f"ratio {row['ratio']:.3f} ({row['lowest']:.2f} to {row['highest']:.2f})"
            )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()

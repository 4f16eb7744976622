"""How long `residuum --help` takes, against `import torch` alone.

python benchmarks/startup.py [--rounds 7] [--json FILE]
"""

from __future__ import annotations

import subprocess
import sys
import time

from turns import in_turns, options, write


def seconds(*command: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, capture_output=True)
    return time.perf_counter() - began


def main() -> None:
    arguments = options(__doc__, 7).parse_args()
    row = in_turns(
        "residuum --help", lambda: seconds("-m", "residuum", "--help"), lambda: seconds("-c", "import torch"), unit="s",
        against="import torch", rounds=arguments.rounds, target=0.25, better="less",
    )  # fmt: skip
    write(arguments.json, [row])


if __name__ == "__main__":
    main()

"""Writes networks.csv: what every network of the catalogue costs, in its order. Run it after a change that is meant."""

from __future__ import annotations

import csv
from pathlib import Path

from residuum.catalog import CATALOG
from residuum.plan import make_plan

if __name__ == "__main__":
    with (Path(__file__).parent / "networks.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("name", "parameters", "macs"))
        for name, entry in CATALOG.items():
            plan = make_plan(entry.spec)
            table.writerow((name, plan.parameters, plan.macs))

"""``python -m benchmarks [NAME ...] [--store STORE ...] [--runs N] [--json]``."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable
from functools import partial

import attrs

from benchmarks import workloads
from benchmarks.stores import STORES, Store
from benchmarks.workloads import Figure

BENCHMARKS: dict[str, tuple[set[str], Callable[[Store], list[Figure]]]] = {
    "create-1": (
        {"sqlite", "mysql", "postgresql", "redis"},
        partial(workloads.create, threads=1, events=1_000),
    ),
    "create-16": (
        {"sqlite", "mysql", "postgresql", "redis"},
        partial(workloads.create, threads=16),
    ),
    "create-many": ({"memory", "sqlite", "mysql", "postgresql", "redis"}, workloads.create_many),
    "run-1": (
        {"memory", "sqlite", "mysql", "postgresql", "redis"},
        partial(workloads.run_backlog, processes=1),
    ),
    "run-2": ({"mysql", "postgresql", "redis"}, partial(workloads.run_backlog, processes=2)),
    "lateness-200": (
        {"sqlite", "mysql", "postgresql", "redis"},
        partial(workloads.lateness, rate=200),
    ),
    "lateness-1000": (
        {"memory", "sqlite", "mysql", "postgresql", "redis"},
        partial(workloads.lateness, rate=1_000),
    ),
    "lateness-5000": ({"mysql", "postgresql", "redis"}, partial(workloads.lateness, rate=5_000)),
    "idle": ({"sqlite", "mysql", "postgresql", "redis"}, workloads.idle),
}
"""Name: (the stores on which it means something, the workload)."""


def main() -> int:
    """Run what the command line asks for; the exit status is 1 if a verification failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}")
    parser.add_argument("--store", action="append", choices=sorted(STORES))
    parser.add_argument("--runs", type=int, default=3, help="the median of so many runs counts")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(BENCHMARKS)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(BENCHMARKS)}")
    logging.disable(logging.WARNING)

    rows = []
    failed = False
    print(f"measured on {workloads.machine()}; median (min .. max) of {arguments.runs} runs",
          file=sys.stderr)  # fmt: skip
    for store_name in arguments.store or STORES:
        with STORES[store_name]() as new_store:
            for name in arguments.names or BENCHMARKS:
                stores, workload = BENCHMARKS[name]
                if store_name not in stores:
                    continue
                try:
                    runs = [workload(new_store()) for _ in range(arguments.runs)]
                except workloads.VerificationError as exc:
                    print(f"{store_name:10} {name}: WRONG: {exc}", file=sys.stderr)
                    failed = True
                    continue
                for figure, least, greatest in workloads.median_of(runs):
                    rows.append({"store": store_name, "benchmark": name, **attrs.asdict(figure),
                                 "min": least, "max": greatest})  # fmt: skip
                    if not arguments.json:
                        _print(store_name, figure, least, greatest)
    if arguments.json:
        json.dump(rows, sys.stdout, indent=1)
    return failed


def _print(store: str, figure: Figure, least: float, greatest: float) -> None:
    spread = f"({least:,.4g} .. {greatest:,.4g})"
    goal = f"goal {figure.goal}" if figure.goal else ""
    print(
        f"{store:10} {figure.name:36} {figure.value:>12,.4g} {figure.unit:8} {spread:26} {goal}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())

"""``make chaos``: every fault at full size, as ``docs/reliability.md``.

``python -m tests.faults crashing-instances --backend redis --seed 7 --keep`` runs one of them.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import shutil
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import attrs

from tests.faults.results import Row, page
from tests.faults.scenario import SERVERS, Circumstances
from tests.faults.scenarios import SCENARIOS
from tests.servers.process import temporary_folder

_SHOWN = 20

_EVENTS = 2000

_SECONDS = 8.0

_PART_ELSEWHERE = 0.5
"""Of the load, on other backends than MySQL: the core is the same."""


def main(words: Sequence[str] | None = None) -> int:
    """Run scenarios and say what was seen.

    Returns:
        0 if every promise was kept under every fault, else 1.
    """
    arguments = _arguments(words)
    rows = []
    with ProcessPoolExecutor(arguments.jobs) as processes:
        selection = _selection(arguments.names, arguments.backend)
        for row in processes.map(_run, itertools.repeat(arguments), *zip(*selection, strict=True)):
            rows.append(row)
            print(row.line, flush=True)
            for violation in row.violations[:_SHOWN]:
                print(f"    {violation}", flush=True)
    if arguments.markdown and not arguments.names:
        arguments.markdown.write_text(page(rows), encoding="utf-8")
    broken = [row for row in rows if row.violations]
    print(f"{len(rows) - len(broken)} of {len(rows)} faults survived")
    return 1 if broken else 0


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"by default all: {', '.join(SCENARIOS)}"
    )
    parser.add_argument(
        "--backend",
        choices=["sqlite", *SERVERS],
        help="by default MySQL, and where a fault says so the others, too",
    )
    parser.add_argument(
        "--events", type=int, help="how many, where that is not the fault's business"
    )
    parser.add_argument("--seconds", type=float, help="within which they are due")
    parser.add_argument(
        "--seed", type=int, default=random.randrange(10**6), help="of what is left to chance"
    )
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="how many scenarios at once"
    )
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave records and logs there")
    parser.add_argument(
        "--markdown", type=Path, metavar="FILE", help="write the page, if all faults were asked for"
    )
    arguments = parser.parse_args(words)
    if unknown := sorted(set(arguments.names) - set(SCENARIOS)):
        parser.error(f"unknown: {', '.join(unknown)}; known: {', '.join(SCENARIOS)}")
    return arguments


def _selection(names: Sequence[str], backend: str | None) -> Iterator[tuple[str, str]]:
    for name in names or SCENARIOS:
        backends = SCENARIOS[name].backends
        if backend is None:
            yield from ((name, each) for each in backends)
        elif backend in backends:
            yield name, backend


def _run(arguments: argparse.Namespace, name: str, backend: str) -> Row:
    folder = temporary_folder("futurama-faults-")
    part = 1.0 if backend == "mysql" else _PART_ELSEWHERE
    circumstances = Circumstances(
        folder=folder,
        seed=arguments.seed,
        events=arguments.events or int(part * _EVENTS),
        seconds=arguments.seconds or part * _SECONDS,
        backend=backend,
    )
    began = time.monotonic()
    try:
        outcome = SCENARIOS[name].run(circumstances)
    except Exception:
        row = Row.of_failure(name, backend, arguments.seed, traceback.format_exc())
    else:
        row = Row.of_outcome(name, backend, arguments.seed, outcome)
    if arguments.keep:
        shutil.copytree(folder, arguments.keep / f"{name}-{backend}", dirs_exist_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    return attrs.evolve(row, seconds=time.monotonic() - began)


if __name__ == "__main__":
    sys.exit(main())

"""``make chaos``: every fault at full size, as ``docs/reliability.md``.

``python -m tests.faults crashing-instances --backend redis --seed 7 --keep DIR`` runs one of them.
"""

from __future__ import annotations

import argparse
import os
import random
import shlex
import shutil
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import attrs

from tests.faults.command import at_least_one, interruptible, positive_number, tell, workers
from tests.faults.results import Row, page
from tests.faults.scenario import SERVERS, Circumstances
from tests.faults.scenarios import SCENARIOS
from tests.servers.process import temporary_folder

_EVENTS = 2000

_SECONDS = 8.0

_PART_ELSEWHERE = 0.5
"""Of the load, on other backends than MySQL: the core is the same."""


@interruptible
def main(words: Sequence[str] | None = None) -> int:
    """Run scenarios and say what was seen.

    Returns:
        0 if every promise was kept under every fault, 1 if not, 130 if somebody interrupted it.
    """
    arguments = _arguments(words)
    selection = list(_selection(arguments.names, arguments.backend))
    if arguments.markdown and not _is_whole(arguments):
        print(
            f"{arguments.markdown} stays as it is: only a run of everything writes it", flush=True
        )
    rows = []
    with workers(min(arguments.jobs, len(selection))) as processes:
        for row in processes.map(partial(_run, arguments), selection):
            rows.append(row)
            _tell(row, arguments)
    if arguments.markdown and _is_whole(arguments):
        arguments.markdown.write_text(page(rows), encoding="utf-8")
    failed = [row for row in rows if row.has_failed]
    print(f"{len(rows) - len(failed)} of {len(rows)} faults survived")
    return 1 if failed else 0


def _tell(row: Row, arguments: argparse.Namespace) -> None:
    print(row.line, flush=True)
    tell(row.violations)
    for reason in row.untested:
        print(f"    the fault was not put to the test: {reason}", flush=True)
    if row.has_failed:
        print(f"    to repeat: {_command(row, arguments)}", flush=True)


def _command(row: Row, arguments: argparse.Namespace) -> str:
    """What runs the same once more, and keeps what is written down."""
    words = [row.name, "--backend", row.backend, "--seed", str(row.seed)]
    for name in ("events", "seconds"):
        if (given := getattr(arguments, name)) is not None:
            words += [f"--{name}", f"{given:g}" if name == "seconds" else str(given)]
    words += ["--keep", str(arguments.keep or "DIR")]
    return f"python -m tests.faults {shlex.join(words)}"


def _is_whole(arguments: argparse.Namespace) -> bool:
    """Whether all faults were asked for, on all their backends, at full size."""
    return not (arguments.names or arguments.backend or arguments.events or arguments.seconds)


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
        "--events", type=at_least_one, help="how many, where that is not the fault's business"
    )
    parser.add_argument("--seconds", type=positive_number, help="within which they are due")
    parser.add_argument(
        "--seed", type=int, default=random.randrange(10**6), help="of what is left to chance"
    )
    parser.add_argument(
        "--jobs", type=at_least_one, default=os.cpu_count() or 1, help="how many scenarios at once"
    )
    parser.add_argument(
        "--keep",
        type=Path,
        metavar="DIR",
        help="leave in DIR/NAME-BACKEND what the clients and each instance wrote down (*.record, "
        "which tests.faults.record.Records reads) and what each instance logged (*.log)",
    )
    parser.add_argument(
        "--markdown",
        type=Path,
        metavar="FILE",
        help="write the page, if this is a run of all faults on all their backends at full size",
    )
    arguments = parser.parse_args(words)
    if unknown := sorted(set(arguments.names) - set(SCENARIOS)):
        parser.error(f"unknown: {', '.join(unknown)}; known: {', '.join(SCENARIOS)}")
    for name in arguments.names:
        if arguments.backend and arguments.backend not in (known := SCENARIOS[name].backends):
            parser.error(f"{name} is not on {arguments.backend}, only on {', '.join(known)}")
    return arguments


def _selection(names: Sequence[str], backend: str | None) -> Iterator[tuple[str, str]]:
    for name in names or SCENARIOS:
        backends = SCENARIOS[name].backends
        if backend is None:
            yield from ((name, each) for each in backends)
        elif backend in backends:
            yield name, backend


def _run(arguments: argparse.Namespace, selected: tuple[str, str]) -> Row:
    name, backend = selected
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

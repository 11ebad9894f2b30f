"""Many runs, one after another in each process: ``python -m tests.simulation --seconds 60``."""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from random import SystemRandom

import attrs

from tests.faults.command import (
    at_least_one,
    ended_at_once,
    interruptible,
    positive_number,
    workers,
)
from tests.simulation.simulation import Outcome, simulate
from tests.simulation.story import story


@interruptible
def main(arguments: Sequence[str] | None = None) -> int:
    """Make runs until the time is over; 1 if a promise was broken in any of them, 130 if interrupted."""
    given = _parsed(arguments)
    began = time.monotonic()
    if given.processes == 1 or given.runs == 1:
        given.processes = 1
        with ended_at_once():
            shares = [_share(given, 0)]
    else:
        with workers(given.processes) as processes:
            shares = list(processes.map(partial(_share, given), range(given.processes)))
    a_minute = 60 * sum(share.runs for share in shares) / (time.monotonic() - began)
    total = _Share()
    for share in shares:
        total.add(share)
    print(
        f"{total.runs} runs from seed {given.seed} on, {a_minute:.0f} a minute with "
        f"{given.processes} processes, {total.events} events; faults:"
    )
    for name, number in sorted(total.injected.items()):
        print(f"    {number:7} {name}")
    for seed in sorted(total.failed):
        print(f"to repeat: python -m tests.simulation --runs 1 --seed {seed}")
    return 1 if total.failed else 0


@attrs.define
class _Share:
    """What one process has seen."""

    runs: int = 0
    events: int = 0
    injected: Counter[str] = attrs.field(factory=Counter)
    failed: list[int] = attrs.field(factory=list)

    def add(self, other: _Share) -> None:
        self.runs += other.runs
        self.events += other.events
        self.injected += other.injected
        self.failed += other.failed


def _share(given: argparse.Namespace, number: int) -> _Share:
    """Make the runs of one process: every so many-th seed."""
    share = _Share()
    for seed in _seeds(given, number):
        outcome = _run(seed)
        share.runs += 1
        if outcome is None or outcome.wrong:
            share.failed.append(seed)
        if outcome is not None:
            share.events += len(outcome.account.creations)
            share.injected.update(outcome.injected)
            if outcome.wrong:
                _tell(outcome, at_length=given.runs == 1)
    return share


def _seeds(given: argparse.Namespace, number: int) -> Iterator[int]:
    deadline = time.monotonic() + given.seconds
    for count in itertools.count(number, given.processes):
        if time.monotonic() > deadline if given.runs is None else count >= given.runs:
            return
        yield given.seed + count


def _run(seed: int) -> Outcome | None:
    """None if it raised, which is told at once."""
    try:
        return simulate(seed)
    except Exception:
        print(f"seed {seed} raised", traceback.format_exc(), sep="\n", flush=True)
        return None


def _tell(outcome: Outcome, *, at_length: bool) -> None:
    print(f"seed {outcome.seed}:", *outcome.wrong, sep="\n    ", flush=True)
    for event_id in sorted(outcome.events) if at_length else ():
        print(f"\n{event_id}, by time in milliseconds:", story(outcome.account, event_id), sep="\n")


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seconds", type=positive_number, default=60.0, help="for how long")
    parser.add_argument("--runs", type=at_least_one, help="how many instead")
    parser.add_argument(
        "--seed",
        type=int,
        default=SystemRandom().randrange(1 << 32),
        help="of the first run; each other one has the next",
    )
    parser.add_argument(
        "--processes",
        type=at_least_one,
        default=os.cpu_count() or 1,
        help="how many make runs at once",
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())

"""Many runs, one after another: ``python -m tests.simulation --seconds 60``."""

from __future__ import annotations

import argparse
import itertools
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from random import SystemRandom

from tests.simulation.simulation import Outcome, simulate
from tests.simulation.story import story


def main(arguments: Sequence[str] | None = None) -> int:
    """Make runs until the time is over; 1 if a promise was broken in any of them."""
    given = _parsed(arguments)
    began = time.monotonic()
    runs = events = 0
    injected: Counter[str] = Counter()
    failed: list[int] = []
    for seed in _seeds(given):
        outcome = _run(seed)
        runs += 1
        if outcome is None or outcome.wrong:
            failed.append(seed)
        if outcome is not None:
            events += len(outcome.account.creations)
            injected.update(outcome.injected)
            if outcome.wrong:
                _tell(outcome, at_length=given.runs == 1)
    a_minute = 60 * runs / (time.monotonic() - began)
    print(
        f"{runs} runs from seed {given.seed} on, {a_minute:.0f} a minute, {events} events; faults:"
    )
    for name, number in sorted(injected.items()):
        print(f"    {number:7} {name}")
    for seed in failed:
        print(f"to repeat: python -m tests.simulation --runs 1 --seed {seed}")
    return 1 if failed else 0


def _seeds(given: argparse.Namespace) -> Iterator[int]:
    deadline = time.monotonic() + given.seconds
    for seed in itertools.count(given.seed):
        is_over = (
            time.monotonic() > deadline if given.runs is None else seed == given.seed + given.runs
        )
        if is_over:
            return
        yield seed


def _run(seed: int) -> Outcome | None:
    """None if it raised, which is told at once."""
    try:
        return simulate(seed)
    except Exception:
        print(f"seed {seed} raised", traceback.format_exc(), sep="\n")
        return None


def _tell(outcome: Outcome, *, at_length: bool) -> None:
    print(f"seed {outcome.seed}:", *outcome.wrong, sep="\n    ")
    for event_id in sorted(outcome.events) if at_length else ():
        print(f"\n{event_id}, by time in milliseconds:", story(outcome.account, event_id), sep="\n")


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="for how long")
    parser.add_argument("--runs", type=int, help="how many instead")
    parser.add_argument(
        "--seed",
        type=int,
        default=SystemRandom().randrange(1 << 32),
        help="of the first run; each other one has the next",
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())

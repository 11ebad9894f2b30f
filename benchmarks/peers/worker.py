"""What the processes that run a peer have in common; uses nothing but the standard library.

Each is started as ``fill SPEC`` or ``work SPEC``. The one stores the events and ends. The other prints
``ready`` when it is connected and begins at the word ``go``. When all workers together have called all
events, or their time is up, it stops the peer, prints ``done``, and then its calls.
"""

from __future__ import annotations

import json
import mmap
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

__all__ = ["LOOK_SECONDS", "SLOT_BYTES", "Calls", "Spec", "dues", "main", "wait_for_go"]

Spec: TypeAlias = Mapping[str, Any]
"""``url`` of the database; ``events``: how many; ``begin``: when the first one is due, in seconds since
1970; ``interval``: seconds from one to the next; ``limit``: seconds after which the workers stop anyway.
For a worker also ``counts``: a file of zeros, with a slot for each worker, and ``index``: of its own."""

LOOK_SECONDS = 0.005
"""How often a worker looks whether all is done, as our instances do."""

SLOT_BYTES = 8


def dues(spec: Spec) -> list[float]:
    """When the events are due, in seconds since 1970."""
    return [spec["begin"] + number * spec["interval"] for number in range(spec["events"])]


class Calls:
    """The number of each event that was called, when, and how late.

    All workers see how many calls each of them has made.
    """

    def __init__(self, spec: Spec) -> None:
        self._calls: list[tuple[int, float, float]] = []
        self._events = spec["events"]
        self._index = spec["index"]
        self._deadline = max(time.time(), spec["begin"]) + spec["limit"]
        with open(spec["counts"], "r+b") as file:
            self._counts = memoryview(mmap.mmap(file.fileno(), 0)).cast("q")

    def add(self, number: int, due: float) -> None:
        """The call of this event starts now."""
        now = time.time()
        self._calls.append((number, now, now - due))

    def are_complete(self) -> bool:
        """Whether all workers together have called all events."""
        self._counts[self._index] = len(self._calls)
        return bool(sum(self._counts) >= self._events)

    def are_over(self) -> bool:
        """Whether they are complete, or the time is up."""
        return self.are_complete() or time.time() > self._deadline

    def report(self) -> None:
        """Tell the parent that the peer has stopped, and what it has called."""
        calls = list(self._calls)
        print("done", flush=True)
        json.dump(calls, sys.stdout)
        sys.stdout.flush()


def wait_for_go() -> None:
    """Tell the parent that all is ready, and wait for its word; end the process if it is gone."""
    print("ready", flush=True)
    if sys.stdin.readline() != "go\n":
        os._exit(1)


def main(fill: Callable[[Spec], None], work: Callable[[Spec], None]) -> None:
    """Do what the command line says."""
    role, spec = sys.argv[1:]
    {"fill": fill, "work": work}[role](json.loads(spec))

"""What the benchmarks share: the events they make, clocks, threads, and what is left in the end."""

from __future__ import annotations

import random
import resource
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.figures import VerificationError
from futurama import Event, Queue

__all__ = [
    "DEADLINE_SECONDS",
    "TYPE",
    "cpu_seconds",
    "data",
    "drafts",
    "in_threads",
    "new_id",
    "number_of",
    "plural",
    "resident_mb",
    "timed",
    "verify_count",
]

DEADLINE_SECONDS = 120.0
"""No part of a benchmark takes longer; what is not done by then counts as lost."""

TYPE = "bench"
"""The trigger type of every event."""

_PAGE_BYTES = resource.getpagesize()


def data(number: int) -> dict[str, Any]:
    """About what a small real event carries; tells the event from the others."""
    return {
        "url": "http://127.0.0.1:8000/hook",
        "json": {"player": 4711, "building": number},
    }


def number_of(event: Event) -> int:
    """Which of the events with :func:`data` this is."""
    number: int = event.data["json"]["building"]
    return number


def new_id(number: int) -> str:
    """An id of as many characters as the library's, which like those ascend; without the library."""
    return f"{number:019}-{random.getrandbits(64):016x}"


def drafts(
    count: int, when: Callable[[int], datetime | timedelta]
) -> list[tuple[str, datetime | timedelta, dict[str, Any]]]:
    """Events 0 to ``count`` - 1 for ``create_many``; ``when`` gives the time of each."""
    return [(TYPE, when(number), data(number)) for number in range(count)]


def plural(count: int, one: str, many: str) -> str:
    """``1 thread``, ``16 threads``."""
    return f"{count} {one if count == 1 else many}"


def timed(work: Callable[[], object]) -> float:
    """The seconds that ``work`` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def in_threads(count: int, work: Callable[[int], object]) -> None:
    """Call ``work(0)`` to ``work(count - 1)`` at once, each in a thread of its own.

    Raises:
        VerificationError: one of them failed; its traceback is on stderr.
    """
    done: list[int] = []

    def run(index: int) -> None:
        work(index)
        done.append(index)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(done) < count:
        raise VerificationError(f"{count - len(done)} of {count} threads failed")


def cpu_seconds() -> float:
    """What this process has used of the processors so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def resident_mb() -> float:
    """The memory of this process that is in RAM, in 10**6 bytes. On Linux only."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * _PAGE_BYTES / 1e6


def verify_count(queue: Queue, waiting: int) -> None:
    """Raise unless exactly so many events wait, and none is claimed or dead."""
    found = {state.value: count for state, count in queue.backend.count().items() if count}
    if found != ({"waiting": waiting} if waiting else {}):
        raise VerificationError(f"the store has {found or 'no event'}, expected {waiting} waiting")

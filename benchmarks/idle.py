"""What an instance costs that has nothing to do."""

from __future__ import annotations

import time
from datetime import timedelta

from benchmarks.figures import Figure
from benchmarks.measuring import TYPE, cpu_seconds
from benchmarks.stores import Store
from futurama import Queue
from tests.servers import MariaDB

__all__ = ["idle"]

_SETTLING_SECONDS = 1.0
"""What starts with an instance is over by then."""


def idle(store: Store, *, seconds: float) -> list[Figure]:
    """One event waits, and its time is far away."""
    with Queue({TYPE: print}, config=store.configured()) as queue:
        queue.create(TYPE, timedelta(hours=1))
        time.sleep(_SETTLING_SECONDS)
        questions, cpu = _questions(store), cpu_seconds()  # asking costs more than idling
        time.sleep(seconds)
        cpu, asked = cpu_seconds() - cpu, _questions(store) - questions
    figures = [Figure("idle instance, of one core", 100 * cpu / seconds, "%", "<= 1")]
    if store.backend == "mysql":
        # One of them is ours: it asks for the number.
        figures.append(Figure("idle instance, queries", (asked - 1) / seconds, "per s", "<= 15"))
    return figures


def _questions(store: Store) -> int:
    if not isinstance(store.server, MariaDB):
        return 0
    return int(store.server.execute("SHOW GLOBAL STATUS LIKE 'Questions'")[0][1])

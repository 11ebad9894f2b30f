"""What waiting events cost where they wait in memory."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from typing import Any

from benchmarks.children import Ready, alone
from benchmarks.figures import Figure
from benchmarks.measuring import TYPE, data, resident_mb, verify_count
from benchmarks.stores import Store
from futurama import Config, Queue

__all__ = ["waiting"]

_PORTION = 10_000
"""Created at once, so that what is needed for creating is small."""


def waiting(store: Store, *, events: int) -> list[Figure]:
    """What a new process grows by when it is given so many events."""
    before, after = alone(partial(_fill, config=dict(store.config), events=events))
    return [
        Figure(f"memory of {events:,} waiting events", after - before, "MB", "<= 600"),
        Figure("memory of one", 1e6 * (after - before) / events, "bytes"),
    ]


def _fill(ready: Ready, *, config: Mapping[str, Any], events: int) -> tuple[float, float]:
    """Memory before and after, in MB."""
    with Queue(config=Config(**config)) as queue:
        ready()
        before = resident_mb()
        for start in range(0, events, _PORTION):
            numbers = range(start, min(start + _PORTION, events))
            queue.create_many((TYPE, timedelta(hours=1), data(number)) for number in numbers)
        after = resident_mb()
        verify_count(queue, waiting=events)
    return before, after

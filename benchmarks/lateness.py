"""How late calls start."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from benchmarks.children import Ready
from benchmarks.figures import Figure, VerificationError, quantile
from benchmarks.instances import Job, perform
from benchmarks.measuring import TYPE, data, drafts, in_threads, timed
from benchmarks.stores import Store
from futurama import Config, Queue

__all__ = ["beforehand", "create_on_time", "just_ahead"]

_QUANTILES = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9999, 1.0)
"""At which the distribution is recorded: dense where it bends."""

_SHOWN = (0.5, 0.99, 1.0)
"""The quantiles that tables show."""

_GOALS = {
    (1_000, 0.5): "<= 0.2",
    (1_000, 0.99): "<= 1",
    (5_000, 0.5): "<= 0.3",
    (5_000, 0.99): "<= 4",
    (10_000, 0.99): "<= 10",
}
"""In milliseconds, by rate and quantile; for MySQL and events created beforehand."""

_STARTING_SECONDS = 4.0
"""Half of it is enough for a process to start and to connect."""

_PROBE_EVENTS = 2_000
"""So many tell how fast events are created; where it gets much slower the benchmark fails."""

_PROBE_MARGIN = 1.5

_AHEAD_SECONDS = 0.3

_CREATING_THREADS = 4
"""One alone would wait for a flush of the disk per event, and fall behind."""


def beforehand(store: Store, *, rate: int, seconds: float) -> list[Figure]:
    """``rate`` events a second are due, all created before the first one is."""
    events = int(rate * seconds)
    with Queue(config=store.configured()) as queue:
        create_on_time(store, queue, rate=rate, events=events)
        (record,) = perform(store, Job(events=events, is_timed=True), queue=queue).records
    goals = _GOALS if store.backend == "mysql" else {}
    return [
        _figure(f"lateness at {rate:,}/s", record.late_us, q, goals.get((rate, q), ""))
        for q in _QUANTILES
    ]


def just_ahead(store: Store, *, rate: int, seconds: float) -> list[Figure]:
    """``rate`` events a second, created by another process one by one, each 300 ms ahead."""
    events = int(rate * seconds)
    creating = partial(_create_just_ahead, config=dict(store.config), rate=rate, events=events)
    with Queue(config=store.configured()) as queue:
        store.rest()
        job = Job(events=events, is_timed=True)
        outcome = perform(store, job, queue=queue, beside=[creating])
    (record,), (ahead_ms,) = outcome.records, outcome.beside
    what = f"lateness at {rate:,}/s, created {1000 * _AHEAD_SECONDS:g} ms ahead"
    return [
        *(_figure(what, record.late_us, q) for q in _SHOWN),
        Figure(f"{what}, the least ahead", ahead_ms, "ms"),
    ]


def create_on_time(store: Store, queue: Queue, *, rate: int, events: int) -> datetime:
    """Create events for a steady rate, the first one late enough to start an instance before.

    Returns:
        When the first one is due.

    Raises:
        VerificationError: creating them took too long.
    """
    start = timedelta(seconds=_STARTING_SECONDS)
    creating_seconds = _PROBE_MARGIN * events * _seconds_per_event(queue)
    store.rest()
    begin = _now() + start + timedelta(seconds=creating_seconds)
    queue.create_many(drafts(events, lambda number: begin + timedelta(seconds=number / rate)))
    if begin - _now() < start / 2:
        raise VerificationError(f"creating {events:,} events took longer than expected")
    return begin


def _seconds_per_event(queue: Queue) -> float:
    """How long ``create_many`` takes for one of many."""
    probes = drafts(_PROBE_EVENTS, lambda _: timedelta(hours=1))
    ids: list[str] = []
    seconds = timed(lambda: ids.extend(queue.create_many(probes)))
    queue.backend.cancel(ids)
    return seconds / _PROBE_EVENTS


def _create_just_ahead(ready: Ready, *, config: Mapping[str, Any], rate: int, events: int) -> float:
    """Create events for a steady rate; return by how many ms the hastiest was stored ahead."""
    ahead = []
    with Queue(config=Config(**config)) as queue:
        ready()
        begin = _now() + timedelta(seconds=1)

        def create(index: int) -> None:
            for number in range(index, events, _CREATING_THREADS):
                when = begin + timedelta(seconds=number / rate)
                time.sleep(max(0.0, (when - _now()).total_seconds() - _AHEAD_SECONDS))
                queue.create(TYPE, when, data(number))
                ahead.append((when - _now()) / timedelta(milliseconds=1))

        in_threads(_CREATING_THREADS, create)
    return min(ahead)


def _figure(what: str, late_us: Sequence[int], q: float, goal: str = "") -> Figure:
    name = "max" if q == 1 else f"p{100 * q:g}"
    late_ms = quantile(late_us, q) / 1000
    return Figure(f"{what}, {name}", late_ms, "ms", goal, is_detail=q not in _SHOWN)


def _now() -> datetime:
    return datetime.now(UTC)

"""Which benchmarks there are, on which stores they mean something, and which `make bench` runs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial

import attrs

from benchmarks import overload
from benchmarks.bare import Loop
from benchmarks.cancel import cancel
from benchmarks.create import create, create_many
from benchmarks.figures import Figure
from benchmarks.idle import idle
from benchmarks.lateness import beforehand, just_ahead
from benchmarks.memory import waiting
from benchmarks.peers import runs as peers
from benchmarks.run import batch_size, run_backlog
from benchmarks.scale import scale
from benchmarks.snapshot import held_snapshot
from benchmarks.stores import Store

__all__ = ["BENCHMARKS", "Benchmark"]

_USUAL_SERVERS = ("mysql", "postgresql", "redis")
_SERVERS = (*_USUAL_SERVERS, "mysql-mysqldb")
_DURABLE = ("sqlite", *_SERVERS)
_USUAL_DURABLE = ("sqlite", *_USUAL_SERVERS)
_TWO = ("mysql", "postgresql")
_ALL = ("memory", *_DURABLE)
_USUAL = ("memory", *_USUAL_DURABLE)

_BACKLOG_EVENTS = 30_000

_LATENESS_SECONDS = 5
"""Enough for every quantile that has a goal, and for more than one collection of garbage."""

_LOOPS = (
    Loop(1_000),
    Loop(500),
    Loop(200, is_detail=True),
)
_OVERLAPPED = Loop(1_000, is_overlapped=True, is_detail=True)
"""For one process: two of them run into deadlocks, which nothing in the bare loop is prepared for."""


@attrs.frozen
class Benchmark:
    """One benchmark.

    Attributes:
        measure: given an empty store, verifies what happened and returns figures.
        stores: on which it means something.
        by_default: on which it is run when no name is given.
        most_runs: more repetitions are not worth their time.
    """

    measure: Callable[[Store], list[Figure]]
    stores: Collection[str]
    by_default: Collection[str] = ("mysql",)
    most_runs: int = 100


BENCHMARKS: Mapping[str, Benchmark] = {
    "create-1": Benchmark(partial(create, threads=1, events=1_000), _DURABLE, _USUAL_DURABLE),
    "create-16": Benchmark(partial(create, threads=16, events=8_000), _DURABLE, _USUAL_DURABLE),
    "create-many": Benchmark(partial(create_many, events=20_000), _ALL, _USUAL),
    "cancel-1": Benchmark(partial(cancel, threads=1, events=1_000), _DURABLE),
    "cancel-16": Benchmark(partial(cancel, threads=16, events=8_000), _DURABLE),
    "run-1": Benchmark(
        partial(run_backlog, processes=1, events=_BACKLOG_EVENTS, loops=(*_LOOPS, _OVERLAPPED)),
        _ALL,
        _USUAL,
    ),
    "run-2": Benchmark(
        partial(run_backlog, processes=2, events=_BACKLOG_EVENTS, loops=_LOOPS), _SERVERS
    ),
    "batch-size": Benchmark(
        partial(batch_size, sizes=(100, 200, 500, 1_000, 2_000), events=20_000),
        _DURABLE,
        most_runs=1,
    ),
    "lateness-200": Benchmark(
        partial(beforehand, rate=200, seconds=_LATENESS_SECONDS), _ALL, most_runs=1
    ),
    "lateness-1000": Benchmark(partial(beforehand, rate=1_000, seconds=_LATENESS_SECONDS), _ALL),
    "lateness-5000": Benchmark(
        partial(beforehand, rate=5_000, seconds=_LATENESS_SECONDS), _SERVERS
    ),
    "lateness-10000": Benchmark(
        partial(beforehand, rate=10_000, seconds=_LATENESS_SECONDS), _SERVERS
    ),
    "lateness-ahead": Benchmark(
        partial(just_ahead, rate=1_000, seconds=_LATENESS_SECONDS), _SERVERS, most_runs=1
    ),
    "idle": Benchmark(partial(idle, seconds=5), _DURABLE),
    "memory": Benchmark(partial(waiting, events=1_000_000), ("memory",), ("memory",), most_runs=1),
    "overload": Benchmark(
        partial(overload.overload, rate=20_000, seconds=10), _SERVERS, most_runs=1
    ),
    "overload-slow": Benchmark(
        # Twice of what 16 threads can do.
        partial(
            overload.slow_triggers, rate=32, seconds=10, sleep_seconds=1, max_scheduled_events=100
        ),
        _SERVERS,
        most_runs=1,
    ),
    "scale": Benchmark(scale, _TWO, (), most_runs=1),
    "snapshot": Benchmark(held_snapshot, _TWO, (), most_runs=1),
    "apscheduler-run": Benchmark(
        partial(peers.backlog, peer=peers.APSCHEDULER, events=_BACKLOG_EVENTS), ("mysql",), ()
    ),
    "apscheduler-200": Benchmark(
        partial(peers.lateness, peer=peers.APSCHEDULER, rate=200, seconds=_LATENESS_SECONDS),
        ("mysql",),
        (),
    ),
    "apscheduler-1000": Benchmark(
        partial(peers.lateness, peer=peers.APSCHEDULER, rate=1_000, seconds=_LATENESS_SECONDS),
        ("mysql",),
        (),
    ),
    "pgqueuer-run-1": Benchmark(
        partial(peers.backlog, peer=peers.PGQUEUER, events=_BACKLOG_EVENTS, processes=1),
        ("postgresql",),
        (),
    ),
    "pgqueuer-run-2": Benchmark(
        partial(peers.backlog, peer=peers.PGQUEUER, events=_BACKLOG_EVENTS, processes=2),
        ("postgresql",),
        (),
    ),
    "pgqueuer-1000": Benchmark(
        partial(
            peers.lateness, peer=peers.PGQUEUER, rate=1_000, processes=2, seconds=_LATENESS_SECONDS
        ),
        ("postgresql",),
        (),
    ),
    "pgqueuer-5000": Benchmark(
        partial(
            peers.lateness, peer=peers.PGQUEUER, rate=5_000, processes=2, seconds=_LATENESS_SECONDS
        ),
        ("postgresql",),
        (),
    ),
}
"""By name, in the order in which they are run."""

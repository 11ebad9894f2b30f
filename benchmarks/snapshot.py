"""What a snapshot costs that somebody holds open while events come and go."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import attrs

from benchmarks.children import Ready
from benchmarks.drivers import DRIVERS, Driver, MySQL, PostgreSQL
from benchmarks.figures import Figure, VerificationError, quantile
from benchmarks.instances import Job, Record, perform
from benchmarks.measuring import DEADLINE_SECONDS, TYPE, data
from benchmarks.stores import Store
from futurama import Config, Queue
from futurama.times import to_us

__all__ = ["Phase", "held_snapshot", "phases"]

_INSTANCES = 2

_AHEAD = timedelta(milliseconds=500)
"""Twice the look-ahead, so that instances claim in time what a slow commit delays."""

_TICK_SECONDS = 0.01
"""How often the producer creates what has come within reach."""

_STARTING_SECONDS = 1.0

_WARM_UP_SECONDS = 2.0

_COUNT_SEEN = "SELECT COUNT(*) FROM seen"

_SNAPSHOT: Mapping[type[Driver], Sequence[str]] = {
    MySQL: (
        "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        "START TRANSACTION WITH CONSISTENT SNAPSHOT",
    ),
    PostgreSQL: ("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",),
}


def held_snapshot(
    store: Store,
    *,
    rate: int = 2_000,
    before: float = 20.0,
    during: float = 60.0,
    after: float = 20.0,
) -> list[Figure]:
    """How late calls start and how long claims take before, while and after a snapshot is held.

    What is deleted meanwhile cannot be cleared away, since the snapshot still sees it: delete-marked
    entries pile up where claims begin to look, at the head of the index by time.

    The load does not wait for anybody: a process of its own creates events at a steady rate, each a
    little ahead of its time, whether or not the two instances that call them keep up.

    Args:
        store: on MySQL or PostgreSQL.
        rate: events a second.
        before, during, after: seconds of each phase.
    """
    seconds = _WARM_UP_SECONDS + before + during + after
    events = int(rate * seconds)
    job = Job(
        events=events,
        is_timed=True,
        has_timed_claims=True,
        deadline_seconds=seconds + DEADLINE_SECONDS,
    )
    config = dict(store.config)
    producing = partial(_produce, config=config, rate=rate, events=events)
    holding = partial(
        _hold,
        make=DRIVERS[store.name],
        config=config,
        wait=_STARTING_SECONDS + _WARM_UP_SECONDS + before,
        seconds=during,
    )
    with Queue(config=store.configured()) as queue:
        store.rest()
        outcome = perform(
            store, job, queue=queue, processes=_INSTANCES, beside=[producing, holding]
        )
    production, snapshot = outcome.beside
    return [
        *_figures(phases(outcome.records, production, snapshot)),
        Figure("created ahead, least", production.least_ahead_ms, "ms"),
    ]


@attrs.frozen
class Production:
    """What was created.

    Attributes:
        begin_us: when the first event was due, in microseconds since 1970.
        interval_us: from one to the next.
        least_ahead_ms: how long before its time the hastiest one was stored.
    """

    begin_us: int
    interval_us: float
    least_ahead_ms: float

    def due_us(self, number: int) -> int:
        """When the event of this number was due."""
        return self.begin_us + int(number * self.interval_us)


@attrs.frozen
class Snapshot:
    """When a snapshot was taken and when it was given up, in microseconds since 1970."""

    begin_us: int
    end_us: int


@attrs.frozen
class Phase:
    """How late calls were and how long claims took, in microseconds."""

    late_us: Sequence[int]
    claims_us: Sequence[int]


def phases(
    records: Sequence[Record], production: Production, snapshot: Snapshot
) -> tuple[Phase, Phase, Phase]:
    """What happened before, while and after the snapshot was held, without the warming up.

    Calls are told apart by the times of their events, claims by when they began.
    """
    late = [
        (production.due_us(number), record.late_us[number])
        for record in records
        for number in record.numbers
    ]
    claims = [(claim.at_us, claim.took_us) for record in records for claim in record.claims]
    warm_us = production.begin_us + int(_WARM_UP_SECONDS * 1e6)

    def phase(begin_us: int, end_us: int) -> Phase:
        return Phase(
            *([value for at, value in pairs if begin_us <= at < end_us] for pairs in (late, claims))
        )

    return (
        phase(warm_us, snapshot.begin_us),
        phase(snapshot.begin_us, snapshot.end_us),
        phase(snapshot.end_us, max(at for at, _ in late) + 1),
    )


def _produce(ready: Ready, *, config: Mapping[str, Any], rate: int, events: int) -> Production:
    """Create events for a steady rate, all that have come within reach at once."""
    interval = timedelta(seconds=1 / rate)
    least_ahead = _AHEAD
    with Queue(config=Config(**config)) as queue:
        ready()
        begin = datetime.now(UTC) + timedelta(seconds=_STARTING_SECONDS)
        created = 0
        while created < events:
            within_reach = int((datetime.now(UTC) + _AHEAD - begin) / interval)
            numbers = range(created, max(created, min(within_reach, events)))
            queue.create_many((TYPE, begin + n * interval, data(n)) for n in numbers)
            if numbers:
                least_ahead = min(least_ahead, begin + created * interval - datetime.now(UTC))
            created = numbers.stop
            time.sleep(_TICK_SECONDS)
    return Production(to_us(begin), 1e6 / rate, least_ahead / timedelta(milliseconds=1))


def _hold(
    ready: Ready, *, make: type[Driver], config: Mapping[str, Any], wait: float, seconds: float
) -> Snapshot:
    """Take a snapshot after a while, and keep it for so long."""
    driver = make(config)
    ready()
    time.sleep(wait)
    with _snapshot(driver):
        begin_us = time.time_ns() // 1000
        time.sleep(seconds)
    return Snapshot(begin_us, time.time_ns() // 1000)


@contextlib.contextmanager
def _snapshot(driver: Driver) -> Iterator[None]:
    """Another session that sees for as long as this lasts what was there when it began."""
    with contextlib.closing(driver.connect()) as writer, contextlib.closing(driver.connect()) as it:
        _execute(writer, "CREATE TABLE seen (n INT)")
        writer.commit()
        for statement in _SNAPSHOT[type(driver)]:
            _execute(it, statement)
        seen = _execute(it, _COUNT_SEEN)
        _execute(writer, "INSERT INTO seen VALUES (1)")
        writer.commit()
        yield
        if _execute(it, _COUNT_SEEN) != seen:
            raise VerificationError("the snapshot was not held")


def _execute(connection: Any, statement: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchone() if cursor.description else None


def _figures(of_phases: Sequence[Phase]) -> list[Figure]:
    figures = []
    whens = ("before", "while a snapshot is held", "after")
    for when, phase in zip(whens, of_phases, strict=True):
        figures += [
            *_quantiles(f"lateness {when}", phase.late_us, (0.5, 0.99, 1.0)),
            *_quantiles(f"claim {when}", phase.claims_us, (0.99, 1.0)),
        ]
    before, during, _ = (quantile(phase.claims_us, 0.99) for phase in of_phases)
    return [*figures, Figure("claim p99, while / before", during / before, "", "< 5")]


def _quantiles(what: str, values_us: Sequence[int], shares: Sequence[float]) -> list[Figure]:
    return [
        Figure(
            f"{what}, {'max' if share == 1 else f'p{100 * share:g}'}",
            quantile(values_us, share) / 1000,
            "ms",
        )
        for share in shares
    ]

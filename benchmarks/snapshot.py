"""What a snapshot costs that somebody holds open while events come and go."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

import attrs

from benchmarks.drivers import DRIVERS, Driver, MySQL, PostgreSQL
from benchmarks.figures import Figure, VerificationError, quantile
from benchmarks.measuring import drafts, verify_count
from benchmarks.stores import Store
from futurama import Queue
from futurama.backend import Claim, Settlement

__all__ = ["held_snapshot"]

_TICK_SECONDS = 0.01

_LEASE = timedelta(seconds=31)
"""The default of the configuration. The entries that claimed events leave in the index by time lie so
far ahead of the present, which reaches them while the snapshot is still held."""

_LIMIT = 1_000
"""Events added or claimed at once; so many that what has fallen behind can catch up."""

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
    """How long claims take before, while and after another session holds a snapshot.

    What is deleted meanwhile cannot be cleared away, since the snapshot still sees it: delete-marked
    entries pile up where claims begin to look, at the head of the index by time.

    Args:
        store: on MySQL or PostgreSQL.
        rate: events that are added, claimed and settled a second.
        before, during, after: seconds of each phase.
    """
    with Queue(config=store.configured()) as queue:
        load = _Load(queue, rate)
        load.run(_WARM_UP_SECONDS)
        phases = [load.run(before)]
        with _snapshot(DRIVERS[store.name](store.config)):
            phases.append(load.run(during))
        phases.append(load.run(after))
        load.finish()
        verify_count(queue, 0)
    return _figures(phases)


@attrs.frozen
class _Phase:
    """What was measured: the latency of each claim, and the events claimed a second."""

    latencies_us: Sequence[int]
    rate: float


class _Load:
    """Events that are due at once, added, claimed and settled at a steady rate.

    Args:
        queue: only its backend works.
        rate: events a second; where the backend cannot keep up, there are fewer.
    """

    def __init__(self, queue: Queue, rate: int) -> None:
        self._queue = queue
        self._rate = rate
        self._unclaimed: set[str] = set()

    def run(self, seconds: float) -> _Phase:
        """Go on for so long."""
        latencies_us: list[int] = []
        added = claimed = 0
        start = time.perf_counter()
        while (elapsed := time.perf_counter() - start) < seconds:
            missing = min(int(elapsed * self._rate) - added, _LIMIT)
            self._add(missing)
            added += missing
            begin = time.perf_counter_ns()
            claims = self._claim()
            latencies_us.append((time.perf_counter_ns() - begin) // 1000)
            self._settle(claims)
            claimed += len(claims)
            next_tick = elapsed + _TICK_SECONDS
            time.sleep(max(0.0, next_tick - (time.perf_counter() - start)))
        return _Phase(latencies_us, claimed / seconds)

    def finish(self) -> None:
        """Claim and settle what is left."""
        while claims := self._claim():
            self._settle(claims)
        if self._unclaimed:
            raise VerificationError(f"{len(self._unclaimed)} events were never handed out")

    def _add(self, count: int) -> None:
        self._unclaimed.update(self._queue.create_many(drafts(count, lambda _: timedelta())))

    def _claim(self) -> Sequence[Claim]:
        now = self._queue.now()
        return self._queue.backend.claim(
            owner="bench", now=now, due_before=now, lease_until=now + _LEASE, limit=_LIMIT
        ).claims

    def _settle(self, claims: Sequence[Claim]) -> None:
        ids = {claim.id for claim in claims}
        if len(ids) < len(claims) or not ids <= self._unclaimed:
            raise VerificationError("an event was handed out twice")
        self._unclaimed -= ids
        reports = [Settlement.done(claim) for claim in claims]
        if not all(self._queue.backend.settle(reports, now=self._queue.now())):
            raise VerificationError("a claim was lost")


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


def _figures(phases: Sequence[_Phase]) -> list[Figure]:
    figures = []
    for when, phase in zip(("before", "while a snapshot is held", "after"), phases, strict=True):
        p50, p99 = (quantile(phase.latencies_us, q) / 1000 for q in (0.5, 0.99))
        figures += [
            Figure(f"claim {when}, p50", p50, "ms"),
            Figure(f"claim {when}, p99", p99, "ms"),
            Figure(f"rate {when}", phase.rate, "events/s"),
        ]
    before, during, _ = (quantile(phase.latencies_us, 0.99) for phase in phases)
    return [*figures, Figure("claim p99, while / before", during / before, "", "< 5")]

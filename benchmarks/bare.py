"""The plain loops of the driver: they read and write what the library does, and nothing else.

No queue, no SQLAlchemy, no objects, no JSON, no guard against others in the statements, no look for
what is due next. They are no limit of the server: a connection waits for every answer and every flush
before it goes on, and what the driver costs for each value counts in full.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import attrs

from benchmarks.children import Ready, together
from benchmarks.drivers import DRIVERS, Driver
from benchmarks.figures import VerificationError
from benchmarks.measuring import TYPE, data, in_threads, new_id, timed
from benchmarks.stores import Store

__all__ = ["Bare", "Loop", "bare_of"]


@attrs.frozen
class Loop:
    """How a bare loop works through a backlog.

    Attributes:
        batch: rows that are claimed, and deleted, at once; each in a commit of its own.
        is_overlapped: a second connection of the process deletes a batch while the first one claims
            the next.
        is_detail: the figures are.
    """

    batch: int
    is_overlapped: bool = False
    is_detail: bool = False

    def __str__(self) -> str:
        return f"batches of {self.batch:,}{', overlapped' if self.is_overlapped else ''}"


class Bare:
    """Workloads without the library.

    Args:
        driver: what issues the statements.
        config: the keys that lead to the store, in which the library has created its table.
    """

    def __init__(self, driver: type[Driver], config: Mapping[str, Any]) -> None:
        self._make = driver
        self._config = dict(config)
        self._driver = driver(config)

    def copy(self, table: str) -> None:
        """Create ``table`` as a copy of the library's, rows included."""
        with _cursor(self._driver) as (connection, cursor):
            self._driver.copy(cursor, table)
            connection.commit()

    def insert_seconds(self, table: str, events: int, *, connections: int, batch: int) -> float:
        """How long it takes to insert so many rows, ``batch`` a commit; the rows are ready."""
        rows = _rows(self._driver.instant(), events)
        batches = [rows[start : start + batch] for start in range(0, events, batch)]
        return self._divided(
            connections, batches, lambda cursor, some: self._driver.insert(cursor, table, some)
        )

    def delete_seconds(self, table: str, ids: Sequence[str], *, connections: int) -> float:
        """How long it takes to delete these rows, one a commit."""

        def delete(cursor: Any, event_id: str) -> None:
            if self._driver.delete(cursor, table, [event_id.encode()]) != 1:
                raise VerificationError(f"{event_id} was not there")

        return self._divided(connections, ids, delete)

    def run_seconds(self, table: str, events: int, *, processes: int, loop: Loop) -> float:
        """How long it takes to claim and delete all rows, in two commits per batch."""
        drain = partial(
            _drain_overlapped if loop.is_overlapped else _drain,
            make=self._make,
            config=self._config,
            table=table,
            batch=loop.batch,
        )
        seconds, deleted = together([drain] * processes)
        if sum(deleted) != events:
            raise VerificationError(f"the bare loop deleted {sum(deleted)} of {events} rows")
        return seconds

    def _divided(
        self, connections: int, items: Sequence[Any], work: Callable[[Any, Any], object]
    ) -> float:
        """The seconds of ``work(cursor, item)`` and a commit per item, on several connections."""
        with contextlib.ExitStack() as stack:
            opened = [stack.enter_context(_cursor(self._driver)) for _ in range(connections)]

            def share(index: int) -> None:
                connection, cursor = opened[index]
                for item in items[index::connections]:
                    work(cursor, item)
                    connection.commit()

            return timed(lambda: in_threads(connections, share))


def bare_of(store: Store, *, connections: int = 1) -> Bare | None:
    """The bare loops of this store; None if there are none, or none for so many connections."""
    driver = DRIVERS.get(store.name)
    if driver is None or (connections > 1 and not driver.writes_in_parallel):
        return None
    return Bare(driver, store.config)


def _drain(
    ready: Ready,
    *,
    make: type[Driver],
    config: Mapping[str, Any],
    table: str,
    batch: int,
) -> int:
    """Claim and delete until nothing is left that others have not locked."""
    driver, deleted = make(config), 0
    with _cursor(driver) as (connection, cursor):
        ready()
        while ids := driver.claim(cursor, table, batch):
            connection.commit()
            deleted += driver.delete(cursor, table, ids)
            connection.commit()
    return deleted


def _drain_overlapped(
    ready: Ready,
    *,
    make: type[Driver],
    config: Mapping[str, Any],
    table: str,
    batch: int,
) -> int:
    """The same on two connections: while one claims, the other deletes what was claimed before."""
    driver, deleted = make(config), 0
    with (
        _cursor(driver) as (claiming, claim_cursor),
        _cursor(driver) as (deleting, delete_cursor),
        ThreadPoolExecutor(1) as second,
    ):

        def delete(ids: Sequence[bytes]) -> int:
            count = driver.delete(delete_cursor, table, ids)
            deleting.commit()
            return count

        ready()
        previous: Future[int] = second.submit(int)
        while ids := driver.claim(claim_cursor, table, batch):
            claiming.commit()
            deleted += previous.result()
            previous = second.submit(delete, ids)
        claiming.commit()  # what it has locked in vain must not stop the last delete
        return deleted + previous.result()


@contextlib.contextmanager
def _cursor(driver: Driver) -> Iterator[tuple[Any, Any]]:
    with contextlib.closing(driver.connect()) as connection:
        yield connection, connection.cursor()


def _rows(due: Any, count: int) -> list[list[Any]]:
    """In the order that :meth:`Driver.insert` wants."""
    created = time.time_ns() // 1000
    return [
        [
            new_id(number).encode(),
            TYPE.encode(),
            due,
            due,
            created,
            json.dumps(data(number)).encode(),
            False,
        ]
        for number in range(count)
    ]

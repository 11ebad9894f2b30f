"""Whether it matters how many events wait: the same work on top of few and of many."""

from __future__ import annotations

import contextlib
import random
import statistics
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from benchmarks.figures import Figure, VerificationError
from benchmarks.measuring import TYPE, data, drafts, new_id, timed
from benchmarks.stores import Store
from futurama import CancelOutcome, Config, Queue
from futurama.backend import Settlement
from futurama.backends.sql.statements import DUE_INDEX
from futurama.payload import encode
from futurama.times import to_us
from tests.servers import MariaDB, PostgreSQL, PrivateServer

__all__ = ["SIZES", "scale"]

SIZES = (10_000, 1_000_000, 10_000_000)

_CLAIMED_AT_ONCE = 500
_CREATED_AT_ONCE = 1_000
_LOADED_AT_ONCE = 100_000

_LEASE = timedelta(seconds=60)

_SOONEST = timedelta(days=1)
_SPREAD = timedelta(days=30)
"""What only waits is due at random within this time from :data:`_SOONEST` on, so that the index by
time is as deep and as loosely filled as one that grew."""


def scale(
    store: Store, *, sizes: Sequence[int] = SIZES, events: int = 20_000, rounds: int = 5
) -> list[Figure]:
    """How fast events are claimed, settled and created while so many others wait.

    There is a table for each size, all on a server of its own whose memory holds them; of ``store``
    only the name counts. The sizes take turns, so that what else the machine does hits them alike.

    Args:
        store: on MySQL or PostgreSQL.
        sizes: how many events wait, in ascending order.
        events: how many are claimed, settled and created in each round.
        rounds: how many there are; the medians count.
    """
    kind = _KINDS[store.name]
    with kind.server() as server, contextlib.ExitStack() as stack:
        tables = [kind(server) for _ in sizes]
        for table, size in zip(tables, sizes, strict=True):
            table.fill(size)
        bytes_per_event = [size / sizes[-1] for size in tables[-1].sizes()]
        queues = [stack.enter_context(Queue(config=table.config)) for table in tables]
        for queue in queues:
            _claim_rate(queue, events)  # warms up
        claim_rates = _in_turns(queues, rounds, lambda queue: _claim_rate(queue, events))
        create_rates = _in_turns(queues, rounds, lambda queue: _create_rate(queue, events))
        for table, size in zip(tables, sizes, strict=True):
            table.verify_count(size)
    return [
        *_figures("claim + settle", sizes, claim_rates, goal=">= 0.9"),
        *_figures("create_many", sizes, create_rates),
        Figure(f"table, {sizes[-1]:,} waiting", bytes_per_event[0], "B/event"),
        Figure(f"index by time, {sizes[-1]:,} waiting", bytes_per_event[1], "B/event"),
    ]


def _figures(
    what: str, sizes: Sequence[int], rates: Sequence[Sequence[float]], *, goal: str = ""
) -> list[Figure]:
    """The median rate for each size, and the median of what the rounds say about the ratio."""
    ratios = [most / fewest for fewest, most in zip(rates[0], rates[-1], strict=True)]
    return [
        *(
            Figure(f"{what}, {size:,} waiting", statistics.median(of_size), "events/s")
            for size, of_size in zip(sizes, rates, strict=True)
        ),
        Figure(
            f"{what}, {sizes[-1]:,} / {sizes[0]:,} waiting", statistics.median(ratios), "", goal
        ),
    ]


def _in_turns(
    queues: Sequence[Queue], rounds: int, measure: Callable[[Queue], float]
) -> list[tuple[float, ...]]:
    """What was measured with each queue."""
    return list(zip(*([measure(queue) for queue in queues] for _ in range(rounds)), strict=True))


def _claim_rate(queue: Queue, events: int) -> float:
    """Create events that are due, claim and settle them; how many of these a second."""
    ids: list[str] = []
    for _ in range(0, events, _CREATED_AT_ONCE):
        ids += queue.create_many(drafts(_CREATED_AT_ONCE, lambda _: timedelta()))
    claimed: list[str] = []
    seconds = timed(lambda: _claim_all(queue, claimed))
    if sorted(claimed) != sorted(ids):
        raise VerificationError(f"{len(set(claimed))} of {len(ids)} events, {len(claimed)} claims")
    return len(claimed) / seconds


def _claim_all(queue: Queue, claimed: list[str]) -> None:
    while True:
        now = queue.now()
        claims = queue.backend.claim(
            owner="bench",
            now=now,
            due_before=now,
            lease_until=now + _LEASE,
            limit=_CLAIMED_AT_ONCE,
        ).claims
        if not claims:
            return
        settled = queue.backend.settle([Settlement.done(claim) for claim in claims], now=now)
        if not all(settled):
            raise VerificationError("a claim was lost")
        claimed += (claim.id for claim in claims)


def _create_rate(queue: Queue, events: int) -> float:
    """Create events among those that wait, and cancel them; how many are created a second."""
    earliest = queue.now() + _SOONEST
    batches = [
        drafts(_CREATED_AT_ONCE, lambda _: earliest + random.random() * _SPREAD)
        for _ in range(0, events, _CREATED_AT_ONCE)
    ]
    created: list[list[str]] = []
    seconds = timed(lambda: created.extend(map(queue.create_many, batches)))
    for ids in created:
        if set(queue.backend.cancel(ids)) != {CancelOutcome.CANCELLED}:
            raise VerificationError("an event that was created could not be cancelled")
    return sum(map(len, created)) / seconds


class _Table(ABC):
    """The library's table in a new database.

    Args:
        server: holds it.

    Attributes:
        config: leads to it.
    """

    _backend: ClassVar[str]

    def __init__(self, server: Any) -> None:
        self._server = server
        self._database = server.create_database()
        self.config = Config(backend=self._backend, **server.settings(self._database))
        with Queue(config=self.config):
            pass  # creates the table

    @staticmethod
    @abstractmethod
    def server() -> PrivateServer:
        """A server, not yet started, whose memory holds 10,000,000 events."""

    def fill(self, size: int) -> None:
        """Add so many events that wait, and let the server come to rest."""
        created = datetime.now(UTC)
        for start in range(0, size, _LOADED_AT_ONCE):
            numbers = range(start, min(start + _LOADED_AT_ONCE, size))
            self._load(_rows(created, numbers))
        self._rest()

    def verify_count(self, size: int) -> None:
        """Raise unless there are so many events."""
        ((count,),) = self._execute("SELECT COUNT(*) FROM events")
        if count != size:
            raise VerificationError(f"{count} events are left, expected {size}")

    @abstractmethod
    def sizes(self) -> tuple[int, int]:
        """Of the table and of its index by time, in bytes."""

    @abstractmethod
    def _load(self, rows: str) -> None:
        """Add what :func:`_rows` makes."""

    @abstractmethod
    def _rest(self) -> None:
        """Have everything written, and the statistics renewed."""

    def _execute(self, sql: str) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = self._server.execute(sql, database=self._database)
        return rows


_COLUMNS = "id, trigger_type, trigger_time, due, created, data"


def _rows(created: datetime, numbers: range) -> str:
    """Rows of :data:`_COLUMNS` as the library makes them, as both servers read them from files."""
    created_us = to_us(created)
    payload = encode(data(0)).decode()
    lines = []
    for number in numbers:
        due = created + _SOONEST + random.random() * _SPREAD
        time = due.replace(tzinfo=None).isoformat(" ", "microseconds")
        lines.append(f"{new_id(number)}\t{TYPE}\t{time}\t{time}\t{created_us}\t{payload}\n")
    return "".join(lines)


class _MySQLTable(_Table):
    _backend = "mysql"

    @staticmethod
    def server() -> MariaDB:
        return MariaDB("--innodb-buffer-pool-size=4G", "--innodb-log-file-size=1G")

    def sizes(self) -> tuple[int, int]:
        rows = self._execute(
            "SELECT index_name, stat_value * @@innodb_page_size FROM mysql.innodb_index_stats "
            "WHERE database_name = DATABASE() AND table_name = 'events' AND stat_name = 'size'"
        )
        sizes = {name: int(size) for name, size in rows}
        return sizes["PRIMARY"], sizes[DUE_INDEX]

    def _load(self, rows: str) -> None:
        connection = self._server.connect(self._database, local_infile=True)
        with connection, tempfile.NamedTemporaryFile("w", dir=self._server.directory) as file:
            file.write(rows)
            file.flush()
            connection.cursor().execute(
                f"LOAD DATA LOCAL INFILE '{file.name}' INTO TABLE events ({_COLUMNS})"
            )

    def _rest(self) -> None:
        self._execute("FLUSH TABLES events FOR EXPORT")  # returns when every page is on the disk
        self._execute("ANALYZE TABLE events")


class _PostgreSQLTable(_Table):
    _backend = "postgresql"

    @staticmethod
    def server() -> PostgreSQL:
        return PostgreSQL(shared_buffers="4GB", max_wal_size="8GB", timezone="UTC")

    def sizes(self) -> tuple[int, int]:
        ((rows_bytes, index_bytes),) = self._execute(
            f"SELECT pg_table_size('events'), pg_relation_size('events_{DUE_INDEX}')"
        )
        return int(rows_bytes), int(index_bytes)

    def _load(self, rows: str) -> None:
        with (
            self._server.connect(self._database) as connection,
            connection.cursor().copy(f"COPY events ({_COLUMNS}) FROM STDIN") as copy,
        ):
            copy.write(rows)

    def _rest(self) -> None:
        self._execute("VACUUM (ANALYZE) events")
        self._execute("CHECKPOINT")


_KINDS: dict[str, type[_Table]] = {"mysql": _MySQLTable, "postgresql": _PostgreSQLTable}

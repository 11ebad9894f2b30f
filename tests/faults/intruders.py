"""Other clients of the same database server, who are in the way."""

from __future__ import annotations

import contextlib
import random
import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any, Self

import pymysql

from futurama.backends.sql.statements import DUE_INDEX
from tests.servers import MariaDB

__all__ = [
    "DEADLOCK",
    "DISK_FULL",
    "LOCK_WAIT",
    "TOO_MANY_CONNECTIONS",
    "TOO_MANY_USER_CONNECTIONS",
    "ConnectionHog",
    "DiskFiller",
    "LockStorm",
    "altered_table",
    "locked_table",
]

TOO_MANY_CONNECTIONS = 1040
DISK_FULL = 1114
TOO_MANY_USER_CONNECTIONS = 1203
LOCK_WAIT = 1205
DEADLOCK = 1213


class LockStorm:
    """Transactions that lock rows and index ranges of the table of events; a context manager.

    Either rows one after the other in random order, which makes deadlocks with whoever locks them in
    another; or a range of the index on ``due`` with its gaps, into which nobody can insert then. They
    hold what they have got for a while, and roll back. They have changed much elsewhere before: so
    the server resolves deadlocks at the cost of the others.

    Args:
        server: where the events are.
        database: in which database.
        hold_seconds: the longest time.
        seed: of what is locked.

    Attributes:
        errors: how often the server refused each of these transactions, by the number of the error.
    """

    _CLIENTS = 4
    _ROWS = 20
    _CHOICE = 100
    """The rows are chosen from so many that are due first: those that are in use."""

    def __init__(self, server: MariaDB, database: str, *, hold_seconds: float, seed: int) -> None:
        server.execute("CREATE TABLE ballast (number INT)", database=database)
        self._connect = partial(server.connect, database, autocommit=False)
        self._hold_seconds = hold_seconds
        self.errors: Counter[int] = Counter()
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._work, args=[random.Random(f"{seed} {number}")])
            for number in range(self._CLIENTS)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _work(self, chance: random.Random) -> None:
        with contextlib.closing(self._connect()) as connection, connection.cursor() as cursor:
            cursor.execute("SET SESSION innodb_lock_wait_timeout = 1")
            cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            while not self._stopping.is_set():
                lock = self._lock_rows if chance.random() < 0.75 else self._lock_range
                try:
                    cursor.execute("INSERT INTO ballast SELECT seq FROM seq_1_to_2000")
                    lock(cursor, chance)
                except pymysql.err.OperationalError as error:
                    self.errors[error.args[0]] += 1
                connection.rollback()

    def _lock_rows(self, cursor: Any, chance: random.Random) -> None:
        cursor.execute(
            "SELECT id FROM events WHERE due IS NOT NULL ORDER BY due LIMIT %s", (self._CHOICE,)
        )
        found = list(cursor.fetchall())
        for row in chance.sample(found, min(self._ROWS, len(found))):
            cursor.execute("SELECT due FROM events WHERE id = %s FOR UPDATE", row)
            self._stopping.wait(chance.uniform(0, self._hold_seconds / self._ROWS))

    def _lock_range(self, cursor: Any, chance: random.Random) -> None:
        ahead_us = chance.randrange(2_000_000)
        cursor.execute(
            f"SELECT COUNT(*) FROM events FORCE INDEX ({DUE_INDEX}) WHERE due "
            "BETWEEN UTC_TIMESTAMP(6) + INTERVAL %s MICROSECOND "
            "AND UTC_TIMESTAMP(6) + INTERVAL %s MICROSECOND FOR UPDATE",
            (ahead_us, ahead_us + 500_000),
        )
        self._stopping.wait(chance.uniform(0, self._hold_seconds))


@contextlib.contextmanager
def locked_table(server: MariaDB, database: str) -> Iterator[None]:
    """LOCK TABLES: nobody else even reads."""
    with (
        contextlib.closing(server.connect(database)) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("LOCK TABLES events WRITE")
        yield
        cursor.execute("UNLOCK TABLES")


@contextlib.contextmanager
def altered_table(server: MariaDB, database: str) -> Iterator[None]:
    """An ALTER TABLE waits for a reader who does not end, and everybody else waits for the ALTER.

    Afterwards the reader has ended and the table is altered.
    """
    altering = threading.Thread(
        target=lambda: server.execute("ALTER TABLE events COMMENT = 'altered'", database=database)
    )
    with (
        contextlib.closing(server.connect(database, autocommit=False)) as reader,
        reader.cursor() as cursor,
    ):
        cursor.execute("SELECT COUNT(*) FROM events")
        altering.start()
        yield
        reader.rollback()
    altering.join()


class ConnectionHog:
    """Takes every connection as soon as the server has it; a context manager that gives them back.

    Args:
        server: whose.
        username: as whom; without a password.

    Attributes:
        errors: how often the server refused another one, by the number of the error.
    """

    def __init__(self, server: MariaDB, username: str) -> None:
        self._connect = partial(pymysql.connect, host=server.host, port=server.port, user=username)
        self._taken: list[pymysql.connections.Connection[Any]] = []
        self.errors: Counter[int] = Counter()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stopping.set()
        self._thread.join()
        for connection in self._taken:
            connection.close()

    def _work(self) -> None:
        while not self._stopping.is_set():
            try:
                self._taken.append(self._connect())
            except pymysql.err.OperationalError as error:
                self.errors[error.args[0]] += 1
                self._stopping.wait(0.001)


class DiskFiller:
    """A transaction that inserts into a table of its own until the disk is full, and is rolled back.

    Rolled back, because a server whose tablespace is full refuses even to drop a table.

    Args:
        server: with a tablespace that cannot grow.
        database: in which the table is made.
    """

    _ROW_BYTES = 7000
    _PORTIONS = (200, 1)
    """Rows in one statement: the last ones go one by one, until there is no room for any."""

    def __init__(self, server: MariaDB, database: str) -> None:
        server.execute(
            f"CREATE TABLE filler (rubbish VARBINARY({self._ROW_BYTES}))", database=database
        )
        self._connection = server.connect(database, autocommit=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._connection.rollback()
        self._connection.close()

    def fill(self) -> int:
        """Insert until that is refused; the number of the error."""
        errors = [self._fill(rows) for rows in self._PORTIONS]
        return errors[-1]

    def _fill(self, rows: int) -> int:
        with self._connection.cursor() as cursor:
            while True:
                try:
                    cursor.execute(
                        "INSERT INTO filler SELECT REPEAT('x', %s) FROM seq_1_to_%s",
                        (self._ROW_BYTES, rows),
                    )
                except pymysql.err.OperationalError as error:
                    code: int = error.args[0]
                    return code

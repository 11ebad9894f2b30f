"""What the library reads and writes, in the words of each plain driver, on a copy of its table."""

from __future__ import annotations

import os
import sqlite3
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import psycopg
import pymysql
from pymysql.constants import FIELD_TYPE
from pymysql.converters import conversions

from futurama.backends.sql.statements import NO_TOKEN

__all__ = ["DRIVERS", "Driver"]

_INSERTED = "id, trigger_type, trigger_time, due, created, data, lost"
_CLAIMED = "id, trigger_type, trigger_time, due, attempt, lost, created, data"
_OWNER = 1
_LEASE = timedelta(seconds=31)


class Driver(ABC):
    """One store's driver and statements; cursors and connections are those of DB-API.

    Args:
        config: the keys that lead to the store, in which the library has created its table.

    Attributes:
        writes_in_parallel: whether several connections can.
    """

    writes_in_parallel: ClassVar[bool] = True

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = dict(config)

    @abstractmethod
    def connect(self) -> Any:
        """A connection that commits when told to."""

    @abstractmethod
    def copy(self, cursor: Any, table: str) -> None:
        """Create ``table`` as a copy of the library's, rows included."""

    @abstractmethod
    def insert(self, cursor: Any, table: str, rows: Sequence[Sequence[Any]]) -> None:
        """Insert rows of (id, type, trigger time, due, created, data, lost)."""

    @abstractmethod
    def claim(self, cursor: Any, table: str, limit: int) -> Sequence[bytes]:
        """Lock the first rows that are due, mark them as claimed, and return their ids."""

    @abstractmethod
    def delete(self, cursor: Any, table: str, ids: Sequence[bytes]) -> int:
        """Delete these rows; return how many there were."""

    def instant(self) -> Any:
        """Now, as the driver takes it."""
        return datetime.now(UTC)


class MySQL(Driver):
    """PyMySQL; times stay the text that the server sends."""

    def connect(self) -> Any:
        """See :class:`Driver`; READ COMMITTED, as the library has it."""
        return pymysql.connect(**self._arguments(conversions))

    def _arguments(self, usual: Mapping[Any, Any]) -> dict[str, Any]:
        """What both drivers take.

        Args:
            usual: the driver's own conversions, by type.
        """
        config = self._config
        return {
            "host": config["host"],
            "port": config["port"],
            "user": config["username"],
            "password": config["password"],
            "database": config["db_name"],
            "conv": {k: v for k, v in usual.items() if k != FIELD_TYPE.DATETIME},
            "init_command": "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
        }

    def copy(self, cursor: Any, table: str) -> None:
        """See :class:`Driver`."""
        cursor.execute(f"CREATE TABLE {table} LIKE events")
        cursor.execute(f"INSERT INTO {table} SELECT * FROM events")

    def insert(self, cursor: Any, table: str, rows: Sequence[Sequence[Any]]) -> None:
        """See :class:`Driver`."""
        marks = "%s, %s, %s, %s, %s, %s, %s"
        cursor.executemany(f"INSERT INTO {table} ({_INSERTED}) VALUES ({marks})", rows)

    def claim(self, cursor: Any, table: str, limit: int) -> Sequence[bytes]:
        """See :class:`Driver`."""
        now = self.instant()
        cursor.execute(
            f"SELECT {_CLAIMED} FROM {table} FORCE INDEX (due_id) "
            "WHERE due <= %s AND token = %s ORDER BY due, id LIMIT %s FOR UPDATE SKIP LOCKED",
            (now, NO_TOKEN, limit),
        )
        ids = [row[0] for row in cursor.fetchall()]
        if ids:
            cursor.execute(
                f"UPDATE {table} SET token = %s, owner = %s, due = %s, attempt = attempt + 1 "
                "WHERE id IN %s",
                (os.urandom(16), _OWNER, now + _LEASE, sorted(ids)),
            )
        return ids

    def delete(self, cursor: Any, table: str, ids: Sequence[bytes]) -> int:
        """See :class:`Driver`."""
        return int(cursor.execute(f"DELETE FROM {table} WHERE id IN %s", (sorted(ids),)))

    def instant(self) -> datetime:
        """See :class:`Driver`; the column knows no time zone."""
        return datetime.now(UTC).replace(tzinfo=None)


class MySQLClient(MySQL):
    """mysqlclient, with the same statements; times stay the bytes that the server sends."""

    def connect(self) -> Any:
        """See :class:`Driver`; READ COMMITTED, as the library has it."""
        import MySQLdb  # noqa: PLC0415 -- has to be built, and only this store needs it
        from MySQLdb.converters import conversions as usual  # noqa: PLC0415 -- likewise

        return MySQLdb.connect(**self._arguments(usual), charset="utf8mb4", binary_prefix=True)


class PostgreSQL(Driver):
    """psycopg 3; many rows travel as arrays."""

    def connect(self) -> Any:
        """See :class:`Driver`."""
        config = self._config
        return psycopg.connect(
            host=config["host"],
            port=config["port"],
            user=config["username"],
            password=config["password"],
            dbname=config["db_name"],
        )

    def copy(self, cursor: Any, table: str) -> None:
        """See :class:`Driver`."""
        cursor.execute(f"CREATE TABLE {table} (LIKE events INCLUDING ALL)")
        cursor.execute(f"INSERT INTO {table} SELECT * FROM events")
        cursor.execute(f"ANALYZE {table}")

    def insert(self, cursor: Any, table: str, rows: Sequence[Sequence[Any]]) -> None:
        """See :class:`Driver`."""
        arrays = (
            "%b::bytea[], %b::bytea[], %s::timestamptz[], %s::timestamptz[], %b::bigint[], "
            "%b::bytea[], %b::boolean[]"
        )
        cursor.execute(
            f"INSERT INTO {table} ({_INSERTED}) SELECT * FROM unnest({arrays})",
            [list(column) for column in zip(*rows, strict=True)],
        )

    def claim(self, cursor: Any, table: str, limit: int) -> Sequence[bytes]:
        """See :class:`Driver`."""
        now = self.instant()
        cursor.execute(
            f"SELECT {_CLAIMED} FROM {table} WHERE due <= %s AND token = %b "
            "ORDER BY due, id LIMIT %s FOR UPDATE SKIP LOCKED",
            (now, NO_TOKEN, limit),
            binary=True,
        )
        ids = [row[0] for row in cursor.fetchall()]
        if ids:
            cursor.execute(
                f"UPDATE {table} SET token = %s, owner = %s, due = %s, attempt = attempt + 1 "
                "WHERE id = ANY(%b)",
                (os.urandom(16), _OWNER, now + _LEASE, sorted(ids)),
            )
        return ids

    def delete(self, cursor: Any, table: str, ids: Sequence[bytes]) -> int:
        """See :class:`Driver`."""
        return int(
            cursor.execute(f"DELETE FROM {table} WHERE id = ANY(%b)", (sorted(ids),)).rowcount
        )


class SQLite(Driver):
    """Python's own driver; writers take turns, so one connection is the limit."""

    writes_in_parallel = False

    def connect(self) -> Any:
        """See :class:`Driver`; flushes at every commit, as the library does."""
        connection = sqlite3.connect(self._config["path"], check_same_thread=False)
        connection.execute("PRAGMA synchronous = FULL")
        return connection

    def copy(self, cursor: Any, table: str) -> None:
        """See :class:`Driver`."""
        cursor.execute("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = 'events'")
        ((ddl,),) = cursor.fetchall()
        cursor.execute(ddl.replace('"events"', table))
        cursor.execute(f"INSERT INTO {table} SELECT * FROM events")
        cursor.execute(f"CREATE INDEX {table}_due ON {table} (due, id)")

    def insert(self, cursor: Any, table: str, rows: Sequence[Sequence[Any]]) -> None:
        """See :class:`Driver`."""
        cursor.executemany(f"INSERT INTO {table} ({_INSERTED}) VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def claim(self, cursor: Any, table: str, limit: int) -> Sequence[bytes]:
        """See :class:`Driver`."""
        now = self.instant()
        cursor.execute(
            f"SELECT {_CLAIMED} FROM {table} WHERE due <= ? AND token = ? ORDER BY due, id LIMIT ?",
            (now, NO_TOKEN, limit),
        )
        ids = [row[0] for row in cursor.fetchall()]
        if ids:
            lease_until = now + _LEASE // timedelta(microseconds=1)
            cursor.execute(
                f"UPDATE {table} SET token = ?, owner = ?, due = ?, attempt = attempt + 1 "
                f"WHERE id IN ({_marks(ids)})",
                (os.urandom(16), _OWNER, lease_until, *sorted(ids)),
            )
        return ids

    def delete(self, cursor: Any, table: str, ids: Sequence[bytes]) -> int:
        """See :class:`Driver`."""
        cursor.execute(f"DELETE FROM {table} WHERE id IN ({_marks(ids)})", sorted(ids))
        return int(cursor.rowcount)

    def instant(self) -> int:
        """See :class:`Driver`; microseconds since 1970."""
        return time.time_ns() // 1000


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))


DRIVERS: Mapping[str, type[Driver]] = {
    "mysql": MySQL,
    "mysql-mysqldb": MySQLClient,
    "postgresql": PostgreSQL,
    "sqlite": SQLite,
}
"""By the name of the store."""

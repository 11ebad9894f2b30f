"""Events in a file of this machine: durable, shared by the processes on it, without a server.

``"backend": "sqlite"``. Needs SQLAlchemy: ``pip install "futurama[sqlite]"``.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import time
from collections.abc import Iterable, Sequence, Sized
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, Self

import attrs
import sqlalchemy as sa
from sqlalchemy import event, exc

from futurama.backend import Finding, Verdict
from futurama.backends.sql import Dialect, SQLBackend
from futurama.backends.sql.errors import SQLITE_FAULTS, Fault, driver_error, translate
from futurama.backends.sql.foreign import nearest_instant, nearest_text
from futurama.backends.sql.statements import (
    COLUMNS,
    DUE_INDEX,
    NO_TOKEN,
    NOBODY,
    OWNERS_TABLE,
    SCHEMA_TABLE,
)
from futurama.errors import BackendSetupError, ConfigError
from futurama.settings import key
from futurama.times import from_us, to_us

__all__ = ["SQLiteBackend", "SQLiteDialect", "SQLiteSettings"]

_SYNCHRONOUS = ("FULL", "EXTRA", "NORMAL")

_MAX_DATA_BYTES = 512 * 1024 * 1024
"""Half of what SQLite stores in one row unless compiled otherwise (SQLITE_MAX_LENGTH)."""

_MAX_VALUES = 32_000 if sqlite3.sqlite_version_info >= (3, 32) else 900
"""In one statement; with its other parameters below SQLite's limit: 32,766, and before 3.32 999."""

_MAX_ROWS = 1_000
"""Keys or rows in one statement, if that many values may be: more would save nothing, and the driver
keeps its last 128 statements, each of which is as large as its list is long."""

_FORMER_TABLE = "futurama_former"
"""Only within the transaction of an upgrade."""

_READERS = 4
_LITTLE_SPACE_BYTES = 100 * 1024 * 1024
_POLL_SECONDS = 0.01


@attrs.frozen
class SQLiteSettings:
    """The configuration keys of the SQLite backend."""

    path: str = key("futurama.db", "the file; created at the first start if that is allowed")
    table_name: str = key("events", "the table of events; queues with different tables are apart")
    busy_timeout_sec: float = key(
        10, "how long a call may wait for other writers", unit="s", minimum=0
    )
    synchronous: str = key(
        "FULL",
        "FULL, or EXTRA, which is the same here: what was acknowledged survives a power failure; "
        "NORMAL: it survives the death of processes only, and writing is faster",
        choices=_SYNCHRONOUS,
    )
    create_schema: bool = key(
        default=True,
        doc="create or upgrade file and table at the start; false: `futurama migrate` does",
    )
    max_data_bytes: int = key(
        1024 * 1024, "longest data of one event, encoded as JSON", unit="bytes", minimum=1
    )


class SQLiteBackend(SQLBackend):
    """Events in a table of an SQLite file.

    The clock is that of this machine. Writers, in whatever process, take turns; readers never wait.

    Args:
        settings: see :class:`SQLiteSettings`.

    Raises:
        ConfigError: a key has a value that can never work.
    """

    Settings: ClassVar[type[SQLiteSettings]] = SQLiteSettings

    def __init__(self, settings: SQLiteSettings | None = None) -> None:
        settings = settings or SQLiteSettings()
        _check(settings)
        super().__init__(SQLiteDialect(settings), settings)
        self._settings = settings

    @classmethod
    def from_settings(cls, settings: SQLiteSettings) -> Self:
        """A backend that is not opened yet."""
        return cls(settings)

    def diagnose(self) -> Sequence[Finding]:
        """See :meth:`futurama.backend.Diagnosable.diagnose`; works whether or not it is open."""
        folder = Path(self._dialect.place).parent
        return [
            Finding("SQLite version", sqlite3.sqlite_version),
            self._diagnose_journal(),
            _synchronous(self._settings.synchronous),
            _writable(folder),
            _space(folder),
        ]

    def _diagnose_journal(self) -> Finding:
        if not Path(self._dialect.place).exists():  # connecting would create it
            return Finding("file", "does not exist yet; the first start creates it")
        with self._connected():
            return _journal(
                self._transactions.read(
                    lambda connection: str(
                        connection.exec_driver_sql("PRAGMA journal_mode").scalar_one()
                    )
                )
            )


class SQLiteDialect(Dialect):
    """SQLite through Python's own driver; one connection writes, a few read."""

    name = "sqlite"
    resolution = timedelta(microseconds=1)
    max_in_list = min(_MAX_ROWS, _MAX_VALUES)
    max_data_bytes = _MAX_DATA_BYTES

    def __init__(self, settings: SQLiteSettings) -> None:
        self._settings = settings
        # Absolute, so that a later chdir does not lead the next connection to another file.
        self.place = os.path.abspath(settings.path)

    def make_engines(self) -> tuple[sa.Engine, sa.Engine]:
        """The pool of one writing connection is the lock that this process's threads queue at.

        SQLite's own waiting is polling, and knows no order.
        """
        writer = self._engine(1, pragmas=[f"synchronous = {self._settings.synchronous}"])
        event.listen(writer, "begin", _begin)
        reader = self._engine(_READERS, pragmas=["query_only = ON"])
        for engine in (writer, reader):
            event.listen(engine, "before_cursor_execute", _expand_keys, retval=True)
        return writer, reader

    def _engine(self, size: int, *, pragmas: Sequence[str]) -> sa.Engine:
        return sa.create_engine(
            "sqlite://",
            creator=lambda: self._connect(pragmas),
            poolclass=sa.QueuePool,
            pool_size=size,
            max_overflow=0,
            pool_timeout=self._settings.busy_timeout_sec,
            pool_reset_on_return=None,  # a Connection closed inside a transaction rolls it back
            hide_parameters=True,
        )

    def _connect(self, pragmas: Sequence[str]) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.place,
            timeout=self._settings.busy_timeout_sec,
            isolation_level=None,  # the driver must not begin transactions: see _begin
            check_same_thread=False,
        )
        try:
            connection.text_factory = nearest_text  # else text that is not UTF-8 fails the SELECT
            for pragma in pragmas:
                connection.execute(f"PRAGMA {pragma}")
        except BaseException:
            connection.close()
            raise
        return connection

    def fault(self, error: BaseException) -> tuple[Fault, str]:
        """By extended result code, else by primary code."""
        if isinstance(error, exc.TimeoutError):
            return Fault.UNAVAILABLE, "other threads kept writing for busy_timeout_sec"
        error = driver_error(error)
        code = getattr(error, "sqlite_errorcode", None)
        if isinstance(code, int):
            known = SQLITE_FAULTS.get(code) or SQLITE_FAULTS.get(code & 0xFF)
            if known is not None:
                return known
        text = str(error)
        if text.startswith("no such table"):
            return Fault.MISSING, "the table does not exist; run `futurama migrate`"
        if text.startswith("no such column"):
            return Fault.SETUP, (
                "a table of this name has another layout; choose another table_name"
            )
        return Fault.UNAVAILABLE, "SQLite failed"

    def encode_time(self, instant: datetime) -> int:
        """Microseconds since 1970."""
        return to_us(instant)

    def decode_time(self, value: int) -> datetime:
        """From microseconds since 1970."""
        return nearest_instant(value)

    def exact_time(self, value: int) -> datetime:
        """See :class:`Dialect`."""
        return from_us(value)

    def now(self, connection: sa.Connection) -> datetime:
        """The clock of this machine, on which all users of the file run."""
        return datetime.now(UTC)

    def ddl(self, table_name: str) -> Sequence[str]:
        """Times are whole microseconds since 1970; names and data are bytes."""
        return (
            f"""CREATE TABLE IF NOT EXISTS {SCHEMA_TABLE} (
                table_name TEXT NOT NULL PRIMARY KEY,
                version INTEGER NOT NULL
            )""",
            f"""CREATE TABLE IF NOT EXISTS {OWNERS_TABLE} (
                id INTEGER PRIMARY KEY AUTOINCREMENT,
                name BLOB NOT NULL UNIQUE
            )""",
            f"""CREATE TABLE IF NOT EXISTS "{table_name}" (
                id BLOB NOT NULL PRIMARY KEY,
                trigger_type BLOB NOT NULL,
                trigger_time INTEGER NOT NULL,
                due INTEGER NULL,
                attempt INTEGER NOT NULL DEFAULT 0,
                lost INTEGER NOT NULL DEFAULT 0,
                token BLOB NOT NULL DEFAULT {self.literal(NO_TOKEN)},
                owner INTEGER NOT NULL DEFAULT {NOBODY},
                created INTEGER NOT NULL,
                data BLOB NOT NULL,
                died INTEGER NULL,
                reason BLOB NULL
            )""",
            f"""CREATE INDEX IF NOT EXISTS "{table_name}_{DUE_INDEX}"
                ON "{table_name}" (due, id)""",
        )

    def upgrades(self, table_name: str) -> Sequence[Sequence[str]]:
        """See :class:`Dialect`; SQLite changes no columns, so each makes a new table."""
        columns = ", ".join(COLUMNS)
        former = columns.replace("token", f"coalesce(token, {self.literal(NO_TOKEN)})")
        former = former.replace("owner", str(NOBODY))
        return (
            (
                f'DROP INDEX IF EXISTS "{table_name}_{DUE_INDEX}"',
                f'ALTER TABLE "{table_name}" RENAME TO {_FORMER_TABLE}',
                *self.ddl(table_name),
                f'INSERT INTO "{table_name}" ({columns}) SELECT {former} FROM {_FORMER_TABLE}',  # noqa: S608 -- names only, checked
                f"DROP TABLE {_FORMER_TABLE}",
            ),
        )

    def prepare(self) -> Sequence[str]:
        """Create the file if it is missing, and make it keep a write-ahead log."""
        is_new = not os.path.exists(self.place)
        try:
            with contextlib.closing(self._connect([])) as connection:
                self._keep_write_ahead_log(connection)
        except sqlite3.Error as error:
            fault, advice = self.fault(error)
            raise translate(error, fault, advice, backend=self.name, place=self.place) from error
        return [f"Created the file {self.place}."] if is_new else []

    def _keep_write_ahead_log(self, connection: sqlite3.Connection) -> None:
        deadline = time.monotonic() + self._settings.busy_timeout_sec
        while connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
            try:
                connection.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                # SQLite does not wait here by itself; another process may be doing the same.
                is_busy = self.fault(error) == SQLITE_FAULTS[sqlite3.SQLITE_BUSY]
                if not is_busy or time.monotonic() > deadline:
                    raise
                time.sleep(_POLL_SECONDS)
            else:
                return  # the file system cannot do it if it did not work: see check()

    def check(self, connection: sa.Connection, table_name: str) -> None:
        """Refuse a file without a write-ahead log: readers and writers would block each other."""
        mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar_one()
        if mode != "wal":
            raise BackendSetupError(
                f"{self.place}: the journal mode is {mode!r} and must be 'wal'; run `futurama "
                "migrate`, or choose a path on a local file system",
                backend=self.name,
            )

    def is_in(self, column: sa.ColumnElement[Any], parameter: str) -> sa.ColumnElement[bool]:
        """One mark, for which :func:`_expand_keys` puts as many as there are keys."""
        return column.bool_op("IN")(sa.bindparam(parameter))

    def in_lists(self, keys: Iterable[Any]) -> Iterable[Sized]:
        """In any order, as there is but one writer: somebody may have stored text as a key."""
        distinct = list(dict.fromkeys(keys))
        for start in range(0, len(distinct), self.max_in_list):
            yield distinct[start : start + self.max_in_list]

    def insert(
        self, connection: sa.Connection, table_name: str, columns: Sequence[str], rows: list[Any]
    ) -> None:
        """Statements of many rows, which take two thirds of the time of as many executions."""
        names, marks = ", ".join(columns), f"({', '.join('?' * len(columns))})"
        size = min(_MAX_ROWS, _MAX_VALUES // len(columns))
        for start in range(0, len(rows), size):
            some = rows[start : start + size]
            values = ", ".join([marks] * len(some))
            statement = f'INSERT INTO "{table_name}" ({names}) VALUES {values}'  # noqa: S608 -- names only, checked
            connection.exec_driver_sql(statement, tuple(chain.from_iterable(some)))

    def update(
        self, connection: sa.Connection, table_name: str, columns: Sequence[str], rows: list[Any]
    ) -> None:
        """One prepared statement for all rows."""
        assignments = ", ".join(f"{column} = ?" for column in columns)
        statement = f'UPDATE "{table_name}" SET {assignments} WHERE id = ?'  # noqa: S608 -- names only, checked
        connection.exec_driver_sql(statement, rows)


def _begin(connection: sa.Connection) -> None:
    """Take the write lock at once: a transaction that reads first can fail when it writes later."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _expand_keys(
    _connection: object, _cursor: object, statement: str, parameters: Any, *_: object
) -> tuple[str, Any]:
    """A mark for each key of the list behind IN, at a tenth of what SQLAlchemy's expansion costs."""
    if " IN ?" not in statement:
        return statement, parameters
    at, keys = next(item for item in enumerate(parameters) if isinstance(item[1], list))
    marks = ", ".join("?" * len(keys))
    expanded = (*parameters[:at], *keys, *parameters[at + 1 :])
    return statement.replace(" IN ?", f" IN ({marks})"), expanded


def _check(settings: SQLiteSettings) -> None:
    if settings.path in {"", ":memory:"} or "\0" in settings.path:
        raise ConfigError(
            f"configuration key 'path' must name a file, got {settings.path!r}; the backend for "
            'events in memory is "memory"',
            key="path",
        )
    if settings.synchronous not in _SYNCHRONOUS:
        raise ConfigError(
            f"configuration key 'synchronous' must be one of {', '.join(_SYNCHRONOUS)}, "
            f"got {settings.synchronous!r}",
            key="synchronous",
        )


def _journal(mode: str) -> Finding:
    if mode == "wal":
        return Finding("journal mode", mode)
    return Finding("journal mode", mode, Verdict.PROBLEM, "run `futurama migrate`")


def _synchronous(value: str) -> Finding:
    if value in {"FULL", "EXTRA"}:
        return Finding("synchronous", value)
    return Finding(
        "synchronous",
        value,
        Verdict.ADVICE,
        "the last acknowledged events are lost in a power failure; set the key to FULL",
    )


def _writable(folder: Path) -> Finding:
    if os.access(folder, os.W_OK | os.X_OK):
        return Finding("folder", f"{folder}, writable")
    return Finding(
        "folder",
        f"{folder}, not writable",
        Verdict.PROBLEM,
        "SQLite keeps its log beside the file; let this user write to the folder",
    )


def _space(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    value = f"{free // 2**20} MiB free"
    if free > _LITTLE_SPACE_BYTES:
        return Finding("disk space", value)
    return Finding("disk space", value, Verdict.ADVICE, "make room: a full disk takes no events")

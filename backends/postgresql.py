"""Events in PostgreSQL: durable and shared.

``"backend": "postgresql"``. Needs SQLAlchemy and psycopg: ``pip install "futurama[postgresql]"``.
"""

from __future__ import annotations

import contextlib
import math
import select
import ssl as tls
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from traceback import clear_frames
from typing import Any, ClassVar, Self, TypeVar

import attrs
import psycopg
import sqlalchemy as sa
from psycopg import sql
from psycopg.abc import Buffer, PQGen
from psycopg.adapt import AdaptersMap, Transformer
from psycopg.pq import Format
from psycopg.types.array import ListBinaryDumper
from psycopg.types.datetime import TimestamptzBinaryLoader
from psycopg.waiting import Ready, Wait

from futurama.backend import Finding
from futurama.backends.sql import ServerDialect, ServerSettings, SQLBackend
from futurama.backends.sql.errors import (
    POSTGRESQL_FAULTS,
    POSTGRESQL_REFUSALS,
    POSTGRESQL_ROLLED_BACK,
    Fault,
    IdsTakenError,
    driver_error,
)
from futurama.backends.sql.foreign import ImpossibleTime, plain_time
from futurama.backends.sql.hosts import Address, addresses
from futurama.backends.sql.postgresql_diagnosis import diagnose
from futurama.backends.sql.rows import portions
from futurama.backends.sql.statements import DUE_INDEX, NO_TOKEN, NOBODY, OWNERS_TABLE, SCHEMA_TABLE
from futurama.errors import BackendSetupError
from futurama.settings import key
from futurama.times import EARLIEST, LATEST

__all__ = ["PostgreSQLBackend", "PostgreSQLDialect", "PostgreSQLSettings"]

T = TypeVar("T")

_MAX_DATA_BYTES = 256 * 1024 * 1024
"""A value, and a message, must stay below 1 GiB, and the server keeps several copies of either."""

_MAX_ROWS = 1_000
"""Keys or rows of one statement. They are arrays, so the server would take more at once; that would
save little, and hold up whoever waits for one of the rows."""

_MAX_UPDATED_ROWS = 200
"""Each key is looked for among all of them."""

_MAX_WRITTEN_BYTES = 16 * 1024 * 1024
"""Payload of one statement with many rows."""

_DEAD_INDEX = "dead"

_MAX_TABLE_NAME = 63 - len(f"_{DUE_INDEX}")
"""PostgreSQL cuts names to 63 bytes without a word, and the index is named after the table."""

_TYPES = {
    "id": "bytea",
    "trigger_type": "bytea",
    "trigger_time": "timestamptz",
    "due": "timestamptz",
    "attempt": "integer",
    "lost": "boolean",
    "token": "bytea",
    "owner": "integer",
    "created": "bigint",
    "data": "bytea",
    "died": "timestamptz",
    "reason": "bytea",
}

_STORAGE = {
    # Each event leaves two dead rows behind, most of them in the same corner of the index by time.
    # The default, a fifth of the table, would let claims wade through millions of them.
    "autovacuum_vacuum_scale_factor": "0.01",
    "autovacuum_vacuum_threshold": "1000",
    # Giving the end of a file back takes a lock that stops everybody, and soon it is needed again.
    "vacuum_truncate": "off",
}
"""Storage parameters of the table. No fillfactor: every update moves ``due``, which is indexed, so
none could be a heap-only one, however much room the page has."""

_MAINTENANCE_DATABASE = "postgres"
"""Where one connects to create another; every cluster is made with it."""

_SESSION = {
    "TimeZone": "UTC",
    "default_transaction_isolation": "read committed",
    "synchronous_commit": "on",
    "jit": "off",
}
"""What the backend relies on, whatever the server, the database and the role have as defaults."""

_KEYS_ONLY = {
    "enable_indexscan": "on",
    "enable_nestloop": "on",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}
"""In transactions, whose statements all look up rows by key or by time. Whatever the statistics say,
which are always behind, nothing reads all that there is, and rows are locked in the order of keys."""

_ADAPTERS = AdaptersMap(psycopg.adapters)
_ADAPTERS.register_dumper(list, ListBinaryDumper)
"""Lists travel in binary form, which takes a third of the time, for times and data a tenth."""

_EVENTS = {
    Wait.R: select.POLLIN,
    Wait.W: select.POLLOUT,
    Wait.RW: select.POLLIN | select.POLLOUT,
}

_IDLE_SECONDS = 30
_PROBE_SECONDS = 10
_PROBES = 3
"""TCP finds out within a minute that the other end of an idle connection is gone."""

_LEEWAY_SECONDS = 5
"""By which the server gives up later than the client. A COMMIT that waits for a standby and is ended
by the server counts as successful; the client must have called its outcome unknown before that."""


@attrs.frozen
class PostgreSQLSettings(ServerSettings):
    """The configuration keys of the PostgreSQL backend."""

    takes_folders: ClassVar[bool] = True

    host: str = key("127.0.0.1", "name or address of the server, or the folder of its socket")
    port: int = key(5432, "TCP port of the server", minimum=1, maximum=65_535)
    username: str = key("postgres", "who logs in")
    password: str = key("", "the password of that user", secret=True)
    db_name: str = key("futurama", "the database; created at the first start if that is allowed")
    connect_timeout_sec: float = key(
        10.0,
        "how long connecting to each address of the host may take, in whole seconds",
        unit="s",
        minimum=2,  # of libpq
        maximum=86_400,
    )


_CREATE_OWNERS = f"""CREATE TABLE IF NOT EXISTS {OWNERS_TABLE} (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name bytea NOT NULL UNIQUE
)"""


class PostgreSQLBackend(SQLBackend):
    """Events in a table of a PostgreSQL server.

    Args:
        settings: see :class:`PostgreSQLSettings`.

    Raises:
        ConfigError: a key has a value that can never work.
    """

    Settings: ClassVar[type[PostgreSQLSettings]] = PostgreSQLSettings
    _dialect: PostgreSQLDialect

    def __init__(self, settings: PostgreSQLSettings | None = None) -> None:
        settings = settings or PostgreSQLSettings()
        super().__init__(PostgreSQLDialect(settings), settings)
        self._settings = settings

    @classmethod
    def from_settings(cls, settings: PostgreSQLSettings) -> Self:
        """A backend that is not opened yet."""
        return cls(settings)

    def diagnose(self) -> Sequence[Finding]:
        """See :meth:`futurama.backend.Diagnosable.diagnose`; works whether or not it is open.

        Raises:
            BackendError: the server cannot be reached, or the table is missing.
        """
        with self._connected():
            findings = self._transactions.write(
                lambda connection: diagnose(
                    connection,
                    table_name=self._table_name,
                    max_open_connection=self._settings.max_open_connection,
                    server_now=self._dialect.now,
                )
            )
            return [*self._dialect.diagnose_hosts(), *findings]


class PostgreSQLDialect(ServerDialect):
    """PostgreSQL through psycopg 3."""

    name = "postgresql"
    url = "postgresql+psycopg://"
    engine_options: ClassVar[Mapping[str, Any]] = {"use_native_hstore": False}
    driver_error = psycopg.Error
    resolution = timedelta(microseconds=1)
    max_in_list = _MAX_ROWS
    max_table_name = _MAX_TABLE_NAME
    max_data_bytes = _MAX_DATA_BYTES
    _settings: PostgreSQLSettings

    def __init__(self, settings: PostgreSQLSettings) -> None:
        super().__init__(
            settings, addresses(settings), username=settings.username, db_name=settings.db_name
        )

    def is_closed(self, connection: _Connection, idle_seconds: float) -> bool:
        """Whether there is something to read, although nothing was asked.

        A ping would tell no more, and cost each call a round trip.
        """
        poll = select.poll()
        poll.register(connection.fileno(), select.POLLIN)
        return bool(poll.poll(0))

    def _connect(
        self, *, address: Address, autocommit: bool, database: str | None = None
    ) -> psycopg.Connection[Any]:
        settings = self._settings
        try:
            connection = _Connection.connect(
                host=address.host,
                port=address.port,
                user=settings.username,
                password=settings.password,
                dbname=database or settings.db_name,
                connect_timeout=math.ceil(settings.connect_timeout_sec),
                keepalives_idle=_IDLE_SECONDS,
                keepalives_interval=_PROBE_SECONDS,
                keepalives_count=_PROBES,
                client_encoding="UTF8",
                application_name="futurama",
                gssencmode="disable",
                autocommit=True,  # at first: a rollback would undo what is set below
                context=_ADAPTERS,
                cursor_factory=_BinaryCursor,
                # Plans are made anew each time: one that is kept remembers how large the table was.
                prepare_threshold=None,
                **self._tls(),
            )
        except psycopg.OperationalError as error:
            # Frames of psycopg refer to their own error, and so would keep a connection that timed
            # out open until the garbage collector comes by: a server that goes on would wait for it.
            clear_frames(error.__traceback__)
            if database is None and _refusal(error) is None and self._is_database_missing(address):
                raise psycopg.errors.InvalidCatalogName(str(error)) from error
            raise
        try:
            connection.patience_seconds = min(
                settings.connect_timeout_sec, settings.read_timeout_sec
            )
            if self.has_several_hosts:
                _refuse_unless_writable(connection)
            variables = self._session(is_for_transactions=not autocommit)
            calls = ", ".join(["set_config(%s, %s, false)"] * len(variables))
            connection.execute(
                f"SELECT {calls}".encode(), [each for pair in variables.items() for each in pair]
            )
            connection.autocommit = autocommit
            connection.patience_seconds = settings.read_timeout_sec
        except BaseException:
            connection.close()
            raise
        return connection

    def _tls(self) -> dict[str, Any]:
        settings = self._settings
        if not settings.ssl:
            return {"sslmode": "disable"}
        if not settings.ssl_verify:
            return {"sslmode": "require"}
        # libpq comes with an OpenSSL of its own, which need not know where the system's file is.
        trusted = settings.ssl_ca or tls.get_default_verify_paths().cafile or "system"
        return {"sslmode": "verify-full", "sslrootcert": trusted}

    def _session(self, *, is_for_transactions: bool) -> dict[str, str]:
        """The variables of a session, by name."""
        silence = math.ceil(1000 * (self._settings.read_timeout_sec + _LEEWAY_SECONDS))
        return {
            **_SESSION,
            **(_KEYS_ONLY if is_for_transactions else {}),
            "lock_timeout": f"{self._settings.lock_wait_timeout_sec}s",
            "statement_timeout": f"{silence}ms",
            "idle_in_transaction_session_timeout": f"{silence}ms",
        }

    def _is_database_missing(self, address: Address) -> bool:
        """Ask the server: what it says when it refuses a connection is in its own language."""
        try:
            connection = self._connect(
                address=address, autocommit=True, database=_MAINTENANCE_DATABASE
            )
        except psycopg.Error:
            return False
        with contextlib.closing(connection):
            found = connection.execute(
                "SELECT FROM pg_database WHERE datname = %s", (self._settings.db_name,)
            )
            return not found.rowcount

    def _create_database(self) -> str:
        name = self._settings.db_name
        connection, address = self._connect_somewhere(
            lambda address: self._connect(
                address=address, autocommit=True, database=_MAINTENANCE_DATABASE
            )
        )
        with (
            contextlib.closing(connection),
            self._at(address),
            contextlib.suppress(
                psycopg.errors.DuplicateDatabase,
                psycopg.errors.UniqueViolation,  # the same, if both began before either was done
            ),
        ):
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return name

    def _fault(self, error: BaseException) -> tuple[Fault, str]:
        """By SQLSTATE, else by what the message says, else by the class that psycopg chose for it."""
        if isinstance(error, IdsTakenError):
            return POSTGRESQL_FAULTS["23505"]
        state = getattr(error, "sqlstate", None)
        if state is not None:
            return (
                POSTGRESQL_FAULTS.get(state)
                or POSTGRESQL_FAULTS.get(state[:2])
                or (Fault.UNAVAILABLE, "the server failed")
            )
        if isinstance(error, psycopg.DataError):
            return Fault.REJECTED, "the driver refuses a value"
        if isinstance(error, psycopg.ProgrammingError | psycopg.NotSupportedError):
            return Fault.SETUP, "the driver refuses a statement or a key of the configuration"
        return _refusal(error) or (
            Fault.UNAVAILABLE,
            "the connection was refused or lost; is the server running there?",
        )

    def is_rolled_back(self, error: BaseException) -> bool:
        """See :class:`Dialect`."""
        state = getattr(driver_error(error), "sqlstate", None)
        if state is None:
            return False
        concerns_a_row = self._fault(driver_error(error))[0] in {Fault.REJECTED, Fault.DUPLICATE}
        return concerns_a_row or state in POSTGRESQL_ROLLED_BACK

    def encode_time(self, instant: datetime) -> datetime:
        """As it is."""
        return instant

    def decode_time(self, value: datetime) -> datetime:
        """Sessions are in UTC."""
        return plain_time(value)

    def now(self, connection: sa.Connection) -> datetime:
        """The server's clock, not the moment at which a transaction began."""
        value: datetime = connection.exec_driver_sql("SELECT clock_timestamp()").scalar_one()
        return value

    def ddl(self, table_name: str) -> Sequence[str]:
        """Ids, types, owners and data are bytes: no collation may fold or order them."""
        storage = ", ".join(f"{name} = {value}" for name, value in _STORAGE.items())
        return (
            f"""CREATE TABLE IF NOT EXISTS {SCHEMA_TABLE} (
                table_name text NOT NULL PRIMARY KEY,
                version integer NOT NULL
            )""",
            _CREATE_OWNERS,
            f"""CREATE TABLE IF NOT EXISTS "{table_name}" (
                id bytea NOT NULL PRIMARY KEY,
                trigger_type bytea NOT NULL,
                trigger_time timestamptz NOT NULL,
                due timestamptz NULL,
                attempt integer NOT NULL DEFAULT 0,
                lost boolean NOT NULL DEFAULT false,
                token bytea NOT NULL DEFAULT {self.literal(NO_TOKEN)},
                owner integer NOT NULL DEFAULT {NOBODY},
                created bigint NOT NULL,
                data bytea NOT NULL,
                died timestamptz NULL,
                reason bytea NULL
            ) WITH ({storage})""",
            *_indexes(table_name),
        )

    def upgrades(self, table_name: str) -> Sequence[Sequence[str]]:
        """See :class:`Dialect`; each is one pass over the table."""
        no_token = self.literal(NO_TOKEN)
        return (
            (
                _CREATE_OWNERS,
                f"""ALTER TABLE "{table_name}"
                    ALTER token TYPE bytea USING coalesce(token, {no_token}),
                    ALTER token SET DEFAULT {no_token},
                    ALTER token SET NOT NULL,
                    ALTER owner TYPE integer USING {NOBODY},
                    ALTER owner SET DEFAULT {NOBODY},
                    ALTER owner SET NOT NULL""",
                f'DROP INDEX IF EXISTS "{table_name}_{DUE_INDEX}"',
                *_indexes(table_name),
            ),
        )

    def check(self, connection: sa.Connection, table_name: str) -> None:
        """Refuse a table that a crash empties."""
        persistence = connection.exec_driver_sql(
            "SELECT relpersistence::text FROM pg_class WHERE oid = %s::regclass",
            (f'"{table_name}"',),
        ).scalar_one()
        if persistence != "p":
            raise BackendSetupError(
                f"{self.present_place}: the table {table_name!r} does not survive a crash of the server; "
                f'run ALTER TABLE "{table_name}" SET LOGGED',
                backend=self.name,
            )

    def is_in(self, column: sa.ColumnElement[Any], parameter: str) -> sa.ColumnElement[bool]:
        """One array, whatever its length."""
        return column == sa.func.any(sa.bindparam(parameter))

    def literal(self, value: bytes) -> str:
        """In words that ``standard_conforming_strings`` does not change."""
        return f"decode('{value.hex()}', 'hex')"

    def guard(self, condition: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
        """What is asked whether it IS TRUE is not looked up in an index.

        The server's statistics on ``due`` are always behind the clock. By them next to nothing may
        be due, or still to come, and a statement that is given the keys might look through all of it.
        """
        return condition.self_group().bool_op("IS")(sa.true())

    def insert(
        self, connection: sa.Connection, table_name: str, columns: Sequence[str], rows: list[Any]
    ) -> None:
        """See :class:`Dialect`.

        Ids that are taken are passed over and counted instead of letting the server find a
        duplicate, which it would write into its log each time.
        """
        for some in _portions(rows):
            statement = (
                f'INSERT INTO "{table_name}" ({", ".join(columns)}) '  # noqa: S608 -- names only, checked
                f"SELECT * FROM {_unnested(columns)} ON CONFLICT (id) DO NOTHING"
            )
            result = connection.exec_driver_sql(statement, _transposed(some))
            if result.rowcount != len(some):
                raise IdsTakenError

    def update(
        self, connection: sa.Connection, table_name: str, columns: Sequence[str], rows: list[Any]
    ) -> None:
        """One UPDATE by key; each row takes its values from where its key stands among the keys.

        A join with the values could begin with the table, if the server took it for empty, and
        would read all of it for each value.
        """
        place = "array_position(%s::bytea[], t.id)"
        assignments = ", ".join(
            f"{column} = (%s::{_TYPES[column]}[])[{place}]" for column in columns
        )
        statement = f'UPDATE "{table_name}" AS t SET {assignments} WHERE t.id = any(%s)'  # noqa: S608 -- names only, checked
        for some in portions(rows, max_rows=_MAX_UPDATED_ROWS, max_bytes=_MAX_WRITTEN_BYTES):
            *values, keys = _transposed(some)
            parameters = [each for column in values for each in (column, keys)]
            connection.exec_driver_sql(statement, (*parameters, keys))


class _AnyTimeLoader(TimestamptzBinaryLoader):
    """Knows times outside the years 1 to 9999, too, and infinity."""

    def load(self, data: Buffer) -> datetime:
        try:
            return super().load(data)
        except psycopg.DataError:
            is_before = bytes(data)[0] >= _SIGN_BIT
            return ImpossibleTime.near(EARLIEST if is_before else LATEST)


_SIGN_BIT = 0x80
"""Of the first byte of a number in the order of networks."""


class _BinaryCursor(psycopg.Cursor[Any]):
    """Has results sent as they are instead of as text, which makes payloads twice as long.

    A result with times that Python does not know is read once more, in a slower way.
    """

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.format = Format.BINARY

    def fetchone(self) -> Any:
        try:
            return super().fetchone()
        except psycopg.DataError:
            self._read_any_time()
            return super().fetchone()

    def fetchall(self) -> list[Any]:
        try:
            return super().fetchall()
        except psycopg.DataError:
            self._read_any_time()
            return super().fetchall()

    def _read_any_time(self) -> None:
        assert self.pgresult is not None, "it has been read in vain"
        self.adapters.register_loader("timestamptz", _AnyTimeLoader)
        self._tx = Transformer(self)
        self._tx.set_pgresult(self.pgresult)


class _Connection(psycopg.Connection[Any]):
    """A connection that gives up on a server that has gone silent.

    Neither libpq nor TCP does: a server that hangs still has a kernel that acknowledges.

    Attributes:
        patience_seconds: how long nothing may happen while something is waited for.
    """

    patience_seconds: float

    def wait(self, gen: PQGen[T], *arguments: Any, **keywords: Any) -> T:
        """Run what psycopg has to do, and wait for the socket whenever it asks for that."""
        poll = select.poll()
        try:
            waits_for = next(gen)
            while True:
                poll.register(self.pgconn.socket, _EVENTS[waits_for])
                happened = poll.poll(1000 * self.patience_seconds)
                if not happened:
                    self.pgconn.finish()
                    raise psycopg.OperationalError(f"no answer within {self.patience_seconds:g} s")
                ((_, event),) = happened
                # An error of the socket is neither, and shows when it is read or written.
                can_read = Ready.R if event & ~select.POLLOUT else Ready.NONE
                can_write = Ready.W if event & ~select.POLLIN else Ready.NONE
                waits_for = gen.send(Ready(can_read | can_write))
        except StopIteration as end:
            result: T = end.value
            return result


def _refuse_unless_writable(connection: psycopg.Connection[Any]) -> None:
    """In recovery this is on as well; libpq asks a standby the same."""
    answer = connection.execute("SHOW transaction_read_only").fetchone()
    if answer != ("off",):
        raise psycopg.errors.ReadOnlySqlTransaction("the server is a standby or read-only")


def _indexes(table_name: str) -> Sequence[str]:
    """Two on (due, id), neither of which a statement can use that does not say whether ``due`` is NULL.

    One for all rows would be chosen for looking up ids, too, and read as a whole, once the table has
    been vacuumed while it was empty: the server then takes it for empty, however much it grows.
    """
    return (
        f"""CREATE INDEX IF NOT EXISTS "{table_name}_{DUE_INDEX}"
            ON "{table_name}" (due, id) WHERE due IS NOT NULL""",
        f"""CREATE INDEX IF NOT EXISTS "{table_name}_{_DEAD_INDEX}"
            ON "{table_name}" (due, id) WHERE due IS NULL""",
    )


def _refusal(error: BaseException) -> tuple[Fault, str] | None:
    """What the message of an attempt to connect means, as far as it is known."""
    message = str(error)
    return next((fault for words, fault in POSTGRESQL_REFUSALS.items() if words in message), None)


def _portions(rows: list[Any]) -> Iterator[list[Any]]:
    return portions(rows, max_rows=_MAX_ROWS, max_bytes=_MAX_WRITTEN_BYTES)


def _unnested(columns: Sequence[str]) -> str:
    """Arrays, one parameter for each column, as a table."""
    return f"unnest({', '.join(f'%s::{_TYPES[column]}[]' for column in columns)})"


def _transposed(rows: list[Any]) -> tuple[list[Any], ...]:
    """A list for each column."""
    return tuple(map(list, zip(*rows, strict=True)))

"""Events in MySQL, MariaDB and what speaks their language: durable and shared.

``"backend": "mysql"``. Needs SQLAlchemy and PyMySQL: ``pip install "futurama[mysql]"``.
"""

from __future__ import annotations

import contextlib
import importlib
import ssl as tls
from collections.abc import Sequence, Sized
from datetime import datetime, timedelta
from typing import Any, ClassVar, Self

import sqlalchemy as sa
from sqlalchemy import exc

from futurama.backend import Finding
from futurama.backends.sql import ServerDialect, SQLBackend
from futurama.backends.sql.errors import (
    MYSQL_FAULTS,
    MYSQL_LOST_IN_TLS,
    MYSQL_ROLLED_BACK,
    MYSQL_UNCLEAR_AT_COMMIT,
    Fault,
    driver_error,
    own_words,
)
from futurama.backends.sql.foreign import plain_time
from futurama.backends.sql.hosts import Address, addresses
from futurama.backends.sql.mysql_diagnosis import diagnose
from futurama.backends.sql.mysql_driver import MySQLDriver
from futurama.backends.sql.mysql_session import (
    RefusedError,
    refuse_unless_writable,
    server_variables,
    set_up,
)
from futurama.backends.sql.mysql_settings import MySQLSettings
from futurama.backends.sql.mysql_values import Keys, inserted
from futurama.backends.sql.rows import portions
from futurama.backends.sql.statements import (
    DUE_INDEX,
    MAX_OWNER_BYTES,
    NO_TOKEN,
    NOBODY,
    OWNERS_TABLE,
    SCHEMA_TABLE,
)
from futurama.errors import BackendSetupError, ConfigError, UnknownBackendError
from futurama.events import MAX_ID_BYTES, MAX_TYPE_BYTES

__all__ = ["MySQLBackend", "MySQLDialect", "MySQLSettings"]

_MAX_MEDIUMBLOB_BYTES = 2**24 - 1

_MIN_PACKET_BYTES = 1024 * 1024
"""The least ``max_allowed_packet`` that servers come with."""

_MAX_INSERTED_LENGTH = _MIN_PACKET_BYTES - 24 * 1024
"""Of the values in one INSERT with many rows."""

_STATEMENT_MARGIN_BYTES = 8192
"""More than everything in a one-row statement that is not the payload."""

_MAX_IN_LIST = 1_000
"""Much longer lists make MySQL and MariaDB scan the whole table; shorter ones cost round trips."""

_MAX_UPDATED_ROWS = 500
_MAX_UPDATED_BYTES = 256 * 1024
"""Payload per UPDATE, so that with all escapes and the rest it stays below ``_MIN_PACKET_BYTES``."""

_FRESH_SECONDS = 1.0
"""A connection that was used a moment ago is taken for good: a ping costs a call a round trip. If the
server has closed it since, what only reads is repeated, and a transaction fails without a change."""

_TLS_FAILED = 2026

_DRIVERS = {
    "pymysql": ("futurama.backends.sql.pymysql_driver", "mysql"),
    "mysqldb": ("futurama.backends.sql.mysqldb_driver", "mysqlclient"),
}
"""Value of the key ``driver`` -> (module with a class ``Driver``, extra that installs it)."""

_CREATE_OWNERS = f"""CREATE TABLE IF NOT EXISTS {OWNERS_TABLE} (
    id INT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    name VARBINARY({MAX_OWNER_BYTES}) NOT NULL UNIQUE
) ENGINE=InnoDB"""

_TOKEN = f"BINARY({len(NO_TOKEN)}) NOT NULL DEFAULT X'{NO_TOKEN.hex()}'"
_OWNER = f"INT NOT NULL DEFAULT {NOBODY}"
"""The types of these columns."""


class MySQLBackend(SQLBackend):
    """Events in a table of a MySQL or MariaDB server.

    Args:
        settings: see :class:`MySQLSettings`.

    Raises:
        ConfigError: a key has a value that can never work.
    """

    Settings: ClassVar[type[MySQLSettings]] = MySQLSettings
    _dialect: MySQLDialect

    def __init__(self, settings: MySQLSettings | None = None) -> None:
        settings = settings or MySQLSettings()
        super().__init__(MySQLDialect(settings), settings)
        self._settings = settings

    @classmethod
    def from_settings(cls, settings: MySQLSettings) -> Self:
        """A backend that is not opened yet."""
        return cls(settings)

    def diagnose(self) -> Sequence[Finding]:
        """See :meth:`futurama.backend.Diagnosable.diagnose`; works whether or not it is open.

        Raises:
            BackendError: the server cannot be reached, or the table is missing.
        """
        with self._connected():
            self._claiming.try_out()
            findings = self._transactions.write(
                lambda connection: diagnose(
                    connection,
                    table_name=self._table_name,
                    skips_locked=self._claiming.skips_locked,
                    server_now=self._dialect.now,
                )
            )
            return [*self._dialect.diagnose_hosts(), *findings]


class MySQLDialect(ServerDialect):
    """MySQL and MariaDB, through one of the drivers in ``_DRIVERS``."""

    name = "mysql"
    max_in_list = _MAX_IN_LIST
    max_data_bytes = _MAX_MEDIUMBLOB_BYTES
    locks_by_id = True
    _settings: MySQLSettings

    def __init__(self, settings: MySQLSettings) -> None:
        super().__init__(
            settings, addresses(settings), username=settings.username, db_name=settings.db_name
        )
        self.resolution = timedelta(microseconds=1) if settings.mysql6 else timedelta(seconds=1)
        self._driver = _make_driver(settings)
        self.url = self._driver.url
        self.driver_error = self._driver.module.MySQLError
        self._utc_timestamp = "SELECT UTC_TIMESTAMP(6)"

    def make_engines(self) -> tuple[sa.Engine, sa.Engine]:
        """See :class:`ServerDialect`."""
        engines = super().make_engines()
        self._driver.load_certificates()
        return engines

    def _connect(self, *, address: Address, autocommit: bool, use_database: bool = True) -> Any:
        settings = self._settings
        database = settings.db_name if use_database else None
        try:
            connection = self._driver.connect(address, database=database, autocommit=autocommit)
        except RuntimeError as error:  # the package cryptography is missing
            raise BackendSetupError(f"{self.place}: {error}", backend=self.name) from error
        try:
            with connection.cursor() as cursor:
                if settings.ssl:
                    self._check_encryption(cursor)
                variables = server_variables(cursor)
                if self.has_several_hosts:
                    refuse_unless_writable(cursor, variables)
                set_up(
                    cursor,
                    variables,
                    lock_wait_seconds=settings.lock_wait_timeout_sec,
                    silence_seconds=None if autocommit else settings.read_timeout_sec,
                )
            self._driver.connected(connection)
        except RefusedError as error:
            connection.close()
            raise self._driver.module.OperationalError(*error.args) from None
        except BaseException:
            connection.close()
            raise
        return connection

    def _check_encryption(self, cursor: Any) -> None:
        """Older drivers go on in plain text when the server offers no TLS."""
        cursor.execute("SHOW SESSION STATUS LIKE 'Ssl_cipher'")
        _, cipher = cursor.fetchone()
        if not cipher:
            raise self._driver.module.OperationalError(_TLS_FAILED, "the server offers no TLS")

    def is_closed(self, connection: Any, idle_seconds: float) -> bool:
        """See :class:`ServerDialect`; asks the server, unless the connection was just used."""
        if idle_seconds < _FRESH_SECONDS:
            return False
        try:
            self._driver.ping(connection)
        except self.driver_error:
            return True
        return False

    def _fault(self, error: BaseException) -> tuple[Fault, str]:
        """By the number of the error, else by the class that the driver chose for it."""
        code = error.args[0] if error.args else None
        if code == _TLS_FAILED and any(words in own_words(error) for words in MYSQL_LOST_IN_TLS):
            return MYSQL_FAULTS[2003]
        reason = getattr(error, "original_exception", None)
        if isinstance(reason, tls.SSLError) and not isinstance(reason, tls.SSLEOFError):
            return MYSQL_FAULTS[_TLS_FAILED]
        if isinstance(code, int) and code in MYSQL_FAULTS:
            return MYSQL_FAULTS[code]
        classes = self._driver.module
        if not isinstance(code, int) and isinstance(
            error, classes.InterfaceError | classes.InternalError
        ):
            return MYSQL_FAULTS[0]  # the driver has lost track of what the server says
        if isinstance(error, classes.DataError | classes.IntegrityError):
            return Fault.REJECTED, "the server refuses a value"
        if isinstance(error, classes.ProgrammingError | classes.NotSupportedError):
            return Fault.SETUP, "the server refuses a statement"
        return Fault.UNAVAILABLE, "the server failed"

    def is_rolled_back(self, error: BaseException) -> bool:
        """See :class:`Dialect`."""
        return driver_error(error).args[:1] in {(code,) for code in MYSQL_ROLLED_BACK}

    def is_unclear_at_commit(self, error: BaseException) -> bool:
        """See :class:`ServerDialect`."""
        return bool(error.args) and error.args[0] in MYSQL_UNCLEAR_AT_COMMIT

    def encode_time(self, instant: datetime) -> datetime:
        """As it is: the connection's converters do the rest."""
        return instant

    def decode_time(self, value: datetime) -> datetime:
        """The connection's converters did the rest."""
        return plain_time(value)

    def now(self, connection: sa.Connection) -> datetime:
        """The server's clock; to the second only where the server knows no more."""
        try:
            value: datetime = connection.exec_driver_sql(self._utc_timestamp).scalar_one()
        except exc.DBAPIError as error:
            if self.fault(error)[0] is not Fault.UNSUPPORTED:
                raise
            self._utc_timestamp = "SELECT UTC_TIMESTAMP()"
            value = connection.exec_driver_sql(self._utc_timestamp).scalar_one()
        return value

    def ddl(self, table_name: str) -> Sequence[str]:
        """Ids, types, owners and data are bytes: no collation may fold or pad them."""
        time = "DATETIME(6)" if self._settings.mysql6 else "DATETIME"
        return (
            f"""CREATE TABLE IF NOT EXISTS {SCHEMA_TABLE} (
                table_name VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
                version INT NOT NULL
            ) ENGINE=InnoDB""",
            _CREATE_OWNERS,
            f"""CREATE TABLE IF NOT EXISTS `{table_name}` (
                id VARBINARY({MAX_ID_BYTES}) NOT NULL PRIMARY KEY,
                trigger_type VARBINARY({MAX_TYPE_BYTES}) NOT NULL,
                trigger_time {time} NOT NULL,
                due {time} NULL,
                attempt INT NOT NULL DEFAULT 0,
                lost BOOL NOT NULL DEFAULT FALSE,
                token {_TOKEN},
                owner {_OWNER},
                created BIGINT NOT NULL,
                data MEDIUMBLOB NOT NULL,
                died {time} NULL,
                reason MEDIUMBLOB NULL,
                KEY {DUE_INDEX} (due, id)
            ) ENGINE=InnoDB""",
        )

    def upgrades(self, table_name: str) -> Sequence[Sequence[str]]:
        """See :class:`Dialect`; the server commits each statement."""
        return (
            (
                _CREATE_OWNERS,
                f"UPDATE `{table_name}` SET token = {self.literal(NO_TOKEN)} WHERE token IS NULL",  # noqa: S608 -- names only, checked
                f"""ALTER TABLE `{table_name}`
                    MODIFY token {_TOKEN},
                    DROP COLUMN owner,
                    ADD COLUMN owner {_OWNER} AFTER token""",
            ),
        )

    def _create_database(self) -> str:
        name = self._settings.db_name
        connection, address = self._connect_somewhere(
            lambda address: self._connect(address=address, autocommit=True, use_database=False)
        )
        with contextlib.closing(connection), self._at(address):
            quoted = name.replace("`", "``")
            connection.cursor().execute(f"CREATE DATABASE IF NOT EXISTS `{quoted}`")
        return name

    def check(self, connection: sa.Connection, table_name: str) -> None:
        """Refuse a table whose times round, one without transactions, and too small packets."""
        precision, engine = connection.exec_driver_sql(
            "SELECT c.datetime_precision, t.engine FROM information_schema.columns c "
            "JOIN information_schema.tables t USING (table_schema, table_name) "
            "WHERE c.table_schema = DATABASE() AND c.table_name = %s AND c.column_name = 'due'",
            (table_name,),
        ).one()
        packet = connection.exec_driver_sql("SELECT @@max_allowed_packet").scalar_one()
        # Every byte of a payload may have to be escaped by a second one; many small ones share a
        # statement of up to _MIN_PACKET_BYTES.
        needed = max(2 * self._settings.max_data_bytes + _STATEMENT_MARGIN_BYTES, _MIN_PACKET_BYTES)
        if (precision or 0) != (6 if self._settings.mysql6 else 0):
            found = "to the microsecond" if precision else "in whole seconds"
            problem = (
                f"the table {table_name!r} stores times {found}, which is not what the key mysql6 "
                "says; change the key on all instances, or choose another table_name"
            )
        elif engine.lower() != "innodb":
            problem = (
                f"the table {table_name!r} has the engine {engine}, which knows no transactions; "
                f"run ALTER TABLE {table_name} ENGINE=InnoDB"
            )
        elif packet < needed:
            problem = (
                f"max_allowed_packet is {packet} bytes on the server, data of max_data_bytes "
                f"{self._settings.max_data_bytes} need {needed}; raise the one or lower the other"
            )
        else:
            return
        raise BackendSetupError(f"{self.present_place}: {problem}", backend=self.name)

    def is_in(self, column: sa.ColumnElement[Any], parameter: str) -> sa.ColumnElement[bool]:
        """The driver expands what :meth:`in_list` gives it, at a tenth of what SQLAlchemy's expansion costs."""
        return column.bool_op("IN")(sa.bindparam(parameter))

    def in_list(self, keys: list[bytes]) -> Sized:
        """See :class:`Dialect`."""
        return Keys(keys)

    def by_id_among_dead(self, table: sa.TableClause) -> Sequence[sa.ColumnElement[Any]]:
        """MariaDB knows that ``due`` is always the same here, unless it is asked to sort by it."""
        return (table.c.id,)

    def delete(self, table: sa.TableClause, *, only_held: bool) -> sa.Executable:
        """In the form for several tables, the only one that takes an index hint.

        Even so, MariaDB scans small tables, waiting for locks on rows that are none of our business,
        unless a column outside the index is looked at: hence the condition that is always true, whatever
        somebody else has stored.
        """
        condition = "e.token = :token AND e.due > :now" if only_held else "e.token >= X''"
        return sa.text(
            f"DELETE e FROM `{table.name}` AS e FORCE INDEX (PRIMARY) "
            f"WHERE e.id IN :ids AND {condition}"
        )

    def insert(
        self, connection: sa.Connection, table_name: str, columns: Sequence[str], rows: list[Any]
    ) -> None:
        """Statements of a little less than 1 MiB."""
        statement = f"INSERT INTO `{table_name}` ({', '.join(columns)}) VALUES %s"  # noqa: S608 -- names only, checked
        for values in inserted(rows, _MAX_INSERTED_LENGTH):
            connection.exec_driver_sql(statement, (values,))

    def update(
        self, connection: sa.Connection, table_name: str, columns: Sequence[str], rows: list[Any]
    ) -> None:
        """One UPDATE joined with a derived table of the new values, which any server understands."""
        names = [f"c{number}" for number in range(len(columns))]
        first = "SELECT " + ", ".join(f"%s AS {name}" for name in [*names, "k"])
        others = " UNION ALL SELECT " + ", ".join(["%s"] * (len(names) + 1))
        assignments = ", ".join(
            f"t.{column} = d.{name}" for column, name in zip(columns, names, strict=True)
        )
        for some in portions(rows, max_rows=_MAX_UPDATED_ROWS, max_bytes=_MAX_UPDATED_BYTES):
            derived = first + others * (len(some) - 1)
            statement = (
                f"UPDATE ({derived}) AS d STRAIGHT_JOIN `{table_name}` AS t FORCE INDEX (PRIMARY) "  # noqa: S608 -- names only, checked
                f"ON t.id = d.k SET {assignments}"
            )
            connection.exec_driver_sql(statement, tuple(value for row in some for value in row))


def _make_driver(settings: MySQLSettings) -> MySQLDriver:
    """The driver that the key ``driver`` names.

    Raises:
        ConfigError: there is none of that name, or it is not installed.
    """
    if settings.driver not in _DRIVERS:
        raise ConfigError(
            f"configuration key 'driver' must be one of {', '.join(_DRIVERS)}, "
            f"got {settings.driver!r}",
            key="driver",
        )
    module, extra = _DRIVERS[settings.driver]
    try:
        driver: MySQLDriver = importlib.import_module(module).Driver(settings)
    except ImportError as error:
        raise UnknownBackendError(
            f"the driver {settings.driver!r} of the backend 'mysql' cannot be loaded ({error}); "
            f'install what it needs: pip install "futurama[{extra}]"',
            key="driver",
        ) from error
    return driver

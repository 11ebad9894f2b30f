"""What the members that talk to a database server share: keys, and pools of connections."""

from __future__ import annotations

import ssl as tls
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import attrs
import sqlalchemy as sa
from sqlalchemy import event, exc

from futurama.backends.sql.dialect import Dialect
from futurama.backends.sql.errors import Fault, driver_error, translate
from futurama.errors import BackendSetupError, ConfigError
from futurama.settings import key

__all__ = ["ServerDialect", "ServerSettings"]

_USED_AT = "futurama used at"
"""Where in the pool's notes on a connection the end of its last use is; none before the first."""


@attrs.frozen
class ServerSettings:
    """The configuration keys that mean the same for every server.

    Members add ``host``, ``port``, ``username``, ``password`` and ``db_name``, whose defaults differ.
    """

    table_name: str = key("events", "the table of events; queues with different tables are apart")
    max_open_connection: int = key(
        10, "at most so many connections per instance", unit="connections", minimum=1
    )
    create_schema: bool = key(
        default=True,
        doc="create or upgrade database and table at the start; false: `futurama migrate` does",
    )
    connect_timeout_sec: float = key(
        10.0, "how long connecting may take", unit="s", minimum=0.001, maximum=86_400
    )
    read_timeout_sec: float = key(
        30.0,
        "how long the server may take to answer or to accept data",
        unit="s",
        minimum=0.001,
        maximum=86_400,
    )
    pool_timeout_sec: float = key(
        10.0,
        "how long a call may wait for one of the connections",
        unit="s",
        minimum=0,
        maximum=86_400,
    )
    lock_wait_timeout_sec: int = key(
        3,
        "how long the server waits for a row or table that is locked",
        unit="s",
        minimum=1,
        maximum=86_400,
    )
    ssl: bool = key(default=False, doc="encrypt connections, and refuse servers that cannot")
    ssl_ca: str | None = key(
        None, "with ssl: file of the certificates to trust; null: the system's"
    )
    ssl_verify: bool = key(
        default=True, doc="with ssl: check the server's certificate and host name"
    )
    max_data_bytes: int = key(
        1024 * 1024, "longest data of one event, encoded as JSON", unit="bytes", minimum=1
    )


class ServerDialect(Dialect):
    """A database on a server: two pools that together keep to ``max_open_connection``.

    Args:
        settings: the member's own class of settings.
        place: which server, user and database; no secrets.

    Attributes:
        url: the name under which SQLAlchemy knows the database and its driver.
        engine_options: further arguments of ``create_engine``; they win over the usual ones.
        driver_error: the class of all errors of the driver.

    Raises:
        ConfigError: a key has a value that can never work.
    """

    url: str
    engine_options: ClassVar[Mapping[str, Any]] = {}
    driver_error: type[Exception]

    def __init__(self, settings: ServerSettings, place: str) -> None:
        if settings.ssl_ca is not None and not settings.ssl:
            raise ConfigError(
                f"configuration key 'ssl_ca' is {settings.ssl_ca!r} but 'ssl' is false: nothing "
                "would be encrypted; set ssl to true",
                key="ssl_ca",
            )
        self._settings = settings
        self.place = place

    def make_engines(self) -> tuple[sa.Engine, sa.Engine]:
        """See :class:`Dialect`."""
        self._check_certificates()
        size = self._settings.max_open_connection
        readers = 2 if size > 3 else 1  # noqa: PLR2004 -- a small share
        writer = self._engine(max(size - readers, 1), autocommit=False)
        if size == 1:
            return writer, writer
        return writer, self._engine(readers, autocommit=True)

    def _check_certificates(self) -> None:
        """Drivers find out late, and say it in many ways."""
        if self._settings.ssl_ca is None:
            return
        try:
            tls.create_default_context(cafile=self._settings.ssl_ca)
        except OSError as error:
            raise BackendSetupError(
                f"{self.place}: cannot read the certificates in the file that the key ssl_ca "
                f"names, {self._settings.ssl_ca!r} ({error})",
                backend=self.name,
            ) from error

    def _engine(self, size: int, *, autocommit: bool) -> sa.Engine:
        options = dict(self.engine_options)
        if autocommit:
            options |= {"isolation_level": "AUTOCOMMIT", "skip_autocommit_rollback": True}
        engine = sa.create_engine(
            self.url,
            creator=lambda: self.connect(autocommit=autocommit),
            poolclass=sa.QueuePool,
            pool_size=size,
            max_overflow=0,
            pool_timeout=self._settings.pool_timeout_sec,
            pool_use_lifo=True,  # busy connections stay warm, idle ones are left to time out
            # A Connection that is closed inside a transaction has rolled it back already; a second
            # ROLLBACK would cost each call a round trip.
            pool_reset_on_return=None,
            hide_parameters=True,
            **options,
        )
        event.listen(engine, "checkin", _note_use)
        event.listen(engine, "checkout", self._replace_if_closed)
        return engine

    def _replace_if_closed(self, connection: Any, record: Any, _pooled: object) -> None:
        """Have the pool connect anew if the server has closed this connection while it was idle."""
        used_at = record.info.get(_USED_AT)
        if used_at is not None and self.is_closed(connection, time.monotonic() - used_at):
            raise exc.InvalidatePoolError

    def fault(self, error: BaseException) -> tuple[Fault, str]:
        """See :class:`Dialect`."""
        if isinstance(error, exc.TimeoutError):
            return Fault.UNAVAILABLE, (
                "no connection became free within pool_timeout_sec; raise max_open_connection"
            )
        return self._fault(driver_error(error))

    def prepare(self) -> Sequence[str]:
        """Create the database if it is missing."""
        try:
            try:
                self.connect(autocommit=True).close()
            except self.driver_error as error:
                if self.fault(error)[0] is not Fault.MISSING:
                    raise
            else:
                return []
            name = self._create_database()
        except self.driver_error as error:
            fault, advice = self.fault(error)
            raise translate(error, fault, advice, backend=self.name, place=self.place) from error
        return [f"Created the database {name!r}."]

    def connect(self, *, autocommit: bool) -> Any:
        """A connection of the driver to the database, with everything set that is relied upon."""
        try:
            return self._connect(autocommit=autocommit)
        except UnicodeError as error:
            raise BackendSetupError(
                f"{self.place}: the key host cannot be a host name ({error})", backend=self.name
            ) from error

    @abstractmethod
    def _connect(self, *, autocommit: bool) -> Any:
        """See :meth:`connect`."""

    @abstractmethod
    def is_closed(self, connection: Any, idle_seconds: float) -> bool:
        """Whether the server has closed this connection of the driver, which was idle for so long.

        Called before each use but the first, so it must cost next to nothing in most cases.
        """

    @abstractmethod
    def _create_database(self) -> str:
        """Create the database, unless somebody else just did; return its name."""

    @abstractmethod
    def _fault(self, error: BaseException) -> tuple[Fault, str]:
        """See :meth:`fault`; ``error`` is the driver's own, if it comes from the driver."""


def _note_use(_connection: object, record: Any) -> None:
    record.info[_USED_AT] = time.monotonic()

"""What the members that talk to a database server share: keys, and pools of connections."""

from __future__ import annotations

import contextlib
import ssl as tls
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import attrs
import sqlalchemy as sa
from sqlalchemy import event, exc

from futurama.backend import Finding, Verdict
from futurama.backends.sql.dialect import Dialect
from futurama.backends.sql.errors import Fault, driver_error, own_words, translate
from futurama.backends.sql.hosts import Address, Hosts, addresses
from futurama.errors import (
    BackendError,
    BackendSetupError,
    BackendUnavailableError,
    ConfigError,
)
from futurama.settings import key

__all__ = ["ServerDialect", "ServerSettings"]

T = TypeVar("T")

_USED_AT = "futurama used at"
"""Where in the pool's notes on a connection the end of its last use is; none before the first."""

_ADDRESS = "futurama address"
"""Where in them the address is that it leads to; in an error of the driver, the one it came from."""

_ELSEWHERE = frozenset({Fault.UNAVAILABLE, Fault.CAPACITY, Fault.LOST, Fault.MOVED})
"""If connecting fails with one of these, the next host may do better."""


@attrs.frozen
class ServerSettings:
    """The configuration keys that mean the same for every server.

    Members add ``host``, ``port``, ``username``, ``password`` and ``db_name``, whose defaults differ.

    Attributes:
        takes_folders: whether a host may be the folder of the server's Unix socket.
    """

    takes_folders: ClassVar[bool] = False

    hosts: str = key(
        "",
        "several servers with the same data instead of host, in order of preference, like "
        "`db1, db2:7000, [::1]:7000`; the first that works and takes writes is used",
    )
    table_name: str = key("events", "the table of events; queues with different tables are apart")
    max_open_connection: int = key(
        10, "at most so many connections per instance", unit="connections", minimum=1
    )
    create_schema: bool = key(
        default=True,
        doc="create or upgrade database and table at the start; false: `futurama migrate` does",
    )
    connect_timeout_sec: float = key(
        10.0, "how long connecting to a host may take", unit="s", minimum=0.001, maximum=86_400
    )
    read_timeout_sec: float = key(
        30.0,
        "how long the server may take to answer or to accept data; more than lock_wait_timeout_sec",
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

    def __attrs_post_init__(self) -> None:
        """Refuse what can never work.

        Raises:
            ConfigError: there is no server or no database of such a name, or the server would still
                be waiting for a lock when it is taken for dead.
        """
        member: Any = self
        addresses(member)
        if not member.db_name:
            raise ConfigError(
                "configuration key 'db_name' must name a database, got ''", key="db_name"
            )
        if self.read_timeout_sec <= self.lock_wait_timeout_sec:
            raise ConfigError(
                f"configuration key 'read_timeout_sec' ({self.read_timeout_sec:g}) must be more than "
                f"'lock_wait_timeout_sec' ({self.lock_wait_timeout_sec}): a server that waits for a "
                "lock says nothing, and would be taken for dead",
                key="read_timeout_sec",
            )


class ServerDialect(Dialect):
    """A database on a server: two pools that together keep to ``max_open_connection``.

    Args:
        settings: the member's own class of settings.
        addresses: of the servers, the preferred one first.
        username, db_name: for messages.

    Attributes:
        has_several_hosts: whether one must be looked for that takes writes.
        url: the name under which SQLAlchemy knows the database and its driver.
        engine_options: further arguments of ``create_engine``; they win over the usual ones.
        driver_error: the class of all errors of the driver.

    Raises:
        ConfigError: a key has a value that can never work.
    """

    url: str
    engine_options: ClassVar[Mapping[str, Any]] = {}
    driver_error: type[Exception]

    def __init__(
        self, settings: ServerSettings, addresses: Sequence[Address], *, username: str, db_name: str
    ) -> None:
        if settings.ssl_ca is not None and not settings.ssl:
            raise ConfigError(
                f"configuration key 'ssl_ca' is {settings.ssl_ca!r} but 'ssl' is false: nothing "
                "would be encrypted; set ssl to true",
                key="ssl_ca",
            )
        self._settings = settings
        self._addresses = addresses
        self._hosts = Hosts(addresses)
        self.has_several_hosts = len(addresses) > 1
        self._username, self._db_name = username, db_name
        self.place = self._place(*addresses)

    def _place(self, *addresses: Address) -> str:
        return f"{self._username}@{','.join(map(str, addresses))}/{self._db_name}"

    @property
    def present_place(self) -> str:
        """See :class:`Dialect`; all of them before the first was used."""
        present = self._hosts.present
        return self.place if present is None else self._place(present)

    def place_of(self, error: BaseException) -> str:
        """See :class:`Dialect`."""
        address = getattr(driver_error(error), _ADDRESS, None)
        return self.place if address is None else self._place(address)

    def make_engines(self) -> tuple[sa.Engine, sa.Engine]:
        """See :class:`Dialect`."""
        self._check_certificates()
        # A forked child comes here, too: the lock inside the old object may have been held.
        self._hosts = Hosts(self._addresses)
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
            creator=lambda record: self._connect_pooled(record, autocommit=autocommit),
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
        event.listen(engine, "checkout", self._replace_if_useless)
        event.listen(engine, "handle_error", self._note_error)
        return engine

    def _connect_pooled(self, record: Any, *, autocommit: bool) -> Any:
        connection, record.info[_ADDRESS] = self._connect_somewhere(
            lambda address: self._connect(address=address, autocommit=autocommit)
        )
        return connection

    def _replace_if_useless(self, connection: Any, record: Any, _pooled: object) -> None:
        """Have the pool connect anew if the connection leads to a server that was left, or to nowhere."""
        if not self._hosts.is_present(record.info[_ADDRESS]):
            raise exc.DisconnectionError
        used_at = record.info.get(_USED_AT)
        if used_at is not None and self.is_closed(connection, time.monotonic() - used_at):
            raise exc.InvalidatePoolError

    def _note_error(self, context: sa.ExceptionContext) -> None:
        """Say where it came from, and leave that server if it takes no writes any more."""
        connection, error = context.connection, context.original_exception
        if connection is None or connection.invalidated:
            return
        setattr(error, _ADDRESS, connection.info[_ADDRESS])
        if context.statement is None and self.is_unclear_at_commit(error):
            return  # a server that has really gone says so when the next transaction begins
        if self.fault(error)[0] is Fault.MOVED:
            self._hosts.retires(connection.info[_ADDRESS])

    def fault(self, error: BaseException) -> tuple[Fault, str]:
        """See :class:`Dialect`."""
        if isinstance(error, exc.TimeoutError):
            return Fault.UNAVAILABLE, (
                "no connection became free within pool_timeout_sec; raise max_open_connection"
            )
        return self._fault(driver_error(error))

    def is_unclear_at_commit(self, error: BaseException) -> bool:
        """Whether this error does not mean ``Fault.MOVED`` for certain if it comes from COMMIT."""
        return False

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
            place = self.place_of(error)
            raise translate(error, fault, advice, backend=self.name, place=place) from error
        return [f"Created the database {name!r}."]

    def connect(self, *, autocommit: bool) -> Any:
        """A connection of the driver to the database, with everything set that is relied upon."""
        connection, _ = self._connect_somewhere(
            lambda address: self._connect(address=address, autocommit=autocommit)
        )
        return connection

    def _connect_somewhere(self, connect: Callable[[Address], T]) -> tuple[T, Address]:
        """Try the hosts in order; one that says nothing for ``connect_timeout_sec`` is given up.

        Raises:
            BackendSetupError: one of the names can be none.
            BackendUnavailableError: there are several hosts, and none can be used now.
            Exception: an error of the driver: there is one host only, or someone has to act.
        """
        refusals: list[str] = []
        for address in self._hosts.in_order():
            try:
                with self._at(address):
                    connection = connect(address)
            except self.driver_error as error:
                if not self.has_several_hosts or self.fault(error)[0] not in _ELSEWHERE:
                    raise
                self._hosts.fails(address)
                refusals.append(f"{address}: {own_words(error)}")
                if len(refusals) == len(self._addresses):
                    raise BackendUnavailableError(
                        f"{self.place}: no host can be reached and takes writes "
                        f"({'; '.join(refusals)})",
                        backend=self.name,
                    ) from error
            else:
                self._hosts.works(address)
                return connection, address
        raise AssertionError("there is no host")

    @contextlib.contextmanager
    def _at(self, address: Address) -> Iterator[None]:
        """Have the errors of what is done here say which host they came from.

        Raises:
            BackendSetupError: the name can be none.
        """
        try:
            yield
        except UnicodeError as error:
            raise BackendSetupError(
                f"{self.place}: the key {'hosts' if self.has_several_hosts else 'host'} has "
                f"{address.host!r}, which cannot be a host name ({error})",
                backend=self.name,
            ) from error
        except self.driver_error as error:
            setattr(error, _ADDRESS, address)
            raise

    def diagnose_hosts(self) -> Sequence[Finding]:
        """Whether each of several hosts can be used, be it that another one is."""
        if not self.has_several_hosts:
            return []
        return [self._diagnose_host(address) for address in self._addresses]

    def _diagnose_host(self, address: Address) -> Finding:
        name = f"host {address}"
        try:
            with self._at(address):
                self._connect(address=address, autocommit=True).close()
        except self.driver_error as error:
            fault, advice = self.fault(error)
            if fault is Fault.MOVED:
                return Finding(name, f"takes no writes ({own_words(error)})")
            value = f"cannot be used ({own_words(error)})"
            return Finding(name, value, Verdict.PROBLEM, advice)
        except BackendError as error:
            return Finding(name, "cannot be used", Verdict.PROBLEM, str(error))
        return Finding(name, "in use" if self._hosts.is_present(address) else "works")

    @abstractmethod
    def _connect(self, *, address: Address, autocommit: bool) -> Any:
        """Connect to one host; see :meth:`connect`.

        Until everything is set, the server may be silent for ``connect_timeout_sec``, from then on for
        ``read_timeout_sec``.
        If there are several hosts, one that takes no writes is refused with an error that means
        ``Fault.MOVED``.
        """

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

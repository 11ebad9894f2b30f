"""The server: a script per call, and what it means when no answer arrives."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import ssl as tls
from collections.abc import Callable, Sequence
from importlib import resources
from typing import Any

import attrs
from redis.backoff import NoBackoff
from redis.connection import Connection as TCPConnection
from redis.connection import SSLConnection, UnixDomainSocketConnection
from redis.exceptions import NoScriptError, RedisError
from redis.retry import Retry

from futurama.backends.redis.abandoned import NOBODY, Abandoned, closing
from futurama.backends.redis.errors import MOVED, answer_code, translate
from futurama.backends.redis.pool import Connection, Pool, PoolTimeoutError
from futurama.backends.redis.settings import RedisSettings
from futurama.errors import BackendError, BackendSetupError, BackendUnavailableError

__all__ = ["Script", "Server", "script"]

_KEYS = ("waiting", "claimed", "dead", "records", "payloads", "store")
"""In the order in which the scripts know them."""


@attrs.frozen
class Script:
    """A script of the folder ``lua``.

    Attributes:
        text: of the script, with what all of them begin with.
        digest: the name under which a server remembers it.
    """

    text: bytes
    digest: str


@functools.cache
def script(name: str) -> Script:
    """The script in ``lua/NAME.lua``."""
    folder = resources.files("futurama.backends.redis") / "lua"
    text = b"".join((folder / f"{file}.lua").read_bytes() for file in ("store", name))
    return Script(text, hashlib.sha1(text, usedforsecurity=False).hexdigest())


class Server:
    """Connections to the server, and the keys of one store on it.

    Attributes:
        place: which server and database it is, for messages.

    Args:
        settings: how to reach it; the namespace is that of the keys.
    """

    def __init__(self, settings: RedisSettings) -> None:
        self._settings = settings
        address = settings.socket_path or f"{settings.host}:{settings.port}"
        self.place = f"{settings.username}@{address}/{settings.db}".removeprefix("@")
        # The braces make a cluster keep all of them in one place.
        self.keys = tuple(f"{{{settings.namespace}}}:{name}" for name in _KEYS)
        self._pool: Pool | None = None
        self._abandoned = Abandoned()

    @property
    def is_open(self) -> bool:
        """Whether there is a pool; connections are made when they are needed."""
        return self._pool is not None

    def open(self) -> None:
        """Make the pool if there is none.

        Raises:
            BackendSetupError: a certificate cannot be read.
        """
        if self._pool is None:
            self._check_certificates()
            self._pool = Pool(
                self._make_connection,
                size=self._settings.max_open_connection,
                timeout=self._settings.pool_timeout_sec,
            )

    def close(self) -> None:
        """Close every connection."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.close_idle()

    def read(self, name: str, *arguments: Any) -> Any:
        """Run a script that changes nothing.

        Raises:
            BackendError: translated.
        """
        return self._run(script(name), arguments, may_change=False)

    def write(self, name: str, *arguments: Any) -> Any:
        """Run a script that may change something.

        Raises:
            OutcomeUnknownError: it was sent and not answered.
            BackendError: translated; nothing was changed.
        """
        return self._run(script(name), arguments, may_change=True)

    def ask(self, *command: Any) -> Any:
        """The answer to a command that changes nothing.

        Raises:
            BackendError: translated.
        """
        return self._exchange([command], may_change=False)

    def check_rights(self) -> None:
        """Make sure that connections can be closed before one has to be.

        Raises:
            BackendError: translated.
        """
        self.ask(*closing(NOBODY))

    def _run(self, script: Script, arguments: Sequence[Any], *, may_change: bool) -> Any:
        rest = (len(self.keys), *self.keys, *arguments)
        # A server forgets scripts when it is restarted, replaced or told to.
        tries = [("EVALSHA", script.digest, *rest), ("EVAL", script.text, *rest)]
        return self._exchange(tries, may_change=may_change)

    def _exchange(self, tries: Sequence[Sequence[Any]], *, may_change: bool) -> Any:
        """The answer to the first of ``tries`` that does not name an unknown script."""
        pool = self._pool
        if pool is None:
            raise BackendError("not open; call open() first", backend="redis")
        is_sent = False
        try:
            with pool.connection() as connection:
                self._abandoned.close(functools.partial(_send, connection))
                is_sent = True
                return self._answer(connection, tries)
        except PoolTimeoutError as error:
            raise BackendUnavailableError(
                f"{self.place}: no connection became free within pool_timeout_sec; raise "
                "max_open_connection",
                backend="redis",
            ) from error
        except (RedisError, OSError, UnicodeError) as error:
            if answer_code(error) in MOVED:
                pool.close_idle()
            raise translate(
                error, place=self.place, is_sent=is_sent, may_change=may_change
            ) from error

    def _answer(self, connection: Connection, tries: Sequence[Sequence[Any]]) -> Any:
        *others, last = tries
        try:
            for command in others:
                with contextlib.suppress(NoScriptError):
                    return _send(connection, command)
            return _send(connection, last)
        except BaseException as error:
            if answer_code(error) is None:
                self._abandoned.add(connection)
            raise

    def _check_certificates(self) -> None:
        """Else redis-py would call an unreadable file a server that cannot be reached."""
        settings = self._settings
        if not settings.ssl:
            return
        try:
            context = tls.create_default_context(cafile=settings.ssl_ca)
            if settings.ssl_cert is not None:
                context.load_cert_chain(settings.ssl_cert, settings.ssl_key)
        except OSError as error:
            raise BackendSetupError(
                f"{self.place}: cannot read the certificates in the files that the keys ssl_ca, "
                f"ssl_cert and ssl_key name: {settings.ssl_ca!r}, {settings.ssl_cert!r}, "
                f"{settings.ssl_key!r} ({error})",
                backend="redis",
            ) from error

    def _make_connection(self) -> Connection:
        settings = self._settings
        arguments: dict[str, Any] = {
            "db": settings.db,
            "username": settings.username or None,
            "password": settings.password or None,
            "client_name": f"futurama:{settings.namespace}",
            "socket_connect_timeout": settings.connect_timeout_sec,
            "socket_timeout": settings.read_timeout_sec,
            "protocol": 2,
            "retry": Retry(NoBackoff(), 0),  # whether a repeat does no harm is for us to decide
            "redis_connect_func": self._greet,
        }
        if settings.socket_path is not None:
            return _make(UnixDomainSocketConnection, path=settings.socket_path, **arguments)
        arguments |= {"host": settings.host, "port": settings.port}
        if not settings.ssl:
            return _make(TCPConnection, **arguments)
        return _make(
            _TLSConnection,
            **arguments,
            ssl_ca_certs=settings.ssl_ca,
            ssl_certfile=settings.ssl_cert,
            ssl_keyfile=settings.ssl_key,
            ssl_cert_reqs="required" if settings.ssl_verify else "none",
            ssl_check_hostname=settings.ssl_verify,
        )

    def _greet(self, connection: Any) -> None:
        connection.on_connect()
        self._abandoned.introduce(connection)


class _TLSConnection(SSLConnection):
    """Limits the handshake like the rest of connecting: a server without TLS just waits for more."""

    def _wrap_socket_with_ssl(self, sock: Any) -> Any:
        sock.settimeout(self.socket_connect_timeout)
        wrapped = super()._wrap_socket_with_ssl(sock)  # type: ignore[no-untyped-call] # of redis-py
        wrapped.settimeout(self.socket_timeout)
        return wrapped


def _make(cls: Callable[..., Any], **arguments: Any) -> Connection:
    """Constructors of redis-py are not typed."""
    connection: Connection = cls(**arguments)
    return connection


def _send(connection: Connection, command: Sequence[Any]) -> Any:
    try:
        connection.send_command(*command)
        return connection.read_response()
    except BaseException as error:
        # Whatever is still under way would be taken for the answer to the next command.
        if answer_code(error) is None:
            connection.disconnect()
        raise

"""Redis or Valkey: a private server, or one that someone else runs."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

import redis

from tests.servers.process import PrivateServer, find_binary

__all__ = ["ExternalRedis", "Redis", "redis_server"]

URL_VARIABLE = "FUTURAMA_TEST_REDIS_URL"

_PATIENCE_SECONDS = 60.0

_OPTIONS = (
    "--bind 127.0.0.1",
    "--save ''",
    "--appendonly yes",
    "--appendfsync always",  # durable: what careful people have and benchmarks must pay
    "--daemonize no",
)


class _Namespaces:
    """What every server offers: how to reach it, and fresh namespaces.

    A namespace is here what a database is on other servers: a place for one store.
    """

    host: str
    port: int
    username: str
    password: str
    db: int

    def settings(self, namespace: str = "futurama") -> dict[str, Any]:
        """The configuration keys with which a backend reaches ``namespace`` on this server."""
        return {
            "host": self.host,
            "port": self.port,
            "username": self.username,
            "password": self.password,
            "db": self.db,
            "namespace": namespace,
        }

    def client(self) -> redis.Redis:
        """A client, also a context manager, for looking behind a backend's back."""
        return redis.Redis(
            host=self.host,
            port=self.port,
            username=self.username or None,
            password=self.password or None,
            db=self.db,
            socket_timeout=10,
        )

    def execute(self, *command: Any) -> Any:
        """Run one command as the administrator and return its answer."""
        with self.client() as client:
            return client.execute_command(*command)

    def create_database(self, prefix: str = "t") -> str:
        """The name of a namespace that nobody has used before."""
        return f"{prefix}_{os.getpid()}_{time.monotonic_ns()}"

    def drop_database(self, name: str) -> None:
        """Remove what a backend stored in this namespace."""
        if keys := self.execute("KEYS", f"{{{name}}}:*"):
            self.execute("DEL", *keys)


class ExternalRedis(_Namespaces):
    """A server that someone else runs.

    Args:
        url: ``redis://user:password@host:port/db``; the user must be allowed to do anything with
            keys that begin with ``{t_`` and to list keys.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.host = parts.hostname or "127.0.0.1"
        self.port = parts.port or 6379
        self.username = unquote(parts.username or "")
        self.password = unquote(parts.password or "")
        self.db = int(parts.path.strip("/") or 0)

    def stop(self) -> None:
        """Nothing to do: it is not ours."""


class Redis(PrivateServer, _Namespaces):
    """A private server that writes to its disk before it answers.

    Args:
        options: further options, each as in a configuration file with ``--`` before it; they win
            over the usual ones.

    Raises:
        ServerMissingError: neither ``redis-server`` nor ``valkey-server`` is installed.
    """

    product = "redis"

    def __init__(self, *options: str) -> None:
        self._binary = find_binary(
            "redis-server", "valkey-server", advice=f"install redis-server, or set {URL_VARIABLE}"
        )
        super().__init__()
        self.username = ""
        self.password = ""
        self.db = 0
        self.socket_path = str(self.directory / "socket")
        self._options = options

    def command(self) -> Sequence[str]:
        """See :class:`PrivateServer`."""
        places = (
            f"--port {self.port}",
            f"--dir {self.directory}",
            f"--unixsocket {self.socket_path}",
        )
        return [
            self._binary,
            *(word for option in (*_OPTIONS, *places, *self._options) for word in option.split()),
        ]

    def parameter(self, name: str) -> str:
        """The value that a parameter of the configuration has now."""
        with self.client() as client:
            return str(client.config_get(name)[name])

    def info(self, section: str) -> dict[str, Any]:
        """What the server says of itself."""
        with self.client() as client:
            return dict(client.info(section))

    def clients(self, name: str) -> int:
        """How many connections call themselves so."""
        with self.client() as client:
            return sum(each["name"] == name for each in client.client_list())

    def wait_until_it_follows(self) -> None:
        """Wait until this server has a copy of its master's data."""
        self.wait_until(lambda: self.info("replication").get("master_link_status") == "up")

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until something is true of this server."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, "the server did not get there"
            time.sleep(0.02)  # poll: a server offers nothing to wait for

    def answers(self) -> bool:
        """See :class:`PrivateServer`."""
        try:
            self.execute("PING")
        except redis.ConnectionError:
            return False
        return True


@contextlib.contextmanager
def redis_server() -> Iterator[Redis | ExternalRedis]:
    """The server that ``FUTURAMA_TEST_REDIS_URL`` names, else a private one.

    Raises:
        ServerMissingError: neither is there.
    """
    url = os.environ.get(URL_VARIABLE)
    server = ExternalRedis(url) if url else Redis()
    if isinstance(server, Redis):
        server.start()
    try:
        yield server
    finally:
        server.stop()

"""Empty stores to measure on, each in a place of its own."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import attrs

from futurama import Config
from tests.servers import MariaDB, PostgreSQL, Redis

_MARIADB_OPTIONS = ("--innodb-buffer-pool-size=1G", "--innodb-log-file-size=512M")
_POSTGRESQL_OPTIONS = {"shared_buffers": "1GB", "max_wal_size": "4GB"}
"""What a small server of one's own is given; by default both have far less."""


@attrs.frozen
class Store:
    """A place for events.

    Attributes:
        name: the backend.
        config: the keys that lead to it, for this process and for others.
        about: server and driver, and how the server differs from what it comes with.
        server: the database server, whose own counters and speed some figures need, or None.
    """

    name: str
    config: Mapping[str, Any]
    about: str = ""
    server: MariaDB | PostgreSQL | None = None

    def configured(self, **keys: Any) -> Config:
        """A configuration for this store with some keys more."""
        return Config(**self.config, **keys)


@contextmanager
def memory() -> Iterator[Callable[[], Store]]:
    """The memory of this process."""
    yield lambda: Store("memory", {"backend": "memory"}, "the memory of one process")


@contextmanager
def sqlite() -> Iterator[Callable[[], Store]]:
    """A new file for each store."""
    about = f"SQLite {sqlite3.sqlite_version}, flushed at every commit"
    with tempfile.TemporaryDirectory(prefix="futurama-bench-") as directory:
        numbers = iter(range(1_000_000))
        yield lambda: Store(
            "sqlite",
            {"backend": "sqlite", "path": str(Path(directory) / f"{next(numbers)}.db")},
            about,
        )


@contextmanager
def mysql() -> Iterator[Callable[[], Store]]:
    """A new database for each store on a private server."""
    with MariaDB(*_MARIADB_OPTIONS) as server:
        ((server_version,),) = server.execute("SELECT VERSION()")
        about = (
            f"{server_version}, flushed at every commit ({' '.join(_MARIADB_OPTIONS)}), "
            f"PyMySQL {version('PyMySQL')}"
        )
        yield lambda: _on_server("mysql", about, server)


@contextmanager
def postgresql() -> Iterator[Callable[[], Store]]:
    """A new database for each store on a private server."""
    with PostgreSQL(**_POSTGRESQL_OPTIONS) as server:
        ((server_version,),) = server.execute("SHOW server_version")
        options = " ".join(f"{name}={value}" for name, value in _POSTGRESQL_OPTIONS.items())
        about = (
            f"PostgreSQL {server_version}, flushed at every commit ({options}), "
            f"psycopg {version('psycopg')}"
        )
        yield lambda: _on_server("postgresql", about, server)


@contextmanager
def redis() -> Iterator[Callable[[], Store]]:
    """A new namespace for each store on a private server."""
    with Redis() as server:
        server_version = server.info("server")["redis_version"]
        about = f"Redis {server_version}, flushed at every write, redis-py {version('redis')}"
        yield lambda: _on_server("redis", about, server)


def _on_server(name: str, about: str, server: MariaDB | PostgreSQL | Redis) -> Store:
    config = {"backend": name, **server.settings(server.create_database())}
    return Store(name, config, about, None if isinstance(server, Redis) else server)


STORES = {
    "memory": memory,
    "sqlite": sqlite,
    "mysql": mysql,
    "postgresql": postgresql,
    "redis": redis,
}
"""What makes a place, by the name of the backend; the place makes empty stores."""

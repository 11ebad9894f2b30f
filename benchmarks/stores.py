"""Empty stores to measure on, each in a place of its own."""

from __future__ import annotations

import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import attrs

from futurama import Config
from tests.servers import MariaDB, PostgreSQL, Redis

_MARIADB_OPTIONS = ("--innodb-buffer-pool-size=1G", "--innodb-log-file-size=512M")
_POSTGRESQL_OPTIONS = {"shared_buffers": "1GB", "max_wal_size": "4GB"}
"""What a small server of one's own is given; by default both have far less."""

_HISTORY = "SELECT count FROM information_schema.innodb_metrics WHERE name = 'trx_rseg_history_len'"
"""How many transactions have left garbage that the server has not yet cleared away."""

_REST_SECONDS = 20.0
"""Enough for the garbage of one benchmark; somebody's open transaction would keep it for ever."""

_LOOK_SECONDS = 0.1


@attrs.frozen
class Store:
    """A place for events.

    Attributes:
        name: of the place: one of ``STORES``.
        config: the keys that lead to it, for this process and for others.
        about: server and driver, and how the server differs from what it comes with.
        server: the database server, whose own counters and speed some figures need, or None.
        run: the number of the run of a benchmark that this store is for, from 1 on.
    """

    name: str
    config: Mapping[str, Any]
    about: str = ""
    server: MariaDB | PostgreSQL | None = None
    run: int = 1

    @property
    def backend(self) -> str:
        """The name of the backend."""
        return str(self.config["backend"])

    def rest(self) -> None:
        """Return when the server has cleared away what was deleted before: nobody pays for others."""
        if isinstance(self.server, MariaDB):
            _wait_for_purge(self.server)
        elif isinstance(self.server, PostgreSQL):
            self.server.execute("VACUUM (ANALYZE)", database=self.config["db_name"])

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
def mysql(
    name: str = "mysql", *, driver: str = "pymysql", package: str = "PyMySQL"
) -> Iterator[Callable[[], Store]]:
    """A new database for each store on a private server."""
    with MariaDB(*_MARIADB_OPTIONS) as server:
        ((server_version,),) = server.execute("SELECT VERSION()")
        about = (
            f"{server_version}, flushed at every commit ({' '.join(_MARIADB_OPTIONS)}), "
            f"{package} {version(package)}"
        )
        yield lambda: _on_server(name, about, server, backend="mysql", driver=driver)


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
        yield lambda: _on_server("postgresql", about, server, backend="postgresql")


@contextmanager
def redis() -> Iterator[Callable[[], Store]]:
    """A new namespace for each store on a private server."""
    with Redis() as server:
        server_version = server.info("server")["redis_version"]
        about = f"Redis {server_version}, flushed at every write, redis-py {version('redis')}"
        yield lambda: _on_server("redis", about, server, backend="redis")


def _on_server(name: str, about: str, server: MariaDB | PostgreSQL | Redis, **keys: Any) -> Store:
    config = {**keys, **server.settings(server.create_database())}
    return Store(name, config, about, None if isinstance(server, Redis) else server)


def _wait_for_purge(server: MariaDB) -> None:
    deadline = time.monotonic() + _REST_SECONDS
    while length := int(server.execute(_HISTORY)[0][0]):
        if time.monotonic() > deadline:
            print(f"going on with a history of {length:,} transactions", file=sys.stderr)
            return
        time.sleep(_LOOK_SECONDS)


STORES: Mapping[str, Callable[[], AbstractContextManager[Callable[[], Store]]]] = {
    "memory": memory,
    "sqlite": sqlite,
    "mysql": mysql,
    "mysql-mysqldb": partial(mysql, "mysql-mysqldb", driver="mysqldb", package="mysqlclient"),
    "postgresql": postgresql,
    "redis": redis,
}
"""What makes a place, by its name; the place makes empty stores."""

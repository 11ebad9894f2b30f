"""Empty stores to measure on, each in a place of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from futurama import Config
from tests.servers import MariaDB, PostgreSQL, Redis


@attrs.frozen
class Store:
    """A place for events.

    Attributes:
        name: the backend.
        config: the keys that lead to it, for this process and for others.
        server: the MySQL server, whose own counters and speed some figures need, or None.
    """

    name: str
    config: Mapping[str, Any]
    server: MariaDB | None = None

    def configured(self, **keys: Any) -> Config:
        """A configuration for this store with some keys more."""
        return Config(**self.config, **keys)


@contextmanager
def memory() -> Iterator[Callable[[], Store]]:
    """The memory of this process."""
    yield lambda: Store("memory", {"backend": "memory"})


@contextmanager
def sqlite() -> Iterator[Callable[[], Store]]:
    """A new file for each store."""
    with tempfile.TemporaryDirectory(prefix="futurama-bench-") as directory:
        numbers = iter(range(1_000_000))
        yield lambda: Store(
            "sqlite", {"backend": "sqlite", "path": str(Path(directory) / f"{next(numbers)}.db")}
        )


@contextmanager
def mysql() -> Iterator[Callable[[], Store]]:
    """A new database for each store on a private server with durable settings."""
    with MariaDB() as server:
        yield lambda: Store(
            "mysql", {"backend": "mysql", **server.settings(server.create_database())}, server
        )


@contextmanager
def postgresql() -> Iterator[Callable[[], Store]]:
    """A new database for each store on a private server with durable settings."""
    with PostgreSQL() as server:
        yield lambda: Store(
            "postgresql", {"backend": "postgresql", **server.settings(server.create_database())}
        )


@contextmanager
def redis() -> Iterator[Callable[[], Store]]:
    """A new namespace for each store on a private server with durable settings."""
    with Redis() as server:
        yield lambda: Store(
            "redis", {"backend": "redis", **server.settings(server.create_database())}
        )


STORES = {
    "memory": memory,
    "sqlite": sqlite,
    "mysql": mysql,
    "postgresql": postgresql,
    "redis": redis,
}

"""Servers that several folders of tests share; one per session, started when first asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TypeVar

import pytest

from tests.servers import (
    ExternalMySQL,
    ExternalPostgreSQL,
    ExternalRedis,
    MariaDB,
    PostgreSQL,
    Redis,
    ServerMissingError,
)
from tests.servers import mysql_server as _mysql_server
from tests.servers import postgresql_server as _postgresql_server
from tests.servers import redis_server as _redis_server

Server = TypeVar("Server")


@pytest.fixture(scope="session")
def mysql_server() -> Iterator[MariaDB | ExternalMySQL]:
    """A server for tests that keep to databases of their own and change no setting."""
    yield from _running(_mysql_server)


@pytest.fixture(scope="session")
def private_mysql(mysql_server: MariaDB | ExternalMySQL) -> Iterator[MariaDB]:
    """A server that a test may kill, restart and reconfigure; it must leave it running as it was."""
    if isinstance(mysql_server, MariaDB):
        yield mysql_server
    else:
        yield from _running(MariaDB)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgreSQL | ExternalPostgreSQL]:
    """A server for tests that keep to databases of their own and change no setting."""
    yield from _running(_postgresql_server)


@pytest.fixture(scope="session")
def private_postgresql(
    postgresql_server: PostgreSQL | ExternalPostgreSQL,
) -> Iterator[PostgreSQL]:
    """A server that a test may kill, restart and reconfigure; it must leave it running as it was."""
    if isinstance(postgresql_server, PostgreSQL):
        yield postgresql_server
    else:
        yield from _running(PostgreSQL)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Redis | ExternalRedis]:
    """A server for tests that keep to namespaces of their own and change no setting."""
    yield from _running(_redis_server)


@pytest.fixture(scope="session")
def private_redis(redis_server: Redis | ExternalRedis) -> Iterator[Redis]:
    """A server that a test may kill, restart and reconfigure; it must leave it running as it was."""
    if isinstance(redis_server, Redis):
        yield redis_server
    else:
        yield from _running(Redis)


def _running(make: Callable[[], AbstractContextManager[Server]]) -> Iterator[Server]:
    """The server while it is needed; where there is none, the test is skipped, on CI failed."""
    try:
        context = make()
        server = context.__enter__()
    except ServerMissingError as missing:
        if os.environ.get("CI"):
            pytest.fail(str(missing))
        pytest.skip(f"NOT TESTED WITH A DATABASE SERVER: {missing}")
    yield server
    context.__exit__(None, None, None)

"""Backends on stores of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import pytest

from futurama.backends.mysql import MySQLBackend, MySQLSettings
from tests.servers import ExternalMySQL, MariaDB

MakeMySQL: TypeAlias = Callable[..., MySQLBackend]
"""Makes a backend, not opened, from configuration keys that differ from the usual ones."""


def _makers(server: MariaDB | ExternalMySQL) -> Iterator[MakeMySQL]:
    database = server.create_database()
    made = []

    def make(**keys: Any) -> MySQLBackend:
        backend = MySQLBackend(MySQLSettings(**{**server.settings(database), **keys}))
        made.append(backend)
        return backend

    yield make
    for backend in made:
        backend.close()
    server.drop_database(database)


@pytest.fixture
def make_mysql(mysql_server: MariaDB | ExternalMySQL) -> Iterator[MakeMySQL]:
    """Backends on one new database."""
    yield from _makers(mysql_server)


@pytest.fixture
def make_private_mysql(private_mysql: MariaDB) -> Iterator[MakeMySQL]:
    """The same on a server that the test may kill, restart and reconfigure."""
    yield from _makers(private_mysql)


@pytest.fixture
def mysql(make_mysql: MakeMySQL) -> MySQLBackend:
    """One opened backend on a new database."""
    backend = make_mysql()
    backend.open()
    return backend

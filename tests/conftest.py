"""Servers that several folders of tests share; one per session, started when first asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.servers import ExternalMySQL, MariaDB, ServerMissingError
from tests.servers import mysql_server as _mysql_server


@pytest.fixture(scope="session")
def mysql_server() -> Iterator[MariaDB | ExternalMySQL]:
    """A server for tests that keep to databases of their own and change no setting."""
    try:
        context = _mysql_server()
        server = context.__enter__()
    except ServerMissingError as missing:
        _missing(missing)
    yield server
    context.__exit__(None, None, None)


@pytest.fixture(scope="session")
def private_mysql(mysql_server: MariaDB | ExternalMySQL) -> Iterator[MariaDB]:
    """A server that a test may kill, restart and reconfigure; it must leave it running as it was."""
    if isinstance(mysql_server, MariaDB):
        yield mysql_server
        return
    try:
        server = MariaDB()
    except ServerMissingError as missing:
        _missing(missing)
    with server:
        yield server


def _missing(missing: ServerMissingError) -> None:
    if os.environ.get("CI"):
        pytest.fail(str(missing))
    pytest.skip(f"NOT TESTED WITH A DATABASE SERVER: {missing}")

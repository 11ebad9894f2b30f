"""The PostgreSQL backend keeps the laws, whatever the defaults of its sessions are."""

from __future__ import annotations

import atexit
import contextlib
import functools
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from unittest import SkipTest

from futurama.backend import Capabilities, EventBackend
from futurama.backends.postgresql import PostgreSQLBackend, PostgreSQLSettings
from futurama.conformance import BackendConformance
from tests.servers import (
    ExternalPostgreSQL,
    PostgreSQL,
    ServerMissingError,
    postgresql_server,
)

_tables = itertools.count(1)

_HOSTILE = {
    "TimeZone": "'America/St_Johns'",
    "DateStyle": "'SQL, DMY'",
    "bytea_output": "'escape'",
    "client_encoding": "'LATIN1'",
    "default_transaction_isolation": "'serializable'",
    "default_transaction_deferrable": "on",
    "synchronous_commit": "off",
    "enable_indexscan": "off",
}


@functools.cache
def _server_and_database() -> tuple[PostgreSQL | ExternalPostgreSQL, str]:
    """The server and one database for all tests of this file, removed when Python ends."""
    stack = contextlib.ExitStack()
    try:
        server = stack.enter_context(postgresql_server())
    except ServerMissingError as error:
        raise SkipTest(str(error)) from error
    atexit.register(stack.close)
    database = server.create_database("conformance")
    stack.callback(server.drop_database, database)
    for name, value in _HOSTILE.items():
        server.execute(f"ALTER DATABASE {server.quoted(database)} SET {name} = {value}")
    return server, database


class TestPostgreSQL(BackendConformance):
    """On a database whose defaults for sessions are hostile: the backend sets what it relies on."""

    capabilities = Capabilities(
        durable=True,
        shared=True,
        resolution=timedelta(microseconds=1),
        max_data_bytes=1024 * 1024,
    )

    @classmethod
    @contextmanager
    def make_backend(cls) -> Iterator[EventBackend]:
        """A backend on a new table."""
        server, database = _server_and_database()
        table = f"events{next(_tables)}"
        settings = {**server.settings(database), "table_name": table}
        try:
            yield PostgreSQLBackend(PostgreSQLSettings(**settings))
        finally:
            server.execute(f"DROP TABLE IF EXISTS {table}", database=database)

    @classmethod
    def connector(cls, backend: EventBackend) -> Callable[[], EventBackend]:
        """Another instance on the same table."""
        assert isinstance(backend, PostgreSQLBackend)
        return functools.partial(PostgreSQLBackend, backend._settings)

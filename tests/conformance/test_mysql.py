"""The MySQL backend keeps the laws, with microseconds, with whole seconds, and by another driver."""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib.util
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import ClassVar
from unittest import SkipTest

import attrs

from futurama.backend import Capabilities, EventBackend
from futurama.backends.mysql import MySQLBackend, MySQLSettings
from futurama.conformance import BackendConformance
from tests.servers import ExternalMySQL, MariaDB, ServerMissingError, mysql_server

_tables = itertools.count(1)


@functools.cache
def _server_and_database() -> tuple[MariaDB | ExternalMySQL, str]:
    """The server and one database for all tests of this file, removed when Python ends."""
    stack = contextlib.ExitStack()
    try:
        server = stack.enter_context(mysql_server())
    except ServerMissingError as error:
        raise SkipTest(str(error)) from error
    atexit.register(stack.close)
    if isinstance(server, MariaDB):
        # Hostile defaults for sessions: whatever matters, the backend must have set itself.
        server.execute("SET GLOBAL time_zone = '-09:30', sql_mode = ''")
        server.execute("SET GLOBAL tx_isolation = 'SERIALIZABLE'")
    database = server.create_database("conformance")
    stack.callback(server.drop_database, database)
    return server, database


class _MySQL(BackendConformance):
    mysql6: ClassVar[bool] = True
    driver: ClassVar[str] = "pymysql"

    @classmethod
    @contextmanager
    def make_backend(cls) -> Iterator[EventBackend]:
        """A backend on a new table."""
        server, database = _server_and_database()
        table = f"events{next(_tables)}"
        settings = {**server.settings(database), "table_name": table}
        settings |= {"mysql6": cls.mysql6, "driver": cls.driver}
        try:
            yield MySQLBackend(MySQLSettings(**settings))
        finally:
            server.execute(f"DROP TABLE IF EXISTS `{database}`.`{table}`")

    @classmethod
    def connector(cls, backend: EventBackend) -> Callable[[], EventBackend]:
        """Another instance on the same table."""
        assert isinstance(backend, MySQLBackend)
        return functools.partial(MySQLBackend, backend._settings)


class TestMySQL(_MySQL):
    """DATETIME(6): microseconds."""

    capabilities = Capabilities(
        durable=True,
        shared=True,
        resolution=timedelta(microseconds=1),
        max_data_bytes=1024 * 1024,
    )


class TestMySQLOfWholeSeconds(_MySQL):
    """DATETIME: servers without fractional seconds."""

    mysql6 = False
    capabilities = attrs.evolve(TestMySQL.capabilities, resolution=timedelta(seconds=1))


class TestMySQLByTheCLibrary(_MySQL):
    """The same through mysqlclient."""

    driver = "mysqldb"
    capabilities = TestMySQL.capabilities

    @classmethod
    @contextmanager
    def make_backend(cls) -> Iterator[EventBackend]:
        """A backend on a new table."""
        if importlib.util.find_spec("MySQLdb") is None:
            raise SkipTest("NOT TESTED WITH THE DRIVER mysqldb: run `make servers`")
        with super().make_backend() as backend:
            yield backend

"""MariaDB or MySQL: a private server, or one that someone else runs."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pymysql

from tests.servers.databases import DatabaseServer
from tests.servers.process import PrivateServer, find_binary, temporary_folder

__all__ = ["ExternalMySQL", "MariaDB", "mysql_server"]

URL_VARIABLE = "FUTURAMA_TEST_MYSQL_URL"

_OPTIONS = (
    "--no-defaults",
    "--bind-address=127.0.0.1",
    "--skip-name-resolve",
    "--skip-log-bin",
    "--innodb-flush-log-at-trx-commit=1",  # durable: what production has and benchmarks must pay
    "--innodb-buffer-pool-size=128M",
    "--innodb-log-file-size=64M",
    "--max-connections=200",
    "--character-set-server=utf8mb4",
)


class _MySQL(DatabaseServer):
    """What every server offers: how to reach it, and fresh databases."""

    own_session = "SELECT CONNECTION_ID()"

    def quoted(self, name: str) -> str:
        """See :class:`DatabaseServer`."""
        return f"`{name.replace('`', '``')}`"

    def connect(
        self, database: str | None = None, *, autocommit: bool = True, **arguments: Any
    ) -> pymysql.connections.Connection[Any]:
        """See :class:`DatabaseServer`."""
        return pymysql.connect(
            host=self.host,
            port=self.port,
            user=self.username,
            password=self.password,
            database=database,
            autocommit=autocommit,
            **arguments,
        )

    def execute(
        self, sql: str, *arguments: Any, database: str | None = None
    ) -> list[tuple[Any, ...]]:
        """See :class:`DatabaseServer`."""
        with (
            contextlib.closing(self.connect(database)) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(sql, arguments or None)
            return list(cursor.fetchall())

    def drop_database(self, name: str) -> None:
        """See :class:`DatabaseServer`."""
        self.execute(f"DROP DATABASE IF EXISTS {self.quoted(name)}")

    def create_user(self, name: str, password: str) -> None:
        """See :class:`DatabaseServer`."""
        self.execute(f"CREATE USER {name}@'%' IDENTIFIED BY '{password}'")

    def drop_user(self, name: str) -> None:
        """See :class:`DatabaseServer`."""
        self.execute(f"DROP USER {name}@'%'")

    def sessions(self, database: str) -> list[int]:
        """See :class:`DatabaseServer`."""
        rows = self.execute("SELECT id FROM information_schema.processlist WHERE db = %s", database)
        return [session for (session,) in rows]

    def end_session(self, session: int) -> None:
        """See :class:`DatabaseServer`."""
        self.execute(f"KILL {session}")


class ExternalMySQL(_MySQL):
    """A server that someone else runs.

    Args:
        url: ``mysql://user:password@host:port/``; the user must be allowed to create databases.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.host = parts.hostname or "127.0.0.1"
        self.port = parts.port or 3306
        self.username = unquote(parts.username or "root")
        self.password = unquote(parts.password or "")

    def stop(self) -> None:
        """Nothing to do: it is not ours."""


class MariaDB(PrivateServer, _MySQL):
    """A private server, durable at every commit.

    Args:
        options: further options for the server's command line; they win over the usual ones.

    Raises:
        ServerMissingError: neither ``mariadbd`` nor ``mysqld`` is installed.
    """

    product = "mariadb"

    def __init__(self, *options: str) -> None:
        self._binary = _binary("mariadbd", "mysqld")
        super().__init__()
        self.username = "root"
        self.password = ""
        self._options = options
        shutil.copytree(_template(), self.directory / "data")

    @property
    def url(self) -> str:
        """In the form that ``FUTURAMA_TEST_MYSQL_URL`` takes."""
        return f"mysql://{self.username}:{self.password}@{self.host}:{self.port}/"

    def command(self) -> Sequence[str]:
        """See :class:`PrivateServer`."""
        return [
            self._binary,
            *_OPTIONS,
            *_as_root(),
            f"--datadir={self.directory / 'data'}",
            f"--tmpdir={self.directory}",
            f"--socket={self.directory / 'socket'}",
            f"--pid-file={self.directory / 'pid'}",
            f"--port={self.port}",
            *self._options,
        ]

    def answers(self) -> bool:
        """See :class:`PrivateServer`."""
        try:
            self.connect(connect_timeout=2).close()
        except pymysql.err.OperationalError:
            return False
        return True


@contextlib.contextmanager
def mysql_server() -> Iterator[MariaDB | ExternalMySQL]:
    """The server that ``FUTURAMA_TEST_MYSQL_URL`` names, else a private one.

    Raises:
        ServerMissingError: neither is there.
    """
    url = os.environ.get(URL_VARIABLE)
    server = ExternalMySQL(url) if url else MariaDB()
    if isinstance(server, MariaDB):
        server.start()
    try:
        yield server
    finally:
        server.stop()


@functools.cache
def _template() -> Path:
    """An initialised data folder to copy from; made once per process."""
    directory = temporary_folder("futurama-mariadb-template-")
    result = subprocess.run(
        [
            _binary("mariadb-install-db", "mysql_install_db"),
            "--no-defaults",
            *_as_root(),
            f"--datadir={directory}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            "--skip-name-resolve",
            "--innodb-log-file-size=64M",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if result.returncode:
        raise RuntimeError(f"mariadb-install-db failed:\n{result.stdout.decode()[-4000:]}")
    return directory


def _binary(*names: str) -> str:
    return find_binary(*names, advice=f"install mariadb-server, or set {URL_VARIABLE}")


def _as_root() -> list[str]:
    """The servers refuse to run as root unless told so, and refuse to be told so otherwise."""
    return ["--user=root"] if os.geteuid() == 0 else []

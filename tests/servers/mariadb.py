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
            *(_as_root() if self.user is None else ()),
            f"--datadir={self.directory / 'data'}",
            f"--tmpdir={self.directory}",
            f"--socket={self.directory / 'socket'}",
            f"--pid-file={self.directory / 'pid'}",
            f"--port={self.port}",
            *self._options,
        ]

    def status(self, name: str) -> int:
        """What the server has counted, or counts now, under this name of SHOW GLOBAL STATUS."""
        ((_, value),) = self.execute("SHOW GLOBAL STATUS LIKE %s", name)
        return int(value)

    def metric(self, name: str) -> int:
        """What InnoDB has counted under this name of ``information_schema.innodb_metrics``."""
        ((value,),) = self.execute(
            "SELECT count FROM information_schema.innodb_metrics WHERE name = %s", name
        )
        return int(value)

    def grant_all(self, username: str, database: str) -> None:
        """Let a user, created if missing, do anything in one database and nothing with the server."""
        self.execute(f"GRANT ALL ON {self.quoted(database)}.* TO {username}@'%' IDENTIFIED BY ''")

    def follow(self, source: MariaDB) -> None:
        """Replicate, from its beginning, a server that writes a binary log.

        Semi-synchronously: from now on the source commits nothing that is not on this server's disk.
        For that the source gets a user ``replica``.
        """
        source.execute("GRANT REPLICATION SLAVE ON *.* TO replica@'%' IDENTIFIED BY ''")
        self.execute("SET GLOBAL rpl_semi_sync_slave_enabled = 1")
        self.execute(
            f"CHANGE MASTER TO master_host = '{source.host}', master_port = {source.port}, "
            "master_user = 'replica', master_use_gtid = slave_pos"
        )
        self.execute("START SLAVE")
        source.execute(
            "SET GLOBAL rpl_semi_sync_master_wait_point = AFTER_SYNC, "
            "GLOBAL rpl_semi_sync_master_timeout = 60000, GLOBAL rpl_semi_sync_master_enabled = 1"
        )

    def received(self) -> str:
        """Up to where this replica has got the changes of its source."""
        with (
            contextlib.closing(self.connect()) as connection,
            connection.cursor(pymysql.cursors.DictCursor) as cursor,
        ):
            cursor.execute("SHOW SLAVE STATUS")
            (status,) = cursor.fetchall()
        position: str = status["Gtid_IO_Pos"]
        return position

    def promote(self) -> None:
        """Make all changes that this replica has got, follow nobody any more, and take writes."""
        self.execute("STOP SLAVE IO_THREAD")
        ((result,),) = self.execute("SELECT MASTER_GTID_WAIT(%s, 60)", self.received())
        assert result == 0, "the replica could not make all changes that it has got"
        self.execute("STOP SLAVE")
        self.execute("RESET SLAVE ALL")
        self.execute("SET GLOBAL read_only = 0")

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

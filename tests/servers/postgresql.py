"""PostgreSQL: a private server, or one that someone else runs."""

from __future__ import annotations

import contextlib
import functools
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import psycopg

from tests.servers.databases import DatabaseServer
from tests.servers.process import PrivateServer, find_binary, temporary_folder

__all__ = ["ExternalPostgreSQL", "PostgreSQL", "postgresql_server"]

URL_VARIABLE = "FUTURAMA_TEST_POSTGRESQL_URL"

_OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "on",  # durable: what production has and benchmarks must pay
    "synchronous_commit": "on",
    "shared_buffers": "128MB",
    "max_wal_size": "1GB",
    "max_connections": "200",
}

_WHO_MAY_CONNECT = """\
host all postgres 127.0.0.1/32 trust
host all all 127.0.0.1/32 scram-sha-256
"""


def _unprivileged_user() -> str:
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


class _PostgreSQL(DatabaseServer):
    """What every server offers: how to reach it, and fresh databases."""

    own_session = "SELECT pg_backend_pid()"

    def quoted(self, name: str) -> str:
        """See :class:`DatabaseServer`."""
        return '"' + name.replace('"', '""') + '"'

    def connect(
        self, database: str | None = None, *, autocommit: bool = True, **arguments: Any
    ) -> psycopg.Connection[Any]:
        """See :class:`DatabaseServer`."""
        return psycopg.connect(
            host=self.host,
            port=self.port,
            user=self.username,
            password=self.password,
            dbname=database or "postgres",
            autocommit=autocommit,
            **arguments,
        )

    def execute(
        self, sql: str, *arguments: Any, database: str | None = None
    ) -> list[tuple[Any, ...]]:
        """See :class:`DatabaseServer`."""
        with contextlib.closing(self.connect(database)) as connection:
            cursor = connection.execute(sql.encode(), arguments or None)
            return cursor.fetchall() if cursor.description else []

    def drop_database(self, name: str) -> None:
        """See :class:`DatabaseServer`; ends the sessions that use it."""
        self.execute(f"DROP DATABASE IF EXISTS {self.quoted(name)} WITH (FORCE)")

    def create_user(self, name: str, password: str) -> None:
        """See :class:`DatabaseServer`."""
        self.execute(f"CREATE USER {name} PASSWORD '{password}'")

    def drop_user(self, name: str) -> None:
        """See :class:`DatabaseServer`."""
        self.execute(f"DROP USER {name}")

    def sessions(self, database: str) -> list[int]:
        """See :class:`DatabaseServer`."""
        rows = self.execute("SELECT pid FROM pg_stat_activity WHERE datname = %s", database)
        return [session for (session,) in rows]

    def end_session(self, session: int) -> None:
        """See :class:`DatabaseServer`."""
        self.execute(f"SELECT pg_terminate_backend({session}, 10000)")


class ExternalPostgreSQL(_PostgreSQL):
    """A server that someone else runs.

    Args:
        url: ``postgresql://user:password@host:port/``; the user must be allowed to create databases.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.host = parts.hostname or "127.0.0.1"
        self.port = parts.port or 5432
        self.username = unquote(parts.username or "postgres")
        self.password = unquote(parts.password or "")

    def stop(self) -> None:
        """Nothing to do: it is not ours."""


class PostgreSQL(PrivateServer, _PostgreSQL):
    """A private server, durable at every commit; its administrator needs no password.

    Args:
        options: further options of the server; they win over the usual ones.

    Raises:
        ServerMissingError: PostgreSQL is not installed.
    """

    product = "postgresql"
    user = _unprivileged_user()  # the server refuses to run as root

    def __init__(self, **options: str) -> None:
        self._binary = _binary("postgres")
        super().__init__()
        self.username = "postgres"
        self.password = ""
        self._options = {**_OPTIONS, **options}
        shutil.copytree(_template(), self.directory / "data")

    @property
    def url(self) -> str:
        """In the form that ``FUTURAMA_TEST_POSTGRESQL_URL`` takes."""
        return f"postgresql://{self.username}:{self.password}@{self.host}:{self.port}/"

    def command(self) -> Sequence[str]:
        """See :class:`PrivateServer`."""
        options = [f"--{name}={value}" for name, value in self._options.items()]
        return [self._binary, f"-D{self.directory / 'data'}", f"--port={self.port}", *options]

    def answers(self) -> bool:
        """See :class:`PrivateServer`."""
        try:
            self.connect(connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def start(self) -> None:
        """See :class:`PrivateServer`."""
        _hand_over(self.directory)
        super().start()

    def terminate(self) -> None:
        """See :class:`PrivateServer`; does not wait for the clients to leave."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """See :class:`PrivateServer`.

        By SIGQUIT, upon which all processes of the server end at once and nothing is written any
        more. After SIGKILL the processes of the sessions would live on for moments in which the
        data cannot be used by another server.
        """
        self._end(signal.SIGQUIT)

    def children(self) -> Sequence[int]:
        """See :class:`PrivateServer`: among them one for each session."""
        rows = self.execute("SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        return [pid for (pid,) in rows]


@contextlib.contextmanager
def postgresql_server() -> Iterator[PostgreSQL | ExternalPostgreSQL]:
    """The server that ``FUTURAMA_TEST_POSTGRESQL_URL`` names, else a private one.

    Raises:
        ServerMissingError: neither is there.
    """
    url = os.environ.get(URL_VARIABLE)
    server = ExternalPostgreSQL(url) if url else PostgreSQL()
    if isinstance(server, PostgreSQL):
        server.start()
    try:
        yield server
    finally:
        server.stop()


@functools.cache
def _template() -> Path:
    """An initialised data folder to copy from; made once per process."""
    directory = temporary_folder("futurama-postgresql-template-")
    _hand_over(directory)
    result = subprocess.run(
        [
            _binary("initdb"),
            f"--pgdata={directory}",
            "--username=postgres",
            "--auth=trust",  # replaced below
            "--encoding=UTF8",
            "--no-locale",
            "--no-sync",
        ],
        user=PostgreSQL.user if os.geteuid() == 0 else None,
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if result.returncode:
        raise RuntimeError(f"initdb failed:\n{result.stdout.decode()[-4000:]}")
    (directory / "pg_hba.conf").write_text(_WHO_MAY_CONNECT)
    return directory


def _hand_over(folder: Path) -> None:
    """Let the user as whom the server runs own the folder and what is in it."""
    if os.geteuid() == 0:
        for path in (folder, *folder.rglob("*")):
            shutil.chown(path, PostgreSQL.user)


def _binary(name: str) -> str:
    hidden = Path("/usr/lib/postgresql").glob("*/bin")  # by Debian, one folder for each version
    newest_first = sorted(hidden, key=lambda path: float(path.parent.name), reverse=True)
    return find_binary(
        name,
        folders=[str(path) for path in newest_first],
        advice=f"install postgresql, or set {URL_VARIABLE}",
    )

"""Private database servers for tests, benchmarks and demonstrations.

:class:`MariaDB` runs the binary that is installed on this machine in a folder of its own, on a free
loopback port. Nothing outside that folder is read or written, and whatever becomes of this process,
a watchdog ends the server and removes the folder. Import this from anything: it needs no pytest.

``FUTURAMA_TEST_MYSQL_URL`` (``mysql://user:password@host:port/``) makes :func:`mysql_server` hand out
that server instead. Such a server is shared: it cannot be stopped or reconfigured.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import pymysql

__all__ = ["ExternalMySQL", "MariaDB", "ServerMissingError", "free_port", "mysql_server"]

URL_VARIABLE = "FUTURAMA_TEST_MYSQL_URL"

_START_TIMEOUT_SECONDS = 60.0
"""Two seconds are usual; a busy CI machine that flushes slowly takes much longer."""

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


class ServerMissingError(RuntimeError):
    """No database server is installed on this machine."""


class _Databases:
    """What every server offers: how to reach it, and fresh databases."""

    host: str
    port: int
    username: str
    password: str

    def settings(self, db_name: str = "futurama") -> dict[str, Any]:
        """The configuration keys with which a backend reaches ``db_name`` on this server."""
        return {
            "host": self.host,
            "port": self.port,
            "username": self.username,
            "password": self.password,
            "db_name": db_name,
        }

    def connect(self, **arguments: Any) -> pymysql.connections.Connection[Any]:
        """A bare connection in autocommit mode, for looking behind a backend's back."""
        defaults = {
            "host": self.host,
            "port": self.port,
            "user": self.username,
            "password": self.password,
            "autocommit": True,
        }
        return pymysql.connect(**{**defaults, **arguments})

    def execute(self, sql: str, *arguments: Any) -> list[tuple[Any, ...]]:
        """Run one statement as the administrator and return its rows."""
        with contextlib.closing(self.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(sql, arguments or None)
            return list(cursor.fetchall())

    def create_database(self, prefix: str = "t") -> str:
        """Create an empty database; return its name, which nobody has used before."""
        name = f"{prefix}_{os.getpid()}_{time.monotonic_ns()}"
        self.execute(f"CREATE DATABASE `{name}`")
        return name

    def drop_database(self, name: str) -> None:
        """Remove a database and what is in it."""
        self.execute(f"DROP DATABASE IF EXISTS `{name}`")


class ExternalMySQL(_Databases):
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


class MariaDB(_Databases):
    """A private server, durable at every commit; also a context manager.

    Args:
        options: further options for the server's command line; they win over the usual ones.

    Raises:
        ServerMissingError: neither ``mariadbd`` nor ``mysqld`` is installed.
    """

    def __init__(self, *options: str) -> None:
        self.host = "127.0.0.1"
        self.port = free_port()
        self.username = "root"
        self.password = ""
        self._options = options
        self._binary = _binary("mariadbd", "mysqld")
        self._directory = _temporary_folder("futurama-mariadb-")
        self._process: subprocess.Popen[bytes] | None = None
        shutil.copytree(_template(), self._directory / "data")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """In the form that ``FUTURAMA_TEST_MYSQL_URL`` takes."""
        return f"mysql://{self.username}:{self.password}@{self.host}:{self.port}/"

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        assert self._process is not None, "the server is not running"
        return self._process.pid

    @property
    def log(self) -> str:
        """What the server wrote to its error log."""
        path = self._directory / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> None:
        """Start the server on its data and port, and wait until it answers."""
        assert self._process is None, "the server is running already"
        command = [
            self._binary,
            *_OPTIONS,
            *_as_root(),
            f"--datadir={self._directory / 'data'}",
            f"--socket={self._directory / 'socket'}",
            f"--pid-file={self._directory / 'pid'}",
            f"--port={self.port}",
            *self._options,
        ]
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        _watchdog().say("watch", self._process.pid)
        self._wait_until_it_answers()

    def terminate(self) -> None:
        """Shut the server down in order; its data stay, and :meth:`start` starts it again."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the server at once, as a crash would; its data stay."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Shut down if running, and start again on the same data and port."""
        self.terminate()
        self.start()

    def pause(self) -> None:
        """Stop the server's process, so that connections stay open and nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused server run on."""
        os.kill(self.pid, signal.SIGCONT)

    def stop(self) -> None:
        """End the server for good and remove its data."""
        self.kill()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _end(self, with_signal: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(with_signal)
        self._process.wait()
        _watchdog().say("forget", self._process.pid)
        self._process = None

    def _wait_until_it_answers(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + _START_TIMEOUT_SECONDS
        while True:
            if self._process.poll() is not None or time.monotonic() > deadline:
                log = self.log
                self.stop()
                raise RuntimeError(f"the database server did not start:\n{log[-4000:]}")
            try:
                self.connect(connect_timeout=2).close()
            except pymysql.err.OperationalError:
                time.sleep(0.02)  # poll: a starting server offers nothing to wait for
            else:
                return


class _Watchdog:
    """A small process that outlives this one just long enough to clean up after it.

    It reads from a pipe what there is to end and to remove; the end of the pipe means that this
    process is gone, however it went. PR_SET_PDEATHSIG would do less: it exists on Linux only, fires
    when the *thread* that started the server ends, and removes no folder.
    """

    _PROGRAM = """
import os, shutil, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
pids, folders = set(), set()
for line in sys.stdin:
    word, _, what = line.rstrip("\\n").partition(" ")
    if word == "folder":
        folders.add(what)
    else:
        (pids.add if word == "watch" else pids.discard)(int(what))
for pid in pids:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
for folder in folders:
    shutil.rmtree(folder, ignore_errors=True)
"""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", self._PROGRAM],
            stdin=subprocess.PIPE,
            text=True,
            start_new_session=True,  # so that Ctrl-C in the terminal reaches us, not it
        )

    def say(self, word: str, what: object) -> None:
        """``folder PATH``, ``watch PID`` or ``forget PID``."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word} {what}\n")
        self._process.stdin.flush()


_watchdog = functools.cache(_Watchdog)


def _temporary_folder(prefix: str) -> Path:
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    _watchdog().say("folder", folder)
    return folder


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
    directory = _temporary_folder("futurama-mariadb-template-")
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
    """The path of the first of these programs that is installed; sbin is not on everyone's PATH."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    for name in names:
        if found := shutil.which(name, path=path):
            return found
    raise ServerMissingError(
        f"none of {', '.join(names)} is installed; install mariadb-server, or set {URL_VARIABLE}"
    )


def _as_root() -> list[str]:
    """The servers refuse to run as root unless told so, and refuse to be told so otherwise."""
    return ["--user=root"] if os.geteuid() == 0 else []


def free_port() -> int:
    """A TCP port of the loopback interface on which nobody listens at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port

"""Servers as processes of this one: started in a folder of their own, ended with it."""

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
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Self

__all__ = [
    "PrivateServer",
    "ServerMissingError",
    "find_binary",
    "free_port",
    "temporary_folder",
]

_START_TIMEOUT_SECONDS = 60.0
"""Two seconds are usual; a busy CI machine that flushes slowly takes much longer."""


class ServerMissingError(RuntimeError):
    """The server is not installed on this machine."""


class PrivateServer(ABC):
    """A server in a folder of its own, on a free loopback port; also a context manager.

    Nothing outside that folder is read or written, and whatever becomes of this process, a watchdog
    ends the server and removes the folder.

    Attributes:
        product: its name for messages and folders.
        user: whose rights the server runs with where this process is root; None: ours.
    """

    product: ClassVar[str]
    user: ClassVar[str | None] = None

    def __init__(self) -> None:
        self.host = "127.0.0.1"
        self.port = free_port()
        self.directory = temporary_folder(f"futurama-{self.product}-")
        self._process: subprocess.Popen[bytes] | None = None
        self._paused: Sequence[int] = ()

    @abstractmethod
    def command(self) -> Sequence[str]:
        """What starts the server in the foreground, on its port and on its data."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether the server takes connections."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        assert self._process is not None, "the server is not running"
        return self._process.pid

    @property
    def log(self) -> str:
        """What the server wrote to its log."""
        path = self.directory / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> None:
        """Start the server on its data and port, and wait until it answers."""
        assert self._process is None, "the server is running already"
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                user=self.user if os.geteuid() == 0 else None,
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

    def children(self) -> Sequence[int]:
        """The ids of the server's further processes; it must be running."""
        return ()

    def pause(self) -> None:
        """Stop the server's processes, so that connections stay open and nothing answers."""
        self._paused = (self.pid, *self.children())
        for pid in self._paused:
            _watchdog().say("watch", pid)  # a stopped child does not see its parent end
            _signal(pid, signal.SIGSTOP)
            _wait_until_stopped(pid)

    def resume(self) -> None:
        """Let a paused server run on."""
        for pid in self._paused:
            _signal(pid, signal.SIGCONT)
            if pid != self.pid:
                _watchdog().say("forget", pid)

    def stop(self) -> None:
        """End the server for good and remove its data."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

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
        while not self.answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                log = self.log
                self.stop()
                raise RuntimeError(f"{self.product} did not start:\n{log[-4000:]}")
            time.sleep(0.02)  # poll: a starting server offers nothing to wait for


def _signal(pid: int, with_signal: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # a child may have ended meanwhile
        os.kill(pid, with_signal)


def _wait_until_stopped(pid: int) -> None:
    """Until every thread has stopped, where the system tells: until then some may still answer."""
    threads = Path(f"/proc/{pid}/task")
    deadline = time.monotonic() + _START_TIMEOUT_SECONDS
    while threads.exists() and not all(map(_is_stopped, threads.iterdir())):
        if time.monotonic() > deadline:
            raise TimeoutError(f"process {pid} did not stop")
        time.sleep(0.001)  # poll: there is nothing to wait for


def _is_stopped(thread: Path) -> bool:
    try:
        state = (thread / "stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state in "TtZX"


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


def temporary_folder(prefix: str) -> Path:
    """A new folder that is removed at the latest when this process has ended, however it ends."""
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    _watchdog().say("folder", folder)
    return folder


def find_binary(*names: str, folders: Sequence[str] = (), advice: str) -> str:
    """The path of the first of these programs that is installed; sbin is not on everyone's PATH.

    Args:
        names: of the program, the preferred one first.
        folders: where else to look.
        advice: what to do if there is none.

    Raises:
        ServerMissingError: there is none.
    """
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin", *folders])
    for name in names:
        if found := shutil.which(name, path=path):
            return found
    raise ServerMissingError(f"none of {', '.join(names)} is installed; {advice}")


def free_port() -> int:
    """A TCP port of the loopback interface on which nobody listens at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port

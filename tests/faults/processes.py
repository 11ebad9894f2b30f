"""Instances as child processes, each ended by its own process id."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["Instance", "kill_all"]

_ROOT = Path(__file__).resolve().parents[2]
_PATIENCE_SECONDS = 60.0

_STARTED: weakref.WeakSet[subprocess.Popen[str]] = weakref.WeakSet()
"""By this process."""


def kill_all() -> None:
    """End all instances of this process at once, also those that are paused."""
    for process in list(_STARTED):
        process.kill()


class Instance:
    """A process that runs :mod:`tests.faults.instance`.

    Args:
        name: the owner's name in claims, and of the files; no other instance ever had it.
        folder: where it records and logs.
        config: the configuration; ``queue_name`` is added.
        environment: further variables of the environment.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        config: Mapping[str, Any],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.record = folder / f"{name}.record"
        self._log = folder / f"{name}.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "tests.faults.instance",
                    str(self.record),
                    json.dumps({**config, "queue_name": name}),
                ],
                cwd=_ROOT,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        _STARTED.add(self._process)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def log(self) -> str:
        """What it wrote to its log."""
        return self._log.read_text(errors="replace")

    @property
    def has_ended(self) -> bool:
        """Whether the process is gone."""
        return self._process.poll() is not None

    def wait_until_ready(self) -> None:
        """Wait until it claims."""
        self._expect("ready")

    def start_asking(self, plan: Path) -> None:
        """Let it cancel and move what the file lists, see :mod:`tests.faults.instance`."""
        self._say(f"ask {plan}")

    def wait_until_asked(self) -> None:
        """Wait until everything that the file lists has an answer."""
        self._expect("asked")

    def stats(self) -> dict[str, Any]:
        """What it says of itself."""
        self._say("stats")
        result: dict[str, Any] = json.loads(self._line())
        return result

    def stop(self) -> None:
        """Let it stop in order."""
        if not self.has_ended:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._expect("stopped")
            self._process.wait(_PATIENCE_SECONDS)
        self._close()

    def kill(self) -> None:
        """End it at once, as a crash would; it may be stopped, or have ended by itself."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._close()

    def pause(self) -> None:
        """Stop it between any two of its instructions."""
        self._process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOWAIT)

    def resume(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def _close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _expect(self, word: str) -> None:
        line = self._line()
        assert line == word, f"{self.name} said {line!r}, not {word!r}:\n{self.log[-4000:]}"

    def _line(self) -> str:
        """The next line of its output; whoever says nothing is ended, so that nobody waits for ever."""
        assert self._process.stdout is not None
        watchdog = threading.Timer(_PATIENCE_SECONDS, self._process.kill)
        watchdog.start()
        try:
            return self._process.stdout.readline().strip()
        finally:
            watchdog.cancel()

"""Whether the machine itself stands still: no processor for anybody, or a disk that does not answer."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Self

__all__ = ["Pulse"]

_EVERY_SECONDS = 0.05

_STALL_SHARE = 0.25
"""Of a lease: after that an instance may have to give up what it holds without being called."""


class Pulse:
    """Writes to the disk again and again, and notes when that takes long; a context manager.

    What a machine in the hands of others does to it breaks no promise, but an event may be called
    again because of it.

    Args:
        folder: on the disk in question.
        lease_seconds: how long the leases are that a stall may cost.

    Attributes:
        stalls: (beginning, end) of each, in nanoseconds of CLOCK_MONOTONIC.
    """

    def __init__(self, folder: Path, lease_seconds: float) -> None:
        self._stall_ns = int((_STALL_SHARE * lease_seconds + _EVERY_SECONDS) * 1e9)
        self.stalls: list[tuple[int, int]] = []
        self._path = folder / "pulse"
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        file = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o644)
        began = time.monotonic_ns()
        while not self._stopping.is_set():
            os.pwrite(file, b"beat", 0)
            os.fsync(file)
            self._stopping.wait(_EVERY_SECONDS)
            ended = time.monotonic_ns()
            if ended - began > self._stall_ns:
                self.stalls.append((began, ended))
            began = ended
        os.close(file)

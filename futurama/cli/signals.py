"""Ctrl-C and SIGTERM: the first asks, the second insists."""

from __future__ import annotations

import os
import signal
import time
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Any, Self

__all__ = ["StopSignals"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

_ECHO_SECONDS = 0.3
"""As soon after the first one, a signal is the same once more: timeout(1), for one, sends each both
to the process and to its group."""


class StopSignals:
    """Within this context the first signal ends :meth:`wait`, the second the process, at once.

    Must be entered in the main thread.
    """

    def __init__(self) -> None:
        # Whatever else could be waited for takes a lock that the handler may find taken.
        self._received: SimpleQueue[None] = SimpleQueue()
        self._came_at: float | None = None
        self._former: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._former = {number: signal.signal(number, self._handle) for number in _SIGNALS}
        return self

    def __exit__(self, *exc_info: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def wait(self, timeout_seconds: float | None = None) -> bool:
        """Wait for the first signal; whether it has come."""
        try:
            self._received.get(timeout=timeout_seconds)
        except Empty:
            return False
        self._received.put(None)  # for whoever waits again
        return True

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._came_at is None:
            self._came_at = now
            self._received.put(None)
        elif now > self._came_at + _ECHO_SECONDS:
            os._exit(128 + number)  # what shells report for a process that a signal ended

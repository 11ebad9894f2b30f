"""A call that does not return is interrupted, and is a finding like any other.

What can be interrupted is what a signal interrupts: loops in Python, waiting for locks and sockets,
sleeping. Code in C that heeds no signal goes on, and so does a call outside of the main thread.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final, TypeVar

import attrs

from futurama.conformance import patience
from futurama.conformance.failure import LawBroken, where

__all__ = ["HangsError", "call", "watchdog"]

T = TypeVar("T")

_SIGNAL: Final[int] = getattr(signal, "SIGUSR1", 0)
"""Not SIGALRM, with which pytest-timeout ends whole tests, and not SIGINT, which is people's; 0
where there is no such signal."""

_LOOKS: Final = 20
"""How often the watchdog looks while it is patient."""


class HangsError(BaseException):
    """Raised in a call that does not return.

    No error that a backend could handle, and none that hypothesis would repeat to make it simpler:
    each time would take as long.

    Attributes:
        broken: the finding.
    """

    def __init__(self, operation: str) -> None:
        super().__init__(operation)
        self.broken = LawBroken(
            "errors",
            expected=f"{operation}() returns within {patience.PATIENCE_SECONDS:g} seconds",
            actual="it did not, and was interrupted in the place that is shown",
        )


@attrs.define(eq=False)
class _Call:
    """A call that is under way.

    Attributes:
        operation: for people.
        since: when it began, or was interrupted in vain.
        is_late: whether it is to be interrupted.
    """

    operation: str
    since: float
    is_late: bool = False


_UNDER_WAY: Final[dict[int, _Call]] = {}
"""The call that each thread makes."""


def call(operation: str, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Call ``function``, watched.

    Args:
        operation: what it is, for people.
        function, args, kwargs: the call.

    Raises:
        HangsError: it did not return in time, and a watchdog is there.
    """
    thread = threading.get_ident()
    _UNDER_WAY[thread] = _Call(operation, time.monotonic())
    try:
        return function(*args, **kwargs)
    except HangsError as hangs:
        hangs.broken.raised = where(hangs)
        raise
    finally:
        del _UNDER_WAY[thread]


@contextmanager
def watchdog() -> Iterator[None]:
    """Interrupt whatever call of this thread does not return in time.

    Outside of the main thread, and on Windows, nothing is interrupted.
    """
    if not _SIGNAL or threading.current_thread() is not threading.main_thread():
        yield
        return
    is_over = threading.Event()
    watcher = threading.Thread(target=_watch, args=(threading.get_ident(), is_over), daemon=True)
    previous = signal.signal(_SIGNAL, _interrupt)
    watcher.start()
    try:
        yield
    finally:
        is_over.set()
        watcher.join()
        signal.signal(_SIGNAL, previous or signal.SIG_DFL)


def _watch(thread: int, is_over: threading.Event) -> None:
    while not is_over.wait(patience.PATIENCE_SECONDS / _LOOKS):
        late = _UNDER_WAY.get(thread)
        if late is not None and time.monotonic() - late.since > patience.PATIENCE_SECONDS:
            late.since, late.is_late = time.monotonic(), True
            signal.pthread_kill(thread, _SIGNAL)


def _interrupt(_signal: int, frame: FrameType | None) -> None:
    late = _UNDER_WAY.get(threading.get_ident())
    if late is not None and late.is_late and not _is_debugged(frame):
        late.is_late = False
        raise HangsError(late.operation)


def _is_debugged(frame: FrameType | None) -> bool:
    """Whether someone looks at the call step by step, which takes as long as it takes."""
    while frame is not None:
        if frame.f_globals.get("__name__") in {"bdb", "pdb"}:
            return True
        frame = frame.f_back
    return "pydevd" in sys.modules

"""How long the suite waits for a call, and what it can say of one that does not return."""

from __future__ import annotations

import sys
import types
from typing import Final

from futurama.conformance.failure import where

__all__ = ["PATIENCE_SECONDS", "stack_of"]

PATIENCE_SECONDS: Final = 30.0
"""A call that takes longer is stuck. The slowest right one, a batch of thousands on a busy
database, takes a few seconds. Read it from the module when it is needed: tests shorten it."""


def stack_of(thread_id: int) -> str:
    """Where a running thread is: the frames that the author of a backend can do something about.

    Args:
        thread_id: its ``ident``.
    """
    frame = sys._current_frames().get(thread_id)  # noqa: SLF001 -- documented, "for debuggers"
    traceback = None
    while frame is not None:
        traceback = types.TracebackType(traceback, frame, frame.f_lasti, frame.f_lineno or 0)
        frame = frame.f_back
    return where(TimeoutError().with_traceback(traceback))

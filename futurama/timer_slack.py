"""How exactly the operating system wakes a thread that waits for a moment."""

from __future__ import annotations

import contextlib
import sys

__all__ = ["wake_on_time"]

_PR_SET_TIMERSLACK = 29
"""From Linux's ``include/uapi/linux/prctl.h``."""

_SLACK_NS = 1


def wake_on_time() -> None:
    """Wake this thread at the end of its waits, not up to 50 microseconds later.

    Linux lets the waits of a thread end late by its "timer slack", 50 microseconds unless somebody
    changes it, so that it can end several at once (prctl(2), PR_SET_TIMERSLACK). The threads and
    processes that this thread starts inherit it. Elsewhere, and where that fails for whatever
    reason, nothing happens.
    """
    if sys.platform == "linux":
        with contextlib.suppress(Exception):  # not worth losing the thread
            import ctypes  # noqa: PLC0415 -- some builds of Python come without it

            ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, _SLACK_NS, 0, 0, 0)

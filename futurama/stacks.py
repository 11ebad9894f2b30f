"""Where threads and coroutines are at the moment, for people."""

from __future__ import annotations

import asyncio
import sys
import traceback
from collections.abc import Iterator
from types import FrameType
from typing import Any

__all__ = ["stack_of"]

_FRAMES = ("cr_frame", "gi_frame", "ag_frame")
_AWAITED = ("cr_await", "gi_yieldfrom", "ag_await")
"""How coroutines, generators and asynchronous generators name where they are, and for what they wait."""


def stack_of(runner: int | asyncio.Task[object] | None) -> str:
    """The stack of a thread, by its identifier, or of a task, as a traceback shows it.

    It goes on meanwhile, so this may be a little out of date; empty if it has ended.
    """
    if runner is None:
        return "  (nowhere: it waits for a place among the coroutines)"
    if isinstance(runner, asyncio.Task):
        frames = _frames_of_task(runner)
    else:
        frames = _outermost_first(sys._current_frames().get(runner))  # noqa: SLF001 -- documented, for this very purpose
    summary = traceback.StackSummary.extract((frame, frame.f_lineno) for frame in frames)
    return "".join(summary.format()).rstrip()


def _frames_of_task(task: asyncio.Task[object]) -> list[FrameType]:
    suspended = list(_suspended_frames(task.get_coro()))
    # While it runs, what it has called is known only to its thread.
    for innermost in sys._current_frames().values():  # noqa: SLF001 -- as above
        stack = _outermost_first(innermost)
        if suspended and suspended[0] in stack:
            return stack
    return suspended


def _suspended_frames(coroutine: Any) -> Iterator[FrameType]:
    while (frame := _first_of(coroutine, _FRAMES)) is not None:
        yield frame
        coroutine = _first_of(coroutine, _AWAITED)


def _first_of(value: Any, names: tuple[str, ...]) -> Any:
    return next((found for name in names if (found := getattr(value, name, None))), None)


def _outermost_first(frame: FrameType | None) -> list[FrameType]:
    frames = []
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return frames[::-1]

"""What triggers do in the fault tests: whatever the data of their event says."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import attrs

from futurama import Event, EventStatus, GiveUp, TriggerResult
from futurama.conformance.account import Ending
from tests.faults.record import Recorder

__all__ = [
    "FAR_SECONDS",
    "MORE_TYPES",
    "RAISED",
    "RETRIED",
    "RETURNED",
    "TRIGGER_TYPES",
    "triggers",
]

TRIGGER_TYPES = ("thread", "coroutine")
"""How a trigger is made; both do the same."""

MORE_TYPES = "FUTURAMA_FAULTS_MORE_TYPES"
"""The variable of the environment that names a further trigger type, which other instances do not know."""

FAR_SECONDS = 86_400.0
"""How far in the future the far future lies."""


class _UnspeakableError(Exception):
    """Its text cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


class _LyingError(Exception):
    """Says that it is a number."""

    @property
    def __class__(self) -> Any:
        return int

    @__class__.setter
    def __class__(self, _: Any) -> None:
        """Needed, because ``object`` has one."""


def _going_in_circles() -> BaseException:
    first, second = RuntimeError("as planned"), ValueError("as planned")
    first.__cause__, second.__cause__ = second, first
    first.__context__ = first
    return first


RAISED: Mapping[str, Callable[[], BaseException]] = {
    "an exception": lambda: RuntimeError("as planned"),
    "SystemExit": lambda: SystemExit(1),
    "KeyboardInterrupt": KeyboardInterrupt,
    "GeneratorExit": GeneratorExit,
    "StopIteration": StopIteration,
    "StopAsyncIteration": StopAsyncIteration,
    "CancelledError": asyncio.CancelledError,
    "MemoryError": MemoryError,
    "RecursionError": lambda: RecursionError("as planned"),
    "BaseException": lambda: BaseException("as planned"),
    "unspeakable": _UnspeakableError,
    "lying": _LyingError,
    "going in circles": _going_in_circles,
    "a group": lambda: BaseExceptionGroup("as planned", [SystemExit(1), RuntimeError()]),
    "surrogates": lambda: RuntimeError("\ud800 and \0"),
    "a huge text": lambda: RuntimeError("as planned " * 10_000),
}
"""Deeds that raise something, after which the event is tried again."""


class _Unspeakable:
    """Its ``repr`` cannot be had."""

    def __repr__(self) -> str:
        raise RuntimeError("no text")


RETURNED: Mapping[str, Callable[[], Any]] = {
    "return 7": lambda: 7,
    "return False": lambda: False,
    "return the unspeakable": _Unspeakable,
    "return a huge text": lambda: "as planned " * 10_000,
    "return a class": lambda: TriggerResult,
    "return a naive time": lambda: TriggerResult(
        EventStatus.RETRY,
        datetime(2030, 1, 1),  # noqa: DTZ001 -- the mistake that it is about
    ),
    "return no time": lambda: TriggerResult(EventStatus.RETRY, "tomorrow"),  # type: ignore[arg-type]  # the same
    "return a time beyond the calendar": lambda: TriggerResult(EventStatus.RETRY, timedelta.max),
    "return what is not JSON": lambda: TriggerResult(EventStatus.RETRY, data={1, 2}),
    "return too much": lambda: TriggerResult(EventStatus.RETRY, data="x" * 2_000_000),
}
"""Deeds that return what makes no sense, for which the event is buried."""

RETRIED: Mapping[str, Callable[[], TriggerResult]] = {
    "return RETRY": lambda: TriggerResult(EventStatus.RETRY),
    "return RETRY in the past": lambda: TriggerResult(EventStatus.RETRY, timedelta(days=-400_000)),
    "return RETRY now": lambda: TriggerResult(EventStatus.RETRY, timedelta()),
    "return RETRY in the far future": lambda: TriggerResult(
        EventStatus.RETRY, timedelta(seconds=FAR_SECONDS)
    ),
}
"""Deeds that ask for another attempt."""


def triggers(recorder: Recorder) -> dict[str, Any]:
    """A trigger of each type, which writes down its calls.

    The data of an event is a mapping: ``does`` is what its first attempts do, all others succeed,
    ``times`` how many attempts (by default one), ``seconds`` how long each call takes first.
    """

    def call(event: Event) -> Any:
        deed = _Deed.begin(recorder, event)
        threading.Event().wait(deed.seconds)
        if deed.name == "hang":
            threading.Event().wait()
        return deed.do()

    async def call_async(event: Event) -> Any:
        deed = _Deed.begin(recorder, event)
        await asyncio.sleep(deed.seconds)
        if deed.name == "hang":
            await _ignore_everything()
        return deed.do()

    more = os.environ.get(MORE_TYPES)
    return {"thread": call, "coroutine": call_async, **({more: call} if more else {})}


async def _ignore_everything() -> None:
    """Hang, whoever asks to stop."""
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()


@attrs.frozen(kw_only=True)
class _Deed:
    """What a call does.

    Attributes:
        name: which deed.
        seconds: how long it takes first.
        end: writes down how the call ended.
    """

    name: str
    seconds: float
    end: Callable[[Ending], None]

    @classmethod
    def begin(cls, recorder: Recorder, event: Event) -> _Deed:
        """Write down that the event is called."""
        number = recorder.begin(
            "call", {"event_id": event.id, "attempt": event.attempt, "data": event.data}
        )
        wanted = event.data if isinstance(event.data, dict) else {}
        is_over = event.attempt > wanted.get("times", 1)
        return cls(
            name="succeed" if is_over else wanted.get("does", "succeed"),
            seconds=wanted.get("seconds", 0),
            end=partial(recorder.end, number),
        )

    def do(self) -> Any:
        """Do it; returns or raises what the trigger has to."""
        if self.name == "exit":
            os._exit(1)
        if self.name == "give up":
            self.end(Ending.GAVE_UP)
            raise GiveUp("as planned")
        if self.name in RETRIED:
            self.end(Ending.FAILED)
            return RETRIED[self.name]()
        if self.name in RETURNED:
            self.end(Ending.GAVE_UP)
            return RETURNED[self.name]()
        if self.name in RAISED:
            self.end(Ending.FAILED)
            error = RAISED[self.name]()
            raise error
        assert self.name == "succeed", f"no deed is called {self.name!r}"
        self.end(Ending.SUCCEEDED)
        return None

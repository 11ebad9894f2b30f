"""What may be registered, and what the end of a call means for its event."""

from __future__ import annotations

import functools
import re
from datetime import datetime, timedelta, timezone
from typing import Any
from unittest.mock import AsyncMock

import pytest

from futurama import (
    Event,
    EventStatus,
    GiveUp,
    InvalidEventError,
    RetryPolicy,
    TriggerResult,
    TryAgain,
)
from futurama.backend import SettlementKind
from futurama.backends.memory import MemoryBackend, MemorySettings
from futurama.triggers import Ending, Verdict, bind, event_of, judge
from tests.unit.support import MILLISECOND, SECOND, START, new_claim

POLICY = RetryPolicy(max_retry=2, base=SECOND, cap=10 * SECOND)
CAPABILITIES = MemoryBackend(MemorySettings(max_data_bytes=20)).capabilities
NOW = START + timedelta(minutes=1)


def function(event: Event) -> None:
    """A trigger."""


async def coroutine_function(event: Event) -> None:
    """A trigger."""


class Object:
    """A trigger."""

    def trigger(self, event: Event) -> None:
        """Nothing."""


class AsyncObject:
    """A trigger that has something to give back."""

    async def trigger(self, event: Event) -> None:
        """Nothing."""

    async def aclose(self) -> None:
        """Nothing."""


class Callable:
    """A trigger."""

    def __call__(self, event: Event) -> None:
        """Nothing."""


class AsyncCallable:
    """A trigger."""

    async def __call__(self, event: Event) -> None:
        """Nothing."""


@pytest.mark.parametrize(
    ("trigger", "is_async"),
    [
        (function, False),
        (coroutine_function, True),
        (lambda _: None, False),
        (Object(), False),
        (Object().trigger, False),
        (AsyncObject(), True),
        (AsyncObject().trigger, True),
        (Callable(), False),
        (AsyncCallable(), True),
        (functools.partial(function), False),
        (functools.partial(coroutine_function), True),
        (AsyncMock(spec=coroutine_function), True),
        ([].append, False),
        (print, False),
    ],
)
def test_what_can_be_a_trigger(trigger: Any, is_async: bool) -> None:  # noqa: FBT001 -- a column of the table
    """Functions, coroutine functions, objects with ``trigger``; no thread for what is async."""
    bound = bind({"t": trigger}, {}, POLICY)["t"]
    assert bound.is_async is is_async
    assert bound.policy is POLICY
    assert (bound.aclose is not None) is isinstance(trigger, AsyncObject)


@pytest.mark.parametrize("trigger", [None, 7, "print", Object, object(), {}])
def test_what_cannot_be_a_trigger(trigger: Any) -> None:
    """Anything else, a class included, is refused by name when the queue is made."""
    with pytest.raises(TypeError, match="the trigger for 'mail' must be a function"):
        bind({"mail": trigger}, {}, POLICY)


def test_trigger_types_are_checked() -> None:
    """A trigger type that no event could have is refused when the queue is made."""
    with pytest.raises(InvalidEventError) as info:
        bind({"": function}, {}, POLICY)
    assert info.value.field == "trigger_type"


def test_policies_by_type() -> None:
    """Each type may have its own policy; a policy without a trigger is a mistake."""
    own = RetryPolicy(max_retry=1)
    bound = bind({"a": function, "b": function}, {"a": own}, POLICY)
    assert (bound["a"].policy, bound["b"].policy) == (own, POLICY)
    with pytest.raises(ValueError, match=r"retries given for \['c'\].*\['a', 'b'\]"):
        bind({"a": function, "b": function}, {"c": own}, POLICY)


def test_what_a_trigger_sees() -> None:
    """The event has everything of the claim that is an application's business."""
    claim = new_claim("id", payload=b'{"a":[1]}', attempt=3)
    assert event_of(claim) == Event(
        id="id", trigger_type="note", trigger_time=START, data={"a": [1]}, attempt=3, created=START
    )
    with pytest.raises(ValueError, match="Expecting value"):
        event_of(new_claim(payload=b"oops"))


# -- judging ---------------------------------------------------------------------------------------


def verdict_on(outcome: object, *, attempt: int = 1) -> Verdict:
    """What becomes of an event whose call had this outcome."""
    return judge(
        new_claim(attempt=attempt), outcome, policy=POLICY, capabilities=CAPABILITIES, now=NOW
    )


@pytest.mark.parametrize(
    "outcome",
    [None, *(TriggerResult(status) for status in (EventStatus.OK, EventStatus.DEFAULT, EventStatus.CANCEL))],
)  # fmt: skip
def test_what_ends_an_event(outcome: object) -> None:
    """None, OK, DEFAULT and CANCEL end it."""
    verdict = verdict_on(outcome)
    assert verdict.settlement.kind is SettlementKind.DONE
    assert verdict.ending is Ending.SUCCEEDED


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (TriggerResult(EventStatus.ERROR), "returned ERROR"),
        (GiveUp("no such user"), "no such user"),
        (GiveUp(), "gave up"),
        (True, "returned True"),
        (0, "returned 0"),
        ("ok", "returned 'ok'"),
        (EventStatus.OK, "returned <EventStatus.OK"),
        (TriggerResult, "returned <class"),
        (TriggerResult(EventStatus.RETRY, data={1: 2}), "cannot be stored.*the key 1"),
        (TriggerResult(EventStatus.RETRY, data="x" * 30), "cannot be stored.*at most 20"),
        (TriggerResult(EventStatus.RETRY, datetime(2030, 1, 1)), "no time zone"),  # noqa: DTZ001 -- the point
        (TriggerResult(EventStatus.RETRY, "soon"), "must be an aware datetime"),  # type: ignore[arg-type]  # the point
    ],
)
def test_what_buries_an_event(outcome: object, reason: str) -> None:
    """P7: ERROR, GiveUp and results that nobody can use are kept as dead letters, with the reason."""
    verdict = verdict_on(outcome)
    assert verdict.settlement.kind is SettlementKind.BURY
    assert verdict.ending is Ending.BURIED
    assert verdict.settlement.reason == verdict.reason
    assert re.search(reason, verdict.reason)


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (TriggerResult(EventStatus.RETRY), "the trigger returned RETRY"),
        (ValueError("oops"), "ValueError: oops"),
        (TryAgain("busy"), "busy"),
        (SystemExit(3), "SystemExit: 3"),
        (KeyboardInterrupt(), "KeyboardInterrupt: "),
    ],
)
@pytest.mark.parametrize("attempt", [1, 2])
def test_what_repeats_a_call(outcome: object, reason: str, attempt: int) -> None:
    """P7: RETRY and any exception repeat it after the backoff; a retry keeps the data."""
    verdict = verdict_on(outcome, attempt=attempt)
    settlement = verdict.settlement
    assert settlement.kind is SettlementKind.RETRY
    assert settlement.due is not None
    assert SECOND * 2 ** (attempt - 1) <= settlement.due - NOW <= 2 * SECOND * 2 ** (attempt - 1)
    assert settlement.payload is None
    assert (verdict.ending, verdict.reason) == (Ending.RETRIED, reason)


@pytest.mark.parametrize("outcome", [TriggerResult(EventStatus.RETRY), ValueError("oops")])
def test_retries_are_used_up(outcome: object) -> None:
    """P7: after ``max_retry`` repeats the event is kept as a dead letter, with the last reason."""
    verdict = verdict_on(outcome, attempt=3)
    assert verdict.settlement.kind is SettlementKind.BURY
    assert "after 3 attempts" in verdict.reason
    assert "RETRY" in verdict.reason or "ValueError: oops" in verdict.reason


def test_retry_at_a_time_with_data() -> None:
    """RETRY may say when and replace the data; the time is converted to UTC."""
    tokyo = timezone(timedelta(hours=9))
    due = (NOW + timedelta(hours=1)).astimezone(tokyo)
    settlement = verdict_on(TriggerResult(EventStatus.RETRY, due, {"n": 2})).settlement
    assert settlement.due == due
    assert settlement.due is not None
    assert settlement.due.utcoffset() == timedelta(0)
    assert settlement.payload == b'{"n":2}'


def test_retry_in_the_past_is_at_once() -> None:
    """A time that has passed is no error."""
    due = NOW - 5 * MILLISECOND
    assert verdict_on(TriggerResult(EventStatus.RETRY, due)).settlement.due == due


class Broken(Exception):  # noqa: N818 -- what is wrong with it is something else
    """Not even its text can be had."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


def test_an_exception_without_a_text_is_a_failed_call() -> None:
    """P7: an exception whose ``__str__`` raises repeats the call like any other."""
    verdict = verdict_on(Broken())
    assert verdict.ending is Ending.RETRIED
    assert "Broken" in verdict.reason


def test_a_result_without_a_text_is_unusable() -> None:
    """P7: a result whose ``__repr__`` raises buries the event like any other useless result."""

    class Useless:
        def __repr__(self) -> str:
            raise RuntimeError("no text")

    verdict = verdict_on(Useless())
    assert verdict.ending is Ending.BURIED
    assert "Useless" in verdict.reason


@pytest.mark.parametrize(
    "outcome", [ValueError("x" * 10**6), GiveUp("x" * 10**6), "x" * 10**6, [0] * 10**6]
)
@pytest.mark.parametrize("attempt", [1, 3])
def test_reasons_are_bounded(outcome: object, attempt: int) -> None:
    """P8: an exception or a result of a megabyte does not make a log line or a row of a megabyte."""
    reason = verdict_on(outcome, attempt=attempt).reason
    assert len(reason) <= 2000
    assert re.search(r"… \([13],000,00[02] characters in all\)$", reason.split(", neither")[0])


def test_reasons_can_be_stored() -> None:
    """Whatever an exception says becomes UTF-8 of at most 8,000 bytes, as every backend stores it."""
    for text in ("\ud800", "\U0001f600" * 5000, "\0"):
        reason = verdict_on(GiveUp(text), attempt=1).settlement.reason
        assert reason is not None
        assert len(reason.encode()) <= 8000
    assert verdict_on(GiveUp("\ud800"), attempt=1).reason == "\\ud800"

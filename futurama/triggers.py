"""Triggers: what may be registered, and what the end of a call means for its event."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Protocol, TypeAlias, TypeGuard, TypeVar

import attrs

from futurama import payload
from futurama.backend import (
    MAX_REASON_BYTES,
    Capabilities,
    Claim,
    Settlement,
    check_payload,
)
from futurama.backoff import RetryPolicy
from futurama.errors import GiveUp, InvalidEventError, TryAgain
from futurama.events import Event, EventStatus, TriggerResult, check_trigger_type
from futurama.texts import shortened, text_of

__all__ = [
    "BoundTrigger",
    "Ending",
    "Trigger",
    "TriggerObject",
    "Verdict",
    "bind",
    "close_all",
    "event_of",
    "is_a",
    "judge",
]

_log = logging.getLogger("futurama.triggers")

T = TypeVar("T")

_Result: TypeAlias = TriggerResult | None

_MAX_REASON = MAX_REASON_BYTES // 4
"""How many characters of a reason are kept and logged; each has at most four bytes."""

_MAX_TEXT = _MAX_REASON - 200
"""How many of them what a trigger returned or raised may have: room for how the event came to its end."""


class TriggerObject(Protocol):
    """An object that can be registered; if it has ``aclose()``, stopping the queue awaits it."""

    def trigger(self, event: Event) -> _Result | Awaitable[_Result]:
        """Do what the event asks for."""


Trigger: TypeAlias = Callable[[Event], _Result | Awaitable[_Result]] | TriggerObject
"""A function, a coroutine function, or an object with a method ``trigger``."""


@attrs.frozen
class BoundTrigger:
    """A registered trigger, ready to be called.

    Attributes:
        call: takes the event; returns a result or an awaitable of one.
        is_async: whether ``call`` only makes a coroutine, so that no thread is needed for it.
        policy: when to repeat it.
        aclose: awaited when the queue stops, if not None.
    """

    call: Callable[[Event], Any]
    is_async: bool
    policy: RetryPolicy
    aclose: Callable[[], Awaitable[None]] | None


def bind(
    triggers: Mapping[str, Trigger], retries: Mapping[str, RetryPolicy], default: RetryPolicy
) -> dict[str, BoundTrigger]:
    """Check what an application registers.

    Raises:
        TypeError: a trigger is neither callable nor has a method ``trigger``.
        InvalidEventError: a trigger type is not one.
        ValueError: ``retries`` names a type without a trigger.
    """
    orphans = set(retries) - set(triggers)
    if orphans:
        raise ValueError(
            f"retries given for {sorted(orphans)}, but triggers are registered for "
            f"{sorted(triggers)} only"
        )
    return {
        check_trigger_type(name): _bind(name, trigger, retries.get(name, default))
        for name, trigger in triggers.items()
    }


async def close_all(bound: Mapping[str, BoundTrigger]) -> None:
    """Await ``aclose()`` of every trigger that has one, once if it serves several types."""
    closed = []
    for name, trigger in bound.items():
        if trigger.aclose is not None and trigger.aclose not in closed:
            closed.append(trigger.aclose)
            try:
                await trigger.aclose()
            except Exception:
                _log.exception("closing the trigger for %r failed", name)


def _bind(name: str, trigger: Trigger, policy: RetryPolicy) -> BoundTrigger:
    call = trigger if callable(trigger) else getattr(trigger, "trigger", None)
    if not callable(call) or inspect.isclass(trigger):
        raise TypeError(
            f"the trigger for {name!r} must be a function, a coroutine function or an object with "
            f"trigger(event), got {trigger!r}"
        )
    is_async = inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(
        getattr(call, "__call__", None)  # noqa: B004 -- the method itself, not whether it exists
    )
    return BoundTrigger(call, is_async, policy, getattr(trigger, "aclose", None))


class Ending(Enum):
    """How a claim ended; the values are counters of ``futurama.stats``."""

    SUCCEEDED = "succeeded"
    RETRIED = "retried"
    BURIED = "buried"


@attrs.frozen
class Verdict:
    """What is to be told to the backend, and to people."""

    settlement: Settlement
    ending: Ending
    reason: str = ""


def event_of(claim: Claim) -> Event:
    """The event that a trigger sees.

    Raises:
        ValueError: the stored data is not JSON.
    """
    return Event(
        id=claim.id,
        trigger_type=claim.trigger_type,
        trigger_time=claim.trigger_time,
        data=payload.decode(claim.payload),
        attempt=claim.attempt,
        created=claim.created,
    )


def judge(
    claim: Claim,
    outcome: object,
    *,
    policy: RetryPolicy,
    capabilities: Capabilities,
    now: datetime,
) -> Verdict:
    """Decide what a call means for its event.

    Raises what ``outcome`` does when it is looked at, if its class is one of the application's.

    Args:
        claim: the claim under which the call was made.
        outcome: what the trigger returned, or the exception that it raised.
        policy: when and how often to repeat.
        capabilities: of the backend, for the size of new data.
        now: when the call ended.
    """
    if outcome is None:
        return Verdict(Settlement.done(claim), Ending.SUCCEEDED)
    if is_a(outcome, GiveUp):
        return bury(claim, _text(str, outcome) or "the trigger gave up")
    if is_a(outcome, TryAgain):
        return _retry(claim, policy, now, reason=_text(str, outcome) or "the trigger said so")
    if is_a(outcome, BaseException):
        return _retry(claim, policy, now, reason=f"{type(outcome).__name__}: {_text(str, outcome)}")
    if not is_a(outcome, TriggerResult):
        # It may have worked: repeating it 18 times could do harm, and ending it could hide a bug.
        shown = _text(repr, outcome)
        return bury(claim, f"the trigger returned {shown}, neither None nor a TriggerResult")
    if outcome.status is EventStatus.ERROR:
        return bury(claim, "the trigger returned ERROR")
    if outcome.status is not EventStatus.RETRY:
        return Verdict(Settlement.done(claim), Ending.SUCCEEDED)
    try:
        data = None if outcome.data is None else payload.encode(outcome.data)
        if data is not None:
            check_payload(data, capabilities)
        return _retry(
            claim,
            policy,
            now,
            reason="the trigger returned RETRY",
            due=_instant(outcome.trigger_time, now),
            data=data,
        )
    except (InvalidEventError, OverflowError) as exc:
        return bury(claim, f"the trigger returned RETRY with what cannot be stored: {exc}")


def is_a(value: object, cls: type[T]) -> TypeGuard[T]:
    """As ``isinstance``, which also asks ``value`` for its ``__class__``: what a trigger made may raise then."""
    return issubclass(type(value), cls)


def _instant(when: datetime | timedelta | None, now: datetime) -> datetime | None:
    return now + when if isinstance(when, timedelta) else when


def bury(claim: Claim, reason: str) -> Verdict:
    """The event goes to the dead letters."""
    reason = _storable(reason)
    return Verdict(Settlement.bury(claim, reason), Ending.BURIED, reason)


def _storable(reason: str) -> str:
    """``reason`` as every backend can store it."""
    return shortened(reason.encode(errors="backslashreplace").decode(), _MAX_REASON)


def _text(convert: Callable[[object], str], value: object) -> str:
    """What ``convert`` makes of a trigger's outcome."""
    return text_of(convert, value, _MAX_TEXT)


def _retry(
    claim: Claim,
    policy: RetryPolicy,
    now: datetime,
    *,
    reason: str,
    due: datetime | None = None,
    data: bytes | None = None,
) -> Verdict:
    if policy.is_exhausted(claim.attempt):
        return bury(claim, f"gave up after {claim.attempt} attempts, the last one: {reason}")
    due = due or now + policy.delay(claim.attempt)
    return Verdict(Settlement.retry(claim, due, data), Ending.RETRIED, reason)

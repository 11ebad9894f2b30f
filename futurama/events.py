"""What applications see: events, the results of triggers, the answers of the queue."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import Enum, IntEnum
from typing import Any

import attrs

from futurama.errors import InvalidEventError

__all__ = [
    "MAX_ID_BYTES",
    "MAX_TYPE_BYTES",
    "CancelOutcome",
    "Event",
    "EventStatus",
    "RescheduleOutcome",
    "TriggerResult",
    "check_id",
    "check_trigger_type",
]

MAX_ID_BYTES = 128
"""An id has 1 to 128 bytes of UTF-8; ids are compared byte for byte."""

MAX_TYPE_BYTES = 128
"""A trigger type has 1 to 128 bytes of UTF-8."""

_SHOWN = 40
"""How many characters of an over-long name an error message repeats."""


class EventStatus(IntEnum):
    """What a trigger says about its event. The numbers are those of the Go original."""

    DEFAULT = 1
    """Nothing in particular: ends the event like :attr:`OK`."""
    OK = 2
    """The work is done: the event ends."""
    CANCEL = 3
    """The work is no longer wanted: the event ends."""
    ERROR = 4
    """The work can never be done: the event goes to the dead letters."""
    RETRY = 5
    """Not now: call again at ``TriggerResult.trigger_time``, or after the backoff."""


class CancelOutcome(Enum):
    """What ``cancel`` achieved."""

    CANCELLED = "cancelled"
    """No call is in flight and none will ever start."""
    IN_FLIGHT = "in_flight"
    """The event is removed and not tried again, but a call is, or may be, under way."""
    NOT_FOUND = "not_found"
    """No such event: it never existed, has ended, or lies among the dead letters."""


class RescheduleOutcome(Enum):
    """What ``reschedule`` achieved."""

    RESCHEDULED = "rescheduled"
    """No call is in flight; the next one sees the new time and the new data."""
    IN_FLIGHT = "in_flight"
    """A call is, or may be, under way; nothing was changed."""
    NOT_FOUND = "not_found"
    """No such event waits: nothing was changed."""


@attrs.frozen(kw_only=True)
class Event:
    """One event as a trigger receives it.

    Attributes:
        id: made by ``create`` or given to it; the same for every attempt, so targets can dedupe.
        trigger_type: which trigger is called.
        trigger_time: when the first call was wanted, aware UTC; a retry does not change it.
        data: what JSON made of the data given to ``create``, or what the last retry replaced it by.
        attempt: 1 for the first call.
        created: when ``create`` was called, aware UTC, by the clock of the backend.
    """

    id: str
    trigger_type: str
    trigger_time: datetime
    data: Any = None
    attempt: int = 1
    created: datetime


@attrs.frozen
class TriggerResult:
    """What a trigger returns; returning None means ``TriggerResult(EventStatus.OK)``.

    Attributes:
        status: what becomes of the event.
        trigger_time: with RETRY: when the next attempt is made, an aware datetime or a timedelta from
            the end of this one; None leaves it to the backoff.
        data: with RETRY: replaces the event's data; None leaves it as it is.
    """

    status: EventStatus = attrs.field(converter=EventStatus)
    trigger_time: datetime | timedelta | None = None
    data: Any = None


def check_id(value: str) -> str:
    """Return ``value`` if it can be an event id, else raise :class:`InvalidEventError`."""
    return _check_name(value, field="id", limit=MAX_ID_BYTES)


def check_trigger_type(value: str) -> str:
    """Return ``value`` if it can be a trigger type, else raise :class:`InvalidEventError`."""
    return _check_name(value, field="trigger_type", limit=MAX_TYPE_BYTES)


def _check_name(value: str, *, field: str, limit: int) -> str:
    if not isinstance(value, str):
        raise InvalidEventError(
            f"{field} must be a str, got {value!r} ({type(value).__name__})", field=field
        )
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise InvalidEventError(
            f"{field} {value!r} contains a lone surrogate; use text that UTF-8 can encode",
            field=field,
        ) from None
    if not 1 <= size <= limit:
        shown = value if len(value) <= _SHOWN else value[:_SHOWN] + "…"
        raise InvalidEventError(
            f"{field} must have 1 to {limit} bytes of UTF-8, {shown!r} has {size}; shorten it"
            if size
            else f"{field} must have 1 to {limit} bytes of UTF-8, got an empty string",
            field=field,
        )
    return value

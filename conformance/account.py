"""What instances and clients wrote down of what they did, as values.

Everybody uses the times of one clock. What was begun and never answered is open: it has happened, or
not. Faults that were injected are written down, too: they may explain a repeat, but nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from enum import Enum
from typing import Any

import attrs

from futurama.backend import StoredEvent
from futurama.conformance.history import Step

__all__ = ["Account", "Answer", "Call", "Creation", "Disturbance", "Ending"]


class Ending(Enum):
    """What a trigger said when its call ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """To be tried again."""
    GAVE_UP = "gave up"


@attrs.frozen(kw_only=True)
class Creation:
    """A client asked for an event.

    Attributes:
        event_id: which one; each is asked for once.
        trigger_us: when it was to be called, in microseconds since 1970.
        data: what the trigger is to be given.
        start, end: when it was asked for and answered, in nanoseconds of the clock of all.
        outcome: True: acknowledged; False: certainly not stored; UNKNOWN.
    """

    event_id: str
    trigger_us: int
    data: Any
    start: int
    end: int
    outcome: Any


@attrs.frozen(kw_only=True)
class Answer:
    """A client was told what became of its ``cancel`` or ``reschedule``.

    Attributes:
        event_id: of which event.
        outcome: a CancelOutcome, a RescheduleOutcome or UNKNOWN.
        start, end: when it was asked and answered.
        trigger_us: the new time, of a ``reschedule``.
    """

    event_id: str
    outcome: Any
    start: int
    end: int
    trigger_us: int | None = None


@attrs.frozen(kw_only=True)
class Call:
    """A trigger was called.

    Attributes:
        event_id, attempt, data: what it was given.
        instance: by whom.
        start, end: the first and the last thing that the trigger did.
        ending: how it ended; UNKNOWN if its process did not live to tell.
    """

    event_id: str
    attempt: int
    data: Any
    instance: str
    start: int
    end: int
    ending: Any


@attrs.frozen(kw_only=True)
class Disturbance:
    """A fault that was injected.

    Attributes:
        start, end: from when until when it lasted.
        instance: whom it hit; None: everybody.
        event_id: the only event that it hit; None: all.
        stops: the instance could do nothing meanwhile (SIGSTOP): between any two of its steps.
    """

    start: int
    end: int
    instance: str | None = None
    event_id: str | None = None
    stops: bool = False


@attrs.frozen(kw_only=True)
class Account:
    """All that was written down.

    Attributes:
        creations, answers, calls: of clients and triggers.
        steps: what backends were asked and answered, by instances and clients.
        left: what was stored when all was over, by id.
        disturbances: the faults.
        epoch_us: the backend's time in microseconds since 1970 when the clock of all showed 0.
        resolution: of the backend.
        may_die: events whose data or triggers are made to be buried.
        max_retry: an event whose call has failed, or may have, more often than this is buried by right;
            None: there is no such rule.
        timeout_ns: calls that take longer may be given up and repeated; 0: none is.
        timer_error_us: how far an instance's timer may have run ahead since it was last compared
            with the backend's clock.
        pause_ns: how long after it was stopped a process may begin a call, or ask the backend for
            something, of which it had decided before. A real one needs some time before it has
            written down that it has begun. That it goes on is noted only afterwards, so it may
            even have begun before that.
    """

    creations: Sequence[Creation]
    answers: Sequence[Answer]
    calls: Sequence[Call]
    steps: Sequence[Step]
    left: Mapping[str, StoredEvent]
    disturbances: Sequence[Disturbance]
    epoch_us: int
    resolution: timedelta
    may_die: frozenset[str] = frozenset()
    max_retry: int | None = None
    timeout_ns: int = 0
    timer_error_us: int = 0
    pause_ns: int = 50_000_000

"""What ``futurama demo`` found: the receiver's record against what the queue had promised."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import attrs

from futurama.events import CancelOutcome

__all__ = ["Cancellation", "Evidence", "Lateness", "Report", "judge"]

_MILLISECOND = timedelta(milliseconds=1)
_OK = 200


@attrs.frozen
class Cancellation:
    """What one call of ``cancel`` answered; times are of ``time.monotonic_ns``.

    Attributes:
        outcome: None if it failed, so that nobody knows.
        answered_ns: when the answer was there.
    """

    outcome: CancelOutcome | None
    answered_ns: int


@attrs.frozen(kw_only=True)
class Evidence:
    """All that is known when a demonstration has ended.

    Attributes:
        trigger_times: of each event that was created.
        starts: when the calls of each event started, by the clock of the queue.
        calls: the receiver's record; see ``Receiver.record``.
        cancellations: by event.
        left_over: the events that are still stored, though the time is up.
        origin: what the clock of the queue showed when ``time.monotonic_ns`` was 0.
    """

    trigger_times: Mapping[str, datetime]
    starts: Mapping[str, Sequence[datetime]]
    calls: Sequence[tuple[str, int, int]]
    cancellations: Mapping[str, Cancellation]
    left_over: frozenset[str]
    origin: datetime


@attrs.frozen
class Lateness:
    """Milliseconds after the trigger time; None if there was no call."""

    p50_ms: float | None
    p99_ms: float | None
    max_ms: float | None

    @classmethod
    def of(cls, values: Sequence[timedelta]) -> Lateness:
        """The exact quantiles: each is one of the values."""
        ordered = sorted(value / _MILLISECOND for value in values)
        if not ordered:
            return cls(None, None, None)
        p50, p99 = (ordered[math.ceil(q * len(ordered)) - 1] for q in (0.5, 0.99))
        return cls(p50, p99, ordered[-1])


@attrs.frozen(kw_only=True)
class Report:
    """The result of a demonstration, in numbers of events.

    Attributes:
        created: stored.
        called: answered 200 at least once.
        cancelled: ``cancel`` answered CANCELLED.
        in_flight: ``cancel`` answered IN_FLIGHT: called once or not at all.
        too_late: ``cancel`` answered NOT_FOUND, because the call had ended.
        retried: called again after a 503.
        call: how late the first calls of the events started.
        arrival: how late these reached the receiver.
        lost: neither called, nor cancelled, nor still stored.
        duplicated: answered 200 more than once.
        early: with a call that started before its time.
        called_after_cancelled: called although, or after, ``cancel`` had answered CANCELLED.
        left_over: still stored when the time was up.
    """

    created: int
    called: int
    cancelled: int
    in_flight: int
    too_late: int
    retried: int
    call: Lateness
    arrival: Lateness
    lost: int
    duplicated: int
    early: int
    called_after_cancelled: int
    left_over: int

    @property
    def broken(self) -> list[str]:
        """The names of the fields that are not 0 and should be."""
        promises = ("lost", "duplicated", "early", "called_after_cancelled", "left_over")
        return [name for name in promises if getattr(self, name)]

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {**attrs.asdict(self), "ok": not self.broken}


def judge(evidence: Evidence) -> Report:
    """Hold the receiver's record against what ``create`` and ``cancel`` had answered."""
    ids = evidence.trigger_times.keys()
    calls = [call for call in evidence.calls if call[0] in ids]
    successes = Counter(event_id for event_id, _, status in calls if status == _OK)
    refusals = {event_id for event_id, _, status in calls if status != _OK}
    outcomes = {
        event_id: cancellation.outcome for event_id, cancellation in evidence.cancellations.items()
    }
    may_miss = {
        event_id for event_id, outcome in outcomes.items() if outcome is not CancelOutcome.NOT_FOUND
    }
    first_arrivals: dict[str, int] = {}
    for event_id, arrived_ns, _ in calls:
        first_arrivals[event_id] = min(arrived_ns, first_arrivals.get(event_id, arrived_ns))
    counts = Counter(outcomes.values())
    return Report(
        created=len(ids),
        called=len(successes),
        cancelled=counts[CancelOutcome.CANCELLED],
        in_flight=counts[CancelOutcome.IN_FLIGHT],
        too_late=counts[CancelOutcome.NOT_FOUND],
        retried=sum(event_id in refusals for event_id in successes),
        call=Lateness.of(
            [
                min(starts) - evidence.trigger_times[event_id]
                for event_id, starts in evidence.starts.items()
            ]
        ),
        arrival=Lateness.of(
            [
                evidence.origin
                + timedelta(microseconds=arrived_ns / 1000)
                - evidence.trigger_times[event_id]
                for event_id, arrived_ns in first_arrivals.items()
            ]
        ),
        lost=len(ids - successes.keys() - may_miss - evidence.left_over),
        duplicated=sum(number > 1 for number in successes.values()),
        early=sum(
            min(starts) < evidence.trigger_times[event_id]
            for event_id, starts in evidence.starts.items()
        ),
        called_after_cancelled=len(_called_after_cancelled(calls, evidence.cancellations)),
        left_over=len(evidence.left_over),
    )


def _called_after_cancelled(
    calls: Sequence[tuple[str, int, int]], cancellations: Mapping[str, Cancellation]
) -> set[str]:
    """A call that was refused earlier is none of these: the event waited for its next attempt."""
    cancelled = {
        event_id: cancellation.answered_ns
        for event_id, cancellation in cancellations.items()
        if cancellation.outcome is CancelOutcome.CANCELLED
    }
    return {
        event_id
        for event_id, arrived_ns, status in calls
        if event_id in cancelled and (status == _OK or arrived_ns > cancelled[event_id])
    }

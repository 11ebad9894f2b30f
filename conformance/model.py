"""The oracle: all events of one backend in a dict, changed by the decision table of ``rules``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Concatenate, Generic, ParamSpec, TypeVar

import attrs

from futurama.backend import (
    AddOutcome,
    Claim,
    IfExists,
    Move,
    NewEvent,
    Query,
    Settlement,
    State,
)
from futurama.conformance import rules
from futurama.conformance.rules import Decision, Stored
from futurama.events import CancelOutcome, RescheduleOutcome

__all__ = ["Expected", "Model", "first_unmet"]

P = ParamSpec("P")
T = TypeVar("T")


@attrs.frozen
class Expected(Generic[T]):
    """What a backend must answer for one item of a batch.

    Attributes:
        id: the event that the item names.
        outcome: the answer.
        law: the id of the law that says so.
    """

    id: str
    outcome: T
    law: str


class Model:
    """What a right backend with this resolution holds. Single-threaded, slow and obvious."""

    def __init__(self, step: timedelta) -> None:
        self.step = step
        self.events: dict[str, Stored] = {}

    def add(self, events: Sequence[NewEvent], if_exists: IfExists) -> list[Expected[AddOutcome]]:
        """One item after another."""
        return [self._decide(event.id, rules.add, event, if_exists, self.step) for event in events]

    def cancel(self, ids: Sequence[str]) -> list[Expected[CancelOutcome]]:
        """One item after another."""
        return [self._decide(event_id, rules.cancel) for event_id in ids]

    def reschedule(self, moves: Sequence[Move]) -> list[Expected[RescheduleOutcome]]:
        """One item after another."""
        return [self._decide(move.id, rules.reschedule, move, self.step) for move in moves]

    def due_for_claim(self, *, now: datetime, due_before: datetime, limit: int) -> list[Stored]:
        """The events that ``claim`` must hand out, in order, as they are before it."""
        candidates = [
            event
            for event in self.events.values()
            if rules.claimable(event, now=now, due_before=due_before)
        ]
        return sorted(candidates, key=_position)[:limit]

    def claim(self, claims: Iterable[Claim], *, owner: str, lease_until: datetime) -> None:
        """The events of ``claims`` were handed out; their tokens are the backend's choice."""
        for claim in claims:
            self.events[claim.id] = rules.claim(
                self.events[claim.id],
                owner=owner,
                lease_until=lease_until,
                token=claim.token,
                step=self.step,
            )

    def renew(
        self, claims: Sequence[Claim], *, now: datetime, lease_until: datetime
    ) -> list[Expected[bool]]:
        """One item after another."""
        return [
            self._decide(
                claim.id, rules.renew, claim, now=now, lease_until=lease_until, step=self.step
            )
            for claim in claims
        ]

    def settle(self, settlements: Sequence[Settlement], *, now: datetime) -> list[Expected[bool]]:
        """One item after another."""
        return [
            self._decide(settlement.claim.id, rules.settle, settlement, now=now, step=self.step)
            for settlement in settlements
        ]

    def requeue(self, ids: Sequence[str], *, now: datetime) -> list[Expected[bool]]:
        """One item after another."""
        return [self._decide(event_id, rules.requeue, now=now, step=self.step) for event_id in ids]

    def purge(self, *, before: datetime) -> set[str]:
        """The ids of the events that it removed."""
        ids = set(self.events)
        for event_id in ids:
            self._decide(event_id, rules.purge, before=before)
        return ids - self.events.keys()

    def find(self, query: Query) -> list[Stored]:
        """Every match, in order; pages and ``query.limit`` are the caller's business."""
        return [event for event in self.in_order() if first_unmet(event, query) is None]

    def in_order(self) -> list[Stored]:
        """All events in the order of ``find``."""
        return sorted(self.events.values(), key=_position)

    def count(self) -> dict[State, int]:
        """How many events there are in each state."""
        return {
            state: sum(event.state is state for event in self.events.values()) for state in State
        }

    def next_due(self) -> datetime | None:
        """The earliest due of all live events."""
        return min((event.due for event in self.events.values() if event.due), default=None)

    def _decide(
        self,
        event_id: str,
        rule: Callable[Concatenate[Stored | None, P], Decision[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Expected[T]:
        decision = rule(self.events.get(event_id), *args, **kwargs)
        if decision.after is None:
            self.events.pop(event_id, None)
        else:
            self.events[event_id] = decision.after
        return Expected(event_id, decision.outcome, decision.law)


def first_unmet(event: Stored, query: Query) -> str | None:
    """The law of the first criterion of ``query`` that keeps ``event`` out; None if it matches."""
    if query.ids is not None and event.id not in query.ids:
        return "find.ids"
    if query.trigger_type is not None and event.trigger_type != query.trigger_type:
        return "find.trigger-type"
    if query.state is not None and event.state is not query.state:
        return "find.state"
    if query.due_from is not None and (event.due is None or event.due < query.due_from):
        return "find.due"
    if query.due_until is not None and (event.due is None or event.due >= query.due_until):
        return "find.due"
    return None


def _position(event: Stored) -> tuple[bool, datetime, bytes]:
    """Live events by (due, id), then dead ones by (died, id)."""
    time = event.died if event.due is None else event.due
    assert time is not None, "an event has a due or is dead"
    return (event.due is None, time, event.id.encode())

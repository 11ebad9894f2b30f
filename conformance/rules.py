"""The oracle's decision table: what one operation makes of one event. Pure functions, no storage.

Every decision names the law that it follows from, so that a backend that decides otherwise can be
told which law it broke. Nothing here is shared with any backend; even rounding is written anew.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Generic, TypeVar

import attrs

from futurama.backend import (
    AddOutcome,
    Claim,
    IfExists,
    Move,
    NewEvent,
    Settlement,
    SettlementKind,
    State,
    StoredEvent,
)
from futurama.events import CancelOutcome, RescheduleOutcome
from futurama.times import from_us, to_us

__all__ = [
    "Decision",
    "Stored",
    "add",
    "cancel",
    "claim",
    "claimable",
    "purge",
    "renew",
    "requeue",
    "reschedule",
    "round_up",
    "same_death",
    "settle",
    "shows",
]

Outcome_co = TypeVar("Outcome_co", covariant=True)

_MICROSECOND = timedelta(microseconds=1)


@attrs.frozen
class Stored:
    """One stored event as the oracle knows it: a :class:`StoredEvent` plus what no one may see."""

    id: str
    trigger_type: str
    trigger_time: datetime
    payload: bytes
    created: datetime
    due: datetime | None
    attempt: int = 0
    owner: str | None = None
    lost: bool = False
    died: datetime | None = None
    reason: str | None = None
    token: bytes | None = None
    due_before_claim: datetime | None = None

    @property
    def state(self) -> State:
        """Where in its life the event is."""
        if self.due is None:
            return State.DEAD
        return State.WAITING if self.token is None else State.CLAIMED

    def visible(self) -> StoredEvent:
        """What ``find`` shows of it."""
        return StoredEvent(
            id=self.id,
            trigger_type=self.trigger_type,
            trigger_time=self.trigger_time,
            payload=self.payload,
            created=self.created,
            attempt=self.attempt,
            state=self.state,
            due=self.due,
            owner=self.owner,
            lost=self.lost,
            died=self.died,
            reason=self.reason,
        )


@attrs.frozen
class Decision(Generic[Outcome_co]):
    """What an operation does to one event.

    Attributes:
        after: the event afterwards; None when it is gone or never was.
        outcome: what the caller is told.
        law: the id of the law that says so.
    """

    after: Stored | None
    outcome: Outcome_co
    law: str


def round_up(instant: datetime, step: timedelta) -> datetime:
    """The first multiple of ``step``, counted from 1970, that is not before ``instant``."""
    step_us = step // _MICROSECOND
    return from_us(-(-to_us(instant) // step_us) * step_us)


def same_death(expected: datetime, actual: datetime, step: timedelta) -> bool:
    """Whether a time of death is right: the contract rounds it neither up nor down."""
    return abs(actual - expected) < step


def shows(stored: Stored | None, seen: StoredEvent | None, step: timedelta) -> bool:
    """Whether ``find`` may show ``seen`` for ``stored``."""
    if stored is None or seen is None:
        return stored is None and seen is None
    expected = stored.visible()
    if expected.died and seen.died and same_death(expected.died, seen.died, step):
        expected = attrs.evolve(expected, died=seen.died)
    # Field by field, for a backend may return a subclass.
    names = [field.name for field in attrs.fields(StoredEvent)]
    return all(getattr(expected, name) == getattr(seen, name) for name in names)


def add(
    before: Stored | None, event: NewEvent, if_exists: IfExists, step: timedelta
) -> Decision[AddOutcome]:
    """What ``add`` does to the event with the id of ``event``."""
    time = round_up(event.trigger_time, step)
    new = Stored(event.id, event.trigger_type, time, event.payload, event.created, due=time)
    if before is None:
        return Decision(new, AddOutcome.ADDED, "add.new")
    if _creation(before) == _creation(new):
        return Decision(before, AddOutcome.ADDED, "replay.add")
    law = "add.dead" if before.state is State.DEAD else f"add.{if_exists}"
    if if_exists == "raise":
        return Decision(before, AddOutcome.REFUSED, law)
    if if_exists == "keep":
        return Decision(before, AddOutcome.KEPT, law)
    if before.state is State.CLAIMED:
        law = "add.replace-claimed"
    new = attrs.evolve(new, lost=before.lost or before.state is State.CLAIMED)
    return Decision(new, AddOutcome.REPLACED, law)


def cancel(before: Stored | None) -> Decision[CancelOutcome]:
    """What ``cancel`` does."""
    if before is None:
        return Decision(None, CancelOutcome.NOT_FOUND, "cancel.absent")
    if before.state is State.DEAD:
        return Decision(before, CancelOutcome.NOT_FOUND, "cancel.dead")
    if before.state is State.CLAIMED:
        return Decision(None, CancelOutcome.IN_FLIGHT, "cancel.claimed")
    if before.lost:
        return Decision(None, CancelOutcome.IN_FLIGHT, "cancel.lost")
    return Decision(None, CancelOutcome.CANCELLED, "cancel.waiting")


def reschedule(before: Stored | None, move: Move, step: timedelta) -> Decision[RescheduleOutcome]:
    """What ``reschedule`` does."""
    if before is None:
        return Decision(None, RescheduleOutcome.NOT_FOUND, "reschedule.absent")
    if before.state is State.DEAD:
        return Decision(before, RescheduleOutcome.NOT_FOUND, "reschedule.dead")
    if before.state is State.CLAIMED:
        return Decision(before, RescheduleOutcome.IN_FLIGHT, "reschedule.claimed")
    if before.lost:
        return Decision(before, RescheduleOutcome.IN_FLIGHT, "reschedule.lost")
    after = before
    if move.trigger_time is not None:
        time = round_up(move.trigger_time, step)
        after = attrs.evolve(after, trigger_time=time, due=time)
    if move.payload is not None:
        after = attrs.evolve(after, payload=move.payload)
    return Decision(after, RescheduleOutcome.RESCHEDULED, "reschedule.waiting")


def claimable(before: Stored, *, now: datetime, due_before: datetime) -> bool:
    """Whether ``claim`` may hand the event out."""
    if before.due is None:
        return False
    return before.due <= (due_before if before.state is State.WAITING else now)


def claim(
    before: Stored, *, owner: str, lease_until: datetime, token: bytes, step: timedelta
) -> Stored:
    """A claimable event after it was handed out under ``token``."""
    return attrs.evolve(
        before,
        due=round_up(lease_until, step),
        attempt=before.attempt + 1,
        owner=owner,
        lost=before.lost or before.state is State.CLAIMED,
        token=token,
        due_before_claim=before.due,
    )


def renew(
    before: Stored | None, claim: Claim, *, now: datetime, lease_until: datetime, step: timedelta
) -> Decision[bool]:
    """What ``renew`` does."""
    if law := _lost_law(before, claim, now, "fence.renew"):
        return Decision(before, outcome=False, law=law)
    assert before is not None
    after = attrs.evolve(before, due=round_up(lease_until, step))
    return Decision(after, outcome=True, law="renew.extends")


def settle(
    before: Stored | None, settlement: Settlement, *, now: datetime, step: timedelta
) -> Decision[bool]:
    """What ``settle`` does."""
    if law := _lost_law(before, settlement.claim, now, "fence.settle"):
        return Decision(before, outcome=False, law=law)
    assert before is not None
    free = attrs.evolve(before, token=None, owner=None, due_before_claim=None)
    after: Stored | None
    if settlement.kind is SettlementKind.DONE:
        after = None
    elif settlement.kind is SettlementKind.RETRY:
        assert settlement.due is not None, "Settlement.retry always has it"
        payload = before.payload if settlement.payload is None else settlement.payload
        after = attrs.evolve(free, due=round_up(settlement.due, step), payload=payload)
    elif settlement.kind is SettlementKind.BURY:
        after = attrs.evolve(free, due=None, died=now, reason=settlement.reason)
    else:
        due = before.due_before_claim
        if settlement.due is not None:
            due = round_up(settlement.due, step)
        after = attrs.evolve(free, due=due, attempt=before.attempt - 1)
    return Decision(after, outcome=True, law=f"settle.{settlement.kind.value}")


def requeue(before: Stored | None, *, now: datetime, step: timedelta) -> Decision[bool]:
    """What ``requeue`` does."""
    if before is None or before.state is not State.DEAD:
        return Decision(before, outcome=False, law="requeue.others")
    after = attrs.evolve(before, due=round_up(now, step), attempt=0, died=None, reason=None)
    return Decision(after, outcome=True, law="requeue.dead")


def purge(event: Stored | None, *, before: datetime) -> Decision[None]:
    """What ``purge`` does to one of the events."""
    is_purged = event is not None and event.died is not None and event.died < before
    return Decision(None if is_purged else event, outcome=None, law="purge.before")


def _creation(event: Stored) -> tuple[object, ...]:
    """What tells a repeated ``add`` from a second event with the same id."""
    return (event.trigger_type, event.trigger_time, event.payload, event.created)


def _lost_law(before: Stored | None, claim: Claim, now: datetime, stale: str) -> str | None:
    """The law by which ``claim`` is not held at ``now``; None if it is held."""
    if before is None:
        return "fence.gone"
    if before.token is None:
        return "fence.reported"
    if before.token != claim.token:
        return stale
    assert before.due is not None, "only a claimed event has a token"
    return None if now < before.due else "fence.lease-end"

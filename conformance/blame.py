"""Which law a difference between a backend and the oracle breaks: the one that leads to the fault.

Pure functions over what had to be, what was, and what the oracle holds.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from futurama.backend import Query, State
from futurama.conformance import rules
from futurama.conformance.model import Expected, first_unmet
from futurama.conformance.rules import Stored

__all__ = [
    "laws_after",
    "of_answer",
    "of_claim_field",
    "of_field",
    "of_found",
    "of_handed_out",
    "of_presence",
]

_MICROSECOND: Final = timedelta(microseconds=1)
_ORDINARY: Final = (datetime(1970, 1, 1, tzinfo=UTC), datetime(2038, 1, 19, tzinfo=UTC))
"""Instants outside are those that only a backend with a narrow column gets wrong."""
_ROUNDED: Final = ("due", "trigger_time", "lease_until", "died")
_LAWS_OF_ABSENCE: Final = {
    "add.new",
    "batch.nothing-else",
    "cancel.absent",
    "fence.gone",
    "requeue.others",
    "reschedule.absent",
}
_LAW_OF_FIELD: Final[Mapping[str, str]] = {
    "trigger_type": "data.exact",
    "created": "data.exact",
    "lost": "lost.counted",
}
"""Fields that break this law when wrong, whatever the operation was."""
_LAW_OF_CLAIMED: Final[Mapping[str, str]] = {"attempt": "claim.attempt", "due": "claim.lease"}
"""The same, of an event that was just claimed."""
_LAW_IN_CLAIM: Final[Mapping[str, str]] = {
    "attempt": "claim.attempt",
    "lost_before": "lost.counted",
    "lease_until": "claim.lease",
}
"""The same, in what a claim itself says; all its other fields are ``claim.carries``."""


def laws_after(expected: Sequence[Expected[Any]]) -> dict[str, str]:
    """By which law each event that a batch names is as it is afterwards."""
    laws: dict[str, str] = {}
    for item in expected:
        laws[item.id] = "batch.in-order" if item.id in laws else item.law
    return laws


def of_answer(
    expected: Sequence[Expected[Any]], actual: Sequence[object], known: Collection[str]
) -> str:
    """The law that a wrong answer to a batch breaks.

    Args:
        expected: what had to be answered, item by item.
        actual: what was.
        known: the ids of all stored events.
    """
    if not expected:
        return "batch.empty"
    outcomes = [item.outcome for item in expected]
    is_unique = len({item.id for item in expected}) == len(expected)
    is_shuffled = is_unique and sorted(map(repr, actual)) == sorted(map(repr, outcomes))
    if len(actual) != len(expected) or is_shuffled:
        return "batch.positional"
    wrong = next(i for i, item in enumerate(expected) if item.outcome != actual[i])
    earlier = {item.id for item in expected[:wrong]}
    law = "batch.in-order" if expected[wrong].id in earlier else expected[wrong].law
    if law == "renew.extends" or law.startswith("settle."):
        law = "fence.lease-end"  # refused, although it is held
    return of_presence(law, expected[wrong].id, known)


def of_handed_out(
    expected: Sequence[Stored],
    actual: Sequence[str],
    events: Mapping[str, Stored],
    *,
    now: datetime,
    due_before: datetime,
    limit: int,
    step: timedelta,
) -> str:
    """The law that a claim of the wrong events, or in the wrong order, breaks.

    Args:
        expected: the events that had to be handed out.
        actual: the ids of those that were.
        events: all events, as they were before the claim.
        now, due_before, limit: the arguments of the call.
        step: the resolution.
    """
    if len(actual) > limit:
        return "claim.limit"
    if len(set(actual)) < len(actual):
        return "claim.exclusive"
    for event_id in actual:
        law = _of_premature(events.get(event_id), now, due_before, step)
        if law is not None:
            return law
    if len(actual) < len(expected):
        missing = next(event for event in expected if event.id not in actual)
        return "claim.due" if missing.state is State.WAITING else "claim.lease"
    return "claim.order"


def _of_premature(
    event: Stored | None, now: datetime, due_before: datetime, step: timedelta
) -> str | None:
    """The law by which this event must not be handed out; None if it may be."""
    if event is None or event.due is None:
        return "claim.due"
    if rules.claimable(event, now=now, due_before=due_before):
        return None
    bound = due_before if event.state is State.WAITING else now
    if event.due - bound < step:
        return "time.never-early"
    if event.state is State.WAITING:
        return "claim.due"
    return "claim.look-ahead" if event.due <= due_before else "claim.exclusive"


def of_claim_field(
    field: str, expected: object, actual: object, *, was_lost: bool, step: timedelta
) -> str:
    """The law that a wrong field of a claim breaks.

    Args:
        field: its name.
        expected: what it had to be.
        actual: what it is.
        was_lost: whether the event was lost before this claim.
        step: the resolution.
    """
    law = _LAW_IN_CLAIM.get(field, "claim.carries")
    if field == "lost_before" and was_lost:
        return "lost.for-good"
    return _of_time(expected, actual, law, step) if field in _ROUNDED else law


def of_found(
    query: Query,
    expected: Sequence[str],
    actual: Sequence[str],
    events: Mapping[str, Stored],
    *,
    is_paged: bool,
) -> str:
    """The law that a wrong answer of ``find`` breaks.

    Args:
        query: what was looked for.
        expected: the ids of all matches, in order.
        actual: the ids that were found.
        events: all events.
        is_paged: whether there was more than one page.
    """
    unwanted = [event_id for event_id in actual if event_id not in expected]
    law = "find.order" if sorted(expected) == sorted(actual) else "find.pages"
    if unwanted:
        known = events.get(unwanted[0])
        return "batch.nothing-else" if known is None else first_unmet(known, query) or law
    criteria = {
        "find.ids": query.ids,
        "find.trigger-type": query.trigger_type,
        "find.state": query.state,
        "find.due": query.due_from or query.due_until,
    }
    given = [law for law, criterion in criteria.items() if criterion is not None]
    is_missing = set(expected) > set(actual)
    return given[0] if given and is_missing and not is_paged else law


def of_presence(law: str, event_id: str, known: Collection[str]) -> str:
    """``id.byte-exact`` if another id was likely taken for this one, else ``law``.

    Likely it is only where this event should have been absent, or left alone.

    Args:
        law: the law by which the event is, or is not, there.
        event_id: its id.
        known: the ids of all stored events.
    """
    if law not in _LAWS_OF_ABSENCE:
        return law
    alike = _careless(event_id)
    others = (other for other in known if other != event_id)
    return "id.byte-exact" if any(_careless(other) == alike for other in others) else law


def of_field(field: str, expected: object, actual: object, law: str, step: timedelta) -> str:
    """The law that a wrong field of a stored event breaks.

    Args:
        field: its name.
        expected: what it had to be.
        actual: what it is.
        law: the one that the last call on this event had to obey.
        step: the resolution.
    """
    if field in _ROUNDED:
        law = _of_time(expected, actual, law, step)
    if field == "owner" and expected is not None:
        return "data.exact"
    if field == "lost" and expected and law not in {"claim.carries", "add.replace-claimed"}:
        return "lost.for-good"
    if field == "payload" and law == "add.new":
        return "data.exact"
    if law in {"add.replace-claimed", "batch.nothing-else"} or law.startswith("time."):
        return law
    law = _LAW_OF_FIELD.get(field, law)
    return _LAW_OF_CLAIMED.get(field, law) if law == "claim.carries" else law


def _of_time(expected: object, actual: object, law: str, step: timedelta) -> str:
    """``law``, unless the way in which a time is wrong names a better one."""
    if not isinstance(expected, datetime) or not isinstance(actual, datetime):
        return law
    if _is_of_another_zone(expected, actual):
        return "time.utc"
    # Microseconds leave nothing to round, so there a difference has another reason.
    if abs(expected - actual) <= step and step > _MICROSECOND:
        return "time.rounds-up"
    if _has_lost_digits(expected, actual):
        return "time.rounds-up"
    return law if _ORDINARY[0] <= expected <= _ORDINARY[1] else "time.extremes"


def _is_of_another_zone(expected: datetime, actual: datetime) -> bool:
    """Whether it is as much too early or too late as a zone may be; nothing else of the suite is."""
    shift = abs(expected - actual)
    return timedelta(0) < shift <= timedelta(hours=14) and not shift % timedelta(minutes=15)


def _has_lost_digits(expected: datetime, actual: datetime) -> bool:
    """Whether a column of milliseconds or seconds, where more are declared, makes one of the other."""
    return (
        abs(expected - actual) < timedelta(seconds=1)
        and expected.microsecond > 999
        and actual.microsecond % 1000 == 0
    )


def _careless(event_id: str) -> str:
    """What a careless collation compares: no case, no accents, no padding, nothing after NUL."""
    decomposed = unicodedata.normalize("NFKD", event_id.partition("\0")[0].strip())
    return "".join(c for c in decomposed if not unicodedata.combining(c)).casefold()

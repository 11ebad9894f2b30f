"""The judge of overlapping calls is just: it passes what the laws explain and names what they do not."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import attrs
import pytest

from futurama.backend import AddOutcome, Claim, NewEvent, Settlement, State, StoredEvent
from futurama.conformance import LawBroken
from futurama.conformance.history import OPEN_END, UNKNOWN, Kind, Step, check
from futurama.conformance.strategies import START
from futurama.events import CancelOutcome

SECOND = timedelta(seconds=1)
EVENT = NewEvent(id="a", trigger_type="t", trigger_time=START, payload=b"1", created=START)


def step(kind: Kind, start: int, end: int, outcome: Any, **arguments: Any) -> Step:
    """One call on the event."""
    return Step(event_id="a", kind=kind, start=start, end=end, outcome=outcome, arguments=arguments)


def added(start: int, end: int) -> Step:
    """The event was added."""
    return step(Kind.ADD, start, end, AddOutcome.ADDED, event=EVENT, if_exists="raise")


def claimed(start: int, end: int, *, token: bytes, at: int = 0, **changes: Any) -> Step:
    """The event was claimed for ten seconds, ``at`` seconds after the start."""
    now, until = START + at * SECOND, START + (at + 10) * SECOND
    claim = Claim(
        id="a",
        trigger_type="t",
        trigger_time=START,
        payload=b"1",
        created=START,
        attempt=1,
        token=token,
        due=START,
        lease_until=until,
        lost_before=False,
    )
    return step(
        Kind.CLAIM,
        start,
        end,
        attrs.evolve(claim, **changes),
        owner="w",
        now=now,
        due_before=now,
        lease_until=until,
    )


def settled(start: int, end: int, claim: Step, *, held: bool, at: int = 1) -> Step:
    """The event was reported done, ``at`` seconds after the start."""
    settlement = Settlement.done(claim.outcome)
    return step(Kind.SETTLE, start, end, held, settlement=settlement, now=START + at * SECOND)


def cancelled(start: int, end: int, outcome: CancelOutcome) -> Step:
    """The event was cancelled."""
    return step(Kind.CANCEL, start, end, outcome)


def unanswered(call: Step) -> Step:
    """The same call, of which its caller heard no more."""
    return attrs.evolve(call, outcome=UNKNOWN, end=OPEN_END)


def seen(start: int, end: int, *, there: bool) -> Step:
    """In the end the event was there, untouched, or not."""
    event = StoredEvent(
        id="a",
        trigger_type="t",
        trigger_time=START,
        payload=b"1",
        created=START,
        attempt=0,
        state=State.WAITING,
        due=START,
        owner=None,
        lost=False,
        died=None,
        reason=None,
    )
    return step(Kind.READ, start, end, event if there else None)


FIRST = claimed(2, 3, token=b"1")
FIRST_AFTER_ALL = claimed(4, 5, token=b"1")
AFTER_ITS_LEASE = claimed(
    4, 5, token=b"2", at=10, attempt=2, due=START + 10 * SECOND, lost_before=True
)


@pytest.mark.parametrize(
    "history",
    [
        [added(0, 1), FIRST, settled(4, 5, FIRST, held=True), seen(6, 7, there=False)],
        # Answered in the other order than they took effect, which only overlapping calls may be.
        [added(0, 9), FIRST, settled(4, 5, FIRST, held=True), seen(10, 11, there=False)],
        [added(0, 1), claimed(2, 8, token=b"1"), cancelled(3, 4, CancelOutcome.IN_FLIGHT)],
        [
            added(0, 1),
            cancelled(2, 3, CancelOutcome.CANCELLED),
            cancelled(2, 3, CancelOutcome.NOT_FOUND),
        ],
        [added(0, 1), FIRST, AFTER_ITS_LEASE, settled(6, 7, FIRST, held=False, at=11)],
        [added(0, 1), seen(2, 3, there=True)],
        [seen(2, 3, there=False)],
        # What was not answered took effect, or did not, or does so only now.
        [unanswered(added(0, 1)), seen(2, 3, there=True)],
        [unanswered(added(0, 1)), seen(2, 3, there=False)],
        [unanswered(added(0, 1)), seen(2, 3, there=False), FIRST_AFTER_ALL],
        [
            added(0, 1),
            unanswered(cancelled(2, 3, CancelOutcome.CANCELLED)),
            seen(4, 5, there=False),
        ],
        [added(0, 1), unanswered(FIRST), AFTER_ITS_LEASE],
    ],
)
def test_what_the_laws_explain_passes(history: list[Step]) -> None:
    """Any order will do that respects who finished before whom."""
    check(history, SECOND)


@pytest.mark.parametrize(
    ("law", "history"),
    [
        ("concurrency.exclusive", [added(0, 1), FIRST, claimed(4, 5, token=b"2", attempt=2)]),
        ("concurrency.exclusive", [added(0, 1), claimed(2, 3, token=b"1", attempt=2)]),
        ("concurrency.exclusive", [added(4, 5), claimed(2, 3, token=b"1")]),
        (
            "concurrency.fence",
            [added(0, 1), FIRST, AFTER_ITS_LEASE, settled(6, 7, FIRST, held=True, at=11)],
        ),
        ("concurrency.fence", [added(0, 1), FIRST, settled(4, 5, FIRST, held=True, at=10)]),
        ("concurrency.cancel", [added(0, 1), FIRST, cancelled(4, 5, CancelOutcome.CANCELLED)]),
        ("concurrency.nothing-lost", [added(0, 1), cancelled(2, 3, CancelOutcome.NOT_FOUND)]),
        ("concurrency.nothing-lost", [added(0, 1), seen(2, 3, there=False)]),
        ("concurrency.nothing-lost", [seen(2, 3, there=True)]),
        ("concurrency.nothing-lost", [claimed(2, 3, token=b"1")]),
        (
            "concurrency.nothing-lost",
            [added(0, 1), cancelled(2, 3, CancelOutcome.CANCELLED), seen(4, 5, there=True)],
        ),
        # Not before it was made, and not twice.
        ("concurrency.exclusive", [unanswered(added(4, 5)), FIRST]),
        (
            "concurrency.nothing-lost",
            [
                unanswered(added(0, 1)),
                cancelled(2, 3, CancelOutcome.CANCELLED),
                seen(4, 5, there=True),
            ],
        ),
    ],
)
def test_what_they_do_not_explain_is_named(law: str, history: list[Step]) -> None:
    """A history that no order explains breaks the law whose replies cannot be true."""
    with pytest.raises(LawBroken) as caught:
        check(history, SECOND)
    assert caught.value.law == law
    assert "'a'" in str(caught.value)


def test_events_are_judged_apart() -> None:
    """What happened to one event does not excuse what happened to another."""
    other = [attrs.evolve(one, event_id="b") for one in (added(0, 1), seen(2, 3, there=True))]
    with pytest.raises(LawBroken, match="'a'"):
        check([*other, added(0, 1), seen(2, 3, there=False)], SECOND)


def buried(start: int, end: int) -> Step:
    """The event was buried, two seconds after the start."""
    bury = Settlement.bury(FIRST.outcome, "why")
    return step(Kind.SETTLE, start, end, outcome=True, settlement=bury, now=START + 2 * SECOND)


def purged(start: int, end: int, told: int, *, caller: str = "") -> Step:
    """All dead letters were purged, so many as was told."""
    one = step(Kind.PURGE, start, end, told, before=START + 10 * SECOND)
    return attrs.evolve(one, caller=caller)


GONE = [added(0, 1), FIRST, buried(4, 5), purged(6, 7, 1), seen(8, 9, there=False)]


@pytest.mark.parametrize(
    "history",
    [
        GONE,
        # Several callers, of whom any may have met it.
        [*GONE, purged(6, 7, 0, caller="b")],
        [*GONE[:3], purged(6, 7, 0, caller="b"), *GONE[3:]],
        # What was replaced was perhaps dead, and perhaps was so no more.
        [
            *GONE[:3],
            purged(6, 12, 0),
            attrs.evolve(added(6, 12), outcome=AddOutcome.REPLACED, arguments={
                "event": attrs.evolve(EVENT, payload=b"2"), "if_exists": "replace",
            }),
            cancelled(13, 14, CancelOutcome.CANCELLED),
            seen(15, 16, there=False),
        ],
        # Nobody knows what went before the last look, or how many a lost reply spoke of.
        [*GONE[:3], purged(6, 7, 0), attrs.evolve(GONE[4], start=6, end=7)],
        [*GONE[:3], unanswered(purged(6, 7, 0)), purged(6, 7, 0, caller="b"), GONE[4]],
    ],
)  # fmt: skip
def test_numbers_of_the_purged_are_added_up(history: list[Step]) -> None:
    """All purges together told of as many events as went by them, if that can be known."""
    check(history, SECOND)


@pytest.mark.parametrize("told", [0, 2])
def test_purge_must_count_what_it_removes(told: int) -> None:
    """One event went by two purges that together told of none, or of two."""
    history = [*GONE[:3], purged(6, 7, told // 2), purged(6, 7, told // 2, caller="b"), GONE[4]]
    with pytest.raises(LawBroken) as caught:
        check(history, SECOND)
    assert (caught.value.law, caught.value.actual) == ("purge.before", told)


def test_the_same_token_on_two_events_is_fine() -> None:
    """Whoever claims several at once may give them one token."""
    other = [attrs.evolve(one, event_id="b") for one in (added(0, 1), FIRST)]
    check([added(0, 1), FIRST, *other], SECOND)

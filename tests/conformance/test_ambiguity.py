"""Calls whose replies are lost: what the judge makes of them, and that the workload makes them."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import pytest

from futurama.backend import AddOutcome, EventBackend
from futurama.backends.memory import MemoryBackend
from futurama.conformance import LawBroken
from futurama.conformance.history import OPEN_END, UNKNOWN, Kind, Step, check
from futurama.conformance.workload import Plan, run_threads
from futurama.errors import OutcomeUnknownError
from futurama.events import CancelOutcome
from tests.conformance.test_history import (
    FIRST,
    SECOND,
    added,
    cancelled,
    claimed,
    seen,
    settled,
    step,
)


def unanswered(one: Step) -> Step:
    """The same call, whose reply was lost."""
    return attrs.evolve(one, outcome=UNKNOWN, end=OPEN_END)


@pytest.mark.parametrize(
    "history",
    [
        # It never happened, at once, or long after others had been answered.
        [unanswered(added(0, 1)), seen(2, 3, there=False)],
        [unanswered(added(0, 1)), seen(2, 3, there=True)],
        [unanswered(added(0, 1)), seen(2, 3, there=False), seen(4, 5, there=True)],
        [
            added(0, 1),
            unanswered(cancelled(2, 3, CancelOutcome.CANCELLED)),
            cancelled(4, 5, CancelOutcome.NOT_FOUND),
        ],
        [
            added(0, 1),
            unanswered(cancelled(2, 3, CancelOutcome.CANCELLED)),
            cancelled(4, 5, CancelOutcome.CANCELLED),
        ],
        # A claim that nobody knows of keeps others out, and ends unreported.
        [
            added(0, 1),
            unanswered(claimed(2, 3, token=b"1")),
            cancelled(4, 5, CancelOutcome.IN_FLIGHT),
        ],
        [
            added(0, 1),
            unanswered(claimed(2, 3, token=b"1")),
            claimed(
                4, 5, token=b"2", at=10, attempt=2, lost_before=True,
                due=FIRST.outcome.lease_until,
            ),
        ],
        [added(0, 1), FIRST, unanswered(settled(4, 5, FIRST, held=True)), seen(6, 7, there=False)],
        [
            added(0, 1),
            FIRST,
            unanswered(settled(4, 5, FIRST, held=True)),
            settled(6, 7, FIRST, held=True),
        ],
    ],
)  # fmt: skip
def test_unanswered_call_happened_once_or_never(history: list[Step]) -> None:
    """An unanswered call explains whatever it may have done at any time after its start."""
    check(history, SECOND)


@pytest.mark.parametrize(
    ("law", "history"),
    [
        # Twice is too often.
        (
            "concurrency.nothing-lost",
            [
                unanswered(added(0, 1)),
                cancelled(2, 3, CancelOutcome.CANCELLED),
                seen(4, 5, there=True),
            ],
        ),
        # Before its start it cannot have happened.
        (
            "concurrency.nothing-lost",
            [seen(0, 1, there=True), unanswered(added(2, 3)), seen(4, 5, there=True)],
        ),
        # A repeat that says it added has added.
        (
            "concurrency.nothing-lost",
            [unanswered(added(0, 1)), added(2, 3), seen(4, 5, there=False)],
        ),
        # A lost claim ends at its lease, not before.
        (
            "concurrency.exclusive",
            [
                added(0, 1),
                unanswered(claimed(2, 3, token=b"1")),
                claimed(4, 5, token=b"2", at=9, attempt=2, lost_before=True),
            ],
        ),
    ],
)
def test_unanswered_call_does_not_excuse_everything(law: str, history: list[Step]) -> None:
    """What it cannot have done is still a broken law."""
    with pytest.raises(LawBroken) as caught:
        check(history, SECOND)
    assert caught.value.law == law


def test_unanswered_calls_are_told_from_answered_ones() -> None:
    """In the message such a call has no end, and says that its reply was lost."""
    history = [unanswered(added(0, 1)), FIRST, step(Kind.READ, 6, 7, None)]
    with pytest.raises(LawBroken) as caught:
        check([*history, claimed(8, 9, token=b"3")], SECOND)
    assert ".. " in str(caught.value)
    assert "-> the reply was lost" in str(caught.value)


def histories(backend: EventBackend, weights: dict[Kind, int]) -> Sequence[Step]:
    """What two workers do to the backend."""
    plan = Plan(
        seed="1",
        weights=weights,
        replaces=True,
        lease=4,
        resolution=SECOND / 1_000_000,
        calls=1500,
        seconds=60,
    )
    return run_threads([backend] * 2, plan)


EVERY_KIND = {
    Kind.ADD, Kind.CANCEL, Kind.RESCHEDULE, Kind.CLAIM, Kind.RENEW, Kind.SETTLE, Kind.REQUEUE,
}  # fmt: skip


def test_workload_repeats_calls_of_every_kind() -> None:
    """Workers take replies for lost now and then, and make the very same call again later."""
    history = histories(MemoryBackend(), dict.fromkeys(EVERY_KIND, 1))
    starts: dict[tuple[Kind, int], set[int]] = {}
    for one in history:
        if one.kind in EVERY_KIND:  # the others are what claims say besides, and the last look
            starts.setdefault((one.kind, id(one.arguments)), set()).add(one.start)
    assert {kind for (kind, _), times in starts.items() if len(times) > 1} == EVERY_KIND
    check(history, SECOND / 1_000_000)


def test_backend_may_say_itself_that_a_reply_was_lost() -> None:
    """OutcomeUnknownError is a true answer under load: the call is unanswered and repeated."""

    class Unsure(MemoryBackend):
        def __init__(self) -> None:
            super().__init__()
            self.calls = 0

        def add(self, events: object, *, if_exists: object) -> list[AddOutcome]:
            outcomes = super().add(events, if_exists=if_exists)  # type: ignore[arg-type] # passed on
            self.calls += 1
            if self.calls % 10 == 0:
                raise OutcomeUnknownError("who knows", backend=self.name)
            return list(outcomes)

    history = histories(Unsure(), {Kind.ADD: 1, Kind.CANCEL: 1})
    assert any(one.kind is Kind.ADD and one.outcome is UNKNOWN for one in history)
    check(history, SECOND / 1_000_000)

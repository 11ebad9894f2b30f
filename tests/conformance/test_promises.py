"""The checker of promises: for each, an account that keeps it and the nearest one that breaks it.

What it cannot see: a call that began and ended between two looks of those who write; an event whose
client was never told that it was stored, and that nobody ever saw; an answer for which no backend was
asked, or one that follows from what the backend said to another client who asked for the same at the same
time; what happens to data (it is compared
with what was given, so accounts must not change data); anything about an event between its end and the
repeat of its first storing, if the answer to that was lost; and whether a fault that was written down is
really what caused a repeat: it only has to have hit the instance while it had the claim.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest

from futurama.backend import (
    AddOutcome,
    Claim,
    Move,
    NewEvent,
    Settlement,
    State,
    StoredEvent,
)
from futurama.conformance.account import Account, Answer, Call, Creation, Disturbance, Ending
from futurama.conformance.history import OPEN_END, UNKNOWN, Kind, Step
from futurama.conformance.promises import Judgement, Promise, judge
from futurama.events import CancelOutcome, RescheduleOutcome
from futurama.times import to_us

START = datetime(2030, 1, 1, tzinfo=UTC)
LEASE = timedelta(seconds=2)
DUE_MS = 1000


def at(ms: float) -> datetime:
    """The backend's time when the clock of all shows ``ms``."""
    return START + timedelta(milliseconds=ms)


def ns(ms: float) -> int:
    """The clock of all."""
    return int(ms * 1e6)


CREATION = Creation(
    event_id="e",
    trigger_us=to_us(at(DUE_MS)),
    data=1,
    start=ns(0),
    end=ns(10),
    outcome=True,
)
EVENT = NewEvent(id="e", trigger_type="t", trigger_time=at(DUE_MS), payload=b"1", created=at(0))
ADDED = Step(
    event_id="e",
    kind=Kind.ADD,
    arguments={"event": EVENT, "if_exists": "raise"},
    outcome=AddOutcome.ADDED,
    start=ns(1),
    end=ns(9),
    caller="client",
)


def claim(
    ms: float,
    *,
    by: str = "a",
    attempt: int = 1,
    due: datetime | None = None,
    lost: bool = False,
    horizon: float = 250,
) -> Step:
    """An instance was given the event, within a millisecond."""
    given = Claim(
        id="e",
        trigger_type="t",
        trigger_time=at(DUE_MS),
        payload=b"1",
        created=at(0),
        attempt=attempt,
        token=f"{by} {ms}".encode(),
        due=due or at(DUE_MS),
        lease_until=at(ms) + LEASE,
        lost_before=lost,
    )
    return Step(
        event_id="e",
        kind=Kind.CLAIM,
        arguments={
            "owner": by,
            "now": at(ms),
            "due_before": at(ms + horizon),
            "lease_until": at(ms) + LEASE,
        },
        outcome=given,
        start=ns(ms),
        end=ns(ms + 1),
        caller=by,
    )


def call(
    ms: float, until: float, *, by: str = "a", attempt: int = 1, ending: Any = Ending.SUCCEEDED
) -> Call:
    """A trigger was called."""
    return Call(
        event_id="e",
        attempt=attempt,
        data=1,
        instance=by,
        start=ns(ms),
        end=OPEN_END if until == OPEN_END else ns(until),
        ending=ending,
    )


def settle(ms: float, settlement: Settlement, *, outcome: Any = True, by: str = "a") -> Step:
    """An instance has reported."""
    return Step(
        event_id="e",
        kind=Kind.SETTLE,
        arguments={"settlement": settlement, "now": at(ms)},
        outcome=outcome,
        start=ns(ms),
        end=ns(ms + 1) if outcome is not UNKNOWN else OPEN_END,
        caller=by,
    )


def renew(
    ms: float, on: Step, *, until: datetime | None = None, answered: float | None = None
) -> Step:
    """An instance has renewed its lease, or has made it end early; OPEN_END: and does not know."""
    end = ms + 1 if answered is None else answered
    return Step(
        event_id="e",
        kind=Kind.RENEW,
        arguments={"claim": on.outcome, "now": at(ms), "lease_until": until or at(ms) + LEASE},
        outcome=UNKNOWN if end == OPEN_END else True,
        start=ns(ms),
        end=OPEN_END if end == OPEN_END else ns(end),
        caller=on.caller,
    )


def cancel(ms: float, until: float, outcome: Any) -> Answer:
    """A client was told what became of its ``cancel``."""
    return Answer(event_id="e", outcome=outcome, start=ns(ms), end=ns(until))


def cancelled(ms: float, outcome: Any, caller: str = "client") -> Step:
    """A backend was asked to cancel."""
    return Step(
        event_id="e",
        kind=Kind.CANCEL,
        outcome=outcome,
        start=ns(ms),
        end=ns(ms + 1) if outcome is not UNKNOWN else OPEN_END,
        caller=caller,
    )


def moved(ms: float, to: float) -> Step:
    """A backend has moved the event."""
    return Step(
        event_id="e",
        kind=Kind.RESCHEDULE,
        arguments={"move": Move(id="e", trigger_time=at(to))},
        outcome=RescheduleOutcome.RESCHEDULED,
        start=ns(ms),
        end=ns(ms + 1),
        caller="client",
    )


FIRST = claim(900)
DONE = settle(1011, Settlement.done(FIRST.outcome))
LATER = claim(3500, by="b", attempt=2, due=at(2900), lost=True)
"""The lease of the first claim has ended, and another instance has taken over."""


def stored(state: State, **changes: Any) -> StoredEvent:
    """What was left."""
    event = StoredEvent(
        id="e",
        trigger_type="t",
        trigger_time=at(DUE_MS),
        payload=b"1",
        created=at(0),
        attempt=1,
        state=state,
        due=None if state is State.DEAD else at(DUE_MS),
        owner=None,
        lost=False,
        died=at(1011) if state is State.DEAD else None,
        reason="why" if state is State.DEAD else None,
    )
    return attrs.evolve(event, **changes)


def account(
    *,
    creation: Creation = CREATION,
    steps: Sequence[Step] = (ADDED, FIRST, DONE),
    calls: Sequence[Call] = (call(1000, 1010),),
    answers: Sequence[Answer] = (),
    left: StoredEvent | None = None,
    disturbances: Sequence[Disturbance] = (),
    **more: Any,
) -> Account:
    """Created, claimed ahead of its time, called at its time, and reported; or what is said otherwise."""
    return Account(
        creations=[creation],
        answers=answers,
        calls=calls,
        steps=steps,
        left={} if left is None else {"e": left},
        disturbances=disturbances,
        epoch_us=to_us(START),
        resolution=timedelta(microseconds=1),
        **more,
    )


def broken(whole: Account) -> set[Promise]:
    """Which promises the checker says were broken."""
    return {breach.promise for breach in judge(whole).breaches}


def disturbance(ms: float, until: float, instance: str | None = "a", **more: Any) -> Disturbance:
    """A fault."""
    return Disturbance(start=ns(ms), end=ns(until), instance=instance, **more)


REPEATED = account(
    steps=(ADDED, FIRST, LATER, settle(3511, Settlement.done(LATER.outcome), by="b")),
    calls=(call(1000, 1010), call(3502, 3510, by="b", attempt=2)),
    disturbances=[disturbance(950, 3400)],
)
"""The first instance could not report that its call had succeeded."""


def test_ordinary_life_breaks_nothing() -> None:
    """An event that is called once, at its time, and reported, is in the books as completed."""
    assert judge(account()) == Judgement(breaches=[], repeats=0, books={"completed": 1})


class TestLost:
    """P1."""

    def test_gone_without_a_call(self) -> None:
        """An acknowledged event that is not there in the end was called with success, or cancelled."""
        assert broken(account(calls=[])) == {Promise.LOST}

    def test_gone_after_failures_only(self) -> None:
        """A call that failed is no end."""
        assert broken(account(calls=[call(1000, 1010, ending=Ending.FAILED)])) == {Promise.LOST}

    @pytest.mark.parametrize("outcome", [CancelOutcome.IN_FLIGHT, UNKNOWN])
    def test_removed_by_a_client(self, outcome: object) -> None:
        """Whoever may have cancelled it explains that it is gone."""
        whole = account(
            steps=(ADDED, cancelled(500, UNKNOWN)), calls=[], answers=[cancel(499, 502, outcome)]
        )
        assert broken(whole) == set()

    def test_never_stored(self) -> None:
        """If the client was not told, and nobody has ever seen it, there was no event."""
        creation = attrs.evolve(CREATION, outcome=UNKNOWN, end=OPEN_END)
        lost = attrs.evolve(ADDED, outcome=UNKNOWN, end=OPEN_END)
        whole = account(creation=creation, steps=[lost], calls=[])
        assert judge(whole) == Judgement(breaches=[], repeats=0, books={})

    def test_lost_though_its_client_was_not_told(self) -> None:
        """An event that somebody has claimed was stored, whatever its client knows."""
        creation = attrs.evolve(CREATION, outcome=UNKNOWN, end=OPEN_END)
        assert broken(account(creation=creation, calls=[])) == {Promise.LOST}


class TestPhantom:
    """P1."""

    def test_called_though_its_creation_failed(self) -> None:
        """Who is told that nothing was stored can rely on that."""
        creation = attrs.evolve(CREATION, outcome=False)
        assert Promise.PHANTOM in broken(account(creation=creation))

    def test_called_with_other_data(self) -> None:
        """Data are the client's."""
        other = attrs.evolve(call(1000, 1010), data=2)
        assert broken(account(calls=[other])) == {Promise.PHANTOM}

    def test_called_though_its_creation_was_not_answered(self) -> None:
        """What is not known may have happened."""
        creation = attrs.evolve(CREATION, outcome=UNKNOWN, end=OPEN_END)
        assert broken(account(creation=creation)) == set()


class TestEarly:
    """P2."""

    @pytest.mark.parametrize(("ms", "expected"), [(1000, set()), (999.999, {Promise.EARLY})])
    def test_to_the_microsecond(self, ms: float, expected: set[Promise]) -> None:
        """Not by a microsecond."""
        assert broken(account(calls=[call(ms, 1010)])) == expected

    def test_as_far_as_timers_can_be_trusted(self) -> None:
        """What a timer may drift between two looks at the backend's clock is not promised."""
        early = [call(999, 1010)]
        assert broken(account(calls=early, timer_error_us=1000)) == set()
        assert broken(account(calls=early, timer_error_us=999)) == {Promise.EARLY}

    @pytest.mark.parametrize(("ms", "expected"), [(1000, set()), (999, {Promise.EARLY})])
    def test_put_back_to_before_its_time(self, ms: float, expected: set[Promise]) -> None:
        """Who gives a claim back may let the event wait, but not let it be called earlier."""
        released = settle(950, Settlement.release(FIRST.outcome, at(ms)))
        again = claim(960, due=at(ms))
        steps = (ADDED, FIRST, released, again, settle(1011, Settlement.done(again.outcome)))
        assert broken(account(steps=steps)) == expected

    def test_before_the_time_of_a_retry(self) -> None:
        """A failed call is repeated when that was reported to be due, not earlier."""
        again = claim(1850, attempt=2, due=at(2000))
        steps = (
            ADDED,
            FIRST,
            settle(1011, Settlement.retry(FIRST.outcome, at(2000))),
            again,
            settle(2011, Settlement.done(again.outcome)),
        )
        failed = call(1000, 1010, ending=Ending.FAILED)
        right = account(steps=steps, calls=[failed, call(2000, 2010, attempt=2)])
        wrong = account(steps=steps, calls=[failed, call(1999, 2010, attempt=2)])
        assert (broken(right), broken(wrong)) == (set(), {Promise.EARLY})

    @pytest.mark.parametrize(
        ("outcome", "expected"),
        [
            (RescheduleOutcome.RESCHEDULED, {Promise.EARLY}),
            (RescheduleOutcome.IN_FLIGHT, set()),
            (UNKNOWN, set()),
        ],
    )
    def test_after_a_move(self, outcome: object, expected: set[Promise]) -> None:
        """The new time counts once the client knows of it; until then either may."""
        move = Answer(
            event_id="e", outcome=outcome, start=ns(500), end=ns(502), trigger_us=to_us(at(5000))
        )
        assert broken(account(answers=[move])) == expected


class TestClaim:
    """P3."""

    def test_call_without_a_claim(self) -> None:
        """Only whoever was given the attempt calls it."""
        assert broken(account(calls=[call(1000, 1010, by="b")])) == {Promise.CLAIM}

    @pytest.mark.parametrize(("ms", "expected"), [(2899, set()), (2901, {Promise.CLAIM})])
    def test_call_after_the_lease(self, ms: float, expected: set[Promise]) -> None:
        """No call begins when the lease has ended, even if nobody else has the claim yet."""
        done = settle(2899, Settlement.done(FIRST.outcome), outcome=UNKNOWN)
        gone = cancelled(5000, CancelOutcome.IN_FLIGHT)
        whole = account(
            steps=(ADDED, FIRST, done, gone),
            calls=[call(ms, ms)],
            answers=[cancel(4999, 5002, CancelOutcome.IN_FLIGHT)],
        )
        assert broken(whole) - {Promise.FENCE} == expected

    def test_call_within_a_renewed_lease(self) -> None:
        """A renewal counts once it has been answered."""
        renewed = renew(2000, FIRST)
        done = settle(3500, Settlement.done(FIRST.outcome))
        whole = account(steps=(ADDED, FIRST, renewed, done), calls=[call(3400, 3410)])
        late = attrs.evolve(renewed, end=ns(3405))
        unanswered = attrs.evolve(whole, steps=(ADDED, FIRST, late, done))
        assert (broken(whole), broken(unanswered)) == (set(), {Promise.CLAIM})

    def test_stopped_just_before_the_call(self) -> None:
        """Who is stopped after the last look cannot know better; who is not stopped can."""
        steps = (ADDED, FIRST, LATER, settle(3511, Settlement.done(LATER.outcome), by="b"))
        calls = [call(3502, 3510, by="b", attempt=2), call(5000, 5010)]
        stopped = disturbance(999, 4999, stops=True)
        slowed = disturbance(999, 4999)
        assert broken(account(steps=steps, calls=calls, disturbances=[stopped])) == set()
        assert Promise.CLAIM in broken(account(steps=steps, calls=calls, disturbances=[slowed]))

    @pytest.mark.parametrize(
        ("ms", "expected"),
        [(999, set()), (5010, set()), (998, {Promise.CLAIM}), (5050, {Promise.CLAIM})],
    )
    def test_stopped_until_about_then(self, ms: float, expected: set[Promise]) -> None:
        """Who was stopped goes on before that is noted, and takes a moment to note its call."""
        steps = (ADDED, claim(-1500), LATER, settle(3511, Settlement.done(LATER.outcome), by="b"))
        calls = [call(3502, 3510, by="b", attempt=2), call(ms, ms + 1)]
        stopped = disturbance(998.5, 4999, stops=True)
        whole = account(steps=steps, calls=calls, disturbances=[stopped])
        late = {each for each in judge(whole).breaches if "after the end of its lease" in each.why}
        assert {each.promise for each in late} == expected

    @pytest.mark.parametrize(
        ("renewals", "expected"),
        [
            ([renew(1500, FIRST, until=at(1600))], set()),
            ([renew(1500, FIRST, until=at(1600), answered=OPEN_END)], set()),
            ([renew(1500, FIRST, until=at(1600), answered=1750)], set()),
            ([renew(1500, FIRST, until=at(1701), answered=1750)], set()),
            ([renew(1500, FIRST, until=at(1702), answered=1750)], {Promise.CLAIM}),
            ([renew(1702, FIRST, until=at(1600), answered=1750)], {Promise.CLAIM}),
            ([renew(1500, FIRST, until=at(1600)), renew(1502, FIRST)], {Promise.CLAIM}),
            ([], {Promise.CLAIM}),
        ],
        ids=["answered", "never answered", "answered late", "just in time", "too late", "asked for later",
             "renewed since", "not at all"],
    )  # fmt: skip
    def test_lease_that_was_made_to_end_early(
        self, renewals: Sequence[Step], expected: set[Promise]
    ) -> None:
        """Who gives up a call ends its lease: for the backend that counts before the answer is there."""
        again = claim(1700, by="b", attempt=2, due=at(1600), lost=True)
        done = settle(1711, Settlement.done(again.outcome), by="b")
        whole = account(
            steps=(ADDED, FIRST, *renewals, again, done),
            calls=[call(1000, 9000), call(1702, 1710, by="b", attempt=2)],
            timeout_ns=ns(500),
        )
        assert broken(whole) - {Promise.BACKEND} == expected

    def test_two_claims_at_once(self) -> None:
        """A claim is not handed on before its lease has ended by the true time, whatever was asked."""
        asked_with_a_wrong_clock = attrs.evolve(
            claim(3500, by="b", attempt=2, due=at(2900), lost=True), start=ns(2000), end=ns(2001)
        )
        done = settle(2010, Settlement.done(asked_with_a_wrong_clock.outcome), by="b")
        whole = account(
            steps=(ADDED, FIRST, asked_with_a_wrong_clock, done),
            calls=[call(2002, 2009, by="b", attempt=2)],
            disturbances=[disturbance(900, 2000)],
        )
        assert broken(whole) == {Promise.CLAIM, Promise.EARLY}  # the lease's end was its due


class TestFence:
    """P4."""

    def test_call_after_completion(self) -> None:
        """What was reported as done is not called."""
        whole = account(calls=[call(1000, 1010), call(1020, 1030)])
        assert Promise.FENCE in broken(whole)

    def test_reported_before_the_end(self) -> None:
        """What has not ended is not reported."""
        assert broken(account(calls=[call(1000, 1012)])) == {Promise.FENCE}

    def test_stored_again(self) -> None:
        """If the answer to the first storing was lost, its repeat may begin the event anew."""
        unanswered = attrs.evolve(ADDED, outcome=UNKNOWN, end=OPEN_END)
        repeat = attrs.evolve(ADDED, start=ns(1020), end=ns(1021))
        again = claim(1030)
        steps = (
            unanswered,
            FIRST,
            DONE,
            repeat,
            again,
            settle(1060, Settlement.done(again.outcome)),
        )
        calls = [call(1000, 1010), call(1040, 1050)]
        creation = attrs.evolve(CREATION, end=ns(1022))
        assert broken(account(creation=creation, steps=steps, calls=calls)) == set()
        without = (ADDED, FIRST, DONE, again, settle(1060, Settlement.done(again.outcome)))
        wrong = broken(account(steps=without, calls=calls))
        assert wrong >= {Promise.FENCE, Promise.ATTEMPT, Promise.REPEAT, Promise.BACKEND}

    def test_stored_again_and_cancelled(self) -> None:
        """What was called before it was stored anew does not make CANCELLED a lie afterwards."""
        unanswered = attrs.evolve(ADDED, outcome=UNKNOWN, end=OPEN_END)
        repeat = attrs.evolve(ADDED, start=ns(1020), end=ns(1021))
        history = account(
            creation=attrs.evolve(CREATION, end=ns(1022)),
            steps=(unanswered, FIRST, DONE, repeat, cancelled(1031, CancelOutcome.CANCELLED)),
            calls=[call(1000, 1010)],
            answers=[cancel(1030, 1033, CancelOutcome.CANCELLED)],
        )
        assert broken(history) == set()


class TestRepeat:
    """P5."""

    def test_explained(self) -> None:
        """A fault that has hit the instance while it had the claim explains a repeat, which is counted."""
        assert judge(REPEATED) == Judgement(breaches=[], repeats=1, books={"completed": 1})

    def test_explained_by_what_is_wrong_with_the_event(self) -> None:
        """Somebody's lock on an event explains a repeat of that event, by whomever, and of no other."""
        locked = disturbance(950, 3400, None, event_id="e")
        other = disturbance(950, 3400, None, event_id="f")
        assert broken(attrs.evolve(REPEATED, disturbances=[locked])) == set()
        assert broken(attrs.evolve(REPEATED, disturbances=[other])) == {Promise.REPEAT}

    @pytest.mark.parametrize(
        "other",
        [
            [],
            [disturbance(950, 3400, instance="b")],
            [disturbance(100, 800)],
            [disturbance(3503, 4000)],
        ],
        ids=["no fault", "another instance", "before the claim", "after the repeat"],
    )
    def test_unexplained(self, other: Sequence[Disturbance]) -> None:
        """Nothing else does."""
        assert broken(attrs.evolve(REPEATED, disturbances=other)) == {Promise.REPEAT}

    @pytest.mark.parametrize(
        ("until", "timeout_ms", "expected"),
        [
            (9000, 500, set()),
            (1500, 500, set()),
            (1499, 500, {Promise.REPEAT}),
            (9000, 2503, {Promise.REPEAT}),
            (9000, 0, {Promise.REPEAT}),
        ],
        ids=[
            "hangs",
            "just given up",
            "has ended in time",
            "repeated too soon",
            "none is given up",
        ],
    )
    def test_given_up(self, until: float, timeout_ms: float, expected: set[Promise]) -> None:
        """A call that takes longer than it may is repeated by right, though it may go on."""
        whole = attrs.evolve(
            REPEATED,
            calls=[call(1000, until), REPEATED.calls[1]],
            disturbances=[],
            timeout_ns=ns(timeout_ms),
        )
        assert broken(whole) == expected

    def test_failed_call(self) -> None:
        """A call that has failed is repeated by right; one that goes on meanwhile is not."""
        calls = [call(1000, 1010, ending=Ending.FAILED), REPEATED.calls[1]]
        assert broken(attrs.evolve(REPEATED, calls=calls, disturbances=[])) == set()
        overlapping = [call(1000, 3600, ending=Ending.FAILED), REPEATED.calls[1]]
        wrong = attrs.evolve(REPEATED, calls=overlapping, disturbances=[])
        assert broken(wrong) == {Promise.REPEAT}


class TestAttempt:
    """P5."""

    def test_same_attempt_twice(self) -> None:
        """Whoever is called can tell a repeat by its number."""
        whole = account(
            calls=[call(1000, 1005), call(1006, 1010)], disturbances=[disturbance(950, 1003)]
        )
        assert broken(whole) == {Promise.ATTEMPT}

    def test_counted_without_a_call(self) -> None:
        """An attempt that was never made is charged only after a fault."""
        calls = [REPEATED.calls[1]]
        assert broken(attrs.evolve(REPEATED, calls=calls)) == set()
        unexplained = attrs.evolve(REPEATED, calls=calls, disturbances=[])
        assert broken(unexplained) == {Promise.ATTEMPT}

    @pytest.mark.parametrize(("stops", "expected"), [(True, set()), (False, {Promise.ATTEMPT})])
    def test_stopped_just_before_the_claim(self, *, stops: bool, expected: set[Promise]) -> None:
        """Who is stopped between its clock and the claim is given a lease that is over."""
        fault = disturbance(-1000, FIRST.start / 1e6 - 1, stops=stops)
        whole = attrs.evolve(REPEATED, calls=[REPEATED.calls[1]], disturbances=[fault])
        assert broken(whole) == expected

    def test_counted_without_a_call_and_buried(self) -> None:
        """Nor is it made the reason of a burial unless there was a fault."""
        steps = (ADDED, FIRST, LATER, settle(3511, Settlement.bury(LATER.outcome, "why"), by="b"))
        whole = account(
            steps=steps,
            calls=[],
            left=stored(State.DEAD, attempt=2, lost=True, died=at(3511)),
            disturbances=[disturbance(950, 3400)],
            max_retry=0,
        )
        assert broken(whole) == set()
        assert broken(attrs.evolve(whole, disturbances=[])) == {Promise.ATTEMPT}

    def test_released(self) -> None:
        """What was given back uncalled is not charged."""
        again = claim(1030, by="b")
        released = settle(950, Settlement.release(FIRST.outcome))
        done = settle(1050, Settlement.done(again.outcome), by="b")
        whole = account(
            steps=(ADDED, FIRST, released, again, done), calls=[call(1040, 1049, by="b")]
        )
        assert broken(whole) == set()


class TestCancel:
    """P6."""

    def test_before_the_claim(self) -> None:
        """Nothing is called, nothing is wrong."""
        whole = account(
            steps=(ADDED, cancelled(500, CancelOutcome.CANCELLED)),
            calls=[],
            answers=[cancel(499, 502, CancelOutcome.CANCELLED)],
        )
        assert judge(whole) == Judgement(breaches=[], repeats=0, books={"cancelled": 1})

    @pytest.mark.parametrize(
        "answer",
        [cancel(499, 502, CancelOutcome.CANCELLED), cancel(999, 1005, CancelOutcome.CANCELLED),
         cancel(1020, 1025, CancelOutcome.CANCELLED)],
        ids=["before the call", "during the call", "after its success"],
    )  # fmt: skip
    def test_cancelled_is_a_lie(self, answer: Answer) -> None:
        """No call begins after that answer, none is under way, and none has succeeded before."""
        assert Promise.CANCEL in broken(account(answers=[answer]))

    def test_in_flight(self) -> None:
        """The call may still begin, for it was claimed before; it is not handed out any more."""
        steps = (ADDED, FIRST, cancelled(950, CancelOutcome.IN_FLIGHT))
        answers = [cancel(949, 952, CancelOutcome.IN_FLIGHT)]
        assert broken(account(steps=steps, answers=answers)) == set()
        whole = attrs.evolve(REPEATED, answers=[cancel(949, 952, CancelOutcome.IN_FLIGHT)])
        assert Promise.CANCEL in broken(whole)

    def test_not_found(self) -> None:
        """What has ended is not called; what is there is found."""
        ended = [cancel(1020, 1025, CancelOutcome.NOT_FOUND)]
        assert broken(account(answers=ended)) == set()
        waiting = [cancel(499, 502, CancelOutcome.NOT_FOUND)]
        assert broken(account(answers=waiting)) == {Promise.CANCEL}

    def test_not_found_during_a_call(self) -> None:
        """What is being called was not ended by anybody; what was ended elsewhere meanwhile may be."""
        during = [cancel(1002, 1005, CancelOutcome.NOT_FOUND)]
        assert broken(account(answers=during)) == {Promise.CANCEL}
        zombie = attrs.evolve(
            REPEATED,
            calls=[call(1000, 9000), REPEATED.calls[1]],
            answers=[cancel(3520, 3525, CancelOutcome.NOT_FOUND)],
        )
        assert broken(zombie) == set()

    def test_not_found_after_a_report_without_an_answer(self) -> None:
        """Its instance may have ended it, whether that was answered or not."""
        reported = settle(1011, Settlement.done(FIRST.outcome), outcome=UNKNOWN)
        answers = [cancel(1020, 1025, CancelOutcome.NOT_FOUND)]
        assert broken(account(steps=(ADDED, FIRST, reported), answers=answers)) == set()

    def test_not_found_because_another_has_removed_it(self) -> None:
        """Two clients cancel a claimed event: one is told IN_FLIGHT, and the call may still begin."""
        steps = (
            ADDED,
            FIRST,
            cancelled(950, CancelOutcome.IN_FLIGHT),
            cancelled(951.5, CancelOutcome.NOT_FOUND),
        )
        answers = [
            cancel(948, 953, CancelOutcome.NOT_FOUND),
            cancel(949, 952, CancelOutcome.IN_FLIGHT),
        ]
        assert broken(account(steps=steps, answers=answers)) == set()

    def test_cancelled_twice(self) -> None:
        """One of two who cancel is told that there was nothing left."""
        both = [
            cancel(499, 502, CancelOutcome.CANCELLED),
            cancel(600, 602, CancelOutcome.CANCELLED),
        ]
        steps = (ADDED, cancelled(500, CancelOutcome.CANCELLED))
        assert broken(account(steps=steps, calls=[], answers=both)) == {Promise.CANCEL}

    def test_still_there(self) -> None:
        """What was cancelled is not there in the end."""
        whole = account(
            steps=(ADDED,),
            calls=[],
            answers=[cancel(499, 502, CancelOutcome.CANCELLED)],
            left=stored(State.WAITING, attempt=0),
        )
        assert broken(whole) == {Promise.CANCEL, Promise.STUCK}

    @pytest.mark.parametrize(
        ("start", "end", "to", "expected"),
        [
            (995, 1002, 999, set()),
            (995, 1002, 5000, {Promise.CANCEL, Promise.EARLY}),
            (1001, 1005, 999, {Promise.CANCEL}),
        ],
        ids=["called at the new time", "called at the old time", "asked during the call"],
    )
    def test_move_during_a_call(
        self, start: float, end: float, to: float, expected: set[Promise]
    ) -> None:
        """A call that is under way at RESCHEDULED must have begun for the new time."""
        move = Answer(
            event_id="e",
            outcome=RescheduleOutcome.RESCHEDULED,
            start=ns(start),
            end=ns(end),
            trigger_us=to_us(at(to)),
        )
        assert broken(account(answers=[move])) - {Promise.EARLY} == expected - {Promise.EARLY}

    def test_move_during_a_call_as_far_as_timers_can_be_trusted(self) -> None:
        """A call that a timer has made a little too early was made for the new time."""
        move = Answer(
            event_id="e",
            outcome=RescheduleOutcome.RESCHEDULED,
            start=ns(995),
            end=ns(1002),
            trigger_us=to_us(at(1001)),
        )
        assert broken(account(answers=[move], timer_error_us=1000)) == set()
        assert Promise.CANCEL in broken(account(answers=[move], timer_error_us=999))

    def test_moved_and_called_at_once(self) -> None:
        """An event that is moved to the past is claimed and called before its client has the answer."""
        late = claim(960, due=at(950))
        late = attrs.evolve(late, outcome=attrs.evolve(late.outcome, trigger_time=at(950)))
        steps = (ADDED, moved(955, to=950), late, settle(1011, Settlement.done(late.outcome)))
        move = Answer(
            event_id="e",
            outcome=RescheduleOutcome.RESCHEDULED,
            start=ns(954),
            end=ns(990),
            trigger_us=to_us(at(950)),
        )
        assert broken(account(steps=steps, calls=[call(965, 1010)], answers=[move])) == set()


def move(ms: float, until: float, outcome: Any, *, to: float = 5000) -> Answer:
    """A client was told what became of its ``reschedule``."""
    return attrs.evolve(cancel(ms, until, outcome), trigger_us=to_us(at(to)))


class TestSaid:
    """P6: what a client is told follows from what the backend said while it waited."""

    ASKED = (499, 503)

    @pytest.mark.parametrize("said", CancelOutcome)
    @pytest.mark.parametrize("told", CancelOutcome)
    def test_of_cancel(self, said: CancelOutcome, told: CancelOutcome) -> None:
        """One answer of the backend allows one answer of the queue."""
        found = _whys(steps=(ADDED, cancelled(500, said)), answers=[cancel(*self.ASKED, told)])
        assert bool(found) == (said is not told)

    @pytest.mark.parametrize("said", RescheduleOutcome)
    @pytest.mark.parametrize("told", RescheduleOutcome)
    def test_of_reschedule(self, said: RescheduleOutcome, told: RescheduleOutcome) -> None:
        """The same holds for reschedule."""
        step = attrs.evolve(moved(500, to=5000), outcome=said)
        found = _whys(steps=(ADDED, step), answers=[move(*self.ASKED, told)])
        assert bool(found) == (said is not told)

    @pytest.mark.parametrize(
        ("said", "told", "is_true"),
        [
            ([CancelOutcome.IN_FLIGHT, CancelOutcome.NOT_FOUND], CancelOutcome.NOT_FOUND, True),
            ([CancelOutcome.IN_FLIGHT, CancelOutcome.NOT_FOUND], CancelOutcome.CANCELLED, False),
            ([UNKNOWN, CancelOutcome.NOT_FOUND], CancelOutcome.IN_FLIGHT, True),
            ([UNKNOWN, CancelOutcome.NOT_FOUND], CancelOutcome.CANCELLED, False),
            ([UNKNOWN, CancelOutcome.CANCELLED], CancelOutcome.IN_FLIGHT, False),
            ([UNKNOWN], CancelOutcome.IN_FLIGHT, True),
            ([], CancelOutcome.CANCELLED, True),
        ],
    )  # fmt: skip
    def test_of_several(self, said: Sequence[Any], told: CancelOutcome, is_true: bool) -> None:  # noqa: FBT001 -- a column of the table
        """Of several answers each may have been that to this client; one that was lost may have removed it."""
        steps = [cancelled(500 + number, outcome) for number, outcome in enumerate(said)]
        found = _whys(steps=(ADDED, *steps), answers=[cancel(499, 510, told)])
        assert bool(found) == (not is_true)

    @pytest.mark.parametrize("was_lost", [False, True])
    @pytest.mark.parametrize("told", CancelOutcome)
    def test_of_a_claim_taken_back(self, told: CancelOutcome, was_lost: bool) -> None:  # noqa: FBT001 -- a column of the table
        """Who holds the claim ends it; if an earlier owner was silent, its call may be in flight."""
        held = claim(900, lost=was_lost)
        steps = (ADDED, held, settle(950, Settlement.done(held.outcome)))
        right = CancelOutcome.IN_FLIGHT if was_lost else CancelOutcome.CANCELLED
        assert bool(_whys(steps=steps, answers=[cancel(949, 952, told)])) == (told is not right)

    def test_of_a_claim_taken_back_in_vain(self) -> None:
        """If the claim was lost, so may be its call, and nothing that is not found was certainly at rest."""
        refused = settle(950, Settlement.done(FIRST.outcome), outcome=False)
        steps = (ADDED, FIRST, refused, cancelled(951.5, CancelOutcome.NOT_FOUND))
        assert not _whys(steps=steps, answers=[cancel(949, 953, CancelOutcome.IN_FLIGHT)])
        assert _whys(steps=steps, answers=[cancel(949, 953, CancelOutcome.CANCELLED)])

    def test_moved_after_the_end(self) -> None:
        """What was acknowledged as done, or cancelled, is not RESCHEDULED afterwards."""
        answers = [move(1020, 1025, RescheduleOutcome.RESCHEDULED)]
        assert _whys(answers=answers, why="had ended")
        assert not _whys(
            answers=[move(1011.5, 1025, RescheduleOutcome.RESCHEDULED)], why="had ended"
        )
        cancelled_before = [cancel(499, 502, CancelOutcome.CANCELLED), *answers]
        assert _whys(steps=(ADDED,), answers=cancelled_before, why="had ended")


def _whys(*, why: str = "the backend had said", **parts: Any) -> list[str]:
    """What the checker says, of what contains these words."""
    return [breach.why for breach in judge(account(**parts)).breaches if why in breach.why]


class TestDropped:
    """P7."""

    BURIED = settle(1011, Settlement.bury(FIRST.outcome, "why"))

    def test_buried_with_a_reason(self) -> None:
        """A trigger that gives up explains a dead letter."""
        whole = account(
            steps=(ADDED, FIRST, self.BURIED),
            calls=[call(1000, 1010, ending=Ending.GAVE_UP)],
            left=stored(State.DEAD),
        )
        assert judge(whole) == Judgement(breaches=[], repeats=0, books={"dead": 1})

    def test_buried_without_a_reason(self) -> None:
        """One that succeeds does not, unless the event was made to die."""
        whole = account(steps=(ADDED, FIRST, self.BURIED), left=stored(State.DEAD))
        assert broken(whole) == {Promise.DROPPED}
        assert broken(attrs.evolve(whole, may_die=frozenset({"e"}))) == set()

    def test_buried_because_no_attempt_may_follow(self) -> None:
        """That all attempts have failed is a reason, too; one more would have been possible is none."""
        failed = call(1000, 1010, ending=Ending.FAILED)
        whole = account(steps=(ADDED, FIRST, self.BURIED), calls=[failed], left=stored(State.DEAD))
        assert broken(attrs.evolve(whole, max_retry=0)) == set()
        assert broken(attrs.evolve(whole, max_retry=1)) == {Promise.DROPPED}

    def test_given_up_and_gone(self) -> None:
        """What a trigger has given up is kept."""
        whole = account(calls=[call(1000, 1010, ending=Ending.GAVE_UP)])
        assert broken(whole) == {Promise.DROPPED, Promise.LOST}

    def test_given_up_and_not_reported(self) -> None:
        """If its instance could not report that, the event is called again, and may succeed."""
        calls = [call(1000, 1010, ending=Ending.GAVE_UP), REPEATED.calls[1]]
        assert broken(attrs.evolve(REPEATED, calls=calls)) == set()


@pytest.mark.parametrize("state", [State.WAITING, State.CLAIMED])
def test_stuck(state: State) -> None:
    """P9: in the end nothing is left that might still be called."""
    left = stored(state, attempt=0 if state is State.WAITING else 1)
    assert Promise.STUCK in broken(account(calls=[], steps=(ADDED,), left=left))


def test_law_of_backends() -> None:
    """An answer that no order of the calls explains is found, too."""
    refused = attrs.evolve(DONE, outcome=False)
    assert broken(account(steps=(ADDED, FIRST, refused))) == {Promise.BACKEND}

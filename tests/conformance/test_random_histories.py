"""The judge of overlapping calls agrees with the definition, on histories made at random.

The histories come from an object that is right: each call takes effect at one instant between its
start and its end, and answers by the oracle's decision table. Some answers get lost: of these calls
some take effect after their caller has given up, and some never.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from futurama.backend import (
    AddOutcome,
    Claim,
    Move,
    NewEvent,
    Settlement,
    StoredEvent,
)
from futurama.conformance import LawBroken, rules
from futurama.conformance.base import Draw
from futurama.conformance.history import OPEN_END, UNKNOWN, Kind, Step, check
from futurama.conformance.rules import Stored
from futurama.conformance.strategies import START
from futurama.events import CancelOutcome, RescheduleOutcome

SECOND = timedelta(seconds=1)
LONG_AGO, FAR_AHEAD = START - 1000 * SECOND, START + 1000 * SECOND
"""Times that :data:`NEAR` never is."""
CALLERS = 3
GAP = 10
"""Between the instants at which two calls take effect."""
SETTINGS = settings(
    max_examples=150,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


class Simulation:
    """The right object, with one event, and what its callers saw."""

    def __init__(self) -> None:
        self.state: Stored | None = None
        self.steps: list[Step] = []

    @property
    def end(self) -> int:
        """A time after everything that happened."""
        ends = [one.start if one.outcome is UNKNOWN else one.end for one in self.steps]
        return max(ends, default=0) + GAP

    def call(self, kind: Kind, start: int, end: int, **arguments: Any) -> None:
        """Let one call take effect now, unless it is a claim that does not get the event."""
        token = b"token %d" % len(self.steps)
        if kind is Kind.CLAIM and not claimable(self.state, arguments):
            return
        self.state, outcome = answer(self.state, kind, arguments, token)
        self.note(kind, start, end, outcome, arguments)

    def note(
        self, kind: Kind, start: int, end: int, outcome: Any, arguments: dict[str, Any]
    ) -> None:
        """Note one call and what its caller saw."""
        self.steps.append(
            Step(
                event_id="a",
                kind=kind,
                arguments=arguments,
                outcome=outcome,
                start=start,
                end=end,
            )
        )

    def later(self, kind: Kind, **arguments: Any) -> Any:
        """Make a call after everything else was answered; return the answer."""
        before = len(self.steps)
        self.call(kind, self.end + 1, self.end + 2, **arguments)
        assert len(self.steps) > before, "it must have an effect"
        return self.steps[-1].outcome


def claimable(state: Stored | None, arguments: dict[str, Any]) -> bool:
    """Whether a claim with these arguments gets the event."""
    now, due_before = arguments["now"], arguments["due_before"]
    return state is not None and rules.claimable(state, now=now, due_before=due_before)


def answer(
    state: Stored | None, kind: Kind, arguments: dict[str, Any], token: bytes
) -> tuple[Stored | None, Any]:
    """What one call makes of the event, and what it answers."""
    decision: rules.Decision[Any]
    match kind:
        case Kind.READ:
            return state, None if state is None else state.visible()
        case Kind.NEXT_DUE:
            return state, None if state is None else state.due
        case Kind.CLAIM:
            assert state is not None
            given = {name: arguments[name] for name in ("owner", "lease_until")}
            after = rules.claim(state, **given, token=token, step=SECOND)
            return after, claim_on(state, after)
        case Kind.ADD:
            decision = rules.add(state, **arguments, step=SECOND)
        case Kind.CANCEL:
            decision = rules.cancel(state)
        case Kind.RESCHEDULE:
            decision = rules.reschedule(state, **arguments, step=SECOND)
        case Kind.RENEW:
            decision = rules.renew(state, **arguments, step=SECOND)
        case Kind.SETTLE:
            decision = rules.settle(state, **arguments, step=SECOND)
        case Kind.REQUEUE:
            decision = rules.requeue(state, **arguments, step=SECOND)
        case Kind.PURGE:
            decision = rules.purge(state, **arguments)
    return decision.after, decision.outcome


def claim_on(before: Stored, after: Stored) -> Claim:
    """The claim that made ``after`` of ``before``."""
    assert before.due is not None
    assert after.due is not None
    assert after.token is not None
    return Claim(
        id=before.id,
        trigger_type=before.trigger_type,
        trigger_time=before.trigger_time,
        payload=before.payload,
        created=before.created,
        attempt=after.attempt,
        token=after.token,
        due=before.due,
        lease_until=after.due,
        lost_before=after.lost,
    )


def is_explained(history: Sequence[Step]) -> bool:
    """The definition, taken literally: some order respects time and gives these answers.

    Of the calls without an answer any may be in it. No two claims have the same token.
    """
    tokens = [one.outcome.token for one in history if isinstance(one.outcome, Claim)]
    if len(set(tokens)) < len(tokens):
        return False
    answered = [one for one in history if one.outcome is not UNKNOWN]
    others = [one for one in history if one.outcome is UNKNOWN]
    return any(
        respects_time(order) and gives_its_answers(order)
        for number in range(len(others) + 1)
        for some in itertools.combinations(others, number)
        for order in itertools.permutations([*answered, *some])
    )


def respects_time(order: Sequence[Step]) -> bool:
    """Nothing comes after what began when it was over."""
    return all(one.start <= other.end for one, other in itertools.combinations(order, 2))


def gives_its_answers(order: Sequence[Step]) -> bool:
    """One after the other, these calls have these outcomes."""
    state: Stored | None = None
    for one in order:
        if one.kind is Kind.CLAIM and not claimable(state, one.arguments):
            return False
        token = one.outcome.token if isinstance(one.outcome, Claim) else b"nobody knows"
        state, outcome = answer(state, one.kind, one.arguments, token)
        if one.kind is Kind.NEXT_DUE:
            if outcome is not None and (one.outcome is None or one.outcome > outcome):
                return False
        elif one.outcome not in {outcome, UNKNOWN}:
            return False
    return True


# -- histories that are right ------------------------------------------------------------------

NEAR = st.integers(0, 6).map(lambda seconds: START + seconds * SECOND)
EVENTS = st.builds(
    NewEvent,
    id=st.just("a"),
    trigger_type=st.sampled_from("tu"),
    trigger_time=NEAR,
    payload=st.sampled_from([b"1", b"2"]),
    created=st.just(START),
)
KINDS = st.sampled_from([*Kind, Kind.ADD, Kind.ADD, Kind.CLAIM, Kind.CLAIM, Kind.SETTLE])
FATES = st.sampled_from([*["answered"] * 8, "never arrives", "not answered"])


def simulate(draw: Draw, *, most: int, fates: SearchStrategy[str] = FATES) -> Simulation:
    """Up to so many calls of several callers, one call of each at a time."""
    simulation = Simulation()
    callers = draw(st.lists(st.integers(0, CALLERS - 1), min_size=1, max_size=most))
    free = [0] * CALLERS
    for index, caller in enumerate(callers):
        instant = GAP * (index + 1)
        following = [i for i in range(index + 1, len(callers)) if callers[i] == caller]
        latest = GAP * (following[0] + 1 if following else len(callers) + 1) - 1
        start, end = draw(st.integers(free[caller], instant)), draw(st.integers(instant, latest))
        free[caller] = end + 1
        kind = draw(KINDS)
        claims = [s.outcome for s in simulation.steps if s.kind is Kind.CLAIM and s.end < start]
        if kind in {Kind.RENEW, Kind.SETTLE} and not claims:
            continue
        arguments = arguments_of(kind, draw, claims)
        match "answered" if kind in {Kind.READ, Kind.NEXT_DUE} else draw(fates):
            case "answered":
                simulation.call(kind, start, end, **arguments)
            case "never arrives":
                simulation.note(kind, start, OPEN_END, UNKNOWN, arguments)
            case "not answered":
                free[caller] = start + 1  # its caller may have given up before it took effect
                before = len(simulation.steps)
                simulation.call(kind, start, OPEN_END, **arguments)
                for place in range(before, len(simulation.steps)):
                    unknown = attrs.evolve(simulation.steps[place], outcome=UNKNOWN)
                    simulation.steps[place] = unknown
    return simulation


def arguments_of(kind: Kind, draw: Draw, claims: Sequence[Claim]) -> dict[str, Any]:
    """Arguments for a call of this kind by someone who knows these claims."""
    match kind:
        case Kind.ADD:
            return {
                "event": draw(EVENTS),
                "if_exists": draw(st.sampled_from(["raise", "keep", "replace"])),
            }
        case Kind.RESCHEDULE:
            payloads = st.none() | st.just(b"moved")
            return {"move": Move(id="a", trigger_time=draw(NEAR), payload=draw(payloads))}
        case Kind.CLAIM:
            times = {name: draw(NEAR) for name in ("now", "due_before", "lease_until")}
            return {"owner": "w", **times}
        case Kind.RENEW:
            claim = draw(st.sampled_from(claims))
            return {"claim": claim, "now": draw(NEAR), "lease_until": draw(NEAR)}
        case Kind.SETTLE:
            claim = draw(st.sampled_from(claims))
            return {"settlement": draw(reports(claim)), "now": draw(NEAR)}
        case Kind.REQUEUE:
            return {"now": draw(NEAR)}
        case Kind.PURGE:
            return {"before": draw(NEAR)}
    return {}


def reports(claim: Claim) -> SearchStrategy[Settlement]:
    """Any report on ``claim``."""
    retry = NEAR.map(lambda due: Settlement.retry(claim, due, b"retried"))
    return st.one_of(
        st.just(Settlement.done(claim)),
        st.just(Settlement.release(claim)),
        st.just(Settlement.bury(claim, "why")),
        retry,
    )


@SETTINGS
@given(st.data())
def test_what_is_right_passes(data: st.DataObject) -> None:
    """A history of a right object is explained, however its calls overlap."""
    first, second = (simulate(data.draw, most=12) for _ in range(2))
    check([*first.steps, *(attrs.evolve(one, event_id="b") for one in second.steps)], SECOND)


# -- histories that are perhaps wrong ----------------------------------------------------------


def other_outcomes(one: Step) -> list[Any]:
    """What else a caller might be told, rightly or wrongly."""
    match one.outcome:
        case bool():
            return [not one.outcome]
        case AddOutcome() | CancelOutcome() | RescheduleOutcome():
            return [other for other in type(one.outcome) if other is not one.outcome]
        case Claim() as claim:
            return [
                attrs.evolve(claim, attempt=claim.attempt + 1),
                attrs.evolve(claim, due=claim.due + SECOND),
                attrs.evolve(claim, lease_until=claim.lease_until + SECOND),
                attrs.evolve(claim, lost_before=not claim.lost_before),
                attrs.evolve(claim, payload=b"2" if claim.payload == b"1" else b"1"),
                attrs.evolve(claim, trigger_type="u" if claim.trigger_type == "t" else "t"),
                attrs.evolve(claim, trigger_time=claim.trigger_time + SECOND),
            ]
        case StoredEvent() as event:
            return [
                None,
                attrs.evolve(event, attempt=event.attempt + 1),
                attrs.evolve(event, lost=not event.lost),
                attrs.evolve(event, payload=b"2" if event.payload == b"1" else b"1"),
            ]
        case datetime() as due:
            return [None, due + SECOND, due - SECOND]
    return []


@SETTINGS
@given(st.data())
def test_verdict_is_the_definition(data: st.DataObject) -> None:
    """With one answer changed, one call unseen or one made twice, the verdict is still exact."""
    steps = simulate(data.draw, most=5).steps
    if not steps:
        return
    index = data.draw(st.integers(0, len(steps) - 1))
    one = steps[index]
    match data.draw(st.sampled_from(["answer", "answer", "unseen", "twice"])):
        case "answer":
            steps[index] = attrs.evolve(
                one, outcome=data.draw(st.sampled_from([*other_outcomes(one), one.outcome]))
            )
        case "unseen":
            del steps[index]
        case "twice":
            steps.append(one)
    try:
        check(steps, SECOND)
    except LawBroken:
        assert not is_explained(steps)
    else:
        assert is_explained(steps)


# -- faults that no history hides --------------------------------------------------------------


def event_of(payload: bytes) -> NewEvent:
    """An event that is due at once."""
    return NewEvent(id="a", trigger_type="t", trigger_time=START, payload=payload, created=START)


def replaced(simulation: Simulation) -> None:
    """Whatever was there before, now an event waits."""
    simulation.later(Kind.ADD, event=event_of(b"last"), if_exists="replace")


def held(simulation: Simulation) -> Claim:
    """Whatever was there before, now an event is claimed for ten seconds."""
    replaced(simulation)
    until = START + 10 * SECOND
    claim: Claim = simulation.later(
        Kind.CLAIM, owner="w", now=START, due_before=START, lease_until=until
    )
    return claim


def seen(simulation: Simulation) -> StoredEvent:
    """What ``find`` shows of the event, which is there."""
    assert simulation.state is not None
    return simulation.state.visible()


def told(simulation: Simulation, kind: Kind, *, outcome: Any, **arguments: Any) -> None:
    """Note a call after all others, with an answer that is wrong."""
    simulation.note(kind, simulation.end + 1, simulation.end + 2, outcome, arguments)


def handed_out(simulation: Simulation, claim: Claim, *, now: datetime) -> None:
    """The event was claimed although nobody might have it."""
    until = now + 10 * SECOND
    wrong = attrs.evolve(claim, token=b"wrong", lease_until=until)
    told(
        simulation, Kind.CLAIM, outcome=wrong, owner="w", now=now, due_before=now, lease_until=until
    )


def lost(simulation: Simulation) -> None:
    """What waits is not there."""
    replaced(simulation)
    told(simulation, Kind.READ, outcome=None)


def phantom(simulation: Simulation) -> None:
    """What was never added is there."""
    replaced(simulation)
    told(simulation, Kind.READ, outcome=attrs.evolve(seen(simulation), payload=b"never added"))


def risen_again(simulation: Simulation) -> None:
    """There although it was done."""
    claim = held(simulation)
    event = seen(simulation)
    simulation.later(Kind.SETTLE, settlement=Settlement.done(claim), now=START)
    told(simulation, Kind.READ, outcome=event)


def released_to_another_time(simulation: Simulation) -> None:
    """A release gave back a due that the event never had."""
    claim = held(simulation)
    simulation.later(Kind.SETTLE, settlement=Settlement.release(claim), now=START)
    told(simulation, Kind.READ, outcome=attrs.evolve(seen(simulation), due=FAR_AHEAD))


def not_found_while_there(simulation: Simulation) -> None:
    """NOT_FOUND although it waits."""
    replaced(simulation)
    told(simulation, Kind.CANCEL, outcome=CancelOutcome.NOT_FOUND)


def early(simulation: Simulation) -> None:
    """Handed out before it is due."""
    handed_out(simulation, held(simulation), now=LONG_AGO)


def two_live_claims(simulation: Simulation) -> None:
    """Handed out a second time while the first lease runs."""
    claim = held(simulation)
    second = attrs.evolve(claim, attempt=2, due=claim.lease_until, lost_before=True)
    handed_out(simulation, second, now=START + SECOND)


def attempts_skipped(simulation: Simulation) -> None:
    """The first attempt has the number 3."""
    claim = held(simulation)
    simulation.steps[-1] = attrs.evolve(
        simulation.steps[-1], outcome=attrs.evolve(claim, attempt=3)
    )


def call_after_cancelled(simulation: Simulation) -> None:
    """Handed out after it was cancelled."""
    claim = held(simulation)
    simulation.later(Kind.SETTLE, settlement=Settlement.release(claim), now=START)
    simulation.later(Kind.CANCEL)
    handed_out(simulation, claim, now=START)


def claimed_and_rescheduled(simulation: Simulation) -> None:
    """RESCHEDULED although it is claimed."""
    held(simulation)
    move = Move(id="a", trigger_time=FAR_AHEAD)
    told(simulation, Kind.RESCHEDULE, outcome=RescheduleOutcome.RESCHEDULED, move=move)


def stale_report_accepted(simulation: Simulation) -> None:
    """True although the lease has ended."""
    claim = held(simulation)
    done = Settlement.done(claim)
    told(simulation, Kind.SETTLE, outcome=True, settlement=done, now=claim.lease_until)


def live_report_refused(simulation: Simulation) -> None:
    """False although the lease runs, and it goes on running."""
    claim = held(simulation)
    told(simulation, Kind.SETTLE, outcome=False, settlement=Settlement.done(claim), now=START)
    simulation.later(Kind.READ)


def reported_twice(simulation: Simulation) -> None:
    """True to the second report."""
    claim = held(simulation)
    simulation.later(Kind.SETTLE, settlement=Settlement.release(claim), now=START)
    told(simulation, Kind.SETTLE, outcome=True, settlement=Settlement.done(claim), now=START)


def next_due_too_late(simulation: Simulation) -> None:
    """A time, although something is due before it."""
    replaced(simulation)
    told(simulation, Kind.NEXT_DUE, outcome=START + SECOND)


def nothing_is_next(simulation: Simulation) -> None:
    """None, although something is due, if only at the end of a lease."""
    held(simulation)
    told(simulation, Kind.NEXT_DUE, outcome=None)


def token_used_again(simulation: Simulation) -> None:
    """The second claim has the token of the first."""
    claim = held(simulation)
    simulation.later(Kind.SETTLE, settlement=Settlement.release(claim), now=START)
    arguments = simulation.steps[-2].arguments
    told(simulation, Kind.CLAIM, outcome=claim, **arguments)


FAULTS: dict[Callable[[Simulation], None], str] = {
    lost: "concurrency.nothing-lost",
    phantom: "concurrency.nothing-lost",
    risen_again: "concurrency.nothing-lost",
    released_to_another_time: "concurrency.nothing-lost",
    not_found_while_there: "concurrency.nothing-lost",
    early: "concurrency.exclusive",
    two_live_claims: "concurrency.exclusive",
    attempts_skipped: "concurrency.exclusive",
    call_after_cancelled: "concurrency.cancel",
    claimed_and_rescheduled: "concurrency.cancel",
    stale_report_accepted: "concurrency.fence",
    live_report_refused: "concurrency.fence",
    reported_twice: "concurrency.fence",
    next_due_too_late: "claim.next-due",
    nothing_is_next: "claim.next-due",
    token_used_again: "claim.token",
}
"""Faults that are there whatever happened before, and the law that each breaks."""


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_fault_is_named(fault: Callable[[Simulation], None]) -> None:
    """Each kind of fault breaks the law that forbids it."""
    simulation = Simulation()
    fault(simulation)
    with pytest.raises(LawBroken) as caught:
        check(simulation.steps, SECOND)
    assert caught.value.law == FAULTS[fault]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
@settings(SETTINGS, max_examples=30)
@given(data=st.data())
def test_fault_is_found(fault: Callable[[Simulation], None], data: st.DataObject) -> None:
    """No fault is hidden by what happened before it, if all that was answered."""
    simulation = simulate(data.draw, most=8, fates=st.just("answered"))
    fault(simulation)
    with pytest.raises(LawBroken, match="'a'"):
        check(simulation.steps, SECOND)

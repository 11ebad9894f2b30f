"""The judge of overlapping calls agrees with the definition, on histories made at random.

The histories come from an object that is right: each call takes effect at one instant between its
start and its end, and answers by the oracle's decision table.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar

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
    State,
    StoredEvent,
)
from futurama.conformance import LawBroken, rules
from futurama.conformance.history import Kind, Step, check
from futurama.conformance.rules import Stored
from futurama.conformance.strategies import START
from futurama.events import CancelOutcome, RescheduleOutcome

T = TypeVar("T")

SECOND = timedelta(seconds=1)
LONG_AGO, FAR_AHEAD = START - 1000 * SECOND, START + 1000 * SECOND
CALLERS = 3
GAP = 10
"""Between the instants at which two calls take effect."""
SETTINGS = settings(
    max_examples=150, derandomize=True, database=None, deadline=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip


class Draw(Protocol):
    """As ``data.draw`` of hypothesis."""

    def __call__(self, strategy: SearchStrategy[T], /) -> T: ...


class Simulation:
    """The right object, with one event, and what its callers saw."""

    def __init__(self) -> None:
        self.state: Stored | None = None
        self.steps: list[Step] = []

    @property
    def end(self) -> int:
        """When the last answer arrived."""
        return max((one.end for one in self.steps), default=0)

    def call(self, kind: Kind, start: int, end: int, **arguments: Any) -> Step | None:
        """Let one call take effect now; None if it is a claim that does not get the event."""
        token = b"token %d" % len(self.steps)
        if kind is Kind.CLAIM and not claimable(self.state, arguments):
            return None
        self.state, outcome = answer(self.state, kind, arguments, token)
        step = Step(
            event_id="a", kind=kind, arguments=arguments, outcome=outcome, start=start, end=end
        )
        self.steps.append(step)
        return step

    def later(self, kind: Kind, **arguments: Any) -> Step:
        """The same after everything else was answered; it must have an effect."""
        step = self.call(kind, self.end + 1, self.end + 2, **arguments)
        assert step is not None
        return step


def claimable(state: Stored | None, arguments: dict[str, Any]) -> bool:
    """Whether a claim with these arguments gets the event."""
    now, due_before = arguments["now"], arguments["due_before"]
    return state is not None and rules.claimable(state, now=now, due_before=due_before)


def answer(
    state: Stored | None, kind: Kind, arguments: dict[str, Any], token: bytes
) -> tuple[Stored | None, Any]:
    """What one call makes of the event, and what it answers."""
    if kind is Kind.READ:
        return state, None if state is None else state.visible()
    if kind is Kind.CLAIM:
        assert state is not None
        given = {name: arguments[name] for name in ("owner", "lease_until")}
        after = rules.claim(state, **given, token=token, step=SECOND)
        return after, claim_on(state, after)
    given = arguments if kind is Kind.CANCEL else {**arguments, "step": SECOND}
    decision = getattr(rules, kind.value)(state, **given)
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
    """The definition, taken literally: some order respects time and gives these answers."""
    return any(
        respects_time(order) and gives_its_answers(order)
        for order in itertools.permutations(history)
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
        token = one.outcome.token if one.kind is Kind.CLAIM else b""
        state, outcome = answer(state, one.kind, one.arguments, token)
        if outcome != one.outcome:
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


def simulate(draw: Draw, *, most: int) -> Simulation:
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
        if kind not in {Kind.RENEW, Kind.SETTLE} or claims:
            simulation.call(kind, start, end, **arguments_of(kind, draw, claims))
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
    step = simulation.later(
        Kind.CLAIM, owner="w", now=START, due_before=START, lease_until=until
    )
    claim: Claim = step.outcome
    return claim


def told(simulation: Simulation, kind: Kind, outcome: Any, **arguments: Any) -> None:
    """Add a call after all others that was answered like this, which is wrong."""
    simulation.steps.append(
        Step(
            event_id="a",
            kind=kind,
            arguments=arguments,
            outcome=outcome,
            start=simulation.end + 1,
            end=simulation.end + 2,
        )
    )


def handed_out(simulation: Simulation, at: datetime, outcome: Claim) -> None:
    """The event was claimed although nobody might have it."""
    until = at + 10 * SECOND
    claim = attrs.evolve(outcome, token=b"wrong", lease_until=until)
    told(
        simulation, Kind.CLAIM, claim, owner="w", now=at, due_before=at, lease_until=until
    )  # fmt: skip


def lost(simulation: Simulation) -> None:
    """What waits is not there."""
    replaced(simulation)
    told(simulation, Kind.READ, None)


def phantom(simulation: Simulation) -> None:
    """What was never added is there."""
    replaced(simulation)
    assert simulation.state is not None
    told(simulation, Kind.READ, attrs.evolve(simulation.state.visible(), payload=b"never added"))


def early(simulation: Simulation) -> None:
    """Handed out before it is due."""
    replaced(simulation)
    simulation.later(Kind.RESCHEDULE, move=Move(id="a", trigger_time=START + SECOND))
    assert simulation.state is not None
    held_now = rules.claim(
        simulation.state, owner="w", lease_until=START, token=b"wrong", step=SECOND
    )
    handed_out(simulation, START, claim_on(simulation.state, held_now))


def two_live_claims(simulation: Simulation) -> None:
    """Handed out a second time while the first lease runs."""
    claim = held(simulation)
    second = attrs.evolve(claim, attempt=2, due=claim.lease_until, lost_before=True)
    handed_out(simulation, START + SECOND, second)


def call_after_cancelled(simulation: Simulation) -> None:
    """Handed out after it was cancelled."""
    claim = held(simulation)
    simulation.later(Kind.CANCEL)
    handed_out(simulation, START, claim)


def stale_report_accepted(simulation: Simulation) -> None:
    """True although the lease has ended."""
    claim = held(simulation)
    told(
        simulation, Kind.SETTLE, True, settlement=Settlement.done(claim), now=claim.lease_until
    )  # fmt: skip


def live_report_refused(simulation: Simulation) -> None:
    """False although the lease runs."""
    claim = held(simulation)
    told(simulation, Kind.SETTLE, False, settlement=Settlement.done(claim), now=START)


def reported_twice(simulation: Simulation) -> None:
    """True to the second report."""
    claim = held(simulation)
    simulation.later(Kind.SETTLE, settlement=Settlement.release(claim), now=START)
    told(simulation, Kind.SETTLE, True, settlement=Settlement.done(claim), now=START)


def not_found_while_there(simulation: Simulation) -> None:
    """Cancelled, removed and called absent."""
    replaced(simulation)
    told(simulation, Kind.CANCEL, CancelOutcome.NOT_FOUND)


def attempts_skipped(simulation: Simulation) -> None:
    """The first attempt has the number 3."""
    replaced(simulation)
    arguments = {"owner": "w", "now": START, "due_before": START, "lease_until": FAR_AHEAD}
    step = simulation.later(Kind.CLAIM, **arguments)
    simulation.steps[-1] = attrs.evolve(step, outcome=attrs.evolve(step.outcome, attempt=3))


def claimed_and_rescheduled(simulation: Simulation) -> None:
    """RESCHEDULED although it is claimed."""
    held(simulation)
    move = Move(id="a", trigger_time=FAR_AHEAD)
    told(simulation, Kind.RESCHEDULE, RescheduleOutcome.RESCHEDULED, move=move)


def risen_again(simulation: Simulation) -> None:
    """There although it was done."""
    claim = held(simulation)
    assert simulation.state is not None
    event = simulation.state.visible()
    simulation.later(Kind.SETTLE, settlement=Settlement.done(claim), now=START)
    told(simulation, Kind.READ, event)


def released_to_another_time(simulation: Simulation) -> None:
    """A release gave back what the event was never due at."""
    claim = held(simulation)
    simulation.later(Kind.SETTLE, settlement=Settlement.release(claim), now=START)
    assert simulation.state is not None
    told(simulation, Kind.READ, attrs.evolve(simulation.state.visible(), due=FAR_AHEAD))


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
}
"""Faults that are there whatever happened before, and the law that each breaks."""


@pytest.mark.parametrize(("fault", "law"), FAULTS.items(), ids=lambda v: getattr(v, "__name__", v))
def test_fault_is_named(fault: Callable[[Simulation], None], law: str) -> None:
    """Each kind of fault breaks the law that forbids it."""
    simulation = Simulation()
    fault(simulation)
    with pytest.raises(LawBroken) as caught:
        check(simulation.steps, SECOND)
    assert caught.value.law == law


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
@settings(SETTINGS, max_examples=30)
@given(data=st.data())
def test_fault_is_found(fault: Callable[[Simulation], None], data: st.DataObject) -> None:
    """No fault is hidden by what happened before it."""
    simulation = simulate(data.draw, most=8)
    fault(simulation)
    with pytest.raises(LawBroken, match="'a'"):
        check(simulation.steps, SECOND)

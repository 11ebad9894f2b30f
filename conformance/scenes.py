"""How an event gets into each state: the first calls of most programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from futurama.backend import Claim, IfExists, Move, NewEvent, Settlement, SettlementKind
from futurama.conformance.lockstep import Lockstep
from futurama.conformance.strategies import START
from futurama.times import EARLIEST

__all__ = [
    "CHANGES",
    "IF_EXISTS",
    "LEASE_ENDS",
    "SOME_STATES",
    "STATES",
    "at",
    "change",
    "claimed",
    "dead",
    "enter",
    "event",
    "lost",
    "population",
    "report",
    "reports",
    "waiting",
]

STATES = ("waiting", "claimed", "lost", "dead")
"""What :func:`enter` can bring an event into."""

CHANGES: Mapping[str, str] = {
    "renew": "claimed",
    "settle": "claimed",
    "claim": "waiting",
    "add": "waiting",
    "cancel": "waiting",
    "reschedule": "waiting",
    "requeue": "dead",
    "purge": "dead",
}
"""Every operation that changes events, and the state of an event that :func:`change` changes by it.

Claims come first: while instances are new, two that count from one give the same tokens.
"""

_SIMPLEST_FIRST = (
    SettlementKind.DONE,
    SettlementKind.RELEASE,
    SettlementKind.RETRY,
    SettlementKind.BURY,
)

SOME_STATES: SearchStrategy[Sequence[str]] = st.sampled_from(
    [["waiting"], ["claimed"], ["lost"], ["dead"], *[STATES] * 8]
)
"""Mostly all of them; what is found is shown with no more than it takes."""

IF_EXISTS: SearchStrategy[IfExists] = st.sampled_from(["raise", "keep", "replace"])
"""Any of the three."""

LEASE_ENDS: SearchStrategy[int | datetime] = st.integers(0, 9) | st.just(EARLIEST)
"""For :func:`claimed`; some lie in the past even by this machine's clock, which no one may ask."""


def at(run: Lockstep, steps: int) -> datetime:
    """So many steps of the resolution after the start."""
    return START + steps * run.step


def event(
    run: Lockstep,
    event_id: str = "a",
    *,
    due: int = 0,
    payload: bytes = b"1",
    created: datetime = START,
) -> NewEvent:
    """A new event, due so many steps after the start."""
    return NewEvent(
        id=event_id,
        trigger_type="t",
        trigger_time=at(run, due),
        payload=payload,
        created=created,
    )


def waiting(run: Lockstep, *event_ids: str, due: int = 0) -> None:
    """Add these events, one call for all."""
    with run.set_up():
        run.add([event(run, event_id, due=due) for event_id in event_ids])


def claimed(run: Lockstep, event_id: str = "a", *, until: int | datetime = 10) -> Claim:
    """Add an event and claim it at step 0, until that step; nothing else may be due by then."""
    waiting(run, event_id)
    end = until if isinstance(until, datetime) else at(run, until)
    with run.set_up():
        (claim,) = run.claim(now=at(run, 0), lease_until=end)
    return claim


def lost(run: Lockstep, event_id: str = "a") -> Claim:
    """An event that waits, and whose first claim ended unreported; return that claim."""
    first = claimed(run, event_id, until=1)
    with run.set_up():
        (second,) = run.claim(now=at(run, 1), lease_until=at(run, 10))
        run.settle([Settlement.retry(second, at(run, 20))], now=at(run, 1))
    return first


def dead(run: Lockstep, event_id: str = "a", *, died: int = 1, reason: str = "why") -> Claim:
    """An event among the dead letters; return the claim under which it was buried."""
    claim = claimed(run, event_id)
    with run.set_up():
        run.settle([Settlement.bury(claim, reason)], now=at(run, died))
    return claim


def enter(run: Lockstep, state: str, event_id: str = "a") -> Claim | None:
    """Bring a new event into one of :data:`STATES`; return the last claim on it, if any."""
    if state == "waiting":
        waiting(run, event_id, due=20)
        return None
    return {"claimed": claimed, "lost": lost, "dead": dead}[state](run, event_id)


def population(run: Lockstep, states: Sequence[str]) -> list[Claim]:
    """One event in each of these states, named like it; return the claim on the claimed one, if any.

    The waiting ones are due at step 20, the lease ends at step 10.
    """
    claims = {state: enter(run, state, state) for state in reversed(states)}
    return [claim for state, claim in claims.items() if state == "claimed" and claim is not None]


def report(run: Lockstep, claim: Claim, kind: SettlementKind) -> Settlement:
    """A report of this kind; what is retried is due at step 3."""
    return {
        SettlementKind.DONE: Settlement.done(claim),
        SettlementKind.RELEASE: Settlement.release(claim),
        SettlementKind.RETRY: Settlement.retry(claim, at(run, 3), b"retried"),
        SettlementKind.BURY: Settlement.bury(claim, "why"),
    }[kind]


def reports(run: Lockstep, claim: Claim) -> SearchStrategy[Settlement]:
    """One report of each kind."""
    return st.sampled_from([report(run, claim, kind) for kind in _SIMPLEST_FIRST])


def change(run: Lockstep, operation: str, claims: Sequence[Claim]) -> None:
    """Make a call of one of :data:`CHANGES` after :func:`population`, whose claims are ``claims``."""
    match operation:
        case "add":
            run.add([event(run, "waiting", payload=b"new")], if_exists="replace")
        case "cancel":
            run.cancel([*STATES])
        case "reschedule":
            run.reschedule([Move(id="waiting", trigger_time=at(run, 30), payload=b"moved")])
        case "claim":
            run.claim(now=at(run, 20), lease_until=at(run, 40))
        case "renew":
            run.renew(claims, now=at(run, 1), lease_until=at(run, 11))
        case "settle":
            run.settle([Settlement.retry(claim, at(run, 3)) for claim in claims], now=at(run, 1))
        case "requeue":
            run.requeue([*STATES], now=at(run, 5))
        case "purge":
            run.purge(before=at(run, 99))

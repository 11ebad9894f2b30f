"""From what processes wrote down to an account that can be judged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

from futurama.backend import ClaimBatch, SettlementKind, StoredEvent
from futurama.conformance.account import Account, Answer, Call, Creation, Disturbance
from futurama.conformance.history import OPEN_END, UNKNOWN, Kind, Step
from futurama.events import CancelOutcome
from futurama.times import to_us
from tests.faults.record import FAILED, Operation

__all__ = ["account"]


def account(
    operations: Sequence[Operation],
    *,
    left: Mapping[str, StoredEvent],
    disturbances: Sequence[Disturbance],
    died_at: Mapping[str, int],
    epoch_us: int,
    resolution: timedelta,
    timeout_ns: int = 0,
    may_die: Iterable[str] = (),
) -> Account:
    """What the operations of all processes come to.

    Args:
        operations: of all of them.
        left: what was stored in the end, by id.
        disturbances: the faults that were injected.
        died_at: when processes were killed, by name: then their calls ended, too.
        epoch_us: see :class:`Account`.
        resolution: of the backend.
        timeout_ns, may_die: see :class:`Account`.
    """
    return Account(
        creations=[_creation(one) for one in operations if one.what == "create"],
        answers=[_answer(one) for one in operations if one.what in _ANSWERED],
        calls=[_call(one, died_at) for one in operations if one.what == "call"],
        steps=list(_steps(operations)),
        left=left,
        disturbances=disturbances,
        epoch_us=epoch_us,
        resolution=resolution,
        timeout_ns=timeout_ns,
        may_die=frozenset(may_die),
    )


def _creation(one: Operation) -> Creation:
    known = {FAILED: False, UNKNOWN: UNKNOWN}
    return Creation(
        event_id=one.arguments["event_id"],
        trigger_us=one.arguments["trigger_us"],
        data=one.arguments["data"],
        start=one.start,
        end=one.end,
        outcome=known.get(one.outcome, True),
    )


_ANSWERED = {"ask to cancel", "ask to move"}


def _answer(one: Operation) -> Answer:
    return Answer(
        event_id=one.arguments["event_id"],
        outcome=UNKNOWN if one.outcome is FAILED else one.outcome,
        start=one.start,
        end=OPEN_END if one.outcome is FAILED else one.end,
        trigger_us=one.arguments.get("trigger_us"),
    )


def _call(one: Operation, died_at: Mapping[str, int]) -> Call:
    return Call(
        event_id=one.arguments["event_id"],
        attempt=one.arguments["attempt"],
        data=one.arguments["data"],
        instance=one.process,
        start=one.start,
        end=min(one.end, died_at.get(one.process, OPEN_END)),
        ending=one.outcome,
    )


def _steps(operations: Sequence[Operation]) -> Iterator[Step]:
    """What was asked of backends, event by event.

    Of a claim without an answer nobody knows what it handed out: it may have been any event that was
    there and due.
    """
    unknown_claims = []
    known: list[Step] = []
    for one in operations:
        if one.outcome is FAILED:
            continue
        if one.what == "claim" and one.outcome is UNKNOWN:
            unknown_claims.append(one)
        elif one.what in _ITEMS:
            known += _items(one)
    yield from known
    due = _earliest_dues(known)
    ended = _ends(known)
    for one in unknown_claims:
        for event_id, due_us in due.items():
            if (
                due_us <= to_us(one.arguments["due_before"])
                and ended.get(event_id, OPEN_END) > one.start
            ):
                yield _claim_step(one, event_id, UNKNOWN)


def _items(one: Operation) -> Iterator[Step]:
    if one.what == "claim":
        batch: ClaimBatch = one.outcome
        for claim in batch.claims:
            yield _claim_step(one, claim.id, claim)
        return
    kind, name, single = _ITEMS[one.what]
    items = one.arguments[name]
    others = {key: value for key, value in one.arguments.items() if key != name}
    outcomes = [UNKNOWN] * len(items) if one.outcome is UNKNOWN else one.outcome
    for item, outcome in zip(items, outcomes, strict=True):
        yield Step(
            event_id=_id_of(item),
            kind=kind,
            arguments={**others, single: item} if single else others,
            outcome=outcome,
            start=one.start,
            end=one.end,
            caller=one.process,
        )


_ITEMS: Mapping[str, tuple[Kind, str, str]] = {
    "add": (Kind.ADD, "events", "event"),
    "cancel": (Kind.CANCEL, "ids", ""),
    "reschedule": (Kind.RESCHEDULE, "moves", "move"),
    "claim": (Kind.CLAIM, "", ""),
    "renew": (Kind.RENEW, "claims", "claim"),
    "settle": (Kind.SETTLE, "settlements", "settlement"),
    "requeue": (Kind.REQUEUE, "ids", ""),
}
"""Operation -> what it is called in histories, which argument is the batch, and what one item of it is
called there."""


def _id_of(item: Any) -> str:
    """Of an id, an event, a move, a claim or a settlement."""
    if isinstance(item, str):
        return item
    event_id: str = getattr(item, "claim", item).id
    return event_id


def _claim_step(one: Operation, event_id: str, outcome: Any) -> Step:
    arguments = {key: value for key, value in one.arguments.items() if key != "limit"}
    return Step(
        event_id=event_id,
        kind=Kind.CLAIM,
        arguments=arguments,
        outcome=outcome,
        start=one.start,
        end=one.end,
        caller=one.process,
    )


def _earliest_dues(steps: Iterable[Step]) -> dict[str, int]:
    dues: dict[str, int] = {}
    for step in steps:
        time = None
        if step.kind is Kind.ADD:
            time = step.arguments["event"].trigger_time
        elif step.kind is Kind.RESCHEDULE:
            time = step.arguments["move"].trigger_time
        if time is not None:
            dues[step.event_id] = min(to_us(time), dues.get(step.event_id, OPEN_END))
    return dues


def _ends(steps: Sequence[Step]) -> dict[str, int]:
    """When events were certainly gone for good.

    If the answer to ``add`` was lost, the repeat may store an event again that had ended meanwhile.
    """
    ends: dict[str, int] = {}
    additions = Counter(step.event_id for step in steps if step.kind is Kind.ADD)
    for step in steps:
        if additions[step.event_id] > 1:
            continue
        is_done = (
            step.kind is Kind.SETTLE
            and step.outcome is True
            and step.arguments["settlement"].kind in {SettlementKind.DONE, SettlementKind.BURY}
        )
        is_cancelled = step.kind is Kind.CANCEL and step.outcome in {
            CancelOutcome.CANCELLED,
            CancelOutcome.IN_FLIGHT,
        }
        if is_done or is_cancelled:
            ends[step.event_id] = min(step.end, ends.get(step.event_id, OPEN_END))
    return ends

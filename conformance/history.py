"""What several threads or processes did to one store at once, and whether the laws explain it.

A history is explained if the calls on each event can be put into one order that respects who
finished before whom, and in which every reply is the one of the oracle's decision table. Events
are independent of each other, so each is looked at alone (the method of Wing and Gong). A call
whose reply was lost took effect once, at any time after its start, or never. What a call tells of
several events together, the earliest due and how many were purged, is held against all of them.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Final, TypeAlias

import attrs

from futurama.backend import AddOutcome, Claim, NewEvent, Settlement, SettlementKind, State
from futurama.conformance import rules
from futurama.conformance.failure import LawBroken
from futurama.conformance.literals import as_python
from futurama.conformance.rules import Decision, Stored

__all__ = ["OPEN_END", "UNKNOWN", "Kind", "Step", "check", "explained"]

_SHOWN = 20

OPEN_END: Final = sys.maxsize
"""The end of a call that was never answered."""


class _Unknown(Enum):
    UNKNOWN = "the reply was lost"

    def __str__(self) -> str:
        return self.value


UNKNOWN: Final = _Unknown.UNKNOWN
"""The outcome of a call that was never answered."""


class Kind(Enum):
    """Which operation a step is part of."""

    ADD = "add"
    CANCEL = "cancel"
    RESCHEDULE = "reschedule"
    CLAIM = "claim"
    RENEW = "renew"
    SETTLE = "settle"
    REQUEUE = "requeue"
    PURGE = "purge"
    """Of each event, without an answer of its own: only how many were purged is told."""
    NEXT_DUE = "next_due"
    """What a claim says of each event: it is not due before this time."""
    READ = "read"
    """What ``find`` showed when all was over."""


@attrs.frozen(kw_only=True)
class Step:
    """What one call did to one event.

    Attributes:
        event_id: which event.
        kind: which operation.
        arguments: those of the function of this name in ``rules``, without the event and the
            resolution: CLAIM has ``owner``, ``now``, ``due_before`` and ``lease_until``, READ and
            NEXT_DUE have none.
        outcome: what the caller was told of this event: the claim, the outcome, the stored event;
            PURGE: how many events the whole call removed; NEXT_DUE: the time, or None; or
            :data:`UNKNOWN`.
        start, end: when the call was made and answered, by a clock that all callers share; a call
            that was never answered has :data:`OPEN_END`.
        caller: who made it, for people.
    """

    event_id: str
    kind: Kind
    arguments: dict[str, Any] = attrs.field(factory=dict)
    outcome: Any = None
    start: int
    end: int
    caller: str = ""


_BLAMED: Sequence[tuple[set[Kind], str]] = (
    ({Kind.READ}, "concurrency.nothing-lost"),
    ({Kind.CANCEL, Kind.RESCHEDULE}, "concurrency.cancel"),
    ({Kind.SETTLE, Kind.RENEW}, "concurrency.fence"),
    ({Kind.CANCEL, Kind.RESCHEDULE, Kind.READ}, "concurrency.cancel"),
    ({Kind.SETTLE, Kind.RENEW, Kind.READ}, "concurrency.fence"),
    ({Kind.ADD, Kind.REQUEUE, Kind.PURGE}, "concurrency.nothing-lost"),
)
"""If calls of these kinds need not have been right and all is explained then, this law is broken."""


def check(history: Iterable[Step], step: timedelta) -> None:
    """Check a whole history, which starts with an empty store.

    Args:
        history: in any order.
        step: the resolution of the backend.

    Raises:
        LawBroken: the calls on some event cannot be explained; names the law that they break.
    """
    by_event: dict[str, list[Step]] = defaultdict(list)
    for one in sorted(history, key=lambda one: one.start):
        by_event[one.event_id].append(one)
    for steps in by_event.values():
        _check_tokens(steps)
    for event_id in sorted(by_event):
        _check_order(by_event[event_id], step)
    _check_purges(by_event.values())


def _check_tokens(steps: Sequence[Step]) -> None:
    """No two claims on the event have the same token."""
    former: dict[bytes, Step] = {}
    for one in steps:
        if one.kind is Kind.CLAIM and one.outcome is not UNKNOWN:
            if other := former.get(one.outcome.token):
                raise LawBroken(
                    "claim.token",
                    expected=f"a token that no earlier claim on {one.event_id!r} had",
                    actual="two claims with the same one, by time in milliseconds:\n"
                    + "\n".join(_text(claim, other.start) for claim in (other, one)),
                )
            former[one.outcome.token] = one


def _check_order(steps: Sequence[Step], step: timedelta) -> None:
    """Some order of the calls on the event explains their answers."""
    if explained(steps, step):
        return
    law = _broken_law(steps, step)
    steps = _without_right_dues(steps, step)
    shown = _up_to_the_fault(steps, step)[-_SHOWN:]
    raise LawBroken(
        law,
        expected=f"some order of the calls on {steps[0].event_id!r} that the laws explain",
        actual="none; the last calls, by time in milliseconds:\n"
        + "\n".join(_text(one, shown[0].start) for one in shown),
    )


def _without_right_dues(steps: Sequence[Step], step: timedelta) -> Sequence[Step]:
    """The steps without what claims said of the next due, but for the first time it was wrong."""
    others = [one for one in steps if one.kind is not Kind.NEXT_DUE]
    if not explained(others, step):
        return others
    dues = (one for one in steps if one.kind is Kind.NEXT_DUE)
    with_one = (sorted([*others, due], key=lambda one: one.start) for due in dues)
    return next((some for some in with_one if not explained(some, step)), steps)


def _check_purges(events: Iterable[Sequence[Step]]) -> None:
    """``purge`` told of as many events as went by it, where that can be known."""
    told: dict[tuple[str, int], int] = {}
    least = most = 0
    for steps in events:
        gone = _purged(steps)
        if gone is None:
            return
        least, most = least + gone[0], most + gone[1]
        told |= {(one.caller, one.start): one.outcome for one in steps if one.kind is Kind.PURGE}
    if not least <= sum(told.values()) <= most:
        number = f"{most}" if least == most else f"{least} to {most}"
        raise LawBroken(
            "purge.before",
            expected=f"all purge() together told of {number} events, while others called too: so "
            "many were buried, and are neither dead in the end nor were requeued or replaced",
            actual=sum(told.values()),
        )


def _purged(steps: Sequence[Step]) -> tuple[int, int] | None:
    """How often the event went by ``purge``, at least and at most; None if nobody can know.

    Whether an event that was replaced was dead is not told.
    """
    last = steps[-1]
    if last.kind is not Kind.READ or any(one.end >= last.start for one in steps[:-1]):
        return None  # something may have happened after the last look
    if any(one.kind is Kind.PURGE and one.outcome in {None, UNKNOWN} for one in steps):
        return None
    is_dead = last.outcome is not None and last.outcome.state is State.DEAD
    buried = sum(_has_buried(one) for one in steps)
    requeued = sum(one.kind is Kind.REQUEUE and one.outcome is True for one in steps)
    replaced = sum(one.outcome is AddOutcome.REPLACED for one in steps)
    most = buried - requeued - is_dead
    return max(0, most - replaced), most


def _has_buried(one: Step) -> bool:
    return (
        one.kind is Kind.SETTLE
        and one.outcome is True
        and one.arguments["settlement"].kind is SettlementKind.BURY
    )


def explained(
    steps: Sequence[Step],
    step: timedelta,
    *,
    ignoring: Iterable[Kind] = (),
    vanishing: bool = False,
) -> bool:
    """Whether the steps on one event have an order that the laws explain.

    Args:
        steps: sorted by their start.
        step: the resolution of the backend.
        ignoring: operations whose replies may be wrong, and which may as well have done nothing.
        vanishing: the event may vanish at any time.
    """
    ignored = frozenset(ignoring)
    answered = sum(1 << index for index, one in enumerate(steps) if one.outcome is not UNKNOWN)
    # Where the answered calls have led to, and with the help of which unanswered ones: who comes
    # there again with the help of these and more cannot get any further.
    seen: dict[tuple[int, Stored | None], list[int]] = defaultdict(list)
    pending: list[tuple[int, Stored | None]] = [(0, None)]
    while pending:
        done, state = pending.pop()
        helpers, former = done & ~answered, seen[done & answered, state]
        if any(fewer & helpers == fewer for fewer in former):
            continue
        former.append(helpers)
        if done & answered == answered:
            return True
        possible = _possible_next(steps, done)
        looks = [i for i in possible if _is_right_look(state, steps[i], step, ignored)]
        if looks:
            pending.append((done | sum(1 << i for i in looks), state))
            continue
        # What was answered is pushed last and so tried first: mostly nothing else is needed.
        for index in sorted(possible, key=lambda i: answered >> i & 1):
            one = steps[index]
            afterwards = _after(state, one, step, ignored)
            if one.outcome is UNKNOWN:  # taking effect without an effect explains nothing
                afterwards = [after for after in afterwards if after != state]
            pending += [(done | 1 << index, after) for after in afterwards]
        if vanishing and state is not None:
            pending.append((done, None))
    return False


def _possible_next(steps: Sequence[Step], done: int) -> list[int]:
    """The steps that may come next: those that began before any other open one had ended."""
    possible: list[int] = []
    first_end: int | None = None
    first_open = (~done & done + 1).bit_length() - 1
    for index in range(first_open, len(steps)):
        one = steps[index]
        if done >> index & 1:
            continue
        if first_end is not None and one.start > first_end:
            break  # and so did all that follow, for they are sorted
        possible.append(index)
        first_end = one.end if first_end is None else min(first_end, one.end)
    return [
        index for index in possible if first_end is not None and steps[index].start <= first_end
    ]


_Rule: TypeAlias = "Callable[[Stored | None, Mapping[str, Any], timedelta], Decision[Any]]"

_RULES: Final[Mapping[Kind, _Rule]] = {
    Kind.ADD: lambda before, given, step: rules.add(before, **given, step=step),
    Kind.CANCEL: lambda before, _given, _step: rules.cancel(before),
    Kind.RESCHEDULE: lambda before, given, step: rules.reschedule(before, **given, step=step),
    Kind.RENEW: lambda before, given, step: rules.renew(before, **given, step=step),
    Kind.SETTLE: lambda before, given, step: rules.settle(before, **given, step=step),
    Kind.REQUEUE: lambda before, given, step: rules.requeue(before, **given, step=step),
    Kind.PURGE: lambda before, given, _step: rules.purge(before, **given),
}
"""The operations whose answer follows from the event and the arguments alone."""


def _after(
    state: Stored | None, one: Step, step: timedelta, ignored: frozenset[Kind]
) -> list[Stored | None]:
    """What the event can be after ``one``; nothing if ``one`` cannot have happened now."""
    if one.kind in _LOOKS:
        return [state] if _is_right_look(state, one, step, ignored) else []
    if one.kind is Kind.CLAIM:
        return _after_claim(state, one, step)
    decision = _RULES[one.kind](state, one.arguments, step)
    if one.kind in ignored:
        return [decision.after, state]
    is_right = one.kind is Kind.PURGE or one.outcome in {decision.outcome, UNKNOWN}
    return [decision.after] if is_right else []


_LOOKS: Final = {Kind.READ, Kind.NEXT_DUE}
"""What changes nothing: if it is right now, nothing is won by trying it later."""


def _is_right_look(
    state: Stored | None, one: Step, step: timedelta, ignored: frozenset[Kind]
) -> bool:
    """Whether ``one`` only looks, and sees what is there."""
    if one.kind not in _LOOKS or one.kind in ignored:
        return one.kind in _LOOKS
    if one.kind is Kind.READ:
        return rules.shows(state, one.outcome, step)
    due = None if state is None else state.due
    return due is None or (one.outcome is not None and one.outcome <= due)


def _after_claim(state: Stored | None, one: Step, step: timedelta) -> list[Stored | None]:
    now: datetime = one.arguments["now"]
    due_before: datetime = one.arguments["due_before"]
    if state is None or not rules.claimable(state, now=now, due_before=due_before):
        return []
    claim: Claim | None = None if one.outcome is UNKNOWN else one.outcome
    after = rules.claim(
        state,
        owner=one.arguments["owner"],
        lease_until=one.arguments["lease_until"],
        token=b"nobody knows" if claim is None else claim.token,
        step=step,
    )
    return [after] if claim is None or _carries(claim, state, after) else []


def _carries(claim: Claim, before: Stored, after: Stored) -> bool:
    """Whether a claim that made ``after`` of ``before`` says so."""
    return (
        claim.trigger_type,
        claim.trigger_time,
        claim.payload,
        claim.created,
        claim.attempt,
        claim.due,
        claim.lease_until,
        claim.lost_before,
    ) == (
        before.trigger_type,
        before.trigger_time,
        before.payload,
        before.created,
        after.attempt,
        before.due,
        after.due,
        after.lost,
    )


def _broken_law(steps: Sequence[Step], step: timedelta) -> str:
    if explained(steps, step, ignoring={Kind.NEXT_DUE}):
        return "claim.next-due"
    if not any(one.kind is Kind.ADD for one in steps) or explained(steps, step, vanishing=True):
        return "concurrency.nothing-lost"
    for kinds, law in _BLAMED:
        if explained(steps, step, ignoring=kinds):
            return law
    return "concurrency.exclusive"


def _up_to_the_fault(steps: Sequence[Step], step: timedelta) -> Sequence[Step]:
    """The shortest beginning that cannot be explained, cut where no call was under way."""
    end = 0
    for index, one in enumerate(steps):
        if one.start > end and not explained(steps[:index], step):
            return steps[:index]
        if one.outcome is not UNKNOWN:
            end = max(end, one.end)
    return steps


def _text(one: Step, zero: int) -> str:
    arguments = ", ".join(f"{name}={_brief(value)}" for name, value in one.arguments.items())
    end = "" if one.end == OPEN_END else f"{(one.end - zero) / 1e6:.3f}"
    times = f"{(one.start - zero) / 1e6:.3f}..{end}"
    return f"    {times} {one.caller} {one.kind.value}({arguments}) -> {_brief(one.outcome)}"


def _brief(value: object) -> str:
    """What tells claims, events and times apart, and nothing else."""
    match value:
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case Claim():
            return f"<claim {value.token.hex()[:8]} until {_brief(value.lease_until)}>"
        case Settlement():
            return f"{value.kind.value} {_brief(value.claim)}"
        case NewEvent():
            return f"<event {value.payload!r} at {_brief(value.trigger_time)}>"
        case _:
            return as_python(value)

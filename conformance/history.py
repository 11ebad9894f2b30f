"""What several threads or processes did to one store at once, and whether the laws explain it.

A history is explained if the calls on each event can be put into one order that respects who
finished before whom, and in which every reply is the one of the oracle's decision table. Events
are independent of each other, so each is looked at alone (the method of Wing and Gong). A call
whose reply was lost took effect once, at any time after its start, or never.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Final

import attrs

from futurama.backend import Claim, NewEvent, Settlement
from futurama.conformance import rules
from futurama.conformance.failure import LawBroken
from futurama.conformance.literals import as_python
from futurama.conformance.rules import Stored

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
    """Of each event, without an answer: only how many were purged is told."""
    READ = "read"
    """What ``find`` showed when all was over."""


@attrs.frozen(kw_only=True)
class Step:
    """What one call did to one event.

    Attributes:
        event_id: which event.
        kind: which operation.
        arguments: those of the function of this name in ``rules``, without the event and the
            resolution: CLAIM has ``owner``, ``now``, ``due_before`` and ``lease_until``, READ none.
        outcome: what the caller was told of this event: the claim, the outcome, the stored event;
            or :data:`UNKNOWN`.
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
    for one in history:
        by_event[one.event_id].append(one)
    for event_id in sorted(by_event):
        steps = sorted(by_event[event_id], key=lambda one: one.start)
        if not explained(steps, step):
            shown = _up_to_the_fault(steps, step)[-_SHOWN:]
            raise LawBroken(
                _broken_law(steps, step),
                expected=f"some order of the calls on {event_id!r} that the laws explain",
                actual="none; the last calls, by time in milliseconds:\n"
                + "\n".join(_text(one, shown[0].start) for one in shown),
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
        # What was answered is pushed last and so tried first: mostly nothing else is needed.
        for index in sorted(_possible_next(steps, done), key=lambda i: answered >> i & 1):
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
    for index, one in enumerate(steps):
        if done >> index & 1:
            continue
        if first_end is not None and one.start > first_end:
            break  # and so did all that follow, for they are sorted
        possible.append(index)
        first_end = one.end if first_end is None else min(first_end, one.end)
    return [
        index for index in possible if first_end is not None and steps[index].start <= first_end
    ]


def _after(
    state: Stored | None, one: Step, step: timedelta, ignored: frozenset[Kind]
) -> list[Stored | None]:
    """What the event can be after ``one``; nothing if ``one`` cannot have happened now."""
    if one.kind is Kind.READ:
        right = one.kind in ignored or rules.shows(state, one.outcome, step)
        return [state] if right else []
    if one.kind is Kind.CLAIM:
        return _after_claim(state, one, step)
    arguments = dict(one.arguments)
    if one.kind not in {Kind.CANCEL, Kind.PURGE}:
        arguments["step"] = step
    decision = getattr(rules, one.kind.value)(state, **arguments)
    if one.kind in ignored:
        return [decision.after, state]
    return [decision.after] if one.outcome in {decision.outcome, UNKNOWN} else []


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

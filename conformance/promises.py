"""What was promised, held against an account of what happened.

:mod:`futurama.conformance.history` decides whether the answers of a backend can be explained. This
decides whether what instances did with them keeps the promises of Futurama: what clients were told
of their events, and which calls were made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from enum import Enum
from itertools import pairwise
from typing import Any

import attrs

from futurama.backend import Claim, Settlement, SettlementKind, State, StoredEvent
from futurama.conformance import history
from futurama.conformance.account import Account, Answer, Call, Creation, Disturbance, Ending
from futurama.conformance.failure import LawBroken
from futurama.conformance.history import OPEN_END, UNKNOWN, Kind, Step
from futurama.events import CancelOutcome, RescheduleOutcome
from futurama.times import to_us

__all__ = ["Breach", "Judgement", "Promise", "judge"]


class Promise(Enum):
    """What Futurama promises; the table is in ``docs/design.md``."""

    LOST = "P1: nothing is lost"
    PHANTOM = "P1: nothing is called that was not created"
    EARLY = "P2: never early"
    CLAIM = "P3: one live claim, and no call without it"
    FENCE = "P4: no call after its completion was acknowledged, or under way then"
    REPEAT = "P5: once unless something broke"
    ATTEMPT = "P5: attempts are counted one by one, and each is one call"
    CANCEL = "P6: cancel and reschedule tell the truth"
    DROPPED = "P7: nothing is dropped or buried without a reason"
    STUCK = "P9: everything finishes once the faults are over"
    BACKEND = "the laws of backends"


@attrs.frozen
class Breach:
    """One promise that was broken to one event."""

    promise: Promise
    event_id: str
    why: str

    def __str__(self) -> str:
        return f"{self.promise.value}: {self.event_id}: {self.why}"


@attrs.frozen
class Judgement:
    """What the account comes to.

    Attributes:
        breaches: what was broken.
        repeats: events that were called again though the call before had not failed.
        books: how many events were created, completed, cancelled, dead, still waiting.
    """

    breaches: Sequence[Breach]
    repeats: int
    books: Mapping[str, int]


def judge(account: Account) -> Judgement:
    """Hold everything that was written down against what was promised."""
    lives = _lives(account)
    breaches = [breach for life in lives for breach in _breaches(life, account)]
    breaches += _of_backend(account)
    return Judgement(
        breaches=breaches,
        repeats=sum(bool(list(_repeats(life))) for life in lives),
        books=Counter(filter(None, map(_fate, lives))),
    )


@attrs.define(kw_only=True)
class _Life:
    """All that is known of one event, each list by start."""

    event_id: str
    creation: Creation | None = None
    cancels: list[Answer] = attrs.field(factory=list)
    moves: list[Answer] = attrs.field(factory=list)
    calls: list[Call] = attrs.field(factory=list)
    additions: list[Step] = attrs.field(factory=list)
    claims: list[Step] = attrs.field(factory=list)
    renewals: list[Step] = attrs.field(factory=list)
    reports: list[Step] = attrs.field(factory=list)
    changes: list[Step] = attrs.field(factory=list)
    refusals: list[Step] = attrs.field(factory=list)
    left: StoredEvent | None = None

    @property
    def has_succeeded(self) -> bool:
        return any(call.ending is Ending.SUCCEEDED for call in self.calls)

    @property
    def was_cancelled(self) -> bool:
        """Whether a client removed it, or may have."""
        removed = {CancelOutcome.CANCELLED, CancelOutcome.IN_FLIGHT, UNKNOWN}
        return any(answer.outcome in removed for answer in self.cancels)

    @property
    def is_known_to_exist(self) -> bool:
        """Whether it was stored, be it that its client was never told."""
        was_seen = bool(self.calls or self.claims or self.left)
        return self.creation is not None and (self.creation.outcome is True or was_seen)

    @property
    def stored_again_until(self) -> int:
        """Until when it may have been stored anew after it had ended; 0 if that cannot be.

        If the answer to its first storing was lost, it may have been called or cancelled before that
        was repeated. Then it has begun once more, with a clean slate.
        """
        if self.creation is None or len(self.additions) < 2:
            return 0
        return self.creation.end


def _lives(account: Account) -> Sequence[_Life]:
    lives: dict[str, _Life] = {}

    def life(event_id: str) -> _Life:
        return lives.setdefault(event_id, _Life(event_id=event_id))

    for creation in account.creations:
        life(creation.event_id).creation = creation
    for answer in sorted(account.answers, key=_start):
        one = life(answer.event_id)
        (one.cancels if answer.trigger_us is None else one.moves).append(answer)
    for call in sorted(account.calls, key=_start):
        life(call.event_id).calls.append(call)
    for step in sorted(account.steps, key=_start):
        _note(life(step.event_id), step)
    for event_id, stored in account.left.items():
        life(event_id).left = stored
    return [lives[event_id] for event_id in sorted(lives)]


def _note(life: _Life, step: Step) -> None:
    match step.kind:
        case Kind.ADD:
            life.additions.append(step)
        case Kind.CLAIM if step.outcome is not UNKNOWN:
            life.claims.append(step)
        case Kind.RENEW if step.outcome:
            life.renewals.append(step)
        case Kind.SETTLE if step.outcome:
            life.reports.append(step)
        case Kind.SETTLE:
            life.refusals.append(step)
        case Kind.CANCEL | Kind.RESCHEDULE:
            life.changes.append(step)


def _start(fact: Any) -> int:
    start: int = fact.start
    return start


def _breaches(life: _Life, account: Account) -> Iterator[Breach]:
    for promise, check in _CHECKS.items():
        for why in check(life, account):
            yield Breach(promise, life.event_id, why)


def _lost(life: _Life, _account: Account) -> Iterator[str]:
    is_gone = life.is_known_to_exist and life.left is None
    if is_gone and not life.has_succeeded and not life.was_cancelled:
        ends = [str(call.ending) for call in life.calls]
        yield f"it is gone, but nobody cancelled it and no call succeeded (calls: {ends})"


def _phantom(life: _Life, _account: Account) -> Iterator[str]:
    if life.creation is None or life.creation.outcome is False:
        if life.calls or life.left is not None:
            yield "it is there or was called, but nobody created it, or was told that this failed"
        return
    for call in life.calls:
        if call.data != life.creation.data:
            yield f"it was called with {call.data!r} instead of {life.creation.data!r}"


def _early(life: _Life, account: Account) -> Iterator[str]:
    if life.creation is None:
        return
    for call in life.calls:
        dues_us = [min(_possible_times(life, life.creation, call))]
        if (claim := _claim_of(life, call)) is not None:
            dues_us.append(to_us(claim.outcome.due))
        early_us = max(dues_us) - _backend_us(account, call.start) - account.timer_error_us
        if early_us > 0:
            yield f"attempt {call.attempt} began {early_us / 1000:.3f} ms before its time"
    yield from _put_back_early(life)


def _put_back_early(life: _Life) -> Iterator[str]:
    for report in life.reports:
        settlement: Settlement = report.arguments["settlement"]
        if settlement.kind is SettlementKind.RELEASE and settlement.due is not None:
            early_us = to_us(settlement.claim.due) - to_us(settlement.due)
            if early_us > 0:
                attempt = settlement.claim.attempt
                yield f"attempt {attempt} was put back to {early_us / 1000:.3f} ms before its time"


def _possible_times(life: _Life, creation: Creation, call: Call) -> list[int]:
    """When the event may have been due, in view of the changes that were asked for before the call."""
    times = [(creation.start, creation.trigger_us)]
    for move in life.moves:
        if move.start > call.start or move.outcome not in {RescheduleOutcome.RESCHEDULED, UNKNOWN}:
            continue
        if move.outcome is not UNKNOWN and move.end < call.start:  # others before it are history
            times = [(end, due) for end, due in times if end > move.start]
        assert move.trigger_us is not None
        times.append((move.end, move.trigger_us))
    return [due for _, due in times]


def _without_claim(life: _Life, account: Account) -> Iterator[str]:
    for call in life.calls:
        claim = _claim_of(life, call)
        if claim is None:
            yield f"{call.instance} began attempt {call.attempt}, on which it had no claim"
            continue
        late_us = _backend_us(account, call.start) - _lease_end_us(life, claim, call.start)
        if late_us > account.timer_error_us and not _was_stopped_before(call, account):
            yield (
                f"{call.instance} began attempt {call.attempt} {late_us / 1000:.3f} ms after the "
                "end of its lease"
            )
    for first, second in pairwise(life.claims):
        if _was_reported(life, first) or first.end > second.start:
            continue
        early_us = _earliest_end_us(life, first, second) - _backend_us(account, second.end)
        if early_us > account.timer_error_us and first.start > life.stored_again_until:
            yield (
                f"{second.caller} was given attempt {second.outcome.attempt} {early_us / 1000:.3f} "
                f"ms before the lease of {first.caller} ended"
            )


def _claim_of(life: _Life, call: Call) -> Step | None:
    """The claim under which a call was made."""
    mine = [
        step
        for step in life.claims
        if step.caller == call.instance
        and step.end <= call.start
        and step.outcome.attempt == call.attempt
    ]
    return mine[-1] if mine else None


def _lease_end_us(life: _Life, step: Step, at: int) -> int:
    """When the lease ended, as far as its holder had been told by then.

    The last renewal counts, not the longest: one for a call that was given up makes the lease end early.
    """
    claim: Claim = step.outcome
    told = [(each.end, until) for each, until in _renewals(life, step) if each.end <= at]
    return to_us(max(told)[1] if told else claim.lease_until)


def _earliest_end_us(life: _Life, step: Step, other: Step) -> int:
    """When the lease may have ended when the event was given to another.

    By the last renewal before that, or by one that may have come after this: also if its answer was
    lost, it may have made the lease end early.
    """
    ends = [(step, step.outcome.lease_until)]
    ends += [(each, until) for each, until in _renewals(life, step) if each.start <= other.end]
    last = max(each.start for each, _ in ends if each.end <= other.start)
    return min(to_us(until) for each, until in ends if each.end >= last)


def _renewals(life: _Life, step: Step) -> Iterator[tuple[Step, datetime]]:
    """What was asked for a claim, and until when each of that makes its lease last."""
    for renewal in life.renewals:
        if renewal.arguments["claim"].token == step.outcome.token:
            yield renewal, renewal.arguments["lease_until"]


def _was_reported(life: _Life, claim: Step, *kinds: SettlementKind) -> bool:
    """Whether its holder ended it, or may have, in one of these ways, by default in any."""
    return any(
        _is_on(each, claim) and each.arguments["settlement"].kind in (kinds or SettlementKind)
        for each in life.reports
    )


def _is_on(report: Step, claim: Step) -> bool:
    settlement: Settlement = report.arguments["settlement"]
    reported: Claim = claim.outcome
    return settlement.claim.token == reported.token


def _was_stopped_before(call: Call, account: Account) -> bool:
    """Whether the process was stopped between its last look at the claim and the call.

    No process can exclude that; whoever is called tells by the number of the attempt.
    """
    return any(
        each.stops
        and each.instance == call.instance
        and each.start <= call.start <= _felt_until(each, account)
        for each in account.disturbances
    )


def _felt_until(fault: Disturbance, account: Account) -> int:
    """Until when what is written down may have been decided before the fault had ended."""
    return fault.end + (account.pause_ns if fault.stops else 0)


def _after_completion(life: _Life, account: Account) -> Iterator[str]:
    done = min(
        (
            step.end
            for step in life.reports
            if step.outcome is True
            and step.arguments["settlement"].kind is SettlementKind.DONE
            and step.start > life.stored_again_until
        ),
        default=OPEN_END,
    )
    for call in life.calls:
        if call.start > done and not _was_stopped_before(call, account):
            yield f"attempt {call.attempt} began {(call.start - done) / 1e6:.3f} ms after it"
        claim = _claim_of(life, call)
        if claim is not None and any(
            _is_on(report, claim) and report.outcome is True and report.start < call.end
            for report in life.reports
        ):
            yield f"how attempt {call.attempt} ended was reported before it had"


def _unexplained_repeats(life: _Life, account: Account) -> Iterator[str]:
    for first, second in _repeats(life):
        if first.start < life.stored_again_until or _was_stopped_before(second, account):
            continue
        claim = _claim_of(life, first)
        began = first.start if claim is None else claim.start
        is_explained = _may_have_been_given_up(first, second, account) or _was_disturbed(
            account, life, first.instance, began, second.start
        )
        if not is_explained:
            yield (
                f"attempt {second.attempt} by {second.instance} followed attempt {first.attempt} by "
                f"{first.instance}, {_how(first)}, and nothing had broken"
            )


def _how(call: Call) -> str:
    return (
        f"which {call.ending.value}"
        if isinstance(call.ending, Ending)
        else "whose end nobody knows"
    )


def _may_have_been_given_up(call: Call, repeat: Call, account: Account) -> bool:
    """Whether it took longer than calls may, before it was repeated."""
    lasted = min(call.end, repeat.start) - call.start + 1000 * account.timer_error_us
    return 0 < account.timeout_ns <= lasted


def _was_disturbed(account: Account, life: _Life, instance: str, start: int, end: int) -> bool:
    return any(
        each.start < end
        and _felt_until(each, account) > start
        and each.instance in {None, instance}
        and each.event_id in {None, life.event_id}
        for each in account.disturbances
    )


def _repeats(life: _Life) -> Iterator[tuple[Call, Call]]:
    """Calls that followed on one that had not failed."""
    for first, second in pairwise(life.calls):
        if first.ending is not Ending.FAILED or second.start < first.end:
            yield first, second


def _wrong_attempts(life: _Life, account: Account) -> Iterator[str]:
    in_time = [call for call in life.calls if not _was_stopped_before(call, account)]
    for first, second in pairwise(in_time):
        if second.attempt <= first.attempt and first.start > life.stored_again_until:
            yield f"attempt {second.attempt} began after attempt {first.attempt}"
    called = {call.attempt for call in life.calls}
    uncalled = SettlementKind.RELEASE, SettlementKind.BURY
    for claim in life.claims:
        attempt = claim.outcome.attempt
        later = [call.start for call in life.calls if call.attempt > attempt]
        if not _was_reported(life, claim, SettlementKind.RETRY):  # as if it had been called
            later += [each.start for each in life.claims if _has_buried_after(life, each, attempt)]
        is_free = attempt in called or _was_reported(life, claim, *uncalled)
        if is_free or not later or claim.start < life.stored_again_until:
            continue
        if not _was_disturbed(account, life, claim.caller, claim.start, min(later)):
            yield f"attempt {attempt} was given to {claim.caller}, counted, and never made"


def _has_buried_after(life: _Life, claim: Step, attempt: int) -> bool:
    """Whether it was claimed after this attempt, and buried."""
    is_later: bool = claim.outcome.attempt > attempt
    return is_later and _was_reported(life, claim, SettlementKind.BURY)


def _untrue(life: _Life, account: Account) -> Iterator[str]:
    cancels = [answer for answer in life.cancels if answer.start > life.stored_again_until]
    for answer in cancels:
        yield from _untrue_of_cancel(life, answer, account)
    for answer in (*life.cancels, *life.moves):
        yield from _not_what_the_backend_said(life, answer)
    if sum(answer.outcome is CancelOutcome.CANCELLED for answer in cancels) > 1:
        yield "it was CANCELLED twice"
    for answer in life.moves:
        if answer.outcome is RescheduleOutcome.RESCHEDULED:
            for call in life.calls:
                if _was_under_way(call, answer, account):
                    yield f"attempt {call.attempt} was under way at the answer RESCHEDULED"
            if _had_ended(life, answer):
                yield "it had ended before it was RESCHEDULED"


def _untrue_of_cancel(life: _Life, answer: Answer, account: Account) -> Iterator[str]:
    outcome = answer.outcome
    if outcome is UNKNOWN or not _was_acknowledged_before(life, answer):
        return
    if outcome is CancelOutcome.CANCELLED:
        for call in life.calls:
            if call.end > answer.end:
                place = "after" if call.start > answer.end else "and was under way at"
                yield f"attempt {call.attempt} began {place} the answer CANCELLED"
            elif call.ending is Ending.SUCCEEDED and call.start > life.stored_again_until:
                yield f"attempt {call.attempt} succeeded, and then the answer was CANCELLED"
    others = {other.outcome for other in life.cancels if other.start < answer.end}
    if outcome is CancelOutcome.NOT_FOUND and not others & {CancelOutcome.IN_FLIGHT, UNKNOWN}:
        for call in life.calls:
            if call.start > answer.end and not _was_stopped_before(call, account):
                yield f"attempt {call.attempt} began after the answer NOT_FOUND"
        if CancelOutcome.CANCELLED not in others and not _may_have_ended(life, answer.end):
            yield "nobody had ended it at the answer NOT_FOUND"
    for claim in life.claims:
        if claim.start > answer.end:
            yield f"attempt {claim.outcome.attempt} was handed out after the answer {outcome.name}"
    is_dead = life.left is not None and life.left.state is State.DEAD
    if life.left is not None and not (is_dead and outcome is not CancelOutcome.CANCELLED):
        yield f"it is there in the end, although the answer was {outcome.name}"


def _not_what_the_backend_said(life: _Life, answer: Answer) -> Iterator[str]:
    """What a client is told follows from what the backend said of the event while the client waited.

    Who asked it is not written down, so the answer to any of those who did is accepted.
    """
    said = _said_of_cancel(life, answer) if answer.trigger_us is None else _said(life, answer)
    if said and answer.outcome is not UNKNOWN and answer.outcome not in said:
        names = " or ".join(sorted(outcome.name for outcome in said))
        yield f"the answer was {answer.outcome.name}, and the backend had said {names}"


def _said(life: _Life, answer: Answer) -> set[Any]:
    """How the backend answered those who asked for the same as this client, while it waited."""
    kind = Kind.CANCEL if answer.trigger_us is None else Kind.RESCHEDULE
    return {
        step.outcome
        for step in life.changes
        if step.kind is kind and step.outcome is not UNKNOWN and _was_during(step, answer)
    }


def _said_of_cancel(life: _Life, answer: Answer) -> set[Any]:
    """Also who takes back a claim of its own removes an event; its earlier owner may still call it."""
    said = _said(life, answer)
    for report in life.reports:
        if report.outcome is True and _has_removed(report) and _was_during(report, answer):
            was_lost = report.arguments["settlement"].claim.lost_before
            said.add(CancelOutcome.IN_FLIGHT if was_lost else CancelOutcome.CANCELLED)
    if CancelOutcome.NOT_FOUND in said and _was_in_doubt(life, answer):
        said.add(CancelOutcome.IN_FLIGHT)
    return said


def _was_in_doubt(life: _Life, answer: Answer) -> bool:
    """Whether an answer of the backend was lost, or a claim taken back in vain, while the client waited."""
    return any(
        answer.start < step.start < answer.end
        and (step.outcome is UNKNOWN or (step.kind is Kind.SETTLE and step.outcome is False))
        for step in (*life.changes, *life.reports, *life.refusals)
    )


def _has_removed(report: Step) -> bool:
    settlement: Settlement = report.arguments["settlement"]
    return settlement.kind is SettlementKind.DONE


def _was_during(step: Step, answer: Answer) -> bool:
    """Whether a backend was asked, and answered, while the client waited for its answer."""
    return answer.start < step.start and step.end < answer.end


def _had_ended(life: _Life, answer: Answer) -> bool:
    """Whether it was acknowledged before the client asked that the event is gone for good."""
    ends = [
        (each.start, each.end)
        for each in life.reports
        if each.outcome is True and _has_removed(each)
    ]
    ends += [
        (each.start, each.end)
        for each in life.cancels
        if each.outcome is CancelOutcome.CANCELLED and _was_acknowledged_before(life, each)
    ]
    return any(life.stored_again_until < start and end < answer.start for start, end in ends)


def _may_have_ended(life: _Life, by: int) -> bool:
    """Whether an instance had begun by then to report that nothing more is to be done."""
    ends = {SettlementKind.DONE, SettlementKind.BURY}
    return any(
        report.start < by and report.arguments["settlement"].kind in ends for report in life.reports
    )


def _was_acknowledged_before(life: _Life, answer: Answer) -> bool:
    """Whether the client knew that the event was stored when it asked."""
    creation = life.creation
    return creation is not None and creation.outcome is True and creation.end < answer.start


def _was_under_way(call: Call, move: Answer, account: Account) -> bool:
    """Whether a call had begun for the old time, and had not ended, when the event was moved."""
    assert move.trigger_us is not None
    if not call.start < move.end < call.end:
        return False
    called_us = _backend_us(account, call.start) + account.timer_error_us
    return call.start < move.start or called_us < move.trigger_us


def _dropped(life: _Life, account: Account) -> Iterator[str]:
    has_given_up = any(call.ending is Ending.GAVE_UP for call in life.calls)
    if life.left is None or life.left.state is not State.DEAD:
        if has_given_up and not life.was_cancelled and not life.has_succeeded:
            yield "its trigger gave up, and it is not among the dead letters"
    elif not has_given_up and not _may_be_dead(life.left, account):
        yield f"it is among the dead letters: {life.left.reason}"


def _may_be_dead(left: StoredEvent, account: Account) -> bool:
    """Whether it is made to die, or no attempt may follow."""
    is_exhausted = account.max_retry is not None and left.attempt > account.max_retry
    return is_exhausted or left.id in account.may_die


def _stuck(life: _Life, _account: Account) -> Iterator[str]:
    if life.left is not None and life.left.state is not State.DEAD:
        yield f"it is still {life.left.state.value}, due at {life.left.due}"


_CHECKS: Mapping[Promise, Callable[[_Life, Account], Iterator[str]]] = {
    Promise.LOST: _lost,
    Promise.PHANTOM: _phantom,
    Promise.EARLY: _early,
    Promise.CLAIM: _without_claim,
    Promise.FENCE: _after_completion,
    Promise.REPEAT: _unexplained_repeats,
    Promise.ATTEMPT: _wrong_attempts,
    Promise.CANCEL: _untrue,
    Promise.DROPPED: _dropped,
    Promise.STUCK: _stuck,
}


def _of_backend(account: Account) -> Iterator[Breach]:
    """What the backend answered, held against its laws, together with what was left in the end."""
    ends = (step.start if step.end == OPEN_END else step.end for step in account.steps)
    end = max(ends, default=0) + 1
    ids = {step.event_id for step in account.steps} | account.left.keys()
    left = [
        Step(event_id=i, kind=Kind.READ, outcome=account.left.get(i), start=end, end=end)
        for i in ids
    ]
    try:
        history.check([*account.steps, *left], account.resolution)
    except LawBroken as broken:
        yield Breach(Promise.BACKEND, "", str(broken))


def _backend_us(account: Account, at: int) -> int:
    return account.epoch_us + at // 1000


def _fate(life: _Life) -> str | None:
    """Which book the event is in; None if it never came to be."""
    if not life.is_known_to_exist:
        return None
    if life.left is not None:
        return "dead" if life.left.state is State.DEAD else "waiting"
    if life.has_succeeded:
        return "completed"
    return "cancelled" if life.was_cancelled else "lost"

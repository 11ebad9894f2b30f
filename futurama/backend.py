"""The protocol between the scheduler and the place where events wait.

A backend is a small, stupid driver: it stores bytes, compares times that it is *given*, and makes
each decision atomically. All thinking (batching, retries, clocks, JSON, backoff) is done above it.
``futurama.conformance`` decides whether a backend is right; every law has an id that the docstrings
below name in brackets.

What holds for every operation:

* *Batched.* Arguments are sequences of any type and stay as they were given; results are
  positional: one per input, in order. A batch means what its items mean one after another; an empty batch is allowed and does nothing.
* *Atomic* per item, and durable when it returns if the backend is durable.
* *Thread-safe*, and process-safe where ``capabilities.shared``.
* *Time is an argument* of whatever depends on it: a backend never decides by its own clock.
  All times are aware UTC within ``times.EARLIEST`` .. ``times.LATEST``; otherwise any will do:
  ``now`` may stand still, jump and run backwards from call to call.
* *Text* is any text that UTF-8 can encode, NUL included, and comes back as it was given.
* *Repeatable.* After :class:`~futurama.errors.OutcomeUnknownError` every operation may be repeated
  with the same arguments without harm [replay].
* *Errors* are :class:`~futurama.errors.BackendError` and its subclasses, raised ``from`` the
  driver's own; anything else is a bug of the backend.

The life of an event, as a backend sees it::

    add ──> WAITING ──claim──> CLAIMED ──settle done──> (gone)
              ^                   │ │
              └─retry / release───┘ └──settle bury──> DEAD ──requeue──> WAITING, or purge

``due`` is when the event may next be handed out: WAITING: the trigger time or the retry time;
CLAIMED: the end of the lease; DEAD: never. An event whose lease has ended is handed out again, by
the same rule as any other: nothing sweeps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, ClassVar, Literal, Protocol, Self, TypeAlias, runtime_checkable

import attrs

from futurama.errors import InvalidEventError
from futurama.events import CancelOutcome, RescheduleOutcome, check_id, check_trigger_type
from futurama.times import to_utc

__all__ = [
    "MAX_OWNER_BYTES",
    "MAX_REASON_BYTES",
    "AddOutcome",
    "Capabilities",
    "Claim",
    "ClaimBatch",
    "ConfigurableBackend",
    "Diagnosable",
    "EventBackend",
    "Finding",
    "IfExists",
    "Migratable",
    "Move",
    "NewEvent",
    "Page",
    "Query",
    "Settlement",
    "SettlementKind",
    "State",
    "StoredEvent",
    "Verdict",
    "check_payload",
]

MAX_OWNER_BYTES = 128
"""The owner of a claim has 1 to 128 bytes of UTF-8, and is stored exactly."""

MAX_REASON_BYTES = 8000
"""The reason of a dead letter has 0 to 8,000 bytes of UTF-8, and is stored exactly."""

IfExists: TypeAlias = Literal["raise", "keep", "replace"]
"""What ``add`` does with an id that is taken: refuse it, leave the stored event, overwrite it."""


@attrs.frozen(kw_only=True)
class Capabilities:
    """What a backend can do. No defaults: every field is a decision, and the suite checks it.

    Attributes:
        durable: what was acknowledged survives the death of every process that uses the backend.
        shared: several processes may use the same store at once.
        resolution: the step of stored times; trigger times, dues and ends of leases are rounded
            *up* to a multiple of it.
            At most one second, and a divisor of one second.
        max_data_bytes: the longest payload, in bytes of encoded JSON.
    """

    durable: bool
    shared: bool
    resolution: timedelta
    max_data_bytes: int


class State(Enum):
    """Where in its life a stored event is."""

    WAITING = "waiting"
    CLAIMED = "claimed"
    """Handed out and not reported; stays so after the lease has ended, until claimed again."""
    DEAD = "dead"


class AddOutcome(Enum):
    """What became of one event given to ``add``."""

    ADDED = "added"
    """It is stored; also when this very event was stored already (a repeated call)."""
    REFUSED = "refused"
    """``if_exists="raise"`` and the id is taken: nothing was changed."""
    KEPT = "kept"
    """``if_exists="keep"`` and the id is taken: nothing was changed."""
    REPLACED = "replaced"
    """``if_exists="replace"`` and the id was taken: the stored event was overwritten."""


class SettlementKind(Enum):
    """What became of a claim."""

    DONE = "done"
    RETRY = "retry"
    BURY = "bury"
    RELEASE = "release"


def _created_to_utc(value: datetime) -> datetime:
    return to_utc(value, field="created")


@attrs.frozen(kw_only=True)
class NewEvent:
    """An event to store. Constructing one validates it, so backends need not.

    Attributes:
        id: 1 to 128 bytes of UTF-8, compared byte for byte.
        trigger_type: 1 to 128 bytes of UTF-8.
        trigger_time: aware; converted to UTC; within ``times.EARLIEST`` .. ``times.LATEST``.
        payload: the encoded data, opaque bytes for the backend.
        created: aware; converted to UTC; stored to the microsecond whatever the resolution.
            Together with the other fields it tells a repeated ``add`` from a second event.

    Raises:
        InvalidEventError: a field is none of the above.
    """

    id: str = attrs.field(converter=check_id)
    trigger_type: str = attrs.field(converter=check_trigger_type)
    trigger_time: datetime = attrs.field(converter=to_utc)
    payload: bytes
    created: datetime = attrs.field(converter=_created_to_utc)


@attrs.frozen(kw_only=True)
class Claim:
    """The right to run one attempt of one event until ``lease_until``.

    Attributes:
        id, trigger_type, trigger_time, payload, created: the event as stored.
        attempt: the number of this attempt, 1 for the first; counted when claimed.
        token: made for this claim; whoever holds the event's current token holds the claim.
        due: when the call is due: what the event's due was before it was claimed.
        lease_until: when the claim ends unless renewed, as stored (rounded up).
        lost_before: an earlier claim on this event ended without a report, so a call that nobody
            waits for may still be under way.
    """

    id: str
    trigger_type: str
    trigger_time: datetime
    payload: bytes
    created: datetime
    attempt: int
    token: bytes
    due: datetime
    lease_until: datetime
    lost_before: bool


@attrs.frozen(kw_only=True)
class ClaimBatch:
    """What ``claim`` returns.

    Attributes:
        claims: ordered by (due, id).
        next_due: the earliest due of all events left in the backend after this call, claimed ones
            (then the end of their lease) included and dead ones excluded; None if there is none.
    """

    claims: Sequence[Claim]
    next_due: datetime | None


@attrs.frozen
class Settlement:
    """What became of one claim. Made by :meth:`done`, :meth:`retry`, :meth:`bury`, :meth:`release`.

    Attributes:
        claim: the claim that is reported.
        kind: see the methods.
        due: RETRY: when the next attempt is due; may lie in the past. RELEASE: the same, None: as before
            the claim.
        payload: RETRY: replaces the payload; None leaves it.
        reason: BURY: why, for people; 0 to :data:`MAX_REASON_BYTES` bytes of UTF-8.
    """

    claim: Claim
    kind: SettlementKind
    due: datetime | None = None
    payload: bytes | None = None
    reason: str | None = None

    @classmethod
    def done(cls, claim: Claim) -> Self:
        """The event has ended and is removed."""
        return cls(claim, SettlementKind.DONE)

    @classmethod
    def retry(cls, claim: Claim, due: datetime, payload: bytes | None = None) -> Self:
        """The event waits again until ``due``; the attempt stays counted."""
        return cls(claim, SettlementKind.RETRY, due=to_utc(due, field="due"), payload=payload)

    @classmethod
    def bury(cls, claim: Claim, reason: str) -> Self:
        """The event moves to the dead letters."""
        return cls(claim, SettlementKind.BURY, reason=reason)

    @classmethod
    def release(cls, claim: Claim, due: datetime | None = None) -> Self:
        """No call was made: due and attempt are again what they were before the claim.

        With ``due``, the event waits until then instead.
        """
        due = None if due is None else to_utc(due, field="due")
        return cls(claim, SettlementKind.RELEASE, due=due)


@attrs.frozen(kw_only=True)
class Move:
    """A change of a waiting event: a new time, a new payload, or both.

    Attributes:
        id: which event.
        trigger_time: aware, becomes the trigger time and the due; None leaves both as they are.
        payload: None leaves it as it is.
    """

    id: str
    trigger_time: datetime | None = attrs.field(
        default=None, converter=attrs.converters.optional(to_utc)
    )
    payload: bytes | None = None


@attrs.frozen(kw_only=True)
class StoredEvent:
    """A stored event as people and tools see it.

    Attributes:
        id, trigger_type, trigger_time, payload, created: as in :class:`NewEvent`.
        attempt: how many attempts were counted so far; 0 before the first claim.
        state: where in its life the event is.
        due: see the module's docstring; None when DEAD.
        owner: CLAIMED: the name of the instance that holds the claim, else None.
        lost: some claim on this event ended without a report.
        died: DEAD: when it was buried, rounded up or down to the resolution, else None.
        reason: DEAD: why it was buried, else None.
    """

    id: str
    trigger_type: str
    trigger_time: datetime
    payload: bytes
    created: datetime
    attempt: int
    state: State
    due: datetime | None
    owner: str | None
    lost: bool
    died: datetime | None
    reason: str | None


@attrs.frozen(kw_only=True)
class Query:
    """Which events ``find`` returns: those that match every criterion that is not None.

    Attributes:
        ids: only these ids.
        trigger_type: only this type.
        state: only this state.
        due_from, due_until: ``due_from <= due < due_until``; dead events, which have no due, never match.
        limit: at most so many events per page, at least 1.
        after: continue behind the page whose ``next`` this is.
    """

    ids: Sequence[str] | None = None
    trigger_type: str | None = None
    state: State | None = None
    due_from: datetime | None = None
    due_until: datetime | None = None
    limit: int = attrs.field(default=100, validator=attrs.validators.ge(1))
    after: str | None = None


@attrs.frozen(kw_only=True)
class Page:
    """One page of ``find``.

    Attributes:
        events: waiting and claimed events ordered by (due, id), then dead ones by (died, id).
        next: pass it as ``Query.after`` for the next page; None on the page with the last match,
            and on an empty page. Opaque.
    """

    events: Sequence[StoredEvent]
    next: str | None


class EventBackend(Protocol):
    """Where events wait. Read the module's docstring first: it says what holds for all operations."""

    @property
    def name(self) -> str:
        """The backend's name for messages: ``"mysql"``."""

    @property
    def capabilities(self) -> Capabilities:
        """What this backend can do; constant from construction on."""

    def open(self) -> None:
        """Connect, and create or check the schema. Idempotent; may be called after ``close``.

        Raises:
            BackendUnavailableError: the server cannot be reached.
            BackendSetupError: it can, but someone has to act first.
        """

    def close(self) -> None:
        """Give back every connection, thread and file. Idempotent. What is stored stays stored."""

    def now(self) -> datetime:
        """Aware UTC from the clock that all instances of this backend share (the server's)."""

    def add(self, events: Sequence[NewEvent], *, if_exists: IfExists) -> Sequence[AddOutcome]:
        """Store new events: WAITING, ``due`` = trigger time, attempt 0 [add.*].

        The id may be taken by an event in any state, a dead one included; then ``if_exists``
        decides. The same id twice in one batch means one after the other. Replacing a claimed
        event takes the claim away from its holder, whose call may be in flight: the event counts
        as ``lost`` from then on. If the stored event has the same id, trigger type, trigger time
        (as stored), payload and created as the given one, the call is a repeat: nothing changes,
        whatever ``if_exists`` says, and the outcome is ADDED [replay.add].

        Raises:
            InvalidEventError: a payload exceeds ``max_data_bytes``; nothing was written.
        """

    def cancel(self, ids: Sequence[str]) -> Sequence[CancelOutcome]:
        """Remove events, one atomic decision each [cancel.*].

        WAITING and never lost: removed, CANCELLED. CLAIMED (whether or not the lease has ended),
        or once lost by a silent owner: removed, IN_FLIGHT. DEAD or absent: NOT_FOUND, unchanged.
        """

    def reschedule(self, moves: Sequence[Move]) -> Sequence[RescheduleOutcome]:
        """Change waiting events, one atomic decision each [reschedule.*].

        WAITING and never lost: changed, RESCHEDULED; attempt, type and created stay. CLAIMED, or
        once lost: unchanged, IN_FLIGHT. DEAD or absent: unchanged, NOT_FOUND.

        Raises:
            InvalidEventError: a payload exceeds ``max_data_bytes``; nothing was written.
        """

    def claim(
        self,
        *,
        owner: str,
        now: datetime,
        due_before: datetime,
        lease_until: datetime,
        limit: int,
    ) -> ClaimBatch:
        """Hand out at most ``limit`` events, the earliest (due, id) first [claim.*].

        A WAITING event may be handed out iff ``due <= due_before``, a CLAIMED one iff its lease
        has ended, ``due <= now``; it then counts as ``lost`` for good. ``due_before`` may lie
        ahead of ``now`` (look-ahead) and leases never end early because of it. Each claimed event
        gets a token that no earlier claim on it had, ``due`` = ``lease_until``, attempt + 1.

        Args:
            owner: the instance's name, for people; 1 to :data:`MAX_OWNER_BYTES` bytes of UTF-8.
            now: ends leases.
            due_before: may lie before ``now``, too.
            lease_until: if it is not after ``now``, the lease has ended from the beginning: the
                claim cannot be reported, and the next call hands the event out again, as lost.
            limit: at least 1; may be far more than there are events.

        Two claimers never get the same event: whatever one is about to commit the other passes
        over without waiting, so under concurrency fewer than ``limit`` may be returned although
        ``next_due`` is past; ask again.
        """

    def renew(
        self, claims: Sequence[Claim], *, now: datetime, lease_until: datetime
    ) -> Sequence[bool]:
        """Move the end of leases to ``lease_until``, be it later, sooner or past [fence.renew].

        True iff the claim was still held: its token is the event's current one and its lease has
        not ended (``now`` < due). Otherwise False, and nothing changes.
        """

    def settle(self, settlements: Sequence[Settlement], *, now: datetime) -> Sequence[bool]:
        """Report what became of claims [fence.*, settle.*]; mixed kinds are fine.

        True iff the claim was still held (as for ``renew``) and is now reported. Otherwise False,
        and nothing changes. Reporting twice: the second report is False.

        Raises:
            InvalidEventError: a payload exceeds ``max_data_bytes``; nothing was written.
        """

    def find(self, query: Query) -> Page:
        """Look at events; for people and tools, not for the hot path."""

    def count(self) -> Mapping[State, int]:
        """How many events there are in each state; every state is a key."""

    def requeue(self, ids: Sequence[str], *, now: datetime) -> Sequence[bool]:
        """DEAD events become WAITING with ``due`` = ``now``, attempt 0; False for all others."""

    def purge(self, *, before: datetime) -> int:
        """Remove the dead letters that died before ``before``; return how many."""


class ConfigurableBackend(Protocol):
    """What an entry point of the group ``futurama.backends`` names: a backend made from settings.

    Attributes:
        Settings: an attrs class whose fields were made by ``futurama.settings.key``; they are the
            backend's own keys in the flat configuration.
    """

    Settings: ClassVar[type[Any]]

    @classmethod
    def from_settings(cls, settings: Any) -> EventBackend:
        """A backend that is not opened yet. Must not touch the network or the disk."""


@runtime_checkable
class Migratable(Protocol):
    """A backend with a schema that people may want to create with other rights than the runtime's."""

    def migrate(self) -> Sequence[str]:
        """Bring the schema up to date; return one sentence per change made. Idempotent."""


class Verdict(Enum):
    """How good a finding is."""

    OK = "ok"
    ADVICE = "advice"
    PROBLEM = "problem"


@attrs.frozen
class Finding:
    """One line of ``futurama check``.

    Attributes:
        name: what was looked at.
        value: what was found.
        verdict: whether someone should act.
        advice: what to do; empty when OK.
    """

    name: str
    value: str
    verdict: Verdict = Verdict.OK
    advice: str = ""


@runtime_checkable
class Diagnosable(Protocol):
    """A backend that can say how well its server is set up."""

    def diagnose(self) -> Sequence[Finding]:
        """Look at versions, isolation, durability, rights; change nothing."""


def check_payload(payload: bytes, capabilities: Capabilities) -> None:
    """Raise :class:`InvalidEventError` if ``payload`` is longer than the backend can store."""
    if len(payload) > capabilities.max_data_bytes:
        raise InvalidEventError(
            f"data has {len(payload)} bytes as JSON, this backend stores at most "
            f"{capabilities.max_data_bytes}; store a reference to it instead",
            field="data",
        )

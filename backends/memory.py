"""The reference backend: a dictionary and a heap behind one lock; for unit tests and for reading.

It keeps every law of the protocol but forgets everything when its process ends.
"""

from __future__ import annotations

import heapq
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import ClassVar, Self, TypeAlias

import attrs

from futurama.backend import (
    AddOutcome,
    Capabilities,
    Claim,
    ClaimBatch,
    IfExists,
    Move,
    NewEvent,
    Page,
    Query,
    Settlement,
    SettlementKind,
    State,
    StoredEvent,
    check_payload,
)
from futurama.events import CancelOutcome, RescheduleOutcome
from futurama.settings import key

__all__ = ["MemoryBackend", "MemorySettings"]

_TOKEN_BYTES = 16

_STALE_ENTRIES_ALLOWED = 64
"""Beyond as many as there are rows; so that a nearly empty heap is not cleaned up all the time."""

_Entry: TypeAlias = tuple[datetime, str]
"""(due, id). Sorted as the protocol wants: text compares by code points, which order as UTF-8 does."""


@attrs.frozen
class MemorySettings:
    """The configuration keys of the memory backend."""

    max_data_bytes: int = key(
        1024 * 1024, "longest data of one event, encoded as JSON", unit="bytes", minimum=1
    )


@attrs.define(weakref_slot=False)
class _Row:
    """One stored event. The texts, bytes and times are those of the caller, not copies."""

    id: str
    trigger_type: str
    trigger_time: datetime
    payload: bytes
    created: datetime
    entry: _Entry | None = None
    """The heap entry that stands for this row, and its due; all others are stale. None: it is dead."""
    attempt: int = 0
    token: bytes | None = None
    owner: str | None = None
    lost: bool = False
    died: datetime | None = None
    reason: str | None = None

    @property
    def due(self) -> datetime | None:
        return None if self.entry is None else self.entry[0]

    @property
    def state(self) -> State:
        if self.entry is None:
            return State.DEAD
        return State.WAITING if self.token is None else State.CLAIMED

    def is_held_by(self, claim: Claim, now: datetime) -> bool:
        return self.token == claim.token and self.entry is not None and now < self.entry[0]

    def is_made_of(self, event: NewEvent) -> bool:
        return (
            self.created == event.created
            and self.trigger_type == event.trigger_type
            and self.trigger_time == event.trigger_time
            and self.payload == event.payload
        )


class MemoryBackend:
    """Events in the memory of this process.

    Args:
        settings: see :class:`MemorySettings`.
        now: the clock that :meth:`now` shows; tests pass a virtual one.
    """

    Settings: ClassVar[type[MemorySettings]] = MemorySettings
    name = "memory"

    def __init__(
        self,
        settings: MemorySettings | None = None,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        settings = settings or MemorySettings()
        self.capabilities = Capabilities(
            durable=False,
            shared=False,
            resolution=timedelta(microseconds=1),
            max_data_bytes=settings.max_data_bytes,
        )
        self._now = now
        self._lock = threading.Lock()
        self._rows: dict[str, _Row] = {}
        # Changing or removing a row leaves its former entry in the heap; such stale entries are
        # dropped when they come up.
        self._heap: list[_Entry] = []

    @classmethod
    def from_settings(cls, settings: MemorySettings) -> Self:
        """A backend that is not opened yet."""
        return cls(settings)

    def open(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do; what is stored stays as long as this object."""

    def now(self) -> datetime:
        """The time of the clock given at construction."""
        return self._now()

    def add(self, events: Sequence[NewEvent], *, if_exists: IfExists) -> Sequence[AddOutcome]:
        """See :meth:`futurama.backend.EventBackend.add`."""
        for event in events:
            check_payload(event.payload, self.capabilities)
        with self._lock:
            return [self._add(event, if_exists) for event in events]

    def _add(self, event: NewEvent, if_exists: IfExists) -> AddOutcome:
        row = _Row(event.id, event.trigger_type, event.trigger_time, event.payload, event.created)
        stored = self._rows.get(event.id)
        if stored is None:
            outcome = AddOutcome.ADDED
        elif stored.is_made_of(event):
            return AddOutcome.ADDED
        elif if_exists == "raise":
            return AddOutcome.REFUSED
        elif if_exists == "keep":
            return AddOutcome.KEPT
        else:
            row.lost = stored.lost or stored.token is not None
            outcome = AddOutcome.REPLACED
        self._rows[event.id] = row
        self._enqueue(row, event.trigger_time)
        return outcome

    def cancel(self, ids: Sequence[str]) -> Sequence[CancelOutcome]:
        """See :meth:`futurama.backend.EventBackend.cancel`."""
        with self._lock:
            return [self._cancel(event_id) for event_id in ids]

    def _cancel(self, event_id: str) -> CancelOutcome:
        row = self._rows.get(event_id)
        if row is None or row.state is State.DEAD:
            return CancelOutcome.NOT_FOUND
        del self._rows[event_id]
        if row.state is State.CLAIMED or row.lost:
            return CancelOutcome.IN_FLIGHT
        return CancelOutcome.CANCELLED

    def reschedule(self, moves: Sequence[Move]) -> Sequence[RescheduleOutcome]:
        """See :meth:`futurama.backend.EventBackend.reschedule`."""
        for move in moves:
            if move.payload is not None:
                check_payload(move.payload, self.capabilities)
        with self._lock:
            return [self._reschedule(move) for move in moves]

    def _reschedule(self, move: Move) -> RescheduleOutcome:
        row = self._rows.get(move.id)
        if row is None or row.state is State.DEAD:
            return RescheduleOutcome.NOT_FOUND
        if row.state is State.CLAIMED or row.lost:
            return RescheduleOutcome.IN_FLIGHT
        if move.payload is not None:
            row.payload = move.payload
        if move.trigger_time is not None:
            row.trigger_time = move.trigger_time
            self._enqueue(row, move.trigger_time)
        return RescheduleOutcome.RESCHEDULED

    def claim(
        self,
        *,
        owner: str,
        now: datetime,
        due_before: datetime,
        lease_until: datetime,
        limit: int,
    ) -> ClaimBatch:
        """See :meth:`futurama.backend.EventBackend.claim`."""
        token = os.urandom(_TOKEN_BYTES)
        claims: list[Claim] = []
        taken: list[_Row] = []
        passed_over: list[_Entry] = []
        with self._lock:
            for entry, row in self._pop_until(max(now, due_before)):
                due, _ = entry
                if due > (due_before if row.token is None else now):
                    passed_over.append(entry)
                    continue
                row.lost = row.lost or row.token is not None
                row.token, row.owner, row.attempt = token, owner, row.attempt + 1
                taken.append(row)
                claims.append(_claim(row, token=token, due=due, lease_until=lease_until))
                if len(claims) >= limit:
                    break
            # Only now: a lease that ends before `now` must not bring a row up again in this call.
            for entry in passed_over:
                heapq.heappush(self._heap, entry)
            for row in taken:
                self._enqueue(row, lease_until)
            next_due = self._next_due()
        return ClaimBatch(claims=claims, next_due=next_due)

    def renew(
        self, claims: Sequence[Claim], *, now: datetime, lease_until: datetime
    ) -> Sequence[bool]:
        """See :meth:`futurama.backend.EventBackend.renew`."""
        with self._lock:
            return [self._renew(claim, now, lease_until) for claim in claims]

    def _renew(self, claim: Claim, now: datetime, lease_until: datetime) -> bool:
        row = self._rows.get(claim.id)
        if row is None or not row.is_held_by(claim, now):
            return False
        self._enqueue(row, lease_until)
        return True

    def settle(self, settlements: Sequence[Settlement], *, now: datetime) -> Sequence[bool]:
        """See :meth:`futurama.backend.EventBackend.settle`."""
        for settlement in settlements:
            if settlement.payload is not None:
                check_payload(settlement.payload, self.capabilities)
        with self._lock:
            return [self._settle(settlement, now) for settlement in settlements]

    def _settle(self, settlement: Settlement, now: datetime) -> bool:
        claim = settlement.claim
        row = self._rows.get(claim.id)
        if row is None or not row.is_held_by(claim, now):
            return False
        row.token = row.owner = None
        if settlement.kind is SettlementKind.DONE:
            del self._rows[row.id]
        elif settlement.kind is SettlementKind.RETRY:
            assert settlement.due is not None, "made by Settlement.retry"
            if settlement.payload is not None:
                row.payload = settlement.payload
            self._enqueue(row, settlement.due)
        elif settlement.kind is SettlementKind.RELEASE:
            row.attempt -= 1
            self._enqueue(row, settlement.due or claim.due)
        else:
            row.entry, row.died, row.reason = None, now, settlement.reason
        return True

    def find(self, query: Query) -> Page:
        """See :meth:`futurama.backend.EventBackend.find`."""
        with self._lock:
            rows = sorted((row for row in self._rows.values() if _matches(row, query)), key=_cursor)
        start = 0
        if query.after is not None:
            start = next((i for i, row in enumerate(rows) if _cursor(row) > query.after), len(rows))
        page = rows[start : start + query.limit]
        is_last = start + query.limit >= len(rows)
        return Page(
            events=[_stored_event(row) for row in page],
            next=None if is_last else _cursor(page[-1]),
        )

    def count(self) -> Mapping[State, int]:
        """See :meth:`futurama.backend.EventBackend.count`."""
        counts = dict.fromkeys(State, 0)
        with self._lock:
            for row in self._rows.values():
                counts[row.state] += 1
        return counts

    def requeue(self, ids: Sequence[str], *, now: datetime) -> Sequence[bool]:
        """See :meth:`futurama.backend.EventBackend.requeue`."""
        with self._lock:
            return [self._requeue(event_id, now) for event_id in ids]

    def _requeue(self, event_id: str, now: datetime) -> bool:
        row = self._rows.get(event_id)
        if row is None or row.state is not State.DEAD:
            return False
        row.attempt, row.died, row.reason = 0, None, None
        self._enqueue(row, now)
        return True

    def purge(self, *, before: datetime) -> int:
        """See :meth:`futurama.backend.EventBackend.purge`."""
        with self._lock:
            dead = [
                row.id for row in self._rows.values() if row.died is not None and row.died < before
            ]
            for event_id in dead:
                del self._rows[event_id]
        return len(dead)

    def _enqueue(self, row: _Row, due: datetime) -> None:
        row.entry = (due, row.id)
        heapq.heappush(self._heap, row.entry)
        if len(self._heap) > 2 * len(self._rows) + _STALE_ENTRIES_ALLOWED:
            self._heap = [row.entry for row in self._rows.values() if row.entry is not None]
            heapq.heapify(self._heap)

    def _pop_until(self, horizon: datetime) -> Iterator[tuple[_Entry, _Row]]:
        """Take out of the heap what is due by ``horizon``, the least first; stale entries vanish."""
        while self._heap and self._heap[0][0] <= horizon:
            entry = heapq.heappop(self._heap)
            if (row := self._row_of(entry)) is not None:
                yield entry, row

    def _next_due(self) -> datetime | None:
        while self._heap and self._row_of(self._heap[0]) is None:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def _row_of(self, entry: _Entry) -> _Row | None:
        """The row that ``entry`` stands for; None if it is stale."""
        row = self._rows.get(entry[1])
        return row if row is not None and row.entry is entry else None


def _matches(row: _Row, query: Query) -> bool:
    return (
        (query.ids is None or row.id in query.ids)
        and (query.trigger_type is None or row.trigger_type == query.trigger_type)
        and (query.state is None or row.state is query.state)
        and (query.due_from is None or (row.due is not None and row.due >= query.due_from))
        and (query.due_until is None or (row.due is not None and row.due < query.due_until))
    )


def _cursor(row: _Row) -> str:
    """A string that sorts as the pages do: live before dead, then by time, then by id."""
    time = row.due or row.died
    assert time is not None, "whatever is not due has died"
    return f"{row.due is None:d}{time.isoformat(timespec='microseconds')}{row.id.encode().hex()}"


def _claim(row: _Row, *, token: bytes, due: datetime, lease_until: datetime) -> Claim:
    return Claim(
        id=row.id,
        trigger_type=row.trigger_type,
        trigger_time=row.trigger_time,
        payload=row.payload,
        created=row.created,
        attempt=row.attempt,
        token=token,
        due=due,
        lease_until=lease_until,
        lost_before=row.lost,
    )


def _stored_event(row: _Row) -> StoredEvent:
    return StoredEvent(
        id=row.id,
        trigger_type=row.trigger_type,
        trigger_time=row.trigger_time,
        payload=row.payload,
        created=row.created,
        attempt=row.attempt,
        state=row.state,
        due=row.due,
        owner=row.owner,
        lost=row.lost,
        died=row.died,
        reason=row.reason,
    )

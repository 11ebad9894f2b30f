"""The reference backend: a dictionary and a heap behind one lock; for unit tests and for reading.

It keeps every law of the protocol but forgets everything when its process ends.
"""

from __future__ import annotations

import heapq
import itertools
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import ClassVar, Self

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
from futurama.times import EARLIEST, from_us, to_us

__all__ = ["MemoryBackend", "MemorySettings"]

_TOKEN_BYTES = 16
_STALE_ENTRIES_ALLOWED = 64
_EARLIEST_US = to_us(EARLIEST)


@attrs.frozen
class MemorySettings:
    """The configuration keys of the memory backend."""

    max_data_bytes: int = key(
        1024 * 1024, "longest data of one event, encoded as JSON", unit="bytes", minimum=1
    )


@attrs.define
class _Row:
    """One stored event; times are microseconds, because integers compare fast and are small."""

    id: str
    trigger_type: str
    trigger_time_us: int
    payload: bytes
    created_us: int
    due_us: int | None
    attempt: int = 0
    token: bytes | None = None
    owner: str | None = None
    lost: bool = False
    died_us: int | None = None
    reason: str | None = None
    entry: int = -1
    """Which heap entry stands for this row; all others are stale. -1: none does."""

    @property
    def state(self) -> State:
        if self.due_us is None:
            return State.DEAD
        return State.WAITING if self.token is None else State.CLAIMED

    def is_held_by(self, claim: Claim, now_us: int) -> bool:
        return self.due_us is not None and self.token == claim.token and now_us < self.due_us


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
        # (due, id, number of the entry, row), ordered as the protocol wants. Changing a row leaves
        # its former entry in the heap; such stale entries are dropped when they come up.
        self._heap: list[tuple[int, bytes, int, _Row]] = []
        self._entry_numbers = itertools.count()

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
        due_us = to_us(event.trigger_time)
        row = _Row(
            event.id, event.trigger_type, due_us, event.payload, to_us(event.created), due_us
        )
        stored = self._rows.get(event.id)
        if stored is None:
            outcome = AddOutcome.ADDED
        elif _is_same_creation(stored, row):
            return AddOutcome.ADDED
        elif if_exists == "raise":
            return AddOutcome.REFUSED
        elif if_exists == "keep":
            return AddOutcome.KEPT
        else:
            row.lost = stored.lost or stored.token is not None
            self._remove(stored)
            outcome = AddOutcome.REPLACED
        self._rows[event.id] = row
        self._enqueue(row, due_us)
        return outcome

    def cancel(self, ids: Sequence[str]) -> Sequence[CancelOutcome]:
        """See :meth:`futurama.backend.EventBackend.cancel`."""
        with self._lock:
            return [self._cancel(event_id) for event_id in ids]

    def _cancel(self, event_id: str) -> CancelOutcome:
        row = self._rows.get(event_id)
        if row is None or row.state is State.DEAD:
            return CancelOutcome.NOT_FOUND
        self._remove(row)
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
            row.trigger_time_us = to_us(move.trigger_time)
            self._enqueue(row, row.trigger_time_us)
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
        now_us, due_before_us, lease_us = to_us(now), to_us(due_before), to_us(lease_until)
        horizon_us = max(now_us, due_before_us)
        token = os.urandom(_TOKEN_BYTES)
        claims: list[Claim] = []
        passed_over: list[_Row] = []
        with self._lock:
            while len(claims) < limit and (row := self._first()) is not None:
                due_us = row.due_us
                assert due_us is not None, "a dead row is never in the heap"
                if due_us > horizon_us:
                    break
                heapq.heappop(self._heap)
                row.entry = -1
                if due_us > (due_before_us if row.token is None else now_us):
                    passed_over.append(row)
                    continue
                row.lost = row.lost or row.token is not None
                row.token, row.owner, row.attempt = token, owner, row.attempt + 1
                row.due_us = lease_us
                claims.append(_claim(row, token=token, due_us=due_us))
            # Only now: a lease that ends before `now` must not bring a row up again in this call.
            for row in passed_over:
                assert row.due_us is not None
                self._enqueue(row, row.due_us)
            for claim in claims:
                self._enqueue(self._rows[claim.id], lease_us)
            first = self._first()
            next_due = None if first is None or first.due_us is None else from_us(first.due_us)
        return ClaimBatch(claims=claims, next_due=next_due)

    def renew(
        self, claims: Sequence[Claim], *, now: datetime, lease_until: datetime
    ) -> Sequence[bool]:
        """See :meth:`futurama.backend.EventBackend.renew`."""
        now_us, lease_us = to_us(now), to_us(lease_until)
        with self._lock:
            return [self._renew(claim, now_us, lease_us) for claim in claims]

    def _renew(self, claim: Claim, now_us: int, lease_us: int) -> bool:
        row = self._rows.get(claim.id)
        if row is None or not row.is_held_by(claim, now_us):
            return False
        self._enqueue(row, lease_us)
        return True

    def settle(self, settlements: Sequence[Settlement], *, now: datetime) -> Sequence[bool]:
        """See :meth:`futurama.backend.EventBackend.settle`."""
        for settlement in settlements:
            if settlement.payload is not None:
                check_payload(settlement.payload, self.capabilities)
        now_us = to_us(now)
        with self._lock:
            return [self._settle(settlement, now_us) for settlement in settlements]

    def _settle(self, settlement: Settlement, now_us: int) -> bool:
        claim = settlement.claim
        row = self._rows.get(claim.id)
        if row is None or not row.is_held_by(claim, now_us):
            return False
        row.token = row.owner = None
        if settlement.kind is SettlementKind.DONE:
            self._remove(row)
        elif settlement.kind is SettlementKind.RETRY:
            assert settlement.due is not None, "made by Settlement.retry"
            if settlement.payload is not None:
                row.payload = settlement.payload
            self._enqueue(row, to_us(settlement.due))
        elif settlement.kind is SettlementKind.RELEASE:
            row.attempt -= 1
            self._enqueue(row, to_us(claim.due))
        else:
            row.due_us, row.died_us, row.reason = None, now_us, settlement.reason
            row.entry = -1
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
        now_us = to_us(now)
        with self._lock:
            return [self._requeue(event_id, now_us) for event_id in ids]

    def _requeue(self, event_id: str, now_us: int) -> bool:
        row = self._rows.get(event_id)
        if row is None or row.state is not State.DEAD:
            return False
        row.attempt, row.died_us, row.reason = 0, None, None
        self._enqueue(row, now_us)
        return True

    def purge(self, *, before: datetime) -> int:
        """See :meth:`futurama.backend.EventBackend.purge`."""
        before_us = to_us(before)
        with self._lock:
            dead = [
                row.id
                for row in self._rows.values()
                if row.died_us is not None and row.died_us < before_us
            ]
            for event_id in dead:
                del self._rows[event_id]
        return len(dead)

    def _enqueue(self, row: _Row, due_us: int) -> None:
        row.due_us, row.entry = due_us, next(self._entry_numbers)
        heapq.heappush(self._heap, (due_us, row.id.encode(), row.entry, row))
        if len(self._heap) > 2 * len(self._rows) + _STALE_ENTRIES_ALLOWED:
            self._heap = [entry for entry in self._heap if entry[2] == entry[3].entry]
            heapq.heapify(self._heap)

    def _remove(self, row: _Row) -> None:
        del self._rows[row.id]
        row.entry = -1

    def _first(self) -> _Row | None:
        """The row with the least (due, id), left in the heap; drops stale entries before it."""
        while self._heap:
            _, _, number, row = self._heap[0]
            if row.entry == number:
                return row
            heapq.heappop(self._heap)
        return None


def _is_same_creation(a: _Row, b: _Row) -> bool:
    return (a.created_us, a.trigger_type, a.trigger_time_us, a.payload) == (
        b.created_us,
        b.trigger_type,
        b.trigger_time_us,
        b.payload,
    )


def _matches(row: _Row, query: Query) -> bool:
    return (
        (query.ids is None or row.id in query.ids)
        and (query.trigger_type is None or row.trigger_type == query.trigger_type)
        and (query.state is None or row.state is query.state)
        and (
            query.due_from is None
            or (row.due_us is not None and row.due_us >= to_us(query.due_from))
        )
        and (
            query.due_until is None
            or (row.due_us is not None and row.due_us < to_us(query.due_until))
        )
    )


def _cursor(row: _Row) -> str:
    """A string that sorts as the pages do: live before dead, then by time, then by id."""
    time_us = row.died_us if row.due_us is None else row.due_us
    assert time_us is not None
    return f"{row.due_us is None:d}{time_us - _EARLIEST_US:020d}{row.id.encode().hex()}"


def _claim(row: _Row, *, token: bytes, due_us: int) -> Claim:
    assert row.due_us is not None
    return Claim(
        id=row.id,
        trigger_type=row.trigger_type,
        trigger_time=from_us(row.trigger_time_us),
        payload=row.payload,
        created=from_us(row.created_us),
        attempt=row.attempt,
        token=token,
        due=from_us(due_us),
        lease_until=from_us(row.due_us),
        lost_before=row.lost,
    )


def _stored_event(row: _Row) -> StoredEvent:
    return StoredEvent(
        id=row.id,
        trigger_type=row.trigger_type,
        trigger_time=from_us(row.trigger_time_us),
        payload=row.payload,
        created=from_us(row.created_us),
        attempt=row.attempt,
        state=row.state,
        due=None if row.due_us is None else from_us(row.due_us),
        owner=row.owner,
        lost=row.lost,
        died=None if row.died_us is None else from_us(row.died_us),
        reason=row.reason,
    )

"""The backend: each operation takes the lock, decides about rows, and writes what it changed."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
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
    check_payload,
)
from futurama.events import CancelOutcome, RescheduleOutcome
from futurama.settings import key
from futurama_textfile.store import NAME, Row, Rows, Store

__all__ = ["TextFileBackend", "TextFileSettings"]

_CREATION = ("trigger_type", "trigger_time", "payload", "created")
"""With the id, what tells a repeated ``add`` from a second event."""


@attrs.frozen
class TextFileSettings:
    """The configuration keys of this backend."""

    path: str = key("events.jsonl", "the file; created at the first start, its folder is not")


class TextFileBackend:
    """Events in a text file that people can read.

    Args:
        settings: see :class:`TextFileSettings`.
    """

    Settings: ClassVar[type[TextFileSettings]] = TextFileSettings
    name = NAME
    capabilities = Capabilities(
        durable=True,
        shared=True,
        resolution=timedelta(microseconds=1),
        max_data_bytes=64 * 1024,
    )

    def __init__(self, settings: TextFileSettings) -> None:
        self.settings = settings
        self._store = Store(Path(settings.path).absolute())

    @classmethod
    def from_settings(cls, settings: TextFileSettings) -> Self:
        """A backend that is not opened yet."""
        return cls(settings)

    def open(self) -> None:
        """Create the file if it is missing."""
        self._store.create()

    def close(self) -> None:
        """Nothing to do: nothing stays open between two calls."""

    def now(self) -> datetime:
        """The clock of this machine."""
        return datetime.now(UTC)

    def add(self, events: Sequence[NewEvent], *, if_exists: IfExists) -> Sequence[AddOutcome]:
        """See :meth:`futurama.backend.EventBackend.add`."""
        for event in events:
            check_payload(event.payload, self.capabilities)
        with self._store.change() as rows:
            return [self._add(rows, event, if_exists) for event in events]

    def _add(self, rows: Rows, event: NewEvent, if_exists: IfExists) -> AddOutcome:
        stored = rows.get(event.id)
        if stored is not None:
            if all(getattr(stored, name) == getattr(event, name) for name in _CREATION):
                return AddOutcome.ADDED  # the answer to the first call was lost
            if if_exists == "raise":
                return AddOutcome.REFUSED
            if if_exists == "keep":
                return AddOutcome.KEPT
        rows[event.id] = Row(
            **attrs.asdict(event),
            due=event.trigger_time,
            lost=stored is not None and (stored.lost or stored.state is State.CLAIMED),
        )
        return AddOutcome.ADDED if stored is None else AddOutcome.REPLACED

    def find(self, query: Query) -> Page:
        """See :meth:`futurama.backend.EventBackend.find`."""
        rows = sorted(
            (row for row in self._store.read().values() if _matches(row, query)),
            key=lambda row: row.order,
        )
        if query.after is not None:
            rows = [row for row in rows if row.order > query.after]
        page = rows[: query.limit]
        return Page(
            events=[row.visible() for row in page],
            next=page[-1].order if len(rows) > query.limit else None,
        )

    def count(self) -> Mapping[State, int]:
        """See :meth:`futurama.backend.EventBackend.count`."""
        states = [row.state for row in self._store.read().values()]
        return {state: states.count(state) for state in State}

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
        claims = []
        with self._store.change() as rows:
            due = [row for row in rows.values() if _is_due(row, now=now, due_before=due_before)]
            for row in sorted(due, key=lambda row: row.order)[:limit]:
                claimed = attrs.evolve(
                    row,
                    state=State.CLAIMED,
                    due=lease_until,
                    attempt=row.attempt + 1,
                    token=secrets.token_bytes(16),
                    owner=owner,
                    lost=row.lost or row.state is State.CLAIMED,
                )
                rows[row.id] = claimed
                claims.append(_claim(row, claimed))
            next_due = min((row.due for row in rows.values() if row.due is not None), default=None)
        return ClaimBatch(claims=claims, next_due=next_due)

    def renew(
        self, claims: Sequence[Claim], *, now: datetime, lease_until: datetime
    ) -> Sequence[bool]:
        """See :meth:`futurama.backend.EventBackend.renew`."""
        with self._store.change() as rows:
            return [self._renew(rows, claim, now, lease_until) for claim in claims]

    def _renew(self, rows: Rows, claim: Claim, now: datetime, lease_until: datetime) -> bool:
        row = _held(rows, claim, now)
        if row is None:
            return False
        rows[row.id] = attrs.evolve(row, due=lease_until)
        return True

    def settle(self, settlements: Sequence[Settlement], *, now: datetime) -> Sequence[bool]:
        """See :meth:`futurama.backend.EventBackend.settle`."""
        for settlement in settlements:
            if settlement.payload is not None:
                check_payload(settlement.payload, self.capabilities)
        with self._store.change() as rows:
            return [self._settle(rows, settlement, now) for settlement in settlements]

    def _settle(self, rows: Rows, settlement: Settlement, now: datetime) -> bool:
        claim = settlement.claim
        row = _held(rows, claim, now)
        if row is None:
            return False
        if settlement.kind is SettlementKind.DONE:
            del rows[row.id]
            return True
        row = attrs.evolve(row, state=State.WAITING, token=None, owner=None)
        match settlement.kind:
            case SettlementKind.RETRY:
                payload = row.payload if settlement.payload is None else settlement.payload
                row = attrs.evolve(row, due=settlement.due, payload=payload)
            case SettlementKind.RELEASE:
                due = settlement.due or claim.due
                row = attrs.evolve(row, due=due, attempt=row.attempt - 1)
            case SettlementKind.BURY:
                reason = settlement.reason
                row = attrs.evolve(row, state=State.DEAD, due=None, died=now, reason=reason)
        rows[row.id] = row
        return True

    def cancel(self, ids: Sequence[str]) -> Sequence[CancelOutcome]:
        """See :meth:`futurama.backend.EventBackend.cancel`."""
        with self._store.change() as rows:
            return [self._cancel(rows, event_id) for event_id in ids]

    def _cancel(self, rows: Rows, event_id: str) -> CancelOutcome:
        row = rows.get(event_id)
        if row is None or row.state is State.DEAD:
            return CancelOutcome.NOT_FOUND
        del rows[event_id]
        if row.state is State.CLAIMED or row.lost:
            return CancelOutcome.IN_FLIGHT
        return CancelOutcome.CANCELLED

    def reschedule(self, moves: Sequence[Move]) -> Sequence[RescheduleOutcome]:
        """See :meth:`futurama.backend.EventBackend.reschedule`."""
        for move in moves:
            if move.payload is not None:
                check_payload(move.payload, self.capabilities)
        with self._store.change() as rows:
            return [self._reschedule(rows, move) for move in moves]

    def _reschedule(self, rows: Rows, move: Move) -> RescheduleOutcome:
        row = rows.get(move.id)
        if row is None or row.state is State.DEAD:
            return RescheduleOutcome.NOT_FOUND
        if row.state is State.CLAIMED or row.lost:
            return RescheduleOutcome.IN_FLIGHT
        if move.trigger_time is not None:
            row = attrs.evolve(row, trigger_time=move.trigger_time, due=move.trigger_time)
        if move.payload is not None:
            row = attrs.evolve(row, payload=move.payload)
        rows[row.id] = row
        return RescheduleOutcome.RESCHEDULED

    def requeue(self, ids: Sequence[str], *, now: datetime) -> Sequence[bool]:
        """See :meth:`futurama.backend.EventBackend.requeue`."""
        with self._store.change() as rows:
            return [self._requeue(rows, event_id, now) for event_id in ids]

    def _requeue(self, rows: Rows, event_id: str, now: datetime) -> bool:
        row = rows.get(event_id)
        if row is None or row.state is not State.DEAD:
            return False
        rows[event_id] = attrs.evolve(
            row, state=State.WAITING, due=now, attempt=0, died=None, reason=None
        )
        return True

    def purge(self, *, before: datetime) -> int:
        """See :meth:`futurama.backend.EventBackend.purge`."""
        with self._store.change() as rows:
            old = [row.id for row in rows.values() if row.died is not None and row.died < before]
            for event_id in old:
                del rows[event_id]
            return len(old)


def _matches(row: Row, query: Query) -> bool:
    return (
        (query.ids is None or row.id in query.ids)
        and (query.trigger_type is None or row.trigger_type == query.trigger_type)
        and (query.state is None or row.state is query.state)
        and (query.due_from is None or (row.due is not None and row.due >= query.due_from))
        and (query.due_until is None or (row.due is not None and row.due < query.due_until))
    )


def _is_due(row: Row, *, now: datetime, due_before: datetime) -> bool:
    if row.due is None:
        return False
    return row.due <= (due_before if row.state is State.WAITING else now)


def _claim(before: Row, after: Row) -> Claim:
    assert before.due is not None
    assert after.token is not None
    assert after.due is not None
    return Claim(
        id=after.id,
        trigger_type=after.trigger_type,
        trigger_time=after.trigger_time,
        payload=after.payload,
        created=after.created,
        attempt=after.attempt,
        token=after.token,
        due=before.due,
        lease_until=after.due,
        lost_before=after.lost,
    )


def _held(rows: Rows, claim: Claim, now: datetime) -> Row | None:
    """The row on which ``claim`` still stands."""
    row = rows.get(claim.id)
    if row is None or row.token != claim.token or row.due is None or now >= row.due:
        return None
    return row

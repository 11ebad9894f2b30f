"""The operations of every SQL backend.

Each that decides something is one transaction: lock the rows by primary key, decide item by item in
Python in the order given, write by primary key in as few statements as possible.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

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
from futurama.backends.sql.dialect import Dialect
from futurama.backends.sql.errors import Fault
from futurama.backends.sql.pages import Pages
from futurama.backends.sql.rows import Rows
from futurama.backends.sql.schema import Schema
from futurama.backends.sql.statements import MAX_OWNER_BYTES, Statements
from futurama.backends.sql.transactions import Transactions
from futurama.errors import BackendError, OutcomeUnknownError
from futurama.events import CancelOutcome, RescheduleOutcome
from futurama.times import EARLIEST, ceil_to, from_us, to_us

__all__ = ["SQLBackend"]

_TOKEN_BYTES = 16

_MAX_GUARDED_DELETES = 8
"""Claims made together share a token, so a report of calls that ended well is a few DELETEs. With
more tokens than this, looking first (one SELECT, one DELETE) takes fewer round trips."""

_PURGED_AT_ONCE = 500
"""Dead letters per transaction of ``purge``: no lock is held for long."""


class SQLBackend:
    """Events in one table of an SQL database.

    Args:
        dialect: the database.
        table_name: checked by ``statements.check_table_name``.
        capabilities: what :attr:`capabilities` shows.
        create_schema: whether :meth:`open` may create and upgrade the table.
    """

    def __init__(
        self,
        dialect: Dialect,
        *,
        table_name: str,
        capabilities: Capabilities,
        create_schema: bool,
    ) -> None:
        self.capabilities = capabilities
        self._dialect = dialect
        self._table_name = table_name
        self._create_schema = create_schema
        self._statements = Statements(dialect, table_name)
        self._transactions = Transactions(dialect)
        self._schema = Schema(dialect, self._transactions, self._statements)
        self._pages = Pages(dialect, self._statements)
        self._rows = Rows(dialect, self._statements)
        self._opening = threading.Lock()
        self._skips_locked = True

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._dialect.place}, table {self._table_name}>"

    @property
    def name(self) -> str:
        """The backend's name for messages."""
        return self._dialect.name

    def open(self) -> None:
        """See :meth:`futurama.backend.EventBackend.open`."""
        with self._opening:
            if self._transactions.is_open:
                return
            self._transactions.open()
            try:
                self._schema.ensure(create=self._create_schema)
                self._skips_locked = self._transactions.write(self._try_skip_locked)
            except BaseException:
                self._transactions.close()
                raise

    def close(self) -> None:
        """See :meth:`futurama.backend.EventBackend.close`."""
        with self._opening:
            self._transactions.close()

    def migrate(self) -> Sequence[str]:
        """See :meth:`futurama.backend.Migratable.migrate`; works whether or not it is open."""
        with self._connected():
            return self._schema.migrate()

    @contextlib.contextmanager
    def _connected(self) -> Iterator[None]:
        """Open for as long as this takes, without asking for a schema."""
        with self._opening:
            was_open = self._transactions.is_open
            self._transactions.open()
            try:
                yield
            finally:
                if not was_open:
                    self._transactions.close()

    def now(self) -> datetime:
        """See :meth:`futurama.backend.EventBackend.now`."""
        return self._transactions.read(self._dialect.now)

    # -- add ---------------------------------------------------------------------------------

    def add(self, events: Sequence[NewEvent], *, if_exists: IfExists) -> Sequence[AddOutcome]:
        """See :meth:`futurama.backend.EventBackend.add`."""
        for event in events:
            check_payload(event.payload, self.capabilities)
        if not events:
            return []
        rows = [self._new_row(event) for event in events]
        must_look = len({row[0] for row in rows}) < len(rows)

        def work(connection: sa.Connection) -> Sequence[AddOutcome]:
            nonlocal must_look
            if must_look:
                return self._add_looking(connection, rows, if_exists)
            must_look = True  # if an id is taken, this is called again
            self._rows.insert(connection, rows)
            return [AddOutcome.ADDED] * len(rows)

        return self._transactions.write(work)

    def _new_row(self, event: NewEvent) -> tuple[Any, ...]:
        """In the order of ``statements.INSERTED``."""
        time = self._rows.up(event.trigger_time)
        return (
            event.id.encode(),
            event.trigger_type.encode(),
            time,
            time,
            to_us(event.created),
            event.payload,
            0,
        )

    def _add_looking(
        self, connection: sa.Connection, rows: Sequence[tuple[Any, ...]], if_exists: IfExists
    ) -> Sequence[AddOutcome]:
        stored = self._rows.lock(
            connection,
            (row[0] for row in rows),
            *("trigger_type", "trigger_time", "created", "data", "lost", "token"),
        )
        # id -> (what tells a repeat from a second event, whether a call may be under way)
        known = {
            event_id: (
                (row.trigger_type, row.trigger_time, row.created, row.data),
                bool(row.lost) or row.token is not None,
            )
            for event_id, row in stored.items()
        }
        written: dict[bytes, tuple[Any, ...]] = {}
        outcomes: list[AddOutcome] = []
        for row in rows:
            event_id, trigger_type, time, due, created, data, _ = row
            creation = (trigger_type, self._dialect.decode_time(time), created, data)
            if event_id not in known:
                outcome, is_lost = AddOutcome.ADDED, False
            else:
                known_creation, is_lost = known[event_id]
                is_repeat = creation == (
                    known_creation[0],
                    self._dialect.decode_time(known_creation[1]),
                    *known_creation[2:],
                )
                outcome = AddOutcome.ADDED if is_repeat else _ON_CONFLICT[if_exists]
                if outcome is not AddOutcome.REPLACED:
                    outcomes.append(outcome)
                    continue
            known[event_id] = ((trigger_type, time, created, data), is_lost)
            written[event_id] = (event_id, trigger_type, time, due, created, data, int(is_lost))
            outcomes.append(outcome)
        self._rows.delete(connection, written.keys() & stored.keys())
        self._rows.insert(connection, list(written.values()))
        return outcomes

    # -- cancel, reschedule, requeue, purge ----------------------------------------------------

    def cancel(self, ids: Sequence[str]) -> Sequence[CancelOutcome]:
        """See :meth:`futurama.backend.EventBackend.cancel`."""
        if not ids:
            return []
        keys = [event_id.encode() for event_id in ids]

        def work(connection: sa.Connection) -> Sequence[CancelOutcome]:
            stored = self._rows.lock(connection, keys, "due", "token", "lost")
            outcomes, removed = [], []
            for key in keys:
                row = stored.get(key)
                if row is None or row.due is None:
                    outcomes.append(CancelOutcome.NOT_FOUND)
                    continue
                is_in_flight = row.token is not None or row.lost
                outcomes.append(
                    CancelOutcome.IN_FLIGHT if is_in_flight else CancelOutcome.CANCELLED
                )
                removed.append(key)
                del stored[key]
            self._rows.delete(connection, removed)
            return outcomes

        return self._transactions.write(work)

    def reschedule(self, moves: Sequence[Move]) -> Sequence[RescheduleOutcome]:
        """See :meth:`futurama.backend.EventBackend.reschedule`."""
        for move in moves:
            if move.payload is not None:
                check_payload(move.payload, self.capabilities)
        if not moves:
            return []

        def work(connection: sa.Connection) -> Sequence[RescheduleOutcome]:
            stored = self._rows.lock(
                connection, (move.id.encode() for move in moves), "due", "token", "lost"
            )
            outcomes = []
            changes: dict[bytes, dict[str, Any]] = {}
            for move in moves:
                key = move.id.encode()
                row = stored.get(key)
                if row is None or row.due is None:
                    outcomes.append(RescheduleOutcome.NOT_FOUND)
                elif row.token is not None or row.lost:
                    outcomes.append(RescheduleOutcome.IN_FLIGHT)
                else:
                    outcomes.append(RescheduleOutcome.RESCHEDULED)
                    change = changes.setdefault(key, {})
                    if move.trigger_time is not None:
                        change["trigger_time"] = change["due"] = self._rows.up(move.trigger_time)
                    if move.payload is not None:
                        change["data"] = move.payload
            self._rows.update(connection, changes)
            return outcomes

        return self._transactions.write(work)

    def requeue(self, ids: Sequence[str], *, now: datetime) -> Sequence[bool]:
        """See :meth:`futurama.backend.EventBackend.requeue`."""
        if not ids:
            return []
        keys = [event_id.encode() for event_id in ids]

        def work(connection: sa.Connection) -> Sequence[bool]:
            stored = self._rows.lock(connection, keys, "due")
            dead = {key for key, row in stored.items() if row.due is None}
            for some in self._dialect.in_lists(dead):
                connection.execute(
                    self._statements.revive, {"ids": some, "now": self._rows.up(now)}
                )
            results = []
            for key in keys:
                results.append(key in dead)
                dead.discard(key)
            return results

        return self._transactions.write(work)

    def purge(self, *, before: datetime) -> int:
        """See :meth:`futurama.backend.EventBackend.purge`.

        Works through the dead letters in many short transactions.
        """
        removed = 0
        after = b""
        while keys := self._dead_before(before, after):
            after = keys[-1]
            removed += self._purge(keys, before)
        return removed

    def _dead_before(self, before: datetime, after: bytes) -> Sequence[bytes]:
        """The first ids behind ``after`` of events that died before ``before``."""
        parameters = {
            # Stored times are multiples of the resolution: rounded up, the bound means the same.
            "before": self._rows.up(before),
            "after": after,
            "limit": _PURGED_AT_ONCE,
        }
        return self._transactions.read(
            lambda connection: (
                connection.execute(self._statements.dead_before, parameters).scalars().all()
            )
        )

    def _purge(self, keys: Sequence[bytes], before: datetime) -> int:
        def work(connection: sa.Connection) -> int:
            stored = self._rows.lock(connection, keys, "died")
            dead = [
                key
                for key, row in stored.items()
                if row.died is not None and self._dialect.decode_time(row.died) < before
            ]
            self._rows.delete(connection, dead)
            return len(dead)

        return self._transactions.write(work)

    # -- claim, renew, settle ------------------------------------------------------------------

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
        horizon = max(now, due_before)
        next_due = self._transactions.read(self._first_due)
        if limit < 1 or next_due is None or next_due > horizon:
            return ClaimBatch(claims=[], next_due=next_due)

        lease_until = ceil_to(lease_until, self.capabilities.resolution)
        parameters = {
            "horizon": self._rows.down(horizon),
            "due_before": self._rows.down(due_before),
            "now": self._rows.down(now),
            "limit": limit,
            "token": os.urandom(_TOKEN_BYTES),
            "owner": owner.encode(errors="replace")[:MAX_OWNER_BYTES],
            "lease_until": self._dialect.encode_time(lease_until),
        }
        rows: Sequence[Any] = ()

        def work(connection: sa.Connection) -> None:
            nonlocal rows, next_due
            rows = self._take(connection, parameters)
            next_due = self._first_due(connection)

        try:
            self._transactions.write(work)
        except OutcomeUnknownError:
            # Else the events would wait for the end of a lease that nobody knows of.
            if rows and not self._was_taken(parameters):
                raise
        return ClaimBatch(
            claims=self._claims(rows, parameters["token"], lease_until), next_due=next_due
        )

    def _take(self, connection: sa.Connection, parameters: Mapping[str, Any]) -> Sequence[Any]:
        rows = self._claimable(connection, parameters)
        taken = 0
        for ids in self._dialect.in_lists(row[0] for row in rows):
            taken += connection.execute(self._statements.take, {**parameters, "ids": ids}).rowcount
        if taken == len(rows):
            return rows
        # Only where SELECT ... FOR UPDATE does not really lock: some were gone at the UPDATE.
        mine: set[bytes] = set()
        for ids in self._dialect.in_lists(row[0] for row in rows):
            found = connection.execute(
                self._statements.taken, {"ids": ids, "token": parameters["token"]}
            )
            mine.update(found.scalars())
        return [row for row in rows if row[0] in mine]

    def _claimable(self, connection: sa.Connection, parameters: Mapping[str, Any]) -> Sequence[Any]:
        if self._skips_locked:
            return connection.execute(self._statements.claim, parameters).all()
        candidates = connection.execute(self._statements.claim_candidates, parameters).scalars()
        rows: list[Any] = []
        for ids in self._dialect.in_lists(candidates):
            rows += connection.execute(self._statements.claim_by_id, {**parameters, "ids": ids})
        return sorted(rows, key=lambda row: (row.due, row.id))

    def _claims(self, rows: Sequence[Any], token: bytes, lease_until: datetime) -> Sequence[Claim]:
        decode_time = self._dialect.decode_time
        return [
            Claim(
                id=event_id.decode(),
                trigger_type=trigger_type.decode(),
                trigger_time=decode_time(trigger_time),
                payload=payload,
                created=from_us(created),
                attempt=attempt + 1,
                token=token,
                due=decode_time(due),
                lease_until=lease_until,
                lost_before=bool(lost),
            )
            for event_id, trigger_type, trigger_time, due, attempt, lost, created, payload in rows
        ]

    def _was_taken(self, parameters: Mapping[str, Any]) -> bool:
        try:
            found = self._transactions.read(
                lambda connection: connection.execute(
                    self._statements.was_taken, parameters
                ).scalar()
            )
        except BackendError:
            return False
        return found is not None

    def _first_due(self, connection: sa.Connection) -> datetime | None:
        due = connection.execute(self._statements.first_due).scalar()
        return None if due is None else self._dialect.decode_time(due)

    def _try_skip_locked(self, connection: sa.Connection) -> bool:
        nothing = self._dialect.encode_time(EARLIEST)
        parameters = {"horizon": nothing, "due_before": nothing, "now": nothing, "limit": 0}
        try:
            connection.execute(self._statements.claim, parameters)
        except exc.DBAPIError as error:
            if self._dialect.fault(error)[0] is not Fault.UNSUPPORTED:
                raise
            return False
        return True

    def renew(
        self, claims: Sequence[Claim], *, now: datetime, lease_until: datetime
    ) -> Sequence[bool]:
        """See :meth:`futurama.backend.EventBackend.renew`."""
        if not claims:
            return []
        new_due = ceil_to(lease_until, self.capabilities.resolution)
        keys = [claim.id.encode() for claim in claims]

        def work(connection: sa.Connection) -> Sequence[bool]:
            held = self._held(self._rows.lock(connection, keys, "token", "due"))
            results, renewed = [], set()
            for key, claim in zip(keys, claims, strict=True):
                token, due = held.get(key, _NOT_HELD)
                is_held = token == claim.token and now < due
                results.append(is_held)
                if is_held:
                    held[key] = (claim.token, new_due)
                    renewed.add(key)
            for ids in self._dialect.in_lists(renewed):
                connection.execute(
                    self._statements.set_due,
                    {"ids": ids, "lease_until": self._dialect.encode_time(new_due)},
                )
            return results

        return self._transactions.write(work)

    def settle(self, settlements: Sequence[Settlement], *, now: datetime) -> Sequence[bool]:
        """See :meth:`futurama.backend.EventBackend.settle`."""
        for settlement in settlements:
            if settlement.payload is not None:
                check_payload(settlement.payload, self.capabilities)
        if not settlements:
            return []
        tokens = _ids_by_token(settlements)
        if tokens is not None and len(tokens) <= _MAX_GUARDED_DELETES:
            try:
                self._transactions.write(
                    lambda connection: self._delete_held(connection, tokens, now)
                )
            except _SomeClaimLostError:
                pass  # rolled back; which of them is to be found out
            else:
                return [True] * len(settlements)
        return self._transactions.write(
            lambda connection: self._settle_looking(connection, settlements, now)
        )

    def _delete_held(
        self, connection: sa.Connection, tokens: Mapping[bytes, list[bytes]], now: datetime
    ) -> None:
        """Remove all of these.

        Raises:
            _SomeClaimLostError: not all are held.
        """
        for token, keys in tokens.items():
            for ids in self._dialect.in_lists(keys):
                parameters = {"ids": ids, "token": token, "now": self._rows.down(now)}
                result = connection.execute(self._statements.delete_held, parameters)
                if result.rowcount != len(ids):
                    raise _SomeClaimLostError

    def _settle_looking(
        self, connection: sa.Connection, settlements: Sequence[Settlement], now: datetime
    ) -> Sequence[bool]:
        keys = [settlement.claim.id.encode() for settlement in settlements]
        stored = self._rows.lock(connection, keys, "token", "due", "attempt")
        held = self._held(stored)
        results, done = [], []
        changes: dict[bytes, dict[str, Any]] = {}
        for key, settlement in zip(keys, settlements, strict=True):
            token, due = held.get(key, _NOT_HELD)
            is_held = token == settlement.claim.token and now < due
            results.append(is_held)
            if not is_held:
                continue
            del held[key]  # whoever comes later in this batch reports a second time
            if settlement.kind is SettlementKind.DONE:
                done.append(key)
            else:
                changes[key] = self._change(settlement, stored[key].attempt, now)
        self._rows.delete(connection, done)
        self._rows.update(connection, changes)
        return results

    def _change(self, settlement: Settlement, attempt: int, now: datetime) -> dict[str, Any]:
        """The columns that a claim which goes on, or is buried, is given."""
        change: dict[str, Any] = {"token": None, "owner": None}
        if settlement.kind is SettlementKind.RETRY:
            assert settlement.due is not None, "made by Settlement.retry"
            change["due"] = self._rows.up(settlement.due)
            if settlement.payload is not None:
                change["data"] = settlement.payload
        elif settlement.kind is SettlementKind.RELEASE:
            change["due"] = self._rows.up(settlement.claim.due)
            change["attempt"] = attempt - 1
        else:
            reason = settlement.reason
            change["due"] = None
            change["died"] = self._rows.up(now)
            change["reason"] = None if reason is None else reason.encode(errors="surrogatepass")
        return change

    def _held(self, stored: Mapping[bytes, Any]) -> dict[bytes, tuple[bytes, datetime]]:
        """(token, end of the lease) of those rows that are CLAIMED."""
        return {
            key: (row.token, self._dialect.decode_time(row.due))
            for key, row in stored.items()
            if row.token is not None
        }

    # -- looking -------------------------------------------------------------------------------

    def find(self, query: Query) -> Page:
        """See :meth:`futurama.backend.EventBackend.find`."""
        return self._transactions.read(lambda connection: self._pages.read(connection, query))

    def count(self) -> Mapping[State, int]:
        """See :meth:`futurama.backend.EventBackend.count`."""
        rows = self._transactions.read(
            lambda connection: connection.execute(self._statements.count).all()
        )
        counts = dict.fromkeys(State, 0)
        for is_dead, is_unclaimed, number in rows:
            state = State.DEAD if is_dead else State.WAITING if is_unclaimed else State.CLAIMED
            counts[state] += number
        return counts


_ON_CONFLICT: Mapping[IfExists, AddOutcome] = {
    "raise": AddOutcome.REFUSED,
    "keep": AddOutcome.KEPT,
    "replace": AddOutcome.REPLACED,
}

_NOT_HELD: tuple[None, datetime] = (None, EARLIEST)


class _SomeClaimLostError(Exception):
    """Rolls back the transaction that took all claims for held."""


def _ids_by_token(settlements: Sequence[Settlement]) -> dict[bytes, list[bytes]] | None:
    """The ids under each token, if all are done and none is named twice."""
    tokens: dict[bytes, list[bytes]] = {}
    for settlement in settlements:
        if settlement.kind is not SettlementKind.DONE:
            return None
        tokens.setdefault(settlement.claim.token, []).append(settlement.claim.id.encode())
    distinct = {key for keys in tokens.values() for key in keys}
    return tokens if len(distinct) == len(settlements) else None

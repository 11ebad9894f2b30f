"""The operations of every SQL backend.

Each that decides something is one transaction: lock the rows by primary key, decide item by item in
Python in the order given, write by primary key in as few statements as possible.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

import sqlalchemy as sa

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
    State,
    check_payload,
)
from futurama.backends.sql.adding import Adding
from futurama.backends.sql.claiming import Claiming
from futurama.backends.sql.dialect import Dialect
from futurama.backends.sql.owners import Owners
from futurama.backends.sql.pages import Pages
from futurama.backends.sql.rows import Rows
from futurama.backends.sql.schema import Schema
from futurama.backends.sql.settling import Settling
from futurama.backends.sql.statements import NO_TOKEN, Statements, check_table_name
from futurama.backends.sql.transactions import Transactions
from futurama.errors import ConfigError
from futurama.events import CancelOutcome, RescheduleOutcome

__all__ = ["SQLBackend"]

_PURGED_AT_ONCE = 500
"""Dead letters per transaction of ``purge``: no lock is held for long."""


class SharedSettings(Protocol):
    """The configuration keys that every member has."""

    @property
    def table_name(self) -> str:
        """The table of events."""

    @property
    def create_schema(self) -> bool:
        """Whether ``open`` may create and upgrade the table."""

    @property
    def max_data_bytes(self) -> int:
        """The longest payload."""


class SQLBackend:
    """Events in one table of an SQL database: durable and shared.

    Args:
        dialect: the database.
        settings: the member's own class of settings.

    Raises:
        ConfigError: a key has a value that can never work.
    """

    def __init__(self, dialect: Dialect, settings: SharedSettings) -> None:
        check_table_name(settings.table_name, dialect.max_table_name)
        if settings.max_data_bytes > dialect.max_data_bytes:
            raise ConfigError(
                f"configuration key 'max_data_bytes' must be at most {dialect.max_data_bytes}, "
                f"got {settings.max_data_bytes}",
                key="max_data_bytes",
            )
        self.capabilities = Capabilities(
            durable=True,
            shared=True,
            resolution=dialect.resolution,
            max_data_bytes=settings.max_data_bytes,
        )
        self._dialect = dialect
        self._table_name = settings.table_name
        self._create_schema = settings.create_schema
        self._statements = Statements(dialect, settings.table_name)
        self._transactions = Transactions(dialect)
        self._schema = Schema(dialect, self._transactions, self._statements)
        self._pages = Pages(dialect, self._statements)
        self._rows = Rows(dialect, self._transactions, self._statements)
        self._adding = Adding(dialect, self._rows)
        self._owners = Owners(self._transactions, self._statements)
        self._claiming = Claiming(
            dialect,
            self._transactions,
            self._statements,
            self._rows,
            owners=self._owners,
        )
        self._settling = Settling(dialect, self._statements, self._rows)
        self._opening = threading.Lock()

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
            self._owners.forget()
            self._transactions.open()
            try:
                self._schema.ensure(create=self._create_schema)
                self._claiming.try_out()
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
        now, answered_ns = self._transactions.read(
            lambda connection: (self._dialect.now(connection), time.perf_counter_ns())
        )
        # Whoever follows the server's clock would be behind it by what giving the connection back takes.
        return now + (time.perf_counter_ns() - answered_ns) // 1000 * timedelta.resolution

    # -- add ---------------------------------------------------------------------------------

    def add(self, events: Sequence[NewEvent], *, if_exists: IfExists) -> Sequence[AddOutcome]:
        """See :meth:`futurama.backend.EventBackend.add`."""
        for event in events:
            check_payload(event.payload, self.capabilities)
        if not events:
            return []
        return self._adding.add(events, if_exists)

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
                is_in_flight = row.token != NO_TOKEN or row.lost
                outcomes.append(
                    CancelOutcome.IN_FLIGHT if is_in_flight else CancelOutcome.CANCELLED
                )
                removed.append(key)
                del stored[key]
            self._rows.delete(connection, removed)
            return outcomes

        return self._rows.change(keys, work)

    def reschedule(self, moves: Sequence[Move]) -> Sequence[RescheduleOutcome]:
        """See :meth:`futurama.backend.EventBackend.reschedule`."""
        for move in moves:
            if move.payload is not None:
                check_payload(move.payload, self.capabilities)
        if not moves:
            return []

        keys = [move.id.encode() for move in moves]

        def work(connection: sa.Connection) -> Sequence[RescheduleOutcome]:
            stored = self._rows.lock(connection, keys, "due", "token", "lost")
            outcomes = []
            changes: dict[bytes, dict[str, Any]] = {}
            for key, move in zip(keys, moves, strict=True):
                row = stored.get(key)
                if row is None or row.due is None:
                    outcomes.append(RescheduleOutcome.NOT_FOUND)
                elif row.token != NO_TOKEN or row.lost:
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

        return self._rows.change(keys, work)

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

        return self._rows.change(keys, work)

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
        return self._claiming.claim(
            owner=owner, now=now, due_before=due_before, lease_until=lease_until, limit=limit
        )

    def renew(
        self, claims: Sequence[Claim], *, now: datetime, lease_until: datetime
    ) -> Sequence[bool]:
        """See :meth:`futurama.backend.EventBackend.renew`."""
        if not claims:
            return []
        return self._settling.renew(claims, now=now, lease_until=lease_until)

    def settle(self, settlements: Sequence[Settlement], *, now: datetime) -> Sequence[bool]:
        """See :meth:`futurama.backend.EventBackend.settle`."""
        for settlement in settlements:
            if settlement.payload is not None:
                check_payload(settlement.payload, self.capabilities)
        if not settlements:
            return []
        return self._settling.settle(settlements, now=now)

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

"""Handing out events."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

from futurama.backend import Claim, ClaimBatch
from futurama.backends.sql.dialect import Dialect
from futurama.backends.sql.errors import Fault
from futurama.backends.sql.rows import Rows
from futurama.backends.sql.statements import MAX_OWNER_BYTES, Statements
from futurama.backends.sql.transactions import Transactions
from futurama.errors import BackendError, OutcomeUnknownError
from futurama.times import EARLIEST, ceil_to, from_us

__all__ = ["Claiming"]

_TOKEN_BYTES = 16


class Claiming:
    """The operation ``claim``: a look at what is first, and if that is due a transaction.

    Attributes:
        skips_locked: whether the server can pass over locked rows; found out by :meth:`try_out`.
    """

    def __init__(
        self, dialect: Dialect, transactions: Transactions, statements: Statements, rows: Rows
    ) -> None:
        self._dialect = dialect
        self._transactions = transactions
        self._statements = statements
        self._rows = rows
        self.skips_locked = True

    def try_out(self) -> None:
        """Find out which statements the server understands."""
        self.skips_locked = self._transactions.write(self._try_skip_locked)

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

        lease_until = ceil_to(lease_until, self._dialect.resolution)
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
        rows: list[Any] = []
        if self.skips_locked:
            rows += connection.execute(self._statements.claim, parameters)
        else:
            found = connection.execute(self._statements.claim_candidates, parameters).scalars()
            for ids in self._dialect.in_lists(found):
                rows += connection.execute(self._statements.claim_by_id, {**parameters, "ids": ids})
        # Ordered already, but for what others changed while the statement ran.
        return sorted(rows, key=_by_due_and_id)

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


def _by_due_and_id(row: Any) -> tuple[Any, bytes]:
    return row.due, row.id

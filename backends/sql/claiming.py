"""Handing out events."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any

import attrs
import sqlalchemy as sa
from sqlalchemy import exc

from futurama.backend import ClaimBatch
from futurama.backends.sql.decoding import ClaimDecoder
from futurama.backends.sql.dialect import Dialect
from futurama.backends.sql.errors import Fault
from futurama.backends.sql.foreign import nearest_text
from futurama.backends.sql.looking import Looking, Sight
from futurama.backends.sql.owners import Owners
from futurama.backends.sql.rows import Rows, tuples
from futurama.backends.sql.statements import NO_TOKEN, NOBODY, Statements
from futurama.backends.sql.transactions import Transactions
from futurama.errors import BackendError, OutcomeUnknownError
from futurama.times import EARLIEST, ceil_to

__all__ = ["Claiming"]

_log = logging.getLogger("futurama.backend")

_by_due_and_id = itemgetter(3, 0)
"""The order of claims, by the places of these columns in ``Statements.claim``."""


@attrs.frozen
class _HandedOut:
    """What a transaction has handed out, and what is left."""

    rows: Sequence[Any] = ()
    next_due: datetime | None = None


class Claiming:
    """The operation ``claim``: a look at what is due, and if there is something a transaction.

    The look spares idle instances the transaction. Where a SELECT that locks is slow to pass over
    what is left of events that are gone, the look also finds the rows to be locked. Only if there
    are more of them than are wanted does the SELECT look for itself: instances that claim side by
    side shall not all want the same ones.

    Attributes:
        skips_locked: whether the server can pass over locked rows; found out by :meth:`try_out`.
    """

    def __init__(
        self,
        dialect: Dialect,
        transactions: Transactions,
        statements: Statements,
        rows: Rows,
        *,
        owners: Owners,
    ) -> None:
        self._dialect = dialect
        self._transactions = transactions
        self._statements = statements
        self._rows = rows
        self._owners = owners
        self._decoder = ClaimDecoder(dialect)
        self._looking = Looking(dialect, statements, rows)
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
        looking = self._looking
        sight = self._transactions.read(
            lambda connection: (
                looking.look(connection, horizon, limit)
                if self._locks_by_id()
                else Sight(looking.first_due(connection, horizon))
            )
        )
        first = sight.first
        if first is None or first > horizon:
            looking.expect(first)
            return ClaimBatch(claims=[], next_due=first)
        lease_until = ceil_to(lease_until, self._dialect.resolution)
        parameters = {
            "lower": self._dialect.encode_time(first),
            "horizon": self._rows.down(horizon),
            "due_before": self._rows.down(due_before),
            "now": self._rows.down(now),
            "limit": limit,
            "token": os.urandom(len(NO_TOKEN)),
            "owner": self._owners.number_of(owner),
            "lease_until": self._dialect.encode_time(lease_until),
        }
        handed_out = self._hand_out(parameters, sight, horizon)
        was_full = self.skips_locked and len(handed_out.rows) == limit
        looking.expect(handed_out.next_due, was_full=was_full)
        token = parameters["token"]
        claims, faults = self._decoder.decode(handed_out.rows, token, lease_until)
        if faults:
            self._bury(faults, token, now)
        return ClaimBatch(claims=claims, next_due=handed_out.next_due)

    def _locks_by_id(self) -> bool:
        return self._dialect.locks_by_id or not self.skips_locked

    def _hand_out(
        self, parameters: Mapping[str, Any], sight: Sight, horizon: datetime
    ) -> _HandedOut:
        result = _HandedOut()

        def work(connection: sa.Connection) -> _HandedOut:
            nonlocal result
            result = _HandedOut()
            rows = self._take(connection, parameters, sight)
            # Looked for anew: something may have been stored before what the look has seen.
            result = _HandedOut(rows, self._looking.first_due(connection, horizon))
            return result

        try:
            return self._transactions.write(work)
        except OutcomeUnknownError:
            # Else the events would wait for the end of a lease that nobody knows of.
            if result.rows and not self._was_taken(parameters):
                raise
        return result

    def _take(
        self, connection: sa.Connection, parameters: Mapping[str, Any], sight: Sight
    ) -> Sequence[Any]:
        rows = self._claimable(connection, parameters, sight)
        taken = 0
        for keys in self._dialect.in_lists(row[0] for row in rows):
            taken += connection.execute(self._statements.take, {**parameters, "ids": keys}).rowcount
        if taken == len(rows):
            return rows
        # Only where SELECT ... FOR UPDATE does not really lock: some were gone at the UPDATE.
        mine: set[bytes] = set()
        for keys in self._dialect.in_lists(row[0] for row in rows):
            found = connection.execute(
                self._statements.taken, {"ids": keys, "token": parameters["token"]}
            )
            mine.update(found.scalars())
        return [row for row in rows if row[0] in mine]

    def _claimable(
        self, connection: sa.Connection, parameters: Mapping[str, Any], sight: Sight
    ) -> Sequence[Any]:
        """Lock what may be handed out: of the ids that were seen, unless there may be more."""
        if self.skips_locked and (sight.is_full or not self._locks_by_id()):
            rows = list(tuples(connection.execute(self._statements.claim, parameters)))
        else:
            statements = self._statements
            by_id = statements.claim_by_id if self.skips_locked else statements.claim_by_id_in_turn
            rows = []
            for keys in self._dialect.in_lists(sight.ids):
                rows += tuples(connection.execute(by_id, {**parameters, "ids": keys}))
        try:
            return sorted(rows, key=_by_due_and_id)
        except TypeError:  # in SQLite a key may be text; there the statement has sorted them
            return rows

    def _bury(self, faults: Mapping[Any, str], token: bytes, now: datetime) -> None:
        """Make dead letters of rows that are no events; if that fails, when their leases end."""

        def work(connection: sa.Connection) -> Sequence[Any]:
            stored = self._rows.lock(connection, faults, "token")
            mine = [key for key, row in stored.items() if row.token == token]
            died = {"due": None, "token": NO_TOKEN, "owner": NOBODY, "died": self._rows.up(now)}
            self._rows.update(
                connection, {key: {**died, "reason": faults[key].encode()} for key in mine}
            )
            return mine

        try:
            buried = self._transactions.write(work)
        except BackendError as error:
            _log.warning("%d rows that are no events are still there: %s", len(faults), error)
            return
        for key in buried:
            _log.error("%r is a dead letter: %s", nearest_text(key), faults[key])

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

    def _try_skip_locked(self, connection: sa.Connection) -> bool:
        nothing = self._dialect.encode_time(EARLIEST)
        times = dict.fromkeys(("lower", "horizon", "due_before", "now"), nothing)
        try:
            connection.execute(self._statements.claim, {**times, "limit": 0})
        except exc.DBAPIError as error:
            if self._dialect.fault(error)[0] is not Fault.UNSUPPORTED:
                raise
            return False
        return True

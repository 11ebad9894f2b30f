"""Handing out events."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any, TypeVar

import attrs
import sqlalchemy as sa
from sqlalchemy import exc

from futurama.backend import Claim, ClaimBatch
from futurama.backends.sql.dialect import Dialect
from futurama.backends.sql.errors import Fault
from futurama.backends.sql.lower_bound import LowerBound
from futurama.backends.sql.owners import Owners
from futurama.backends.sql.rows import Rows
from futurama.backends.sql.statements import NO_TOKEN, Statements
from futurama.backends.sql.transactions import Transactions
from futurama.errors import BackendError, OutcomeUnknownError
from futurama.times import EARLIEST, ceil_to, from_us

__all__ = ["Claiming"]

T = TypeVar("T")

_QUICK_SECONDS = 0.001
"""A look that takes no longer has little to pass over."""

_SLOW_SECONDS = 0.01
"""A look, or taking a few events, takes a tenth of this."""

_SECONDS_PER_ROW = 0.0001
"""Taking an event takes half of this."""

_by_due_and_id = itemgetter(3, 0)
"""The order of claims, by the places of these columns in ``Statements.claim``."""


@attrs.frozen
class _HandedOut:
    """What a transaction has handed out, and how long its steps took."""

    rows: Sequence[Any] = ()
    next_due: datetime | None = None
    taking: float = 0
    looking: float = 0


class Claiming:
    """The operation ``claim``: a look at what is first, and if that is due a transaction.

    The look spares idle instances the transaction, and spares the transaction the search for the
    first event: a SELECT that locks takes 30 times as long as the look to pass over what is left of
    events that are gone. Where that is little, and the last claim has seen that something will be
    due by now, the look is left out.

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
        bound: LowerBound,
    ) -> None:
        self._dialect = dialect
        self._transactions = transactions
        self._statements = statements
        self._rows = rows
        self._owners = owners
        self._bound = bound
        self._last_next_due: datetime | None = None
        self._may_skip_looks = True
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
        with self._bound.look() as look:
            lower, looking = look.lower, None
            if look.is_overdue or not self._expects_some(horizon):
                first, looking = self._transactions.read(
                    lambda connection: _timed(self._first_due, connection, look.lower)
                )
                self._may_skip_looks |= looking < _QUICK_SECONDS
                if first is None or first > horizon:
                    self._last_next_due = first
                    is_slow = None if looking > _SLOW_SECONDS else False
                    self._bound.learn(look, first, now=now, is_slow=is_slow)
                    return ClaimBatch(claims=[], next_due=first)
                lower = first
            lease_until = ceil_to(lease_until, self._dialect.resolution)
            parameters = {
                "lower": self._dialect.encode_time(lower),
                "horizon": self._rows.down(horizon),
                "due_before": self._rows.down(due_before),
                "now": self._rows.down(now),
                "limit": limit,
                "token": os.urandom(len(NO_TOKEN)),
                "owner": self._owners.number_of(owner),
                "lease_until": self._dialect.encode_time(lease_until),
            }
            with self._bound.storing(lease_until):
                handed_out = self._hand_out(parameters, min(look.lower, lease_until))
            self._last_next_due = handed_out.next_due
            self._bound.learn(
                look, handed_out.next_due, now=now, is_slow=self._judge(looking, handed_out)
            )
        return ClaimBatch(
            claims=self._claims(handed_out.rows, parameters["token"], lease_until),
            next_due=handed_out.next_due,
        )

    def _expects_some(self, horizon: datetime) -> bool:
        """Whether looking for the first event would only tell what is known."""
        known = self._last_next_due
        return self._may_skip_looks and known is not None and known <= horizon

    def _hand_out(self, parameters: Mapping[str, Any], lower: datetime) -> _HandedOut:
        result = _HandedOut()

        def work(connection: sa.Connection) -> _HandedOut:
            nonlocal result
            result = _HandedOut()
            rows, taking = _timed(self._take, connection, parameters)
            next_due, looking = _timed(self._first_due, connection, lower)
            result = _HandedOut(rows, next_due, taking, looking)
            return result

        try:
            return self._transactions.write(work)
        except OutcomeUnknownError:
            # Else the events would wait for the end of a lease that nobody knows of.
            if result.rows and not self._was_taken(parameters):
                raise
        return result

    def _judge(self, looking: float | None, handed_out: _HandedOut) -> bool | None:
        """Whether looks are slow, as far as can be told; decides whether the next is left out."""
        if looking is None:
            usual = _SLOW_SECONDS + _SECONDS_PER_ROW * len(handed_out.rows)
            self._may_skip_looks = handed_out.taking < usual
            return None
        # On a healthy server it is taking events that takes longer.
        return min(looking, handed_out.looking) > max(_SLOW_SECONDS, handed_out.taking)

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
            rows += _tuples(connection.execute(self._statements.claim, parameters))
        else:
            found = connection.execute(self._statements.claim_candidates, parameters).scalars()
            for ids in self._dialect.in_lists(found):
                rows += _tuples(
                    connection.execute(self._statements.claim_by_id, {**parameters, "ids": ids})
                )
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

    def _first_due(self, connection: sa.Connection, lower: datetime) -> datetime | None:
        parameters = {"lower": self._dialect.encode_time(lower)}
        due = connection.execute(self._statements.first_due, parameters).scalar()
        return None if due is None else self._dialect.decode_time(due)

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


def _timed(function: Callable[..., T], *arguments: Any) -> tuple[T, float]:
    """What the function returns, and how many seconds it took."""
    began = time.perf_counter()
    result = function(*arguments)
    return result, time.perf_counter() - began


def _tuples(result: sa.CursorResult[Any]) -> Sequence[Any]:
    """The rows as the driver made them: wrapping them up costs as much as making claims of them."""
    assert result.cursor is not None, "the statement is a SELECT"
    with result:
        return result.cursor.fetchall()

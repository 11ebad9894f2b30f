"""Seeing what is due, without a lock."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime

import attrs
import sqlalchemy as sa

from futurama.backends.sql.dialect import Dialect
from futurama.backends.sql.lower_bound import LowerBound
from futurama.backends.sql.rows import Rows, tuples
from futurama.backends.sql.statements import Statements

__all__ = ["Looking", "Sight"]


@attrs.frozen
class Sight:
    """What a look has found.

    Attributes:
        first: the earliest due.
        is_full: whether as many are due as were asked for.
        ids: of what is due, in order; may be left out if it is full.
    """

    first: datetime | None
    is_full: bool = False
    ids: Sequence[bytes] = ()


class Looking:
    """Looks at what is due, in as few statements as what the last claim has told allows."""

    def __init__(self, dialect: Dialect, statements: Statements, rows: Rows) -> None:
        self._dialect = dialect
        self._statements = statements
        self._rows = rows
        self._bound = LowerBound()
        self._next_due: datetime | None = None
        self._was_full = False

    def expect(self, next_due: datetime | None, *, was_full: bool = False) -> None:
        """Take note of what a claim has left, and whether it handed out as much as was wanted."""
        self._next_due = next_due
        self._was_full = was_full

    def look(self, connection: sa.Connection, horizon: datetime, limit: int) -> Sight:
        """See what is first and, if that is due at ``horizon``, the ids of at most so many."""
        lower = self._bound.get()
        parameters = {"horizon": self._rows.down(horizon), "limit": limit}
        if self._next_due is None or self._next_due > horizon:
            first = self.first_due(connection, horizon)
            if first is None or first > horizon:
                return Sight(first)
            lower = first
        parameters["lower"] = self._dialect.encode_time(lower)
        if self._was_full:  # reading ids that nobody wants is a tenth of what a claim costs
            first_due, number = connection.execute(
                self._statements.first_and_number, parameters
            ).one()
            if number == limit:
                return Sight(self._dialect.decode_time(first_due), is_full=True)
        found = tuples(connection.execute(self._statements.candidates, parameters))
        if not found:  # somebody else was faster
            return Sight(self.first_due(connection, horizon))
        ids = [event_id for event_id, _ in found]
        return Sight(self._dialect.decode_time(found[0][1]), len(ids) == limit, ids)

    def first_due(self, connection: sa.Connection, horizon: datetime) -> datetime | None:
        """The earliest due of all, or, where the bound says so, of what lies not far before the horizon."""
        lower, began = self._bound.get(), time.monotonic()
        parameters = {"lower": self._dialect.encode_time(lower)}
        due = connection.execute(self._statements.first_due, parameters).scalar()
        first = None if due is None else self._dialect.decode_time(due)
        self._bound.learn(lower, first, horizon=horizon, seconds=time.monotonic() - began)
        return first

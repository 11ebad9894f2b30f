"""Adding events whose ids may be taken."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from futurama.backend import AddOutcome, IfExists, NewEvent
from futurama.backends.sql.dialect import Dialect
from futurama.backends.sql.rows import Rows
from futurama.backends.sql.statements import INSERTED, NO_TOKEN, NOBODY
from futurama.times import to_us

__all__ = ["CREATION", "Adding"]

_ON_CONFLICT: Mapping[IfExists, AddOutcome] = {
    "raise": AddOutcome.REFUSED,
    "keep": AddOutcome.KEPT,
    "replace": AddOutcome.REPLACED,
}

CREATION = ("trigger_type", "trigger_time", "created", "data", "lost", "token")
"""What tells a repeat from a second event, and whether a call may be under way."""

_UNCLAIMED = {"attempt": 0, "token": NO_TOKEN, "owner": NOBODY, "died": None, "reason": None}
"""What the columns that INSERT leaves out are in a new row."""


class Adding:
    """The operation ``add``: one INSERT if all goes well, else a look at what is stored."""

    def __init__(self, dialect: Dialect, rows: Rows) -> None:
        self._dialect = dialect
        self._rows = rows

    def add(self, events: Sequence[NewEvent], if_exists: IfExists) -> Sequence[AddOutcome]:
        """See :meth:`futurama.backend.EventBackend.add`; payloads have been checked."""
        rows = [self.new_row(event) for event in events]
        must_look = len({row[0] for row in rows}) < len(rows)

        def work(connection: sa.Connection) -> Sequence[AddOutcome]:
            nonlocal must_look
            if must_look:
                return self._add_looking(connection, rows, if_exists)
            must_look = True  # if an id is taken, this is called again
            self._rows.insert(connection, rows)
            return [AddOutcome.ADDED] * len(rows)

        return self._rows.change((row[0] for row in rows), work)

    def new_row(self, event: NewEvent) -> tuple[Any, ...]:
        """In the order of ``statements.INSERTED``."""
        time = self._rows.up(event.trigger_time)
        return (
            event.id.encode(),
            event.trigger_type.encode(),
            time,
            time,
            to_us(event.created),
            event.payload,
            False,
        )

    def _add_looking(
        self, connection: sa.Connection, rows: Sequence[tuple[Any, ...]], if_exists: IfExists
    ) -> Sequence[AddOutcome]:
        stored = self._rows.lock(
            connection,
            (row[0] for row in rows),
            *CREATION,
        )
        # id -> (what tells a repeat from a second event, whether a call may be under way)
        known = {
            event_id: (
                (row.trigger_type, row.trigger_time, row.created, row.data),
                bool(row.lost) or row.token != NO_TOKEN,
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
            written[event_id] = (event_id, trigger_type, time, due, created, data, is_lost)
            outcomes.append(outcome)
        self._write(connection, written, stored.keys())
        return outcomes

    def _write(
        self,
        connection: sa.Connection,
        rows: Mapping[bytes, tuple[Any, ...]],
        replaced: Collection[bytes],
    ) -> None:
        """Insert new rows, and overwrite the others in place.

        Were they deleted and inserted, a PostgreSQL transaction that waits for one would not find
        it: it looks for newer versions of the row that it saw, not for another row of that id.
        """
        changes = {
            event_id: {**dict(zip(INSERTED[1:], row[1:], strict=True)), **_UNCLAIMED}
            for event_id, row in rows.items()
            if event_id in replaced
        }
        self._rows.update(connection, changes)
        self._rows.insert(connection, [row for key, row in rows.items() if key not in replaced])

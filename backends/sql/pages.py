"""Looking at events: one page of ``find``, for people and tools."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from futurama.backend import Page, Query, State, StoredEvent
from futurama.backends.sql.dialect import Dialect
from futurama.backends.sql.statements import NO_TOKEN, Statements
from futurama.errors import BackendRejectedError
from futurama.times import LATEST, ceil_to, from_us, to_us

__all__ = ["Pages"]


class Pages:
    """Reads pages of events: live ones ordered by (due, id), then dead ones by (died, id)."""

    def __init__(self, dialect: Dialect, statements: Statements) -> None:
        self._dialect = dialect
        self._statements = statements
        self._events = statements.table.c

    def read(self, connection: sa.Connection, query: Query) -> Page:
        """The page that ``query`` asks for.

        Raises:
            BackendRejectedError: ``query.after`` was not made by this class.
        """
        position = None if query.after is None else self._parse(query.after)
        rows: list[Any] = []
        for is_dead in (False, True):
            behind = position if position is not None and position[0] == is_dead else None
            is_done_with = position is not None and position[0] > is_dead
            if not is_done_with and len(rows) <= query.limit and _can_match(query, is_dead=is_dead):
                rows += self._part(connection, query, behind, is_dead=is_dead)
        page = [self._stored_event(row) for row in rows[: query.limit]]
        is_last = len(rows) <= query.limit
        return Page(events=page, next=None if is_last else _cursor(page[-1]))

    def _part(
        self,
        connection: sa.Connection,
        query: Query,
        behind: tuple[bool, datetime, bytes] | None,
        *,
        is_dead: bool,
    ) -> list[Any]:
        """One more row than the page may have, of the live or of the dead ones."""
        due = self._events.due
        time = self._events.died if is_dead else due
        is_in_part: sa.ColumnElement[bool] = due.is_(None) if is_dead else due.is_not(None)
        if query.ids is not None:
            is_in_part = self._dialect.guard(is_in_part)
        select = (
            self._statements.stored.where(is_in_part)
            .order_by(time, self._events.id)
            .limit(query.limit + 1)
        )
        for condition in self._conditions(query):
            select = select.where(condition)
        if behind is not None:
            _, at, event_id = behind
            at = self._dialect.encode_time(at)
            select = select.where(
                sa.or_(time > at, sa.and_(time == at, self._events.id > event_id))
            )
        if query.ids is None:
            return list(connection.execute(select))
        select = select.where(self._dialect.is_in(self._events.id, "ids"))
        rows: list[Any] = []
        for ids in self._dialect.in_lists(event_id.encode() for event_id in query.ids):
            rows += connection.execute(select, {"ids": ids})
        order: Callable[[Any], Any] = lambda row: (row.died if is_dead else row.due, row.id)  # noqa: E731
        return sorted(rows, key=order)[: query.limit + 1]

    def _conditions(self, query: Query) -> Sequence[sa.ColumnElement[bool]]:
        conditions: list[sa.ColumnElement[bool]] = []
        if query.trigger_type is not None:
            conditions.append(self._events.trigger_type == query.trigger_type.encode())
        if query.state is State.WAITING:
            conditions.append(self._statements.is_unclaimed)
        if query.state is State.CLAIMED:
            conditions.append(self._statements.is_claimed)
        if query.due_from is not None:
            conditions.append(self._is_before(self._events.due, query.due_from, negated=True))
        if query.due_until is not None:
            conditions.append(self._is_before(self._events.due, query.due_until))
        return conditions

    def _is_before(
        self, column: sa.ColumnElement[Any], instant: datetime, *, negated: bool = False
    ) -> sa.ColumnElement[bool]:
        if instant > LATEST:  # everything stored is before it, and rounding it up might overflow
            return sa.literal_column("0" if negated else "1") == sa.literal_column("1")
        # Stored times are multiples of the resolution: the bound means the same when rounded up.
        bound = self._dialect.encode_time(ceil_to(instant, self._dialect.resolution))
        condition: sa.ColumnElement[bool] = column >= bound if negated else column < bound
        return condition

    def _stored_event(self, row: Any) -> StoredEvent:
        decode_time = self._dialect.decode_time
        if row.due is None:
            state = State.DEAD
        else:
            state = State.WAITING if row.token == NO_TOKEN else State.CLAIMED
        return StoredEvent(
            id=row.id.decode(),
            trigger_type=row.trigger_type.decode(),
            trigger_time=decode_time(row.trigger_time),
            payload=row.data,
            created=from_us(row.created),
            attempt=row.attempt,
            state=state,
            due=None if row.due is None else decode_time(row.due),
            owner=None if row.owner is None else row.owner.decode(errors="replace"),
            lost=bool(row.lost),
            died=None if row.died is None else decode_time(row.died),
            reason=None if row.reason is None else row.reason.decode(errors="surrogatepass"),
        )

    def _parse(self, cursor: str) -> tuple[bool, datetime, bytes]:
        try:
            kind, microseconds, event_id = cursor.split(".")
            return (
                {"live": False, "dead": True}[kind],
                from_us(int(microseconds)),
                bytes.fromhex(event_id),
            )
        except (ValueError, KeyError, OverflowError):
            raise BackendRejectedError(
                f"{cursor!r} is not the `next` of a page; start again without `after`",
                backend=self._dialect.name,
            ) from None


def _can_match(query: Query, *, is_dead: bool) -> bool:
    if is_dead:
        is_wanted = query.state in {None, State.DEAD}
        return is_wanted and query.due_from is None and query.due_until is None
    return query.state is not State.DEAD


def _cursor(event: StoredEvent) -> str:
    kind, time = ("dead", event.died) if event.due is None else ("live", event.due)
    assert time is not None, "the dead have `died`, all others have `due`"
    return f"{kind}.{to_us(time)}.{event.id.encode().hex()}"

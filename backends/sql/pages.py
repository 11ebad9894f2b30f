"""Looking at events: one page of ``find``, for people and tools."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from futurama.backend import Page, Query, State, StoredEvent
from futurama.backends.sql.dialect import Dialect
from futurama.backends.sql.foreign import UNREADABLE, nearest_instant, nearest_text
from futurama.backends.sql.statements import NO_TOKEN, Statements
from futurama.errors import BackendRejectedError
from futurama.times import EARLIEST, LATEST, ceil_to, from_us, to_us

__all__ = ["Pages"]

_MICROSECOND = timedelta(microseconds=1)

_FIRST_DEAD = f"dead.{to_us(EARLIEST)}."
"""Behind everything that lives."""


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
        return Page(events=page, next=None if is_last else self._cursor(rows[query.limit - 1]))

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
        order = (*([time.is_not(None)] if is_dead else []), time, self._events.id)
        select = self._statements.stored.where(is_in_part).order_by(*order).limit(query.limit + 1)
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
        return sorted(rows, key=_by_died_and_id if is_dead else _by_due_and_id)[: query.limit + 1]

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
            id=nearest_text(row.id),
            trigger_type=nearest_text(row.trigger_type),
            trigger_time=decode_time(row.trigger_time),
            payload=row.data if isinstance(row.data, bytes) else nearest_text(row.data).encode(),
            created=nearest_instant(row.created),
            attempt=row.attempt,
            state=state,
            due=None if row.due is None else decode_time(row.due),
            owner=None if row.owner is None else row.owner.decode(errors="replace"),
            lost=bool(row.lost),
            died=None if row.died is None else decode_time(row.died),
            reason=None if row.reason is None else _reason(row.reason),
        )

    def _cursor(self, row: Any) -> str | None:
        is_dead = row.due is None
        stored = row.died if is_dead else row.due
        if stored is None:  # another program forgot to say when it died
            return _FIRST_DEAD
        at = self._dialect.decode_time(stored)
        try:
            self._dialect.exact_time(stored)
        except UNREADABLE:
            at += _MICROSECOND  # it is between two instants of ours, or beyond all of them
        if at > LATEST:  # so are all that follow
            return None if is_dead else _FIRST_DEAD
        key = row.id if isinstance(row.id, bytes) else row.id.encode()
        return f"{'dead' if is_dead else 'live'}.{to_us(at)}.{key.hex()}"

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


def _by_due_and_id(row: Any) -> tuple[Any, ...]:
    return row.due, row.id


def _by_died_and_id(row: Any) -> tuple[Any, ...]:
    return row.died is not None, row.died, row.id


def _reason(stored: Any) -> str:
    try:
        return str(stored, errors="surrogatepass")
    except (TypeError, UnicodeDecodeError):
        return nearest_text(stored)

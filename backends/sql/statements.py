"""The table, and every statement of the shared operations."""

from __future__ import annotations

import re
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.elements import quoted_name

from futurama.backends.sql.dialect import Dialect
from futurama.errors import ConfigError

__all__ = [
    "COLUMNS",
    "DUE_INDEX",
    "INSERTED",
    "MAX_ATTEMPT",
    "MAX_OWNER_BYTES",
    "NOBODY",
    "NO_TOKEN",
    "OWNERS_TABLE",
    "SCHEMA_TABLE",
    "Statements",
    "check_table_name",
]

COLUMNS = (
    "id",
    "trigger_type",
    "trigger_time",
    "due",
    "attempt",
    "lost",
    "token",
    "owner",
    "created",
    "data",
    "died",
    "reason",
)
"""WAITING: due set, no token. CLAIMED: due and token set. DEAD: due NULL, died set.

No token and no owner are values, not NULL, and an owner is a number: a claim changes no row's size, so
that InnoDB changes rows where they are instead of moving them.
"""

NO_TOKEN = bytes(16)
"""The token of an event that nobody has claimed; a claim's is 16 random bytes, which never are these."""

NOBODY = 0
"""The owner of an event that nobody has claimed; the numbers of owners begin at 1."""

INSERTED = ("id", "trigger_type", "trigger_time", "due", "created", "data", "lost")
"""What a new row is given; the other columns have defaults."""

DUE_INDEX = "due_id"
"""The only secondary index, on (due, id)."""

MAX_ATTEMPT = 2**31 - 1
"""What the column can hold. Retries never get there; were it exceeded, no claim on the row would work."""

SCHEMA_TABLE = "futurama_schema"
"""(table_name, version): the schema version of each table of events in this database."""

OWNERS_TABLE = "futurama_owners"
"""(id, name): the number of everybody who has ever claimed an event in this database."""

MAX_OWNER_BYTES = 255
"""The width of the names of owners; longer ones are cut."""

_TABLE_NAME = re.compile(r"[A-Za-z0-9_]+", re.ASCII)
"""Nothing in this alphabet can end a quoted name."""


def check_table_name(name: str, longest: int) -> None:
    """Raise unless ``name`` can be the name of a table.

    Raises:
        ConfigError: it cannot.
    """
    taken = (SCHEMA_TABLE, OWNERS_TABLE)
    if not _TABLE_NAME.fullmatch(name) or len(name) > longest or name in taken:
        raise ConfigError(
            f"configuration key 'table_name' must be 1 to {longest} letters (a-z, A-Z), digits or "
            f"underscores and neither {' nor '.join(map(repr, taken))}, got {name!r}",
            key="table_name",
        )


class Statements:
    """The statements on one table, made once, so that SQLAlchemy compiles each only once.

    Parameters are named after what they are: ``ids`` (a list of keys), ``token``, ``now``,
    ``due_before``, ``horizon``, ``lower``, ``limit`` ... Times are as ``Dialect.encode_time`` makes them.
    """

    def __init__(self, dialect: Dialect, table_name: str) -> None:
        self.table = sa.table(quoted_name(table_name, quote=True), *map(sa.column, COLUMNS))
        events = self.table.c
        owners = sa.table(OWNERS_TABLE, sa.column("id"), sa.column("name"))
        by_id = dialect.is_in(events.id, "ids")

        no_token: sa.ColumnElement[Any] = sa.literal_column(dialect.literal(NO_TOKEN))
        self.is_unclaimed = events.token == no_token
        self.is_claimed = events.token != no_token
        may_be_claimed = sa.or_(
            sa.and_(self.is_unclaimed, events.due <= sa.bindparam("due_before")),
            sa.and_(self.is_claimed, events.due <= sa.bindparam("now")),
        )
        is_from_lower_on = events.due >= sa.bindparam("lower")
        # Implied by the condition above, but it is what bounds the range of the index.
        is_within_horizon = sa.and_(is_from_lower_on, events.due <= sa.bindparam("horizon"))
        is_lost = sa.case((self.is_unclaimed, events.lost), else_=sa.true())
        one_more = sa.case(
            (events.attempt < sa.literal_column(str(MAX_ATTEMPT)), sa.literal_column("1")),
            else_=sa.literal_column("0"),
        )
        claimed_columns = (
            events.id,
            events.trigger_type,
            events.trigger_time,
            events.due,
            events.attempt,
            is_lost.label("lost"),
            events.created,
            events.data,
        )

        self.first_due = (
            self._by_due(sa.select(events.due))
            .where(is_from_lower_on)
            .order_by(events.due, events.id)
            .limit(sa.literal_column("1"))
        )
        """The earliest due from ``lower`` on."""

        self.claim = (
            self._by_due(sa.select(*claimed_columns))
            .where(is_within_horizon, may_be_claimed)
            .order_by(events.due, events.id)
            .limit(sa.bindparam("limit"))
            .with_for_update(skip_locked=True)
        )
        """Locks what may be handed out and shows it; passes over what others have locked."""

        self.candidates = (
            self._by_due(sa.select(events.id, events.due))
            .where(is_within_horizon)
            .order_by(events.due, events.id)
            .limit(sa.bindparam("limit"))
        )
        """What may be handed out, unless it is claimed and its lease has not ended; from the index alone."""

        due = (
            self._by_due(sa.select(events.due))
            .where(is_within_horizon)
            .order_by(events.due, events.id)
            .limit(sa.bindparam("limit"))
            .subquery()
        )
        self.first_and_number = sa.select(sa.func.min(due.c.due), sa.func.count())
        """Of the candidates: the earliest due, and how many they are."""

        claim_by_id = self._by_id(sa.select(*claimed_columns)).where(
            by_id, dialect.guard(may_be_claimed)
        )
        self.claim_by_id = claim_by_id.with_for_update(skip_locked=True)
        """The same as ``claim`` for some of the candidates, in any order."""

        self.claim_by_id_in_turn = claim_by_id.with_for_update()
        """For servers without SKIP LOCKED."""

        self.take = (
            sa.update(self.table)
            .with_hint("FORCE INDEX (PRIMARY)", dialect_name="mysql")
            .where(by_id, dialect.guard(may_be_claimed))
            # Ordered: MySQL computes from left to right, so `lost` must come before `token`.
            .ordered_values(
                (events.lost, is_lost),
                (events.token, sa.bindparam("token")),
                (events.owner, sa.bindparam("owner")),
                (events.due, sa.bindparam("lease_until")),
                (events.attempt, events.attempt + one_more),
            )
        )
        """Hands them out; repeats the condition for servers that take locks lightly."""

        self.taken = self._by_id(sa.select(events.id)).where(
            by_id, events.token == sa.bindparam("token")
        )
        """Which of these were handed out under this token."""

        self.was_taken = (
            self._by_due(sa.select(sa.literal_column("1")))
            .where(events.due == sa.bindparam("lease_until"), events.token == sa.bindparam("token"))
            .limit(sa.literal_column("1"))
        )
        """Whether a claim whose COMMIT was not answered was committed."""

        self.existing = self._by_id(sa.select(events.id)).where(by_id)

        self.free = self.existing.with_for_update(skip_locked=True)
        """Which of these nobody else has locked."""

        self.set_due = (
            sa.update(self.table)
            .with_hint("FORCE INDEX (PRIMARY)", dialect_name="mysql")
            .where(by_id)
            .values({events.due: sa.bindparam("lease_until")})
        )

        self.revive = (
            sa.update(self.table)
            .with_hint("FORCE INDEX (PRIMARY)", dialect_name="mysql")
            .where(by_id)
            .values(
                {
                    events.due: sa.bindparam("now"),
                    events.attempt: sa.literal_column("0"),
                    events.died: sa.null(),
                    events.reason: sa.null(),
                }
            )
        )

        self.delete = dialect.delete(self.table, only_held=False)

        self.delete_held = dialect.delete(self.table, only_held=True)
        """Removes those whose claim is still held."""

        self.count = sa.select(events.due.is_(None), self.is_unclaimed, sa.func.count()).group_by(
            events.due.is_(None), self.is_unclaimed
        )

        self.dead_before = (
            self._by_due(sa.select(events.id))
            .where(
                events.due.is_(None),
                events.id > sa.bindparam("after"),
                events.died < sa.bindparam("before"),
            )
            .order_by(*dialect.by_id_among_dead(self.table))
            .limit(sa.bindparam("limit"))
        )

        self.owner_number = sa.select(owners.c.id).where(owners.c.name == sa.bindparam("name"))

        self.register_owner = sa.insert(owners).values(name=sa.bindparam("name"))

        owner_name = sa.select(owners.c.name).where(owners.c.id == events.owner).scalar_subquery()
        self.stored = sa.select(
            *(owner_name.label(name) if name == "owner" else events[name] for name in COLUMNS)
        )
        """All columns, and the name of the owner for the number. A join could change the plan."""

        self.layout = self.stored.limit(sa.literal_column("0"))
        """Fails unless all columns are there."""

    def lock(self, dialect: Dialect, *columns: str) -> sa.Select[Any]:
        """Lock the rows with ``ids`` and show these columns of each, the id first."""
        events = self.table.c
        return (
            self._by_id(sa.select(events.id, *(events[name] for name in columns)))
            .where(dialect.is_in(events.id, "ids"))
            .order_by(events.id)
            .with_for_update()
        )

    def _by_id(self, select: sa.Select[Any]) -> sa.Select[Any]:
        return select.with_hint(self.table, "FORCE INDEX (PRIMARY)", "mysql")

    def _by_due(self, select: sa.Select[Any]) -> sa.Select[Any]:
        # Without force, small tables are scanned and sorted, and every row of them is locked.
        return select.with_hint(self.table, f"FORCE INDEX ({DUE_INDEX})", "mysql")

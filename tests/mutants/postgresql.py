"""Mutants of the PostgreSQL backend: what only this server shows, and its ways of overlapping."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy import exc

from futurama.backend import Settlement
from futurama.backends.postgresql import PostgreSQLDialect
from futurama.backends.sql import Dialect, SQLBackend
from futurama.backends.sql.adding import Adding
from futurama.backends.sql.errors import Fault, IdsTakenError
from futurama.backends.sql.settling import Settling
from tests.mutants.dying import Mutants
from tests.mutants.sql import Rewriting

__all__ = ["POSTGRESQL_MUTANTS", "OnPostgreSQL", "RightOnPostgreSQL"]


class OnPostgreSQL(Rewriting, PostgreSQLDialect):
    """A wrong way to speak to PostgreSQL.

    Attributes:
        session: variables that each session sets behind the back of the right dialect.
    """

    session: ClassVar[Mapping[str, str]] = {}

    def _session(self, **kwargs: Any) -> dict[str, str]:
        return {**super()._session(**kwargs), **self.session}


class RightOnPostgreSQL(OnPostgreSQL):
    """Nothing is rewritten, so everything is right."""


POSTGRESQL_MUTANTS: Mutants[type[OnPostgreSQL]] = Mutants()

breaks = POSTGRESQL_MUTANTS.breaks

_CONDITION_OF_TAKE = (r"^(UPDATE .* WHERE \S+id = any\(\S+\)) AND .*", r"\1")
"""For mutants that take what they saw without another look at it."""


@breaks("fence.settle")
class DeletesWithoutTheToken(OnPostgreSQL):
    """No token in the WHERE clause of the DELETE for what is done."""

    rewrites = ((r"^(DELETE .*\()\S+token = %\(token\)s AND ", r"\1"),)


@breaks("concurrency.exclusive")
class SelectsThenUpdates(OnPostgreSQL):
    """A plain SELECT, and an UPDATE that does not repeat the condition."""

    rewrites = ((r" FOR UPDATE SKIP LOCKED", ""), _CONDITION_OF_TAKE)
    late = "UPDATE"


@breaks("concurrency.exclusive")
class LocksWhatASubqueryFound(OnPostgreSQL):
    """``WHERE id IN (SELECT ... LIMIT ?) FOR UPDATE``: who waited for the lock looks at the id only."""

    rewrites = (
        (
            r"^(SELECT .*data FROM (\S+) )(WHERE .* LIMIT \S+) FOR UPDATE SKIP LOCKED$",
            r"\1WHERE id = any(ARRAY(SELECT id FROM \2 \3)) ORDER BY id FOR UPDATE",
        ),
        _CONDITION_OF_TAKE,
    )
    late = "UPDATE"


@breaks("concurrency.cancel")
class CancelsWhatIsNotLocked(OnPostgreSQL):
    """SKIP LOCKED in every look: what somebody else has locked at this moment is NOT_FOUND."""

    during = "cancel"
    rewrites = ((r" FOR UPDATE$", " FOR UPDATE SKIP LOCKED"),)
    late = "UPDATE"


class _ReplacesByAnother(Adding):
    def _write(
        self,
        connection: sa.Connection,
        rows: Mapping[bytes, tuple[Any, ...]],
        replaced: Collection[bytes],
    ) -> None:
        self._rows.delete(connection, [key for key in rows if key in replaced])
        self._rows.insert(connection, list(rows.values()))


class _ReplacingByAnother(SQLBackend):
    def __init__(self, dialect: Dialect, settings: Any) -> None:
        super().__init__(dialect, settings)
        self._adding = _ReplacesByAnother(dialect, self._rows)


@breaks("concurrency.cancel")
class DeletesAndInserts(OnPostgreSQL):
    """Replaces by DELETE and INSERT: who waits for the old row never sees the new one."""

    backend = _ReplacingByAnother
    late = "INSERT"


class _TakesFailuresForSuccess(Settling):
    def _delete_held(self, *args: Any) -> None:
        try:
            super()._delete_held(*args)
        except exc.OperationalError as error:
            self._raise_unless_conflict(error)

    def _settle_looking(
        self, connection: sa.Connection, settlements: Sequence[Settlement], now: datetime
    ) -> Sequence[bool]:
        try:
            return super()._settle_looking(connection, settlements, now)
        except exc.OperationalError as error:
            self._raise_unless_conflict(error)
            return [True] * len(settlements)

    def _raise_unless_conflict(self, error: exc.OperationalError) -> None:
        if self._dialect.fault(error)[0] is not Fault.CONFLICT:
            raise error


class _Careless(SQLBackend):
    def __init__(self, dialect: Dialect, settings: Any) -> None:
        super().__init__(dialect, settings)
        self._settling = _TakesFailuresForSuccess(dialect, self._statements, self._rows)


@breaks("concurrency.fence")
class SwallowsSerializationFailures(OnPostgreSQL):
    """REPEATABLE READ, and a handler that takes the failure of a report for nothing to worry about."""

    backend = _Careless
    session: ClassVar[Mapping[str, str]] = {"default_transaction_isolation": "repeatable read"}


@breaks("add.raise")
class DoesNotCountConflicts(OnPostgreSQL):
    """ON CONFLICT DO NOTHING, and ADDED for what was passed over."""

    def insert(self, *args: Any) -> None:
        with suppress(IdsTakenError):
            super().insert(*args)


@breaks("time.rounds-up")
class KeepsMilliseconds(OnPostgreSQL):
    """``timestamptz(3)``, which rounds to the nearest, where microseconds are declared."""

    rewrites = ((r"(trigger_time|due|died) timestamptz", r"\1 timestamptz(3)"),)


@breaks("time.utc")
class ReadsInTheZoneOfTheSession(OnPostgreSQL):
    """Nobody sets TimeZone, and the driver's times are in whatever zone the session has."""

    session: ClassVar[Mapping[str, str]] = {"TimeZone": "America/St_Johns"}

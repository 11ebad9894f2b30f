"""Mutants of the SQLite backend: each differs in a word of one statement, or leaves out one step.

Most would be the same mistakes on any other database; on this one they are found soonest.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence, Sized
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, exc

from futurama.backend import AddOutcome, IfExists, NewEvent, SettlementKind
from futurama.backends.sql import Dialect, SQLBackend
from futurama.backends.sql.errors import Fault
from futurama.backends.sql.settling import Settling, _SomeClaimLostError
from futurama.backends.sqlite import SQLiteDialect
from futurama.errors import OutcomeUnknownError
from tests.mutants.dying import Mutants
from tests.mutants.sql import Rewriting, WithoutTheToken

__all__ = ["SQLITE_MUTANTS", "OnSQLite", "RightOnSQLite"]


class OnSQLite(Rewriting, SQLiteDialect):
    """A wrong way to speak to SQLite."""


class RightOnSQLite(OnSQLite):
    """Nothing is rewritten, so everything is right."""


SQLITE_MUTANTS: Mutants[type[OnSQLite]] = Mutants()

breaks = SQLITE_MUTANTS.breaks


# -- fences ------------------------------------------------------------------------------------


@breaks("fence.settle")
class DeletesWithoutTheToken(OnSQLite):
    """No token in the WHERE clause of the DELETE for what is done."""

    rewrites = ((r"^(DELETE .*) \S+token = \?", r"\1 ? IS NOT NULL"),)


class _BelievesRetries(WithoutTheToken):
    kind = SettlementKind.RETRY


class _BelievesBurials(WithoutTheToken):
    kind = SettlementKind.BURY


class _BelievesReleases(WithoutTheToken):
    kind = SettlementKind.RELEASE


class _BelievesRenewals(WithoutTheToken):
    believes_renewals = True


@breaks("fence.settle")
class RetriesWithoutTheToken(OnSQLite):
    """``UPDATE ... WHERE id = ? AND due > ?``: whoever holds the event now loses it to a retry."""

    backend = _BelievesRetries


@breaks("fence.settle")
class BuriesWithoutTheToken(OnSQLite):
    """The same for a burial: a call that is under way is declared dead."""

    backend = _BelievesBurials


@breaks("fence.settle")
class ReleasesWithoutTheToken(OnSQLite):
    """The same for a release: somebody else's event is given back."""

    backend = _BelievesReleases


@breaks("fence.renew")
class RenewsWithoutTheToken(OnSQLite):
    """The same for a renewal: whoever lost the event goes on for ever."""

    backend = _BelievesRenewals


@breaks("fence.lease-end")
class ForgetsTheLease(OnSQLite):
    """No end of the lease in the WHERE clause of the DELETE: the token alone decides."""

    rewrites = ((r"^(DELETE .*) \S+due > \?", r"\1 ? IS NOT NULL"),)


@breaks("fence.lease-end")
class HeldAtTheEnd(OnSQLite):
    """``due >= now`` where ``due > now`` was meant."""

    rewrites = ((r"^(DELETE .*due) > ", r"\1 >= "),)


class _NeverCounts(Settling):
    def _delete_held(self, *args: Any) -> None:
        with suppress(_SomeClaimLostError):
            super()._delete_held(*args)


class _WithoutCounting(SQLBackend):
    def __init__(self, dialect: Dialect, settings: Any) -> None:
        super().__init__(dialect, settings)
        self._settling = _NeverCounts(dialect, self._statements, self._rows)


@breaks("fence.settle")
class DoesNotCountWhatItDeleted(OnSQLite):
    """Takes a guarded DELETE for done, whatever its row count."""

    backend = _WithoutCounting


# -- claiming ----------------------------------------------------------------------------------


@breaks("claim.due")
class ClaimsAfterTheDue(OnSQLite):
    """``due < due_before`` where ``<=`` was meant, for waiting events."""

    rewrites = ((r"(token = X'0+' AND \S+due) <= ", r"\1 < "),)


@breaks("claim.lease")
class ClaimsAfterTheLease(OnSQLite):
    """``due < now`` where ``<=`` was meant, for claimed events."""

    rewrites = ((r"(token != X'0+' AND \S+due) <= ", r"\1 < "),)


@breaks("claim.look-ahead")
class OneRuleForAll(OnSQLite):
    """``due <= due_before``, claimed or not."""

    rewrites = ((r"\(\S+token = X'0+' AND \S+ <= \? OR .* <= \?\)", "(? IS NOT NULL OR ?)"),)


@breaks("claim.order")
class SortsByDueOnly(OnSQLite):
    """No tie-break, neither in the ORDER BY nor in the index."""

    rewrites = (
        (r"(AS lost, .* ORDER BY \S+due), \S+id", r"\1"),
        (r"\(due, id\)$", "(due)"),
    )


@breaks("claim.limit")
class OneMore(OnSQLite):
    """Fetches one more than asked to know whether there is more, and hands it out."""

    rewrites = ((r"^(SELECT .*created, \S+data FROM .*LIMIT \?)", r"\1 + 1"),)


@breaks("claim.due")
class TheDeadAreFirst(OnSQLite):
    """Looks for the first ``due`` and forgets that NULL sorts before everything."""

    rewrites = (
        (
            r"due FROM (\S+) WHERE (\S+due) (>= \?) ORDER",
            r"due FROM \1 WHERE \2 \3 OR \2 IS NULL ORDER",
        ),
    )


@breaks("lost.counted")
class TakesOverWithoutATrace(OnSQLite):
    """The UPDATE that takes over an expired claim leaves ``lost`` as it is."""

    rewrites = ((r"lost=CASE .* ELSE 1 END", "lost=lost"),)


@breaks("claim.attempt")
class CountsNothing(OnSQLite):
    """The UPDATE leaves ``attempt`` as it is."""

    rewrites = ((r"attempt=\(\S+attempt \+ .* END\)", "attempt=attempt"),)


# -- adding ------------------------------------------------------------------------------------


@breaks("add.raise")
class IgnoresWhatIsThere(OnSQLite):
    """INSERT OR IGNORE, and ADDED for what was ignored."""

    rewrites = ((r'^INSERT INTO "', 'INSERT OR IGNORE INTO "'),)


@breaks("add.raise")
class InsertsOrReplaces(OnSQLite):
    """An upsert, whatever ``if_exists`` says."""

    rewrites = ((r'^INSERT INTO "', 'INSERT OR REPLACE INTO "'),)


@breaks("replay.add")
class InsertsTwice(OnSQLite):
    """No primary key: an INSERT that is repeated makes a second event."""

    rewrites = ((r"(id BLOB NOT NULL) PRIMARY KEY", r"\1"),)


class _TakenIsTaken(OnSQLite):
    rewrites = (
        (r"^(SELECT \S+id, \S+trigger_type, \S+trigger_time, \S+created,) \S+data", r"\1 NULL"),
    )


@breaks("replay.add")
class TakesARepeatForASecondEvent(_TakenIsTaken):
    """A duplicate key means REFUSED: nobody asks whether the row is this very event."""


class _Stubborn(SQLBackend):
    def add(self, events: Sequence[NewEvent], *, if_exists: IfExists) -> Sequence[AddOutcome]:
        try:
            return super().add(events, if_exists=if_exists)
        except OutcomeUnknownError:
            return super().add(events, if_exists=if_exists)


@breaks("add.new")
class RepeatsTheInsertBlindly(_TakenIsTaken):
    """The answer to COMMIT is lost, it repeats the INSERT, and refuses what it has just stored."""

    backend = _Stubborn

    def make_engines(self) -> tuple[sa.Engine, sa.Engine]:
        engines = super().make_engines()
        event.listen(engines[0], "commit", self._lose)
        return engines

    def insert(self, connection: sa.Connection, *args: Any) -> None:
        super().insert(connection, *args)
        connection.info["has inserted"] = True

    def _lose(self, connection: sa.Connection) -> None:
        if connection.info.pop("has inserted", False):
            connection.connection.commit()
            raise exc.OperationalError("COMMIT", None, sqlite3.OperationalError("no answer"))


@breaks("replay.add")
class DoesNotKnowDuplicateKeys(OnSQLite):
    """The driver's error for a duplicate key becomes an exception instead of an outcome."""

    def fault(self, error: BaseException) -> tuple[Fault, str]:
        fault, advice = super().fault(error)
        return (Fault.REJECTED if fault is Fault.DUPLICATE else fault), advice


@breaks("add.new")
class SwallowsErrorsAtCommit(OnSQLite):
    """Takes a COMMIT that fails, here that of every batch of two and more, for done."""

    def make_engines(self) -> tuple[sa.Engine, sa.Engine]:
        engines = super().make_engines()
        event.listen(engines[0], "commit", self._fail)
        return engines

    def insert(
        self, connection: sa.Connection, table_name: str, columns: Sequence[str], rows: list[Any]
    ) -> None:
        super().insert(connection, table_name, columns, rows)
        connection.info["fails"] = len(rows) > 1

    def _fail(self, connection: sa.Connection) -> None:
        if connection.info.pop("fails", False):
            connection.exec_driver_sql("ROLLBACK")


# -- the rest ----------------------------------------------------------------------------------


@breaks("id.byte-exact")
class DeletesWithoutCase(OnSQLite):
    """A collation that folds case, in the DELETE."""

    rewrites = (
        (r"^(DELETE FROM \S+ WHERE) \S+id IN ", r"\1 lower(id) IN "),
        (r"^DELETE .*lower.*", lambda found: found[0].replace("?", "lower(?)")),
    )


@breaks("batch.large")
class CutsLongLists(OnSQLite):
    """Ids beyond what one statement may list are left out."""

    def in_lists(self, keys: Iterable[bytes]) -> Iterator[Sized]:
        yield next(iter(super().in_lists(keys)), [])


@breaks("concurrency.exclusive")
class EachStatementForItself(OnSQLite):
    """No BEGIN around the look and the UPDATE, which relies on the look."""

    rewrites = (
        (r"^BEGIN IMMEDIATE$", "SELECT 1"),
        (r"^(UPDATE .* WHERE \S+id IN .*) AND \(\S+token = X'0+' AND \S+ <= .*", r"\1 AND ? AND ?"),
    )
    late = "UPDATE"


@breaks("find.pages")
class ContinuesBehindTheTime(OnSQLite):
    """No tie-break in the condition for the next page."""

    rewrites = ((r"(due > \?) OR \S+due = \? AND \S+id > \?", r"\1 AND ? AND ? IS NOT NULL"),)


@breaks("find.due")
class UntilIsIncluded(OnSQLite):
    """BETWEEN, which includes both ends."""

    rewrites = ((r"(AND \S+due) < ", r"\1 <= "),)


@breaks("requeue.dead")
class RequeuedIsStillTired(OnSQLite):
    """The UPDATE that requeues forgets the column ``attempt``."""

    rewrites = ((r"attempt=0, ", ""),)


class _RoundsDown(SQLBackend):
    def purge(self, *, before: datetime) -> int:
        return super().purge(before=before.replace(microsecond=0))


@breaks("purge.before")
class RoundsThePurgeDown(OnSQLite):
    """Compares ``died`` with an instant that was cut to whole seconds."""

    resolution = timedelta(seconds=1)
    backend = _RoundsDown

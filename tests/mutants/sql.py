"""Mutants of the SQL backends: each differs in a word of one statement, or leaves out one step."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, ClassVar, TypeAlias, TypeVar

import sqlalchemy as sa
from sqlalchemy import event

from futurama.backends.mysql import MySQLDialect
from futurama.backends.sql import Dialect, SQLBackend
from futurama.backends.sql.rows import Rows
from futurama.backends.sql.settling import Settling, _SomeClaimLostError
from futurama.backends.sqlite import SQLiteDialect, SQLiteSettings

__all__ = [
    "MYSQL_MUTANTS",
    "SQLITE_MUTANTS",
    "OnMySQL",
    "OnSQLite",
    "RightOnMySQL",
    "RightOnSQLite",
]

D = TypeVar("D", bound="type[OnSQLite | OnMySQL]")

Rewrites: TypeAlias = Sequence[tuple[str, str | Callable[[re.Match[str]], str]]]
"""(regular expression, replacement), for the text of every statement, white space made one blank."""

_ROUND_TRIP_SECONDS = 0.001
"""What lies between two statements on a network."""


class _Rewriting:
    """A dialect that changes statements on their way to the database.

    Attributes:
        law, others, test: as for the mutants of the memory backend, see ``registry``.
        backend: what speaks it.
        rewrites: how statements are changed.
        late: which of them take a round trip longer, so that others get in between.
    """

    law: ClassVar[str]
    others: ClassVar[tuple[str, ...]]
    test: ClassVar[str]
    backend: ClassVar[type[SQLBackend]] = SQLBackend
    rewrites: ClassVar[Rewrites] = ()
    late: ClassVar[str | None] = None

    def make_engines(self) -> tuple[sa.Engine, sa.Engine]:
        """Those of the right dialect, with an ear on each."""
        engines: tuple[sa.Engine, sa.Engine] = super().make_engines()  # type: ignore[misc] # of the class that this is mixed into
        for engine in engines:
            event.listen(engine, "before_cursor_execute", self._rewrite, retval=True)
        return engines

    def _rewrite(
        self, _connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any
    ) -> tuple[str, Any]:
        statement = " ".join(statement.split())
        for pattern, replacement in self.rewrites:
            statement = re.sub(pattern, replacement, statement)
        if self.late is not None and re.match(self.late, statement):
            time.sleep(_ROUND_TRIP_SECONDS)
        return statement, parameters


class OnSQLite(_Rewriting, SQLiteDialect):
    """A wrong way to speak to SQLite."""


class OnMySQL(_Rewriting, MySQLDialect):
    """A wrong way to speak to MySQL.

    Attributes:
        mysql6: as in the configuration.
        session: how each session is set up, behind the back of the right dialect.
    """

    mysql6: ClassVar[bool] = True
    session: ClassVar[str | None] = None

    def _connect(self, **kwargs: Any) -> Any:
        connection = super()._connect(**kwargs)
        if self.session is not None:
            connection.query(self.session)
        return connection


class RightOnSQLite(OnSQLite):
    """Nothing is rewritten, so everything is right."""


class RightOnMySQL(OnMySQL):
    """Nothing is rewritten, so everything is right."""


SQLITE_MUTANTS: list[type[OnSQLite]] = []
MYSQL_MUTANTS: list[type[OnMySQL]] = []


def breaks(law: str, *others: str, test: str | None = None) -> Callable[[D], D]:
    """Register a mutant; the arguments are its attributes."""

    def register(cls: D) -> D:
        cls.law, cls.others, cls.test = law, others, test or law
        if issubclass(cls, OnSQLite):
            SQLITE_MUTANTS.append(cls)
        else:
            MYSQL_MUTANTS.append(cls)
        return cls

    return register


_WHATEVER_OVERLAPS = ("concurrency.exclusive", "concurrency.fence", "concurrency.nothing-lost")
"""Any of these is seen first where no decision is atomic."""


# -- fences ------------------------------------------------------------------------------------


@breaks("fence.settle")
class ForgetsTheToken(OnSQLite):
    """No token in the WHERE clause of the DELETE."""

    rewrites = ((r"^(DELETE .*) \S+token = \?", r"\1 ? IS NOT NULL"),)


@breaks("fence.lease-end")
class ForgetsTheLease(OnSQLite):
    """The token alone decides."""

    rewrites = ((r"^(DELETE .*) \S+due > \?", r"\1 ? IS NOT NULL"),)


@breaks("fence.lease-end")
class HeldAtTheEnd(OnSQLite):
    """``>=`` where ``>`` was meant."""

    rewrites = ((r"^(DELETE .*due) > ", r"\1 >= "),)


class _NeverCounts(Settling):
    def _delete_held(self, *args: Any) -> None:
        with suppress(_SomeClaimLostError):
            super()._delete_held(*args)


class _WithoutCounting(SQLBackend):
    def __init__(self, dialect: Dialect, settings: Any) -> None:
        super().__init__(dialect, settings)
        self._settling = _NeverCounts(dialect, self._transactions, self._statements, self._rows)


@breaks("fence.settle")
class DoesNotCountWhatItDeleted(OnSQLite):
    """Takes a guarded DELETE for done, whatever its row count."""

    backend = _WithoutCounting


# -- claiming ----------------------------------------------------------------------------------


@breaks("claim.due")
class ClaimsAfterTheDue(OnSQLite):
    """``<`` where ``<=`` was meant, for waiting events."""

    rewrites = ((r"(token IS NULL AND \S+due) <= ", r"\1 < "),)


@breaks("claim.lease")
class ClaimsAfterTheLease(OnSQLite):
    """``<`` where ``<=`` was meant, for claimed events."""

    rewrites = ((r"(token IS NOT NULL AND \S+due) <= ", r"\1 < "),)


@breaks("claim.look-ahead")
class OneRuleForAll(OnSQLite):
    """Whatever is due by the horizon, claimed or not."""

    rewrites = ((r"\(\S+token IS NULL AND \S+ <= \? OR .* <= \?\)", "(? IS NOT NULL OR ?)"),)


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
    """NULL sorts before everything."""

    rewrites = ((r"due FROM (\S+) WHERE \S+due IS NOT NULL ORDER", r"due FROM \1 ORDER"),)


@breaks("lost.counted")
class TakesOverWithoutATrace(OnSQLite):
    """The UPDATE leaves ``lost`` as it is."""

    rewrites = ((r"lost=CASE .* ELSE 1 END", "lost=lost"),)


@breaks("claim.attempt")
class CountsNothing(OnSQLite):
    """The UPDATE leaves ``attempt`` as it is."""

    rewrites = ((r"attempt=\(\S+attempt \+ 1\)", "attempt=attempt"),)


# -- adding ------------------------------------------------------------------------------------


@breaks("add.raise")
class IgnoresWhatIsThere(OnSQLite):
    """INSERT IGNORE, and ADDED for what was ignored."""

    rewrites = ((r'^INSERT INTO "', 'INSERT OR IGNORE INTO "'),)


@breaks("add.raise")
class InsertsOrReplaces(OnSQLite):
    """An upsert."""

    rewrites = ((r'^INSERT INTO "', 'INSERT OR REPLACE INTO "'),)


@breaks("replay.add")
class InsertsTwice(OnSQLite):
    """No primary key: an INSERT that is blindly repeated makes a second event."""

    rewrites = ((r"(id BLOB NOT NULL) PRIMARY KEY", r"\1"),)


@breaks("add.new")
class SwallowsErrorsAtCommit(OnSQLite):
    """Every third transaction that adds events fails at its COMMIT, which nobody notices."""

    def __init__(self, settings: SQLiteSettings) -> None:
        super().__init__(settings)
        self._inserts = 0

    def make_engines(self) -> tuple[sa.Engine, sa.Engine]:
        engines = super().make_engines()
        event.listen(engines[0], "commit", self._fail)
        return engines

    def insert(self, *args: Any) -> None:
        super().insert(*args)
        self._inserts += 1

    def _fail(self, connection: sa.Connection) -> None:
        if self._inserts == 3:
            self._inserts = 0
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

    def in_lists(self, keys: Iterable[bytes]) -> Iterator[list[bytes]]:
        yield next(iter(super().in_lists(keys)), [])


@breaks("concurrency.fence", *_WHATEVER_OVERLAPS)
class EachStatementForItself(OnSQLite):
    """No transaction around the look and the change."""

    rewrites = ((r"^BEGIN IMMEDIATE$", "SELECT 1"),)
    late = "UPDATE|DELETE|INSERT"


@breaks("find.pages")
class ContinuesBehindTheTime(OnSQLite):
    """No tie-break in the condition for the next page."""

    rewrites = ((r"(due > \?) OR \S+due = \? AND \S+id > \?", r"\1 AND ? AND ? IS NOT NULL"),)


@breaks("find.due")
class UntilIsIncluded(OnSQLite):
    """BETWEEN."""

    rewrites = ((r"(AND \S+due) < ", r"\1 <= "),)


@breaks("requeue.dead")
class RequeuedIsStillTired(OnSQLite):
    """The UPDATE forgets a column."""

    rewrites = ((r"attempt=0, ", ""),)


class _RoundsDown(SQLBackend):
    def purge(self, *, before: datetime) -> int:
        return super().purge(before=before.replace(microsecond=0))


@breaks("purge.before")
class RoundsThePurgeDown(OnSQLite):
    """Compares ``died`` with an instant that was cut to whole seconds."""

    resolution = timedelta(seconds=1)
    backend = _RoundsDown


# -- what only a server shows ------------------------------------------------------------------


@breaks("concurrency.exclusive")
class SelectsThenUpdates(OnMySQL):
    """A plain SELECT, and an UPDATE that does not repeat the condition."""

    rewrites = (
        (r" FOR UPDATE SKIP LOCKED", ""),
        (r"^(UPDATE .* WHERE \(\S+id IN %\(ids\)s\)).*", r"\1"),
    )
    late = "UPDATE"


@breaks("concurrency.exclusive", *_WHATEVER_OVERLAPS)
class SelectsThenUpdatesWithCare(OnMySQL):
    """A plain SELECT, and an UPDATE that repeats the condition: what was read may be outdated."""

    rewrites = ((r" FOR UPDATE SKIP LOCKED", ""),)
    late = "UPDATE"


@breaks("concurrency.exclusive")
class LocksCandidatesUnseen(OnMySQL):
    """Without SKIP LOCKED: what was read unlocked is locked and not looked at again."""

    rewrites = (
        (r" SKIP LOCKED", " NO SUCH CLAUSE"),
        (r"^(SELECT .*data FROM .* IN %\(ids\)s\)) AND .* (ORDER BY .* FOR UPDATE)$", r"\1 \2"),
        (r"^(UPDATE .* WHERE \(\S+id IN %\(ids\)s\)).*", r"\1"),
    )
    late = "SELECT .* FOR UPDATE"


@breaks("concurrency.fence", *_WHATEVER_OVERLAPS)
class DecidesOnASnapshot(OnMySQL):
    """REPEATABLE READ and no FOR UPDATE: what is read was true when the transaction began."""

    session = "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ"
    rewrites = ((r" FOR UPDATE$", ""),)
    late = "UPDATE|DELETE|INSERT"


@breaks("concurrency.fence", *_WHATEVER_OVERLAPS)
class CommitsEachStatement(OnMySQL):
    """Autocommit: locks last as long as the SELECT that took them."""

    session = "SET autocommit = 1"
    late = "UPDATE|DELETE|INSERT"


@breaks("lost.counted")
class AssignsFromLeftToRight(OnMySQL):
    """``token`` is set before ``lost`` looks at it, so that every claim counts as lost."""

    rewrites = ((r"SET (lost=CASE .* END), (token=%\(token\)s)", r"SET \2, \1"),)


class _Unchecked(OnMySQL):
    def check(self, *args: Any) -> None:
        pass


@breaks("time.rounds-up")
class WithoutFractions(_Unchecked):
    """DATETIME where DATETIME(6) is declared."""

    rewrites = ((r"DATETIME\(6\)", "DATETIME"),)


class _AsGiven(Rows):
    def up(self, instant: datetime) -> Any:
        return self._dialect.encode_time(instant)


class _WithoutRounding(SQLBackend):
    def __init__(self, dialect: Dialect, settings: Any) -> None:
        super().__init__(dialect, settings)
        rows = _AsGiven(dialect, self._statements)
        self._rows = self._adding._rows = self._settling._rows = rows


@breaks("time.rounds-up")
class LeavesRoundingToTheServer(OnMySQL):
    """Sends microseconds to a column of whole seconds."""

    mysql6 = False
    backend = _WithoutRounding


@breaks("lifecycle.now")
class ShowsTheTimeOfTheSession(OnMySQL):
    """NOW() where UTC_TIMESTAMP() was meant, in a session of another zone."""

    session = "SET time_zone = '+02:00'"
    rewrites = ((r"UTC_TIMESTAMP\(6\)", "NOW(6)"),)


@breaks("time.utc")
class KeepsTimestamps(_Unchecked):
    """TIMESTAMP columns, of which the driver makes naive times."""

    rewrites = ((r"DATETIME\(6\)", "TIMESTAMP(6)"),)


@breaks("errors", test="id.byte-exact")
class FoldsCaseInTheKey(OnMySQL):
    """A unique key with a collation."""

    rewrites = (
        (
            r"KEY due_id \(due, id\)",
            (
                "KEY due_id (due, id), folded VARCHAR(128) COLLATE utf8mb4_general_ci "
                "AS (CONVERT(id USING utf8mb4)) STORED, UNIQUE KEY (folded)"
            ),
        ),
    )

"""Mutants of the MySQL backend: what only a server shows, or only this one."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from futurama.backends.mysql import MySQLDialect
from futurama.backends.sql import Dialect, SQLBackend
from futurama.backends.sql.rows import Rows
from tests.mutants.dying import Mutants
from tests.mutants.sql import Rewriting

__all__ = ["MYSQL_MUTANTS", "OnMySQL", "RightOnMySQL"]


class OnMySQL(Rewriting, MySQLDialect):
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


class RightOnMySQL(OnMySQL):
    """Nothing is rewritten, so everything is right."""


MYSQL_MUTANTS: Mutants[type[OnMySQL]] = Mutants()

breaks = MYSQL_MUTANTS.breaks

_CONDITION_OF_TAKE = (r"^(UPDATE .* WHERE \(\S+id IN %\(ids\)s\)) AND .*", r"\1")
"""For mutants that take what they saw without another look at it."""


@breaks("fence.settle")
class DeletesWithoutTheToken(OnMySQL):
    """No token in the WHERE clause of the DELETE for what is done."""

    rewrites = ((r"^(DELETE .*) e\.token = %\(token\)s AND", r"\1"),)


@breaks("concurrency.exclusive")
class SelectsThenUpdates(OnMySQL):
    """A plain SELECT, and an UPDATE that does not repeat the condition."""

    rewrites = ((r" FOR UPDATE SKIP LOCKED", ""), _CONDITION_OF_TAKE)
    late = "UPDATE"


@breaks("concurrency.exclusive")
class DoesNotAskWhatItTook(OnMySQL):
    """A plain SELECT, an UPDATE that repeats the condition, and nobody asks which rows it changed."""

    during = "claim"
    rewrites = (
        (r" FOR UPDATE SKIP LOCKED", ""),
        (r"^(SELECT \S+id FROM .*) AND \S+token = (%\(token\)s)$", r"\1 AND \2 IS NOT NULL"),
    )
    late = "UPDATE"


@breaks("concurrency.exclusive")
class LocksCandidatesUnseen(OnMySQL):
    """Without SKIP LOCKED: what was read unlocked is locked and not looked at again."""

    rewrites = (
        (r" SKIP LOCKED", " NO SUCH CLAUSE"),
        (r"^(SELECT .*data FROM .* IN %\(ids\)s\)) AND .* FOR UPDATE$", r"\1 FOR UPDATE"),
        _CONDITION_OF_TAKE,
    )
    late = "SELECT .* FOR UPDATE"


@breaks("concurrency.exclusive")
class CommitsEachStatement(OnMySQL):
    """Autocommit: the locks that the UPDATE relies on last as long as the SELECT that took them."""

    session = "SET autocommit = 1"
    rewrites = (_CONDITION_OF_TAKE,)
    late = "UPDATE"


@breaks("concurrency.cancel")
class CancelsOnASnapshot(OnMySQL):
    """REPEATABLE READ and no FOR UPDATE: the answer was true when the transaction began.

    The DELETE spares what has died since, and nobody counts what it removed.
    """

    session = "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ"
    during = "cancel"
    rewrites = ((r" FOR UPDATE$", ""), (r"e\.token >= X''", "e.due IS NOT NULL"))
    late = "DELETE"


@breaks("concurrency.fence")
class PassesOverLockedClaims(OnMySQL):
    """SKIP LOCKED where reports are checked, too: whom another call gets in the way is told no."""

    during = "settle"
    rewrites = ((r" FOR UPDATE$", " FOR UPDATE SKIP LOCKED"),)
    late = "UPDATE"


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
        rows = _AsGiven(dialect, self._transactions, self._statements)
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
    """A unique key with a collation: ids that look alike keep each other out."""

    rewrites = (
        (
            r"KEY due_id \(due, id\)",
            (
                "KEY due_id (due, id), folded VARCHAR(128) COLLATE utf8mb4_general_ci "
                "AS (CONVERT(id USING utf8mb4)) STORED, UNIQUE KEY (folded)"
            ),
        ),
    )

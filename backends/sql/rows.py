"""Reading and writing rows by primary key, in as few statements as possible."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any, TypeVar

import sqlalchemy as sa

from futurama.backends.sql.dialect import Dialect
from futurama.backends.sql.statements import INSERTED, Statements
from futurama.backends.sql.transactions import Transactions
from futurama.errors import BackendError, EventsLockedError
from futurama.times import ceil_to, floor_to

__all__ = ["Rows", "portions", "tuples"]

T = TypeVar("T")

_by_id = itemgetter(0)


class Rows:
    """The rows of one table."""

    def __init__(
        self, dialect: Dialect, transactions: Transactions, statements: Statements
    ) -> None:
        self._dialect = dialect
        self._transactions = transactions
        self._statements = statements
        self._table_name = str(statements.table.name)
        self._has_to_round = dialect.resolution > timedelta.resolution
        self._selects: dict[tuple[str, ...], sa.Select[Any]] = {}

    def change(self, keys: Iterable[bytes], work: Callable[[sa.Connection], T]) -> T:
        """Run ``work``, which changes the rows with these ids, in a transaction.

        Args:
            keys: one for each item of the operation, in order; looked at only if that fails.
            work: see :meth:`Transactions.write`.

        Raises:
            EventsLockedError: others keep locks for longer than ``lock_wait_timeout_sec``; on which of
                ``keys`` is said if the server tells.
            BackendError: see :meth:`Transactions.write`.
        """
        try:
            return self._transactions.write(work)
        except EventsLockedError as error:
            numbers = dict(enumerate(keys))
            locked = self._locked(set(numbers.values()))
            positions = {number for number, key in numbers.items() if key in locked}
            if len(positions) == len(numbers):
                raise
            raise error.at(positions) from error.__cause__

    def _locked(self, keys: Collection[bytes]) -> Collection[bytes]:
        """Which of these rows others have locked."""

        def work(connection: sa.Connection) -> Collection[bytes]:
            free, stored = (
                {
                    row[0]
                    for ids in self._dialect.in_lists(keys)
                    for row in connection.execute(select, {"ids": ids})
                }
                for select in (self._statements.free, self._statements.existing)
            )
            return stored - free

        try:
            return self._transactions.write(work)
        except BackendError:
            return frozenset()

    def lock(
        self, connection: sa.Connection, keys: Iterable[bytes], *columns: str
    ) -> dict[bytes, Any]:
        """Lock the rows with these ids; return these columns of those that exist, by id."""
        select = self._selects.get(columns)
        if select is None:
            select = self._selects[columns] = self._statements.lock(self._dialect, *columns)
        rows: dict[bytes, Any] = {}
        for ids in self._dialect.in_lists(keys):
            rows.update((row[0], row) for row in connection.execute(select, {"ids": ids}).all())
        return rows

    def insert(self, connection: sa.Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert tuples in the order of ``statements.INSERTED``."""
        if rows:
            # In the order of the key, as everybody locks: batches wait instead of dying.
            self._dialect.insert(connection, self._table_name, INSERTED, sorted(rows, key=_by_id))

    def delete(self, connection: sa.Connection, keys: Iterable[bytes]) -> None:
        """Remove the rows with these ids."""
        for ids in self._dialect.in_lists(keys):
            connection.execute(self._statements.delete, {"ids": ids})

    def update(self, connection: sa.Connection, changes: Mapping[bytes, Mapping[str, Any]]) -> None:
        """Give each row its changes; rows of which the same columns change share a statement."""
        by_columns = sorted(
            ((tuple(change), key) for key, change in changes.items() if change),
        )
        for columns, group in itertools.groupby(by_columns, key=lambda item: item[0]):
            rows = [(*changes[key].values(), key) for _, key in group]
            self._dialect.update(connection, self._table_name, columns, rows)

    def up(self, instant: datetime) -> Any:
        """For storing: never early."""
        if self._has_to_round:
            instant = ceil_to(instant, self._dialect.resolution)
        return self._dialect.encode_time(instant)

    def down(self, instant: datetime) -> Any:
        """For ``due <= instant`` and ``due > instant``, which mean the same when rounded down."""
        return self._dialect.encode_time(floor_to(instant, self._dialect.resolution))


def portions(rows: list[Any], *, max_rows: int, max_bytes: int) -> Iterator[list[Any]]:
    """``rows`` in portions of at most so many rows and, if they have more than one, so many bytes."""
    portion: list[Any] = []
    size = 0
    for row in rows:
        row_size = 0
        for value in row:  # in half the time of sum()
            if isinstance(value, bytes):
                row_size += len(value)
        if portion and (len(portion) == max_rows or size + row_size > max_bytes):
            yield portion
            portion, size = [], 0
        portion.append(row)
        size += row_size
    if portion:
        yield portion


def tuples(result: sa.CursorResult[Any]) -> Sequence[Any]:
    """The rows as the driver made them: wrapping them up costs as much as making claims of them."""
    assert result.cursor is not None, "the statement is a SELECT"
    with result:
        return result.cursor.fetchall()

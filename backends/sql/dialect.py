"""What a member of the family has to say about its database."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence, Sized
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from futurama.backends.sql.errors import Fault

__all__ = ["Dialect"]


class Dialect(ABC):
    """One database: how to connect, what its SQL does differently, what its errors mean.

    Attributes:
        name: the backend's name, for messages.
        place: which server or file it is, for messages; no secrets.
        resolution: the step of its stored times.
        max_in_list: how many keys one statement may list.
        max_table_name: how many letters the name of a table may have.
        max_data_bytes: the longest payload that can be stored.
        locks_by_id: whether a SELECT that locks had better be given ids than a range of the index on
            (due, id), because it is slow to pass over what is left there of events that are gone.
    """

    name: str
    place: str
    resolution: timedelta
    max_in_list: int
    max_table_name: int = 64
    max_data_bytes: int
    locks_by_id: bool = False

    @abstractmethod
    def make_engines(self) -> tuple[sa.Engine, sa.Engine]:
        """(for transactions, for reads that stand alone); must not connect yet.

        Reads run in autocommit mode, so that a look at the next due costs one query.
        """

    @abstractmethod
    def fault(self, error: BaseException) -> tuple[Fault, str]:
        """What an exception of SQLAlchemy or of the driver means, and what to do about it."""

    @property
    def present_place(self) -> str:
        """The one of several servers that is used now."""
        return self.place

    def place_of(self, error: BaseException) -> str:
        """Where this exception of SQLAlchemy or of the driver came from, as far as that is known."""
        return self.place

    def is_rolled_back(self, error: BaseException) -> bool:
        """Whether this error of COMMIT says for certain that nothing was committed."""
        return False

    @abstractmethod
    def encode_time(self, instant: datetime) -> Any:
        """``instant``, a multiple of the resolution, as the driver takes it."""

    @abstractmethod
    def decode_time(self, value: Any) -> datetime:
        """The aware UTC datetime that :meth:`encode_time` was given.

        For what it cannot have made, because somebody else has stored it, the nearest one before.
        """

    def exact_time(self, value: Any) -> datetime:
        """The same, for ``value`` that is a time of ours.

        Raises:
            ValueError, TypeError or OverflowError: :meth:`encode_time` cannot have made it.
        """
        if type(value) is not datetime:
            raise ValueError(value)
        return value

    @abstractmethod
    def now(self, connection: sa.Connection) -> datetime:
        """The clock that everybody who uses this database shares."""

    @abstractmethod
    def ddl(self, table_name: str) -> Sequence[str]:
        """The statements that create what is missing, each harmless when it is there already."""

    @abstractmethod
    def upgrades(self, table_name: str) -> Sequence[Sequence[str]]:
        """For each former version of the schema, from 1 on, the statements that make the next of it.

        They are run in a transaction, and again from the first where the server cannot undo them
        after an interruption. Old instances must have been stopped.
        """

    @abstractmethod
    def prepare(self) -> Sequence[str]:
        """Make the database itself if it is missing; return one sentence per change."""

    @abstractmethod
    def check(self, connection: sa.Connection, table_name: str) -> None:
        """Raise ``BackendSetupError`` if the database or the table cannot be used as it is."""

    @abstractmethod
    def insert(
        self, connection: sa.Connection, table_name: str, columns: Sequence[str], rows: list[Any]
    ) -> None:
        """Insert ``rows``, tuples in the order of ``columns``, in as few statements as possible."""

    @abstractmethod
    def update(
        self, connection: sa.Connection, table_name: str, columns: Sequence[str], rows: list[Any]
    ) -> None:
        """Set ``columns`` of the row whose id is the last item of each tuple of ``rows``."""

    def is_in(self, column: sa.ColumnElement[Any], parameter: str) -> sa.ColumnElement[bool]:
        """``column IN (...)``, with the list given as ``parameter`` at execution."""
        return column.in_(sa.bindparam(parameter, expanding=True))

    def literal(self, value: bytes) -> str:
        """``value`` as a constant in a statement."""
        return f"X'{value.hex()}'"

    def guard(self, condition: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
        """``condition`` in a form that does not tempt the server to look for rows by it."""
        return condition

    def by_id_among_dead(self, table: sa.TableClause) -> Sequence[sa.ColumnElement[Any]]:
        """The order of ids where ``due IS NULL``, in words that lead to the index on (due, id)."""
        return table.c.due, table.c.id

    def delete(self, table: sa.TableClause, *, only_held: bool) -> sa.Executable:
        """A DELETE by primary key; parameters: ``ids`` and, if ``only_held``, ``token``, ``now``."""
        delete = sa.delete(table).where(self.is_in(table.c.id, "ids"))
        if only_held:
            is_held = sa.and_(
                table.c.token == sa.bindparam("token"), table.c.due > sa.bindparam("now")
            )
            delete = delete.where(self.guard(is_held))
        return delete

    def in_lists(self, keys: Iterable[bytes]) -> Iterable[Sized]:
        """``keys`` sorted, each once, in lists of a length that one statement may have.

        Everybody locks in this order, so that two batches wait for each other instead of dying.
        """
        ordered = sorted(set(keys))
        for start in range(0, len(ordered), self.max_in_list):
            yield self.in_list(ordered[start : start + self.max_in_list])

    def in_list(self, keys: list[bytes]) -> Sized:
        """These keys as what :meth:`is_in` takes for a parameter."""
        return keys

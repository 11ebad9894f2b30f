"""The numbers of owners, so that a claim writes four bytes instead of a name."""

from __future__ import annotations

import sqlalchemy as sa

from futurama.backends.sql.statements import MAX_OWNER_BYTES, Statements
from futurama.backends.sql.transactions import Transactions
from futurama.errors import OutcomeUnknownError

__all__ = ["Owners"]

_MAX_REMEMBERED = 1_000
"""An instance has one name; whoever has very many gets some of them looked up again."""


class Owners:
    """What number the database has for each name; a name is registered once and kept for ever."""

    def __init__(self, transactions: Transactions, statements: Statements) -> None:
        self._transactions = transactions
        self._statements = statements
        self._numbers: dict[bytes, int] = {}

    def number_of(self, owner: str) -> int:
        """The number of the owner of this name, which is registered if it is new.

        Two who register the same name at once get the same number.

        Raises:
            BackendError: as from :class:`Transactions`; at worst the name is registered.
        """
        numbers = self._numbers  # of the database that is open now, whatever happens meanwhile
        name = owner.encode(errors="replace")[:MAX_OWNER_BYTES]
        number = numbers.get(name)
        if number is None:
            number = self._find_or_register(name)
            if len(numbers) >= _MAX_REMEMBERED:
                numbers.clear()
            numbers[name] = number
        return number

    def forget(self) -> None:
        """Remember nothing: what is opened next may be another database."""
        self._numbers = {}

    def _find_or_register(self, name: bytes) -> int:
        number = self._transactions.read(lambda connection: self._find(connection, name))
        if number is not None:
            return number
        try:
            return self._transactions.write(lambda connection: self._register(connection, name))
        except OutcomeUnknownError:  # harmless to repeat, and no reason to call a claim unknown
            return self._transactions.write(lambda connection: self._register(connection, name))

    def _register(self, connection: sa.Connection, name: bytes) -> int:
        """If somebody else is faster, the name is taken, and this is called again to find it."""
        number = self._find(connection, name)
        if number is None:
            connection.execute(self._statements.register_owner, {"name": name})
            number = self._find(connection, name)
        assert number is not None, "inserted in this transaction"
        return number

    def _find(self, connection: sa.Connection, name: bytes) -> int | None:
        number: int | None = connection.execute(
            self._statements.owner_number, {"name": name}
        ).scalar()
        return number

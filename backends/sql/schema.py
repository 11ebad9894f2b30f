"""Creating, checking and upgrading the table."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from futurama.backends.sql.dialect import Dialect
from futurama.backends.sql.errors import Fault
from futurama.backends.sql.statements import SCHEMA_TABLE, Statements
from futurama.backends.sql.transactions import Transactions
from futurama.errors import BackendSetupError

__all__ = ["SCHEMA_VERSION", "Schema"]

SCHEMA_VERSION = 2
"""Raise it with every change of the table, and add the step to each member's ``Dialect.upgrades``."""


class Schema:
    """The table of one backend and the version that is recorded for it.

    Safe when several processes open or migrate at once, and after one of them was interrupted: every
    step is harmless when repeated.
    """

    def __init__(
        self, dialect: Dialect, transactions: Transactions, statements: Statements
    ) -> None:
        self._dialect = dialect
        self._transactions = transactions
        self._statements = statements
        self._table_name = str(statements.table.name)
        schema = sa.table(SCHEMA_TABLE, sa.column("table_name"), sa.column("version"))
        mine = schema.c.table_name == self._table_name
        self._select_version = sa.select(schema.c.version).where(mine)
        self._lock_version = self._select_version.with_for_update()
        self._insert_version = sa.insert(schema).values(
            table_name=self._table_name, version=SCHEMA_VERSION
        )
        self._update_version = sa.update(schema).where(mine).values(version=SCHEMA_VERSION)

    def ensure(self, *, create: bool) -> None:
        """Raise unless the schema is there and current; create it first if allowed.

        Raises:
            BackendSetupError: it is missing or old and ``create`` is false, or it is newer than
                this program, or the table has another layout.
        """
        version = self._version()
        if create and (version is None or version < SCHEMA_VERSION):
            self.migrate()
        elif version is None:
            raise self._error("is missing; run `futurama migrate`, or set create_schema to true")
        elif version < SCHEMA_VERSION:
            raise self._error(
                f"has version {version}, this program needs {SCHEMA_VERSION}; stop the instances of "
                "the former version and run `futurama migrate`, or set create_schema to true"
            )
        elif version > SCHEMA_VERSION:
            raise self._error(
                f"has version {version}, this program knows {SCHEMA_VERSION} only; upgrade futurama"
            )
        self._transactions.read(self._check)

    def migrate(self) -> Sequence[str]:
        """Bring the schema up to date; return one sentence per change made."""
        changes = list(self._dialect.prepare())
        version = self._version()
        if version is None:
            if self._transactions.write(self._create):
                changes.append(
                    f"Created the table {self._table_name!r}, schema version {SCHEMA_VERSION}."
                )
        elif version < SCHEMA_VERSION and self._transactions.write(self._upgrade):
            changes.append(
                f"Upgraded the table {self._table_name!r} from schema version {version} to "
                f"{SCHEMA_VERSION}."
            )
        return changes

    def _create(self, connection: sa.Connection) -> bool:
        """Create what is missing; False if another process was faster."""
        for statement in self._dialect.ddl(self._table_name):
            connection.exec_driver_sql(statement)
        # Before the version is recorded: a foreign table of that name must not be taken over.
        self._check(connection)
        if connection.execute(self._select_version).scalar() is not None:
            return False
        connection.execute(self._insert_version)
        return True

    def _upgrade(self, connection: sa.Connection) -> bool:
        """Take every step that is missing; False if another process was faster."""
        version = connection.execute(self._lock_version).scalar_one()
        if version >= SCHEMA_VERSION:
            return False
        steps = self._dialect.upgrades(self._table_name)
        for statements in steps[version - 1 :]:
            for statement in statements:
                connection.exec_driver_sql(statement)
        self._check(connection)
        connection.execute(self._update_version)
        return True

    def _check(self, connection: sa.Connection) -> None:
        connection.execute(self._statements.layout)
        self._dialect.check(connection, self._table_name)

    def _version(self) -> int | None:
        """The version that is recorded; None if the record, its table or the database is missing."""
        try:
            version = self._transactions.read(
                lambda connection: connection.execute(self._select_version).scalar()
            )
        except BackendSetupError as error:
            # Connecting fails, too, when the database is missing.
            if error.__cause__ and self._dialect.fault(error.__cause__)[0] is Fault.MISSING:
                return None
            raise
        return None if version is None else int(version)

    def _error(self, text: str) -> BackendSetupError:
        return BackendSetupError(
            f"{self._dialect.present_place}: the schema of the table {self._table_name!r} {text}",
            backend=self._dialect.name,
        )

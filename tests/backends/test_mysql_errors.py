"""What goes wrong with a MySQL server in its own way, and what becomes of it."""

from __future__ import annotations

from typing import Any

import pymysql
import pytest
import sqlalchemy as sa

from futurama.backend import AddOutcome, Settlement
from futurama.backends.mysql import MySQLBackend, MySQLDialect, MySQLSettings
from futurama.backends.sql.errors import ERRORS, MYSQL_FAULTS, Fault, translate
from futurama.errors import (
    BackendError,
    BackendSetupError,
    BackendUnavailableError,
    OutcomeUnknownError,
)
from tests.backends.conftest import MakeMySQL
from tests.backends.samples import T0, claim_all, event
from tests.servers import ExternalMySQL, MariaDB

# -- the table of codes ---------------------------------------------------------------------------


@pytest.mark.parametrize("code", sorted(MYSQL_FAULTS))
def test_every_code_becomes_one_of_our_errors(code: int) -> None:
    """Each code in the table becomes a BackendError that says where and what to do."""
    dialect = MySQLDialect(MySQLSettings(password="secret-word"))
    error = pymysql.err.OperationalError(code, "the server's words")
    fault, advice = dialect.fault(error)
    translated = translate(error, fault, advice, backend="mysql", place=dialect.place)
    assert isinstance(translated, BackendError)
    for part in (dialect.place, advice, "the server's words", str(code)):
        assert part in str(translated)


@pytest.mark.parametrize(
    "error",
    [
        pymysql.err.OperationalError(9999, "new"),
        pymysql.err.InternalError("Packet sequence number wrong"),
        pymysql.err.InterfaceError(""),
        pymysql.err.ProgrammingError(9999, "new"),
        pymysql.err.DataError(9999, "new"),
        pymysql.err.NotSupportedError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_unknown_codes_are_judged_by_their_class(error: pymysql.err.Error) -> None:
    """A code that the table does not know still becomes a BackendError."""
    fault, _ = MySQLDialect(MySQLSettings()).fault(error)
    assert issubclass(ERRORS[fault], BackendError)


def test_a_connection_out_of_step_is_lost() -> None:
    """PyMySQL says in words only that what it read cannot be the answer to what it asked."""
    fault, _ = MySQLDialect(MySQLSettings()).fault(
        pymysql.err.InternalError("Packet sequence number wrong - got 1 expected 2")
    )
    assert fault is Fault.LOST


# -- opening --------------------------------------------------------------------------------------


def test_runtime_rights_are_enough_after_a_migration(
    make_mysql: MakeMySQL, mysql_server: MariaDB | ExternalMySQL
) -> None:
    """Without CREATE, opening says so; once an administrator has migrated, a few rights do."""
    mysql_server.create_user("futurama_worker", "secret-word")
    restricted = make_mysql(username="futurama_worker", password="secret-word")
    database = restricted._settings.db_name
    rights = "SELECT, INSERT, UPDATE, DELETE"
    to_worker = "TO futurama_worker@'%'"
    mysql_server.execute(f"GRANT SELECT ON `{database}`.* {to_worker}")
    with pytest.raises(BackendSetupError, match="futurama migrate"):
        restricted.open()

    make_mysql().migrate()
    (lacking,) = (f for f in restricted.diagnose() if f.name == "rights on futurama_owners")
    assert lacking.value.startswith("lacking: INSERT")
    mysql_server.execute(f"GRANT {rights} ON `{database}`.events {to_worker}")
    mysql_server.execute(f"GRANT INSERT ON `{database}`.futurama_owners {to_worker}")
    restricted.open()
    restricted.add([event("a")], if_exists="raise")
    (claim,) = claim_all(restricted)
    assert restricted.settle([Settlement.done(claim)], now=T0) == [True]
    findings = {finding.name: finding.value for finding in restricted.diagnose()}
    assert findings["rights on the table"] == rights
    assert findings["rights on futurama_owners"] == "SELECT, INSERT"
    assert findings["right to create tables"].startswith("no")
    mysql_server.drop_user("futurama_worker")


def test_a_column_that_is_not_ours(
    make_mysql: MakeMySQL, mysql_server: MariaDB | ExternalMySQL
) -> None:
    """Without a default it keeps every event out, whatever its values: someone has to act."""
    backend = make_mysql()
    backend.open()
    column = "ALTER TABLE events ADD COLUMN tenant INT NOT NULL"
    mysql_server.execute(column, database=backend._settings.db_name)
    with pytest.raises(BackendSetupError, match="layout"):
        backend.add([event("a")], if_exists="raise")


# -- in the middle of work ------------------------------------------------------------------------


_HOOK_FAILED = 3100


def _is_present(backend: MySQLBackend) -> bool:
    dialect: Any = backend._dialect
    return bool(dialect._hosts.is_present(dialect._addresses[0]))


def test_a_commit_that_is_too_large_for_a_group(mysql: MySQLBackend) -> None:
    """It fails with the error that also says that a member has left; the server is not left for it."""

    def work(connection: sa.Connection) -> None:
        driver_connection: Any = connection.connection.driver_connection
        driver_connection.commit = refuse

    def refuse() -> None:
        raise pymysql.err.OperationalError(_HOOK_FAILED, "while running 'before_commit'")

    with pytest.raises(OutcomeUnknownError):
        mysql._transactions.write(work)
    assert _is_present(mysql)


def test_a_member_that_has_left_its_group(mysql: MySQLBackend) -> None:
    """The same error of anything but COMMIT leaves no doubt."""

    def work(connection: sa.Connection) -> None:
        connection.exec_driver_sql(f"SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = {_HOOK_FAILED}")

    with pytest.raises(BackendUnavailableError, match="writer"):
        mysql._transactions.write(work)
    assert not _is_present(mysql)


def test_read_only_server(make_private_mysql: MakeMySQL, private_mysql: MariaDB) -> None:
    """A server that stops taking writes loses its connections, and is used again when it does."""
    backend = make_private_mysql()
    backend.open()
    database = backend._settings.db_name
    private_mysql.create_user("futurama_writer", "")
    private_mysql.execute(f"GRANT ALL ON `{database}`.* TO futurama_writer@'%'")
    writer = make_private_mysql(username="futurama_writer")
    writer.open()

    def connection_id() -> int:
        return writer._transactions.write(
            lambda c: int(c.exec_driver_sql("SELECT CONNECTION_ID()").scalar_one())
        )

    before = connection_id()
    private_mysql.execute("SET GLOBAL read_only = ON")
    try:
        with pytest.raises(BackendUnavailableError, match="writer"):
            writer.add([event("a")], if_exists="raise")
    finally:
        private_mysql.execute("SET GLOBAL read_only = OFF")
    assert connection_id() != before
    assert writer.add([event("a")], if_exists="raise") == [AddOutcome.ADDED]
    private_mysql.drop_user("futurama_writer")

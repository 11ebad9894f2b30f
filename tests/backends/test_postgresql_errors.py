"""What goes wrong with a PostgreSQL server in its own way, and what becomes of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import psycopg
import pytest
import sqlalchemy as sa

from futurama.backend import AddOutcome, Settlement, State
from futurama.backends import postgresql as module
from futurama.backends.postgresql import PostgreSQLDialect, PostgreSQLSettings
from futurama.backends.sql.errors import (
    ERRORS,
    POSTGRESQL_FAULTS,
    POSTGRESQL_REFUSALS,
    Fault,
    translate,
)
from futurama.errors import (
    BackendError,
    BackendRejectedError,
    BackendSetupError,
    BackendUnavailableError,
    OutcomeUnknownError,
)
from tests.backends.conftest import MakePostgreSQL
from tests.backends.samples import T0, claim_all, event, wait_until
from tests.servers import ExternalPostgreSQL, PostgreSQL

_DIALECT = PostgreSQLDialect(PostgreSQLSettings(password="secret-word"))


def _error(state: str | None, message: str = "the server's words") -> psycopg.Error:
    error = psycopg.OperationalError(message)
    error.sqlstate = state
    return error


# -- the tables of codes and words ----------------------------------------------------------------


@pytest.mark.parametrize("code", sorted(POSTGRESQL_FAULTS))
def test_every_code_becomes_one_of_our_errors(code: str) -> None:
    """Each code in the table becomes a BackendError that says where and what to do."""
    error = _error(code.ljust(5, "Z"))
    fault, advice = _DIALECT.fault(error)
    assert (fault, advice) == POSTGRESQL_FAULTS[code]
    translated = translate(error, fault, advice, backend="postgresql", place=_DIALECT.place)
    assert isinstance(translated, BackendError)
    for part in (_DIALECT.place, advice, "the server's words"):
        assert part in str(translated)


@pytest.mark.parametrize("words", sorted(POSTGRESQL_REFUSALS))
def test_every_refusal_becomes_one_of_our_errors(words: str) -> None:
    """What is known of the messages about connecting is recognised, and becomes one line."""
    error = _error(None, f"connection failed: FATAL:  {words}\n\tand so on")
    fault, advice = _DIALECT.fault(error)
    assert (fault, advice) == POSTGRESQL_REFUSALS[words]
    translated = translate(error, fault, advice, backend="postgresql", place=_DIALECT.place)
    assert f"FATAL: {words} and so on" in str(translated)


def test_a_server_that_died_is_asked_about() -> None:
    """libpq may say that it closed the connection, although nobody listens there any more."""
    error = _error(None, "connection failed: server closed the connection unexpectedly")
    fault, advice = _DIALECT.fault(error)
    assert fault is Fault.UNAVAILABLE
    assert "is the server running" in advice


@pytest.mark.parametrize(
    "error",
    [
        _error("YY000"),
        _error(None),
        psycopg.InterfaceError("the connection is closed"),
        psycopg.DataError("integer out of range"),
        psycopg.ProgrammingError("invalid connection option"),
        psycopg.NotSupportedError("too old"),
    ],
    ids=lambda error: f"{type(error).__name__} {error.sqlstate}",
)
def test_unknown_codes_are_judged_by_their_class(error: psycopg.Error) -> None:
    """A code or a message that the tables do not know still becomes a BackendError."""
    fault, _ = _DIALECT.fault(error)
    assert issubclass(ERRORS[fault], BackendError)


def test_a_lost_encrypted_connection_is_no_matter_of_certificates() -> None:
    """That a message names SSL does not mean that someone has to act."""
    lost = "consuming input failed: SSL connection has been closed unexpectedly"
    assert _DIALECT.fault(_error(None, lost))[0] is Fault.LOST
    assert _DIALECT.fault(_error(None, "SSL SYSCALL error: EOF"))[0] is Fault.LOST


# -- opening --------------------------------------------------------------------------------------


@pytest.fixture
def worker(postgresql_server: PostgreSQL | ExternalPostgreSQL) -> Iterator[dict[str, str]]:
    """The login of a user without any right."""
    postgresql_server.create_user("futurama_worker", "secret-word")
    yield {"username": "futurama_worker", "password": "secret-word"}
    postgresql_server.drop_user("futurama_worker")


def test_unknown_user(make_postgresql: MakePostgreSQL) -> None:
    """The error names the keys to look at."""
    with pytest.raises(BackendSetupError, match="username and password"):
        make_postgresql(username="futurama_stranger", password="wrong-word").open()


def test_too_many_connections(
    make_postgresql: MakePostgreSQL,
    worker: dict[str, str],
    postgresql_server: PostgreSQL | ExternalPostgreSQL,
) -> None:
    """A server that takes no more connections is a matter of time, and the error names the key."""
    postgresql_server.execute(f"ALTER ROLE {worker['username']} CONNECTION LIMIT 0")
    with pytest.raises(BackendUnavailableError, match="max_open_connection"):
        make_postgresql(**worker).open()


def test_runtime_rights_are_enough_after_a_migration(
    make_postgresql: MakePostgreSQL,
    worker: dict[str, str],
    postgresql_server: PostgreSQL | ExternalPostgreSQL,
) -> None:
    """Without CREATE, opening says so; once an administrator has migrated, a few rights do."""
    restricted = make_postgresql(**worker)
    database = restricted._settings.db_name
    postgresql_server.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC", database=database)
    with pytest.raises(BackendSetupError, match="futurama migrate"):
        restricted.open()
    make_postgresql().migrate()
    (lacking,) = (f for f in restricted.diagnose() if f.name == "rights on the table")
    assert lacking.value == "lacking: SELECT, INSERT, UPDATE, DELETE"

    rights = "SELECT, INSERT, UPDATE, DELETE"
    for granted in (
        f"{rights} ON events",
        "SELECT, INSERT ON futurama_owners",
        "SELECT ON futurama_schema",
    ):
        postgresql_server.execute(f"GRANT {granted} TO {worker['username']}", database=database)
    restricted.open()
    restricted.add([event("a")], if_exists="raise")
    (claim,) = claim_all(restricted)
    assert restricted.settle([Settlement.done(claim)], now=T0) == [True]
    findings = {finding.name: finding.value for finding in restricted.diagnose()}
    assert findings["rights on the table"] == rights
    assert findings["rights on futurama_owners"] == "SELECT, INSERT"
    assert findings["right to create tables"].startswith("no")
    postgresql_server.drop_database(database)  # with the rights, so that the user can be dropped


# -- in the middle of work ------------------------------------------------------------------------


def test_a_transaction_that_stands_still_is_ended_by_the_server(
    make_postgresql: MakePostgreSQL,
    postgresql_server: PostgreSQL | ExternalPostgreSQL,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An instance that is frozen in a transaction does not keep its locks for ever."""
    monkeypatch.setattr(module, "_LEEWAY_SECONDS", 0)
    backend = make_postgresql(read_timeout_sec=1.1, lock_wait_timeout_sec=1)
    backend.open()

    def work(connection: sa.Connection) -> None:
        backend._rows.insert(connection, [backend._adding.new_row(event("a"))])
        session = connection.exec_driver_sql(postgresql_server.own_session).scalar_one()
        database = backend._settings.db_name
        wait_until(lambda: session not in postgresql_server.sessions(database))
        connection.execute(backend._statements.first_due)

    with pytest.raises(BackendUnavailableError, match="lost"):
        backend._transactions.write(work)
    assert backend.count()[State.WAITING] == 0


_DEFERRED = {
    "constraint": (
        "CREATE TABLE users (id bytea PRIMARY KEY)",
        "INSERT INTO users VALUES ('good')",
        "ALTER TABLE events ADD FOREIGN KEY (id) REFERENCES users DEFERRABLE INITIALLY DEFERRED",
    ),
    "trigger": (
        """CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN IF NEW.id = 'bad' THEN RAISE 'no'; END IF; RETURN NEW; END $$""",
        """CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON events DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION refuse()""",
    ),
}
"""What an administrator can have checked at COMMIT -> the statements that do it."""


@pytest.mark.parametrize("by", _DEFERRED)
def test_what_is_refused_at_commit_has_changed_nothing(
    make_postgresql: MakePostgreSQL,
    postgresql_server: PostgreSQL | ExternalPostgreSQL,
    by: str,
) -> None:
    """The outcome is known, and the same as that of a refusal by the statement."""
    backend = make_postgresql()
    backend.open()
    for statement in _DEFERRED[by]:
        postgresql_server.execute(statement, database=backend._settings.db_name)
    with pytest.raises(BackendRejectedError):
        backend.add([event("good"), event("bad")], if_exists="raise")
    assert backend.count()[State.WAITING] == 0


def test_commit_that_waits_for_a_standby(
    make_private_postgresql: MakePostgreSQL, private_postgresql: PostgreSQL
) -> None:
    """P1: a COMMIT that no standby confirms within read_timeout_sec is not taken for a success."""
    backend = make_private_postgresql(read_timeout_sec=1.1, lock_wait_timeout_sec=1)
    backend.open()
    with (
        _system_setting(private_postgresql, "synchronous_standby_names", "nobody"),
        pytest.raises(OutcomeUnknownError),
    ):
        backend.add([event("a")], if_exists="raise")
    assert backend.add([event("a")], if_exists="raise") == [AddOutcome.ADDED]
    assert backend.count()[State.WAITING] == 1


def test_read_only_server(
    make_private_postgresql: MakePostgreSQL, private_postgresql: PostgreSQL
) -> None:
    """A server that stops taking writes loses its connections, and is used again when it does."""
    backend = make_private_postgresql()
    backend.open()

    def session() -> int:
        return backend._transactions.write(
            lambda c: int(c.exec_driver_sql(private_postgresql.own_session).scalar_one())
        )

    before = session()
    with (
        _system_setting(private_postgresql, "default_transaction_read_only", "on"),
        pytest.raises(BackendUnavailableError, match="writer"),
    ):
        backend.add([event("a")], if_exists="raise")
    assert session() != before
    assert backend.add([event("a")], if_exists="raise") == [AddOutcome.ADDED]


@contextlib.contextmanager
def _system_setting(server: PostgreSQL, name: str, value: str) -> Iterator[None]:
    """Let a setting of the whole server have a value for a while."""

    def change(statement: str, expected: str) -> None:
        with server.connect() as watcher:
            watcher.execute(statement.encode())
            watcher.execute("SELECT pg_reload_conf()")
            wait_until(lambda: watcher.execute(f"SHOW {name}".encode()).fetchone() == (expected,))

    with server.connect() as connection:
        usual = connection.execute(f"SHOW {name}".encode()).fetchone()
    assert usual is not None
    change(f"ALTER SYSTEM SET {name} = {value}", value)
    try:
        yield
    finally:
        change(f"ALTER SYSTEM RESET {name}", usual[0])

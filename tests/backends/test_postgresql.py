"""What only PostgreSQL has: sessions, row versions, long names, storage, diagnosis."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from futurama.backend import AddOutcome, Finding, Query, State, Verdict
from futurama.backends.postgresql import PostgreSQLBackend
from futurama.backends.sql import postgresql_diagnosis
from futurama.errors import BackendSetupError, ConfigError
from futurama.events import CancelOutcome
from futurama.times import EARLIEST, LATEST
from tests.backends.conftest import MakePostgreSQL
from tests.backends.samples import claim_all, event, seconds, wait_until
from tests.servers import ExternalPostgreSQL, PostgreSQL

_HOSTILE = {
    "TimeZone": "'Asia/Kathmandu'",
    "DateStyle": "'SQL, DMY'",
    "bytea_output": "'escape'",
    "client_encoding": "'LATIN1'",
    "default_transaction_isolation": "'serializable'",
    "synchronous_commit": "off",
    "statement_timeout": "2000",
    "idle_in_transaction_session_timeout": "2000",
    "lock_timeout": "2000",
    "enable_indexscan": "off",
}
"""Defaults of sessions that are as bad as they can be, or shorter than the configuration says."""


_TIMEOUTS = (
    "SELECT current_setting('lock_timeout'), current_setting('statement_timeout'), "
    "current_setting('idle_in_transaction_session_timeout')"
)


def _set_defaults(server: PostgreSQL | ExternalPostgreSQL, database: str) -> None:
    for name, value in _HOSTILE.items():
        server.execute(f"ALTER DATABASE {server.quoted(database)} SET {name} = {value}")


def _problems(findings: Sequence[Finding]) -> dict[str, str]:
    return {each.name: each.value for each in findings if each.verdict is not Verdict.OK}


# -- sessions -------------------------------------------------------------------------------------


def test_hostile_defaults_do_not_matter(
    make_postgresql: MakePostgreSQL, postgresql_server: PostgreSQL | ExternalPostgreSQL
) -> None:
    """P1, P2: whatever sessions begin with, commits are durable and times are what they were."""
    backend = make_postgresql()
    _set_defaults(postgresql_server, backend._settings.db_name)
    backend.open()
    before = datetime.now(UTC) - seconds(1)
    assert before < backend.now() < datetime.now(UTC) + seconds(1)
    moments = [EARLIEST, datetime(1900, 1, 1, tzinfo=UTC), LATEST]
    backend.add([event(f"{i}", at=at) for i, at in enumerate(moments)], if_exists="raise")
    found = backend.find(Query()).events
    assert [stored.trigger_time for stored in found] == moments
    assert _problems(backend.diagnose()) == {}
    for run in (backend._transactions.read, backend._transactions.write):
        row = run(lambda connection: connection.exec_driver_sql(_TIMEOUTS).one())
        assert row == ("3s", "35s", "35s")  # the server gives up five seconds after the client


def test_sessions_that_lose_their_settings_are_found_out(
    make_postgresql: MakePostgreSQL, postgresql_server: PostgreSQL | ExternalPostgreSQL
) -> None:
    """P1, P2: behind a proxy that resets sessions, the diagnosis says what is not as it should be."""
    backend = make_postgresql(max_open_connection=1)
    database = backend._settings.db_name
    postgresql_server.execute(f"ALTER DATABASE \"{database}\" SET TimeZone = 'Asia/Kathmandu'")
    postgresql_server.execute(f'ALTER DATABASE "{database}" SET synchronous_commit = off')
    backend.open()
    backend._transactions.write(lambda c: c.exec_driver_sql("RESET ALL"))
    assert _problems(backend.diagnose()) == {
        "TimeZone": "Asia/Kathmandu",
        "synchronous_commit": "off",
    }


# -- row versions ---------------------------------------------------------------------------------


def test_who_waits_for_a_replacement_finds_it(
    postgresql: PostgreSQLBackend, postgresql_server: PostgreSQL | ExternalPostgreSQL
) -> None:
    """P6: a cancel that meets an event while it is replaced cancels the new one."""
    postgresql.add([event("a")], if_exists="raise")
    outcomes: list[CancelOutcome] = []
    canceller = threading.Thread(target=lambda: outcomes.extend(postgresql.cancel(["a"])))

    def replace(connection: sa.Connection) -> None:
        row = postgresql._adding.new_row(event("a", payload=b"new"))
        assert postgresql._adding._add_looking(connection, [row], "replace") == [
            AddOutcome.REPLACED
        ]
        canceller.start()
        wait_until(lambda: postgresql_server.execute("SELECT 1 FROM pg_locks WHERE NOT granted"))

    postgresql._transactions.write(replace)
    canceller.join()
    assert outcomes == [CancelOutcome.CANCELLED]
    assert postgresql.count()[State.WAITING] == 0


def test_ids_that_are_taken_leave_no_trace_in_the_log(
    make_private_postgresql: MakePostgreSQL, private_postgresql: PostgreSQL
) -> None:
    """Creating what is there already, which is no error here, is none for the server either."""
    backend = make_private_postgresql()
    backend.open()
    backend.add([event("a")], if_exists="raise")
    before = len(private_postgresql.log)
    assert backend.add([event("a", payload=b"other")], if_exists="keep") == [AddOutcome.KEPT]
    assert "ERROR" not in private_postgresql.log[before:]


# -- values and names -----------------------------------------------------------------------------


def test_long_data_beside_short_ones(make_postgresql: MakePostgreSQL) -> None:
    """Payloads that are longer than what is otherwise written at once come back whole."""
    backend = make_postgresql(max_data_bytes=2**25)
    backend.open()
    payloads = {"a": b"{}", "b": bytes(range(256)) * 2**16, "c": b"'" * 2**20, "d": b""}
    given = [event(each, payload=payload) for each, payload in payloads.items()]
    assert backend.add(given, if_exists="raise") == [AddOutcome.ADDED] * 4
    assert {claim.id: claim.payload for claim in claim_all(backend)} == payloads


def test_tables_with_the_longest_names_have_indexes_of_their_own(
    make_postgresql: MakePostgreSQL, postgresql_server: PostgreSQL | ExternalPostgreSQL
) -> None:
    """Names that PostgreSQL would cut, so that two tables were one, are refused."""
    for last in "xy":
        make_postgresql(table_name="e" * 55 + last).open()
        with pytest.raises(ConfigError, match="1 to 56 letters"):
            make_postgresql(table_name="e" * 56 + last)
    database = make_postgresql()._settings.db_name
    found = postgresql_server.execute(
        "SELECT tablename FROM pg_indexes WHERE indexname LIKE '%%due_id' ORDER BY 1",
        database=database,
    )
    assert found == [("e" * 55 + "x",), ("e" * 55 + "y",)]


# -- schema ---------------------------------------------------------------------------------------


def test_a_table_that_a_crash_empties_is_refused(
    make_postgresql: MakePostgreSQL, postgresql_server: PostgreSQL | ExternalPostgreSQL
) -> None:
    """P1: an unlogged table would break the first promise."""
    backend = make_postgresql()
    backend.open()
    backend.close()
    postgresql_server.execute("ALTER TABLE events SET UNLOGGED", database=backend._settings.db_name)
    with pytest.raises(BackendSetupError, match="SET LOGGED"):
        backend.open()


# -- diagnosis ------------------------------------------------------------------------------------


def test_a_server_that_does_not_flush_is_a_problem(
    make_private_postgresql: MakePostgreSQL, private_postgresql: PostgreSQL
) -> None:
    """P1: a server that leaves writing to the system is found out, opened or not."""
    backend = make_private_postgresql()
    backend.migrate()
    for name in ("fsync", "full_page_writes", "autovacuum"):
        private_postgresql.execute(f"ALTER SYSTEM SET {name} = off")
    restart = private_postgresql.restart  # the usual options stand on the command line
    private_postgresql._options.update(fsync="off")
    try:
        restart()
        found = {finding.name: finding.verdict for finding in backend.diagnose()}
    finally:
        private_postgresql.execute("ALTER SYSTEM RESET ALL")
        private_postgresql._options.update(fsync="on")
        restart()
    assert found["fsync"] is Verdict.PROBLEM
    assert found["full_page_writes"] is Verdict.ADVICE
    assert found["autovacuum"] is Verdict.PROBLEM


def test_what_makes_claims_slow_is_told(
    make_postgresql: MakePostgreSQL,
    postgresql_server: PostgreSQL | ExternalPostgreSQL,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A table that is not vacuumed, an old transaction and too few connections are pointed out."""
    monkeypatch.setattr(postgresql_diagnosis, "_LONG_TRANSACTION_SECONDS", 0)
    backend = make_postgresql()
    backend.open()
    database = backend._settings.db_name
    postgresql_server.execute(
        "ALTER TABLE events SET (autovacuum_enabled = off)", database=database
    )
    other = postgresql_server.connect(database, autocommit=False)
    with other:
        other.execute("SELECT FROM events")
        found = _problems(make_postgresql(max_open_connection=10_000).diagnose())
        assert set(found) == {"autovacuum", "oldest transaction", "connections"}
        assert f"process {other.info.backend_pid}" in found["oldest transaction"]

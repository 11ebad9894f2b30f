"""What only MySQL has: sessions, whole seconds, doing without SKIP LOCKED, costs, diagnosis."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import attrs
import pytest
import sqlalchemy as sa

from futurama.backend import Move, Query, Settlement, Verdict
from futurama.backends.mysql import MySQLSettings
from futurama.errors import BackendSetupError
from futurama.events import RescheduleOutcome
from futurama.times import EARLIEST, LATEST
from tests.backends.conftest import MakeMySQL
from tests.backends.samples import T0, claim_all, event, events, seconds
from tests.servers import MariaDB


@pytest.fixture
def hostile(private_mysql: MariaDB) -> Iterator[MariaDB]:
    """A server whose defaults are as bad as they can be."""
    private_mysql.execute("SET GLOBAL time_zone = '+12:45', sql_mode = ''")
    private_mysql.execute("SET GLOBAL TRANSACTION ISOLATION LEVEL SERIALIZABLE")
    yield private_mysql
    private_mysql.execute(
        "SET GLOBAL time_zone = DEFAULT, sql_mode = DEFAULT, tx_isolation = DEFAULT"
    )


# -- time -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mysql6", [True, False])
def test_hostile_defaults_do_not_matter(
    make_private_mysql: MakeMySQL, hostile: MariaDB, *, mysql6: bool
) -> None:
    """P2: zone and mode of the server change neither the clock nor what is stored and read."""
    backend = make_private_mysql(mysql6=mysql6)
    backend.open()
    before = datetime.now(UTC) - seconds(1)
    assert before < backend.now() < datetime.now(UTC) + seconds(1)
    moments = [EARLIEST, T0, LATEST]
    backend.add([event(f"{i}", at=at) for i, at in enumerate(moments)], if_exists="raise")
    found = backend.find(Query()).events
    assert [stored.trigger_time for stored in found] == moments
    problems = [f for f in backend.diagnose() if f.verdict is Verdict.PROBLEM]
    assert problems == []


def test_whole_seconds_are_never_early(make_mysql: MakeMySQL) -> None:
    """P2: with DATETIME every stored time is rounded up, and every comparison rounds down."""
    backend = make_mysql(mysql6=False)
    backend.open()
    assert backend.capabilities.resolution == seconds(1)
    backend.add([event("a", at=T0 + timedelta(microseconds=1))], if_exists="raise")
    assert claim_all(backend, now=T0 + seconds(0.999999)) == []
    (claim,) = claim_all(backend, now=T0 + seconds(1))
    assert claim.due == claim.trigger_time == T0 + seconds(1)
    assert claim.lease_until == T0 + seconds(61)

    almost = T0 + seconds(60.999999)
    assert backend.renew([claim], now=almost, lease_until=T0 + seconds(61.5)) == [True]
    held_until = T0 + seconds(62)
    assert claim_all(backend, now=held_until - timedelta(microseconds=1)) == []
    assert backend.settle([Settlement.done(claim)], now=held_until) == [False]
    assert backend.settle([Settlement.done(claim)], now=T0 + seconds(61.999999)) == [True]


@pytest.mark.parametrize("mysql6", [True, False])
def test_changing_mysql6_on_a_table_is_refused(make_mysql: MakeMySQL, *, mysql6: bool) -> None:
    """P2: a server would round the times of the other kind, so opening fails and names the key."""
    make_mysql(mysql6=mysql6).open()
    with pytest.raises(BackendSetupError, match="mysql6"):
        make_mysql(mysql6=not mysql6).open()


# -- claiming -------------------------------------------------------------------------------------


def test_servers_without_skip_locked_are_found_by_trying(
    make_mysql: MakeMySQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that calls SKIP LOCKED a syntax error gets the other statements."""
    backend = make_mysql()
    statements = backend._statements
    monkeypatch.setattr(statements, "claim", sa.text("SELECT 1 FOR UPDATE SKIPPING LOCKED"))
    backend.open()
    backend.add(events(3), if_exists="raise")
    assert [claim.id for claim in claim_all(backend)] == ["00000", "00001", "00002"]
    finding = next(f for f in backend.diagnose() if f.name == "SKIP LOCKED")
    assert finding.verdict is Verdict.ADVICE


def _questions(server: MariaDB) -> int:
    ((_, value),) = server.execute("SHOW GLOBAL STATUS LIKE 'Questions'")
    return int(value)


def test_an_idle_claim_costs_one_query(
    make_private_mysql: MakeMySQL, private_mysql: MariaDB
) -> None:
    """Polling when nothing is due sends one statement per poll, whatever waits for later."""
    backend = make_private_mysql()
    backend.open()
    backend.add([event("later", at=T0 + seconds(3600))], if_exists="raise")
    claim_all(backend)
    before = _questions(private_mysql)
    for _ in range(100):
        assert claim_all(backend) == []
    counting_itself = 5  # connecting and asking, once
    assert _questions(private_mysql) - before <= 100 + counting_itself


# -- schema ---------------------------------------------------------------------------------------


def test_a_claim_changes_no_length(make_mysql: MakeMySQL, mysql_server: MariaDB) -> None:
    """InnoDB moves a row within its page when it grows, which costs more than the rest of a claim."""
    backend = make_mysql()
    backend.open()
    rows = mysql_server.execute("SHOW COLUMNS FROM events", database=backend._settings.db_name)
    columns = {name: (kind.partition("(")[0], null) for name, kind, null, *_ in rows}
    assert {name: columns[name] for name in ("lost", "token", "owner", "attempt")} == {
        "lost": ("tinyint", "NO"),
        "token": ("binary", "NO"),
        "owner": ("int", "NO"),
        "attempt": ("int", "NO"),
    }


def test_a_table_without_transactions_is_refused(
    make_mysql: MakeMySQL, mysql_server: MariaDB
) -> None:
    """Another engine than InnoDB would break every promise."""
    backend = make_mysql()
    backend.open()
    backend.close()
    mysql_server.execute(f"ALTER TABLE `{backend._settings.db_name}`.events ENGINE=MyISAM")
    with pytest.raises(BackendSetupError, match="InnoDB"):
        backend.open()


def test_too_small_packets_are_found_when_opening(
    make_private_mysql: MakeMySQL, private_mysql: MariaDB
) -> None:
    """Data that may need a longer statement than the server takes are an error at once."""
    private_mysql.execute("SET GLOBAL max_allowed_packet = 1048576")
    try:
        with pytest.raises(BackendSetupError, match="max_allowed_packet"):
            make_private_mysql().open()
        backend = make_private_mysql(max_data_bytes=500_000)
        backend.open()
        backend.add([event("a", payload=b"'" * 500_000), event("b")], if_exists="raise")
        moves = [Move(id=each, payload=b"'" * 500_000) for each in "ab"]
        assert backend.reschedule(moves) == [RescheduleOutcome.RESCHEDULED] * 2
    finally:
        private_mysql.execute("SET GLOBAL max_allowed_packet = DEFAULT")


# -- diagnosis ------------------------------------------------------------------------------------


def test_lazy_flushing_is_a_problem(make_private_mysql: MakeMySQL, private_mysql: MariaDB) -> None:
    """P1: a server that acknowledges before it flushes is found out, opened or not."""
    backend = make_private_mysql()
    backend.migrate()
    private_mysql.execute("SET GLOBAL innodb_flush_log_at_trx_commit = 2")
    try:
        findings = {finding.name: finding for finding in backend.diagnose()}
    finally:
        private_mysql.execute("SET GLOBAL innodb_flush_log_at_trx_commit = 1")
    finding = findings["innodb_flush_log_at_trx_commit"]
    assert finding.verdict is Verdict.PROBLEM
    assert "set it to 1" in finding.advice


def test_settings_have_the_names_of_the_go_original() -> None:
    """Configurations of the Go original mean the same here."""
    names = {"host", "port", "username", "password", "db_name", "table_name", "mysql6"}
    assert names | {"max_open_connection"} <= set(attrs.fields_dict(MySQLSettings))

"""What only MySQL has: zones, whole seconds, SKIP LOCKED, schema, diagnosis, costs."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest
import sqlalchemy as sa

from futurama.backend import AddOutcome, Claim, Move, Query, Settlement, State, Verdict
from futurama.backends.mysql import MySQLBackend, MySQLSettings
from futurama.errors import BackendSetupError
from futurama.events import CancelOutcome, RescheduleOutcome
from futurama.times import EARLIEST, LATEST
from tests.backends.conftest import MakeMySQL
from tests.backends.samples import T0, claim_all, event, events, seconds
from tests.servers import MariaDB

_EVERY_BYTE = bytes(range(256))


def _forget_skip_locked(backend: MySQLBackend) -> None:
    backend._claiming.skips_locked = False


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


# -- values ---------------------------------------------------------------------------------------


def test_every_byte_survives_every_way_of_writing(mysql: MySQLBackend) -> None:
    """Payloads come back as they were given to INSERT and to both kinds of UPDATE."""
    mysql.add([event("a", payload=_EVERY_BYTE), event("b"), event("c")], if_exists="raise")
    assert mysql.reschedule([Move(id="b", payload=_EVERY_BYTE)]) == [RescheduleOutcome.RESCHEDULED]
    claims = claim_all(mysql)
    mysql.settle(
        [
            Settlement.retry(claims[2], T0, _EVERY_BYTE),
            Settlement.bury(claims[1], "because of ' and \\ and \ud800"),
        ],
        now=T0,
    )
    found = {stored.id: stored for stored in mysql.find(Query()).events}
    assert [found[i].payload for i in "abc"] == [_EVERY_BYTE] * 3
    assert found["b"].reason == "because of ' and \\ and \ud800"


def test_batches_longer_than_a_statement_may_be(mysql: MySQLBackend) -> None:
    """More ids than one list may have, and more bytes than one packet, still are one call."""
    many = events(2 * mysql._dialect.max_in_list + 1)
    assert set(mysql.add(many, if_exists="raise")) == {AddOutcome.ADDED}
    assert set(mysql.add(many, if_exists="keep")) == {AddOutcome.ADDED}
    moves = [Move(id=each.id, payload=b"'" * 5000) for each in many]
    assert set(mysql.reschedule(moves)) == {RescheduleOutcome.RESCHEDULED}
    claims = claim_all(mysql)
    assert [claim.id for claim in claims] == [each.id for each in many]
    assert {claim.payload for claim in claims} == {b"'" * 5000}
    assert all(mysql.renew(claims, now=T0, lease_until=T0 + seconds(99)))
    retries = [Settlement.retry(claim, T0, b'"' * 5000) for claim in claims]
    assert all(mysql.settle(retries, now=T0))
    assert set(mysql.cancel([each.id for each in many])) == {CancelOutcome.CANCELLED}


# -- claiming -------------------------------------------------------------------------------------


def _claim_from_threads(backends: list[MySQLBackend]) -> list[list[Claim]]:
    """What each backend got until nothing was left; all start at the same moment."""
    start = threading.Barrier(len(backends))
    got: list[list[Claim]] = [[] for _ in backends]

    def run(backend: MySQLBackend, mine: list[Claim]) -> None:
        start.wait(10)
        now = T0 + seconds(1)
        while True:
            batch = backend.claim(
                owner="me", now=now, due_before=now, lease_until=now + seconds(60), limit=7
            )
            mine.extend(batch.claims)
            if batch.next_due is None or batch.next_due > now:
                return

    threads = [threading.Thread(target=run, args=pair) for pair in zip(backends, got, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return got


@pytest.mark.parametrize("skips_locked", [True, False])
def test_claimers_get_disjoint_sets(make_mysql: MakeMySQL, *, skips_locked: bool) -> None:
    """P3: several claimers share a backlog without overlap, with and without SKIP LOCKED."""
    backends = [make_mysql() for _ in range(4)]
    for backend in backends:
        backend.open()
        if not skips_locked:
            _forget_skip_locked(backend)
    given = events(300)
    backends[0].add(given, if_exists="raise")
    got = [claim.id for claims in _claim_from_threads(backends) for claim in claims]
    assert sorted(got) == [each.id for each in given]


def test_skip_locked_passes_over_what_others_hold(mysql: MySQLBackend) -> None:
    """P3: a claimer neither waits for rows that are locked nor takes them."""
    mysql.add(events(3), if_exists="raise")

    def work(connection: sa.Connection) -> list[str]:
        mysql._rows.lock(connection, [b"00001"])
        return [claim.id for claim in claim_all(mysql)]

    assert mysql._transactions.write(work) == ["00000", "00002"]


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


def test_a_claim_that_loses_rows_before_its_update_keeps_only_its_own(
    mysql: MySQLBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P3: where locks are not honoured, the guard in the UPDATE decides, and the token tells."""
    mysql.add(events(3), if_exists="raise")
    # Reads without locking, as some servers do with any SELECT ... FOR UPDATE.
    unlocked = mysql._statements.claim.with_for_update(read=False)
    unlocked._for_update_arg = None
    monkeypatch.setattr(mysql._statements, "claim", unlocked)
    claimable = mysql._claiming._claimable

    def claimable_then_cancelled(*arguments: Any) -> Any:
        rows = claimable(*arguments)
        assert mysql.cancel(["00001"]) == [CancelOutcome.CANCELLED]
        return rows

    monkeypatch.setattr(mysql._claiming, "_claimable", claimable_then_cancelled)
    assert [claim.id for claim in claim_all(mysql)] == ["00000", "00002"]


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


def test_opening_creates_the_database(make_mysql: MakeMySQL, mysql_server: MariaDB) -> None:
    """The first open makes a database that is missing; with create_schema false it is an error."""
    name = "futurama_opened"
    mysql_server.drop_database(name)
    with pytest.raises(BackendSetupError, match="futurama migrate"):
        make_mysql(db_name=name, create_schema=False).open()
    backend = make_mysql(db_name=name)
    backend.open()
    assert sum(backend.count().values()) == 0
    mysql_server.drop_database(name)


def test_migrating_creates_the_database(make_mysql: MakeMySQL, mysql_server: MariaDB) -> None:
    """A database that is missing is made, and what was done is told in sentences."""
    name = "futurama_`new"
    mysql_server.drop_database(name.replace("`", "``"))
    backend = make_mysql(db_name=name)
    changes = backend.migrate()
    assert changes == [
        f"Created the database {name!r}.",
        "Created the table 'events', schema version 1.",
    ]
    assert backend.migrate() == []
    backend.open()
    mysql_server.drop_database(name.replace("`", "``"))


def test_without_create_schema_a_missing_one_is_an_error(make_mysql: MakeMySQL) -> None:
    """With create_schema false nothing is created, and the error says what to run."""
    backend = make_mysql(create_schema=False)
    with pytest.raises(BackendSetupError, match="futurama migrate"):
        backend.open()
    with pytest.raises(BackendSetupError, match="futurama migrate"):
        backend.open()
    backend.migrate()
    backend.open()


def test_a_newer_schema_is_refused(make_mysql: MakeMySQL) -> None:
    """A program that is too old for the table says so."""
    backend = make_mysql()
    backend.open()
    backend._transactions.write(
        lambda c: c.exec_driver_sql("UPDATE futurama_schema SET version = 2")
    )
    backend.close()
    with pytest.raises(BackendSetupError, match="upgrade futurama"):
        backend.open()


def test_an_older_schema_is_refused_without_create_schema(make_mysql: MakeMySQL) -> None:
    """With create_schema false an old schema names both versions and what to run."""
    backend = make_mysql()
    backend.open()
    backend._transactions.write(
        lambda c: c.exec_driver_sql("UPDATE futurama_schema SET version = 0")
    )
    with pytest.raises(BackendSetupError, match=r"version 0.*needs 1.*futurama migrate"):
        make_mysql(create_schema=False).open()


def test_a_foreign_table_is_left_alone(make_mysql: MakeMySQL, mysql_server: MariaDB) -> None:
    """A table of that name with another layout is reported, not used and not recorded."""
    backend = make_mysql()
    database = backend._settings.db_name
    mysql_server.execute(f"CREATE TABLE `{database}`.events (id INT PRIMARY KEY, name TEXT)")
    for _ in range(2):
        with pytest.raises(BackendSetupError, match="table_name"):
            backend.open()
    make_mysql(table_name="mine").open()


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


def test_many_open_at_once(make_mysql: MakeMySQL) -> None:
    """Instances that all start on an empty database all succeed."""
    backends = [make_mysql() for _ in range(8)]
    start = threading.Barrier(len(backends))
    failures = []

    def run(backend: MySQLBackend) -> None:
        start.wait(10)
        try:
            backend.open()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(backend,)) for backend in backends]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


# -- diagnosis ------------------------------------------------------------------------------------


def test_a_good_server_passes(mysql: MySQLBackend) -> None:
    """On a server that is set up well there is nothing to advise."""
    findings = mysql.diagnose()
    assert [finding for finding in findings if finding.verdict is not Verdict.OK] == []


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


# -- processes ------------------------------------------------------------------------------------


def _count_in_child(backend: MySQLBackend, answers: Any) -> None:
    answers.put(backend.count()[State.WAITING])


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_connections_of_its_own(mysql: MySQLBackend) -> None:
    """After a fork both sides go on working, and neither hears the other's answers."""
    mysql.add(events(3), if_exists="raise")
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    child = context.Process(target=_count_in_child, args=(mysql, answers))
    child.start()
    assert answers.get(timeout=30) == 3
    child.join()
    assert child.exitcode == 0
    assert mysql.count()[State.WAITING] == 3
    assert len(claim_all(mysql)) == 3


def test_closing_is_idempotent_and_opening_again_works(mysql: MySQLBackend) -> None:
    """What is stored stays stored."""
    mysql.add(events(1), if_exists="raise")
    mysql.close()
    mysql.close()
    mysql.open()
    mysql.open()
    assert mysql.count()[State.WAITING] == 1


def test_the_total_of_connections_is_bounded(make_mysql: MakeMySQL, mysql_server: MariaDB) -> None:
    """P8: threads beyond max_open_connection wait instead of connecting."""
    backend = make_mysql(max_open_connection=3)
    backend.open()
    threads = [threading.Thread(target=claim_all, args=(backend,)) for _ in range(16)]
    threads += [threading.Thread(target=backend.count) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ((number,),) = mysql_server.execute(
        "SELECT COUNT(*) FROM information_schema.processlist WHERE db = %s",
        backend._settings.db_name,
    )
    assert number <= 3


def test_settings_have_the_names_of_the_go_original() -> None:
    """Configurations of the Go original mean the same here."""
    names = {"host", "port", "username", "password", "db_name", "table_name", "mysql6"}
    assert names | {"max_open_connection"} <= set(attrs.fields_dict(MySQLSettings))

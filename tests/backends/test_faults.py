"""Every kind of fault, provoked on a real server, is recognised by the code that it really has."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import pytest
import sqlalchemy as sa
from sqlalchemy import exc

from futurama.backend import AddOutcome, State
from futurama.backends.sql.errors import MYSQL_FAULTS, MYSQL_ROLLED_BACK, Fault
from futurama.errors import BackendRejectedError, BackendUnavailableError
from tests.backends.conftest import AnyBackend, MakeMySQL, MakePostgreSQL, Site, configured
from tests.backends.samples import event
from tests.servers import MariaDB

Provoke: TypeAlias = Callable[[Site, AnyBackend, sa.Connection], None]
"""Does what the server must refuse, inside a transaction of a backend."""


def _take_an_id_twice(_: Site, backend: AnyBackend, connection: sa.Connection) -> None:
    for _again in range(2):
        backend._rows.insert(connection, [backend._adding.new_row(event("a"))])


def _lock_what_is_locked(site: Site, backend: AnyBackend, connection: sa.Connection) -> None:
    backend.add([event("a")], if_exists="raise")
    with contextlib.closing(site.server.connect(site.database, autocommit=False)) as other:
        other.cursor().execute("SELECT id FROM events FOR UPDATE")
        backend._rows.lock(connection, [b"a"])


def _lock_each_other_out(site: Site, backend: AnyBackend, connection: sa.Connection) -> None:
    backend.add([event("a"), event("b"), event("c")], if_exists="raise")
    has_b = threading.Event()

    def lock_b_then_a() -> None:
        with contextlib.closing(site.server.connect(site.database, autocommit=False)) as other:
            cursor = other.cursor()
            # It shall not be the victim: that is who has less to undo, or who looks first.
            if _language(site) == "postgresql":
                cursor.execute("SET deadlock_timeout = '1min'")
            cursor.execute("UPDATE events SET attempt = 1 WHERE id IN ('b', 'c')")
            has_b.set()
            cursor.execute("SELECT id FROM events WHERE id = 'a' FOR UPDATE")

    backend._rows.lock(connection, [b"a"])
    other = threading.Thread(target=lock_b_then_a)
    other.start()
    has_b.wait(10)
    try:
        backend._rows.lock(connection, [b"b"])
    finally:
        connection.close()
        other.join()


def _take_too_long(site: Site, _: AnyBackend, connection: sa.Connection) -> None:
    statements = {
        "postgresql": ["SET LOCAL statement_timeout = 1", "SELECT pg_sleep(60)"],
        "mysql": ["SET STATEMENT max_statement_time = 0.001 FOR SELECT SLEEP(60)"],
    }
    for statement in statements[_language(site)]:
        connection.exec_driver_sql(statement)


def _connect_once_too_often(site: Site, _: AnyBackend, __: sa.Connection) -> None:
    name = "futurama_unwanted"
    site.server.create_user(name, "secret-word")
    try:
        site.server.execute(
            f"ALTER ROLE {name} CONNECTION LIMIT 0"
            if _language(site) == "postgresql"
            else f"GRANT ALL ON `{site.database}`.* TO {name}@'%' WITH MAX_USER_CONNECTIONS 1"
        )
        unwanted = site.make(username=name, password="secret-word")._dialect.make_engines()[0]
        with unwanted.connect(), unwanted.connect():
            pass
    finally:
        site.server.drop_user(name)


def _lose_the_connection(site: Site, _: AnyBackend, connection: sa.Connection) -> None:
    site.server.end_session(connection.exec_driver_sql(site.server.own_session).scalar_one())
    connection.exec_driver_sql("SELECT 1")


def _write_where_nothing_is_written(
    _: Site, backend: AnyBackend, connection: sa.Connection
) -> None:
    connection.exec_driver_sql("COMMIT")
    connection.exec_driver_sql("START TRANSACTION READ ONLY")
    backend._rows.insert(connection, [backend._adding.new_row(event("a"))])


def _say(statement: str) -> Provoke:
    def say(_: Site, __: AnyBackend, connection: sa.Connection) -> None:
        connection.exec_driver_sql(statement)

    return say


def _store_what_does_not_fit(site: Site, _: AnyBackend, connection: sa.Connection) -> None:
    connection.exec_driver_sql(
        "UPDATE futurama_schema SET version = CAST('one' AS integer)"
        if _language(site) == "postgresql"
        else "INSERT INTO futurama_owners (name) VALUES (REPEAT('x', 10000))"
    )


def _language(site: Site) -> str:
    return "postgresql" if site.product == "postgresql" else "mysql"


_PROVOCATIONS: dict[Fault, Provoke] = {
    Fault.DUPLICATE: _take_an_id_twice,
    Fault.CONFLICT: _lock_each_other_out,
    Fault.LOCK_WAIT: _lock_what_is_locked,
    Fault.UNAVAILABLE: _take_too_long,
    Fault.CAPACITY: _connect_once_too_often,
    Fault.LOST: _lose_the_connection,
    Fault.MOVED: _write_where_nothing_is_written,
    Fault.MISSING: _say("SELECT 1 FROM nowhere"),
    Fault.UNSUPPORTED: _say("SELECT 1 FOR UPDATE SKIPPING LOCKED"),
    Fault.SETUP: _say("SELECT nothing FROM events"),
    Fault.REJECTED: _store_what_does_not_fit,
}


def test_every_kind_is_provoked() -> None:
    """All but the one that takes a cluster, whose nodes lose each other during a COMMIT."""
    assert set(_PROVOCATIONS) == set(Fault) - {Fault.AMBIGUOUS}


@pytest.mark.parametrize("fault", _PROVOCATIONS, ids=lambda fault: fault.name)
def test_what_servers_really_say_is_understood(site: Site, fault: Fault) -> None:
    """The server's own error, through the driver, means the kind of fault that it is."""
    backend = site.make(lock_wait_timeout_sec=1 if fault is Fault.LOCK_WAIT else 20)
    backend.open()
    engine, _ = backend._transactions._opened()
    with (
        pytest.raises(exc.SQLAlchemyError) as caught,
        contextlib.closing(engine.connect()) as connection,
    ):
        _PROVOCATIONS[fault](site, backend, connection)
    assert backend._dialect.fault(caught.value)[0] is fault


_CONSTRAINT = ("ALTER TABLE events ADD CONSTRAINT refuse CHECK (id <> 'bad')",)

_VIEW = (
    "ALTER TABLE events RENAME TO kept",
    "CREATE VIEW events AS SELECT * FROM kept WHERE id <> 'bad' WITH CHECK OPTION",
)

_REFUSALS: Mapping[str, Mapping[str, Sequence[str]]] = {
    "constraint": {"mysql": _CONSTRAINT, "postgresql": _CONSTRAINT},
    "view": {"mysql": _VIEW, "postgresql": _VIEW},
    "trigger": {
        "mysql": (
            """CREATE TRIGGER refuse BEFORE INSERT ON events FOR EACH ROW
            IF NEW.id = 'bad' THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'no'; END IF""",
        ),
        "postgresql": (
            """CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN IF NEW.id = 'bad' THEN RAISE 'no'; END IF; RETURN NEW; END $$""",
            "CREATE TRIGGER refuse BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION refuse()",
        ),
    },
    "partitions": {
        "mysql": (
            """ALTER TABLE events PARTITION BY RANGE COLUMNS (id)
            (PARTITION before_bad VALUES LESS THAN ('bad'))""",
        ),
        "postgresql": (
            "ALTER TABLE events RENAME TO kept",
            """CREATE TABLE events (LIKE kept INCLUDING DEFAULTS, PRIMARY KEY (id))
            PARTITION BY RANGE (id)""",
            """CREATE TABLE before_bad PARTITION OF events
            FOR VALUES FROM (MINVALUE) TO ('bad')""",
        ),
    },
}
"""What an administrator can put in the way of one event -> the statements that do it, by language."""


@pytest.mark.parametrize("by", _REFUSALS)
def test_what_concerns_one_row_is_blamed_on_it(site: Site, by: str) -> None:
    """A repeat would be refused, too, so nobody repeats it; others are stored."""
    backend = site.make()
    backend.open()
    for statement in _REFUSALS[by][_language(site)]:
        site.server.execute(statement, database=site.database)
    with pytest.raises(BackendRejectedError):
        backend.add([event("a"), event("bad")], if_exists="raise")
    assert backend.add([event("a")], if_exists="raise") == [AddOutcome.ADDED]


# -- errors of COMMIT -----------------------------------------------------------------------------


@pytest.mark.parametrize("driver", ["mysql", "mysqldb"])
def test_which_errors_of_commit_are_certain(driver: str, request: pytest.FixtureRequest) -> None:
    """After these nothing was committed; whatever is not listed, and a lost connection, is unknown."""
    if driver == "mysqldb":
        pytest.importorskip("MySQLdb")
    dialect: Any = configured(driver)._dialect
    errors = dialect._driver.module
    certain = {
        code
        for code in MYSQL_FAULTS
        if dialect.is_rolled_back(errors.OperationalError(code, "words"))
    }
    assert certain == set(MYSQL_ROLLED_BACK)
    assert not certain & {0, 1047, 1053, 1105, 1180, 2006, 2013, 3100, 8501}
    assert not dialect.is_rolled_back(errors.InterfaceError())


def test_certain_errors_of_commit_lead_to_a_repeat() -> None:
    """At once where others were first, later or elsewhere where the server takes no writes."""
    kinds = {MYSQL_FAULTS[code][0] for code in MYSQL_ROLLED_BACK}
    assert kinds == {Fault.CONFLICT, Fault.LOCK_WAIT, Fault.MOVED}


def test_commit_that_waits_too_long_has_changed_nothing(
    make_private_mysql: MakeMySQL, private_mysql: MariaDB
) -> None:
    """A backup that stops commits for longer than the lock timeout makes no outcome unknown."""
    backend = make_private_mysql(lock_wait_timeout_sec=1)
    backend.open()
    backup = private_mysql.connect()
    calls = 0

    def work(connection: sa.Connection) -> None:
        nonlocal calls
        calls += 1
        backend._rows.insert(connection, [backend._adding.new_row(event("a"))])
        backup.cursor().execute("FLUSH TABLES WITH READ LOCK")

    try:
        with pytest.raises(BackendUnavailableError, match="lock_wait_timeout_sec"):
            backend._transactions.write(work)
    finally:
        backup.close()
    assert calls == 1, "it came as far as COMMIT"
    assert backend.count()[State.WAITING] == 0


def test_commit_on_a_server_that_became_read_only_has_changed_nothing(
    make_private_mysql: MakeMySQL, private_mysql: MariaDB
) -> None:
    """The server says so, and the connection is not used again."""
    make_private_mysql().open()
    private_mysql.create_user("futurama_writer", "")
    backend = make_private_mysql(username="futurama_writer")
    database = backend._settings.db_name
    private_mysql.execute(f"GRANT ALL ON `{database}`.* TO futurama_writer@'%'")
    backend.open()

    def work(connection: sa.Connection) -> None:
        backend._rows.insert(connection, [backend._adding.new_row(event("a"))])
        private_mysql.execute("SET GLOBAL read_only = ON")

    try:
        with pytest.raises(BackendUnavailableError, match="writer"):
            backend._transactions.write(work)
    finally:
        private_mysql.execute("SET GLOBAL read_only = OFF")
    assert backend.count()[State.WAITING] == 0
    private_mysql.drop_user("futurama_writer")


def test_commit_that_the_server_refuses_to_put_in_order_is_repeated(
    make_postgresql: MakePostgreSQL,
) -> None:
    """Of two transactions that each read what the other writes, the second to commit begins again."""
    backend = make_postgresql()
    backend.open()
    tries = 0

    def read_and_write(connection: sa.Connection, event_id: str) -> None:
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
        connection.exec_driver_sql("SELECT count(*) FROM events")
        backend._rows.insert(connection, [backend._adding.new_row(event(event_id))])

    def work(connection: sa.Connection) -> None:
        nonlocal tries
        tries += 1
        read_and_write(connection, "mine")
        if tries == 1:
            backend._transactions.write(lambda other: read_and_write(other, "other"))

    backend._transactions.write(work)
    assert tries == 2
    assert backend.count()[State.WAITING] == 2

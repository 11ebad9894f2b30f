"""What goes wrong with a real server, and what becomes of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pymysql
import pytest
import sqlalchemy as sa

from futurama.backend import AddOutcome, Settlement, State
from futurama.backends.mysql import MySQLBackend, MySQLDialect, MySQLSettings
from futurama.backends.sql.errors import ERRORS, MYSQL_FAULTS, Fault, translate
from futurama.backends.sql.transactions import TRIES
from futurama.errors import (
    BackendError,
    BackendSetupError,
    BackendUnavailableError,
    ConfigError,
    OutcomeUnknownError,
)
from futurama.events import CancelOutcome
from tests.backends.conftest import MakeMySQL
from tests.backends.proxy import Proxy
from tests.backends.samples import T0, claim_all, event, events, seconds
from tests.servers import ExternalMySQL, MariaDB, free_port


@pytest.fixture
def user(mysql_server: MariaDB | ExternalMySQL) -> Iterator[dict[str, str]]:
    """The login of a user without any right."""
    name = "futurama_nobody"
    mysql_server.execute(f"CREATE USER {name}@'%' IDENTIFIED BY 'secret-word'")
    yield {"username": name, "password": "secret-word"}
    mysql_server.execute(f"DROP USER {name}@'%'")


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


def test_every_fault_has_an_error() -> None:
    """No kind of fault is without a class."""
    assert set(ERRORS) == set(Fault)


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


# -- configuration --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "e`vents", "a b", "é", "x" * 65, "a;b", "futurama_schema"])
def test_table_names_follow_a_strict_pattern(name: str) -> None:
    """A name that could end its quotes never reaches the server."""
    with pytest.raises(ConfigError, match="table_name") as caught:
        MySQLBackend.from_settings(MySQLSettings(table_name=name))
    assert caught.value.key == "table_name"
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize(
    ("key", "values"),
    [("max_data_bytes", {"max_data_bytes": 2**24}), ("ssl_ca", {"ssl_ca": "/ca.pem"})],
)
def test_values_that_can_never_work_are_refused_at_once(key: str, values: dict[str, int]) -> None:
    """Longer data than a MEDIUMBLOB holds, and certificates without TLS, are errors of that key."""
    with pytest.raises(ConfigError) as caught:
        MySQLBackend(MySQLSettings(**values))  # type: ignore[arg-type] # of several types
    assert caught.value.key == key


def test_constructing_touches_nothing() -> None:
    """A backend for a server that does not exist can be made, shown and closed."""
    backend = MySQLBackend(MySQLSettings(host="192.0.2.1", password="secret-word"))
    assert "secret-word" not in repr(backend) + repr(backend._settings) + str(vars(backend))
    backend.close()
    with pytest.raises(BackendError, match="open"):
        backend.now()


# -- opening --------------------------------------------------------------------------------------


def test_wrong_password(make_mysql: MakeMySQL, user: dict[str, str]) -> None:
    """The error names user, host and port, and never the password."""
    backend = make_mysql(username=user["username"], password="wrong-word")
    with pytest.raises(BackendSetupError, match="username and password") as caught:
        backend.open()
    assert f"{user['username']}@127.0.0.1:" in str(caught.value)
    assert "wrong-word" not in str(caught.value) + repr(caught.value.__cause__)


def test_unreachable_server(make_mysql: MakeMySQL) -> None:
    """The error names host and port and the keys to look at."""
    port = free_port()
    with pytest.raises(BackendUnavailableError, match="keys host and port") as caught:
        make_mysql(port=port).open()
    assert f"127.0.0.1:{port}" in str(caught.value)


def test_unknown_database_without_the_right_to_create_it(
    make_mysql: MakeMySQL, user: dict[str, str]
) -> None:
    """It is a matter for an administrator."""
    with pytest.raises(BackendSetupError, match="nowhere"):
        make_mysql(**user, db_name="nowhere").open()


def test_runtime_rights_are_enough_after_a_migration(
    make_mysql: MakeMySQL, user: dict[str, str], mysql_server: MariaDB | ExternalMySQL
) -> None:
    """Without CREATE, opening says so; once an administrator has migrated, the four rights do."""
    restricted = make_mysql(**user)
    database = restricted._settings.db_name
    rights = "SELECT, INSERT, UPDATE, DELETE"
    mysql_server.execute(f"GRANT {rights} ON `{database}`.* TO {user['username']}@'%'")
    with pytest.raises(BackendSetupError, match="futurama migrate"):
        restricted.open()

    make_mysql().migrate()
    restricted.open()
    restricted.add([event("a")], if_exists="raise")
    (claim,) = claim_all(restricted)
    assert restricted.settle([Settlement.done(claim)], now=T0) == [True]
    findings = {finding.name: finding.value for finding in restricted.diagnose()}
    assert findings["rights on the table"] == rights
    assert findings["right to create tables"].startswith("no")


def test_tls_on_a_server_without_it(make_private_mysql: MakeMySQL) -> None:
    """With ssl, a server that offers no TLS is refused instead of being spoken to in the clear."""
    with pytest.raises(BackendSetupError, match="ssl"):
        make_private_mysql(ssl=True).open()


def test_unreadable_certificates(make_mysql: MakeMySQL) -> None:
    """The error names the key and the file."""
    with pytest.raises(BackendSetupError, match=r"ssl_ca.*nowhere\.pem"):
        make_mysql(ssl=True, ssl_ca="nowhere.pem").open()


# -- in the middle of work ------------------------------------------------------------------------


def test_connection_killed_in_a_transaction(
    mysql: MySQLBackend, mysql_server: MariaDB | ExternalMySQL
) -> None:
    """Nothing was changed, the error says that a repeat makes sense, and the next call works."""

    def work(connection: sa.Connection) -> None:
        mysql._rows.insert(connection, [mysql._adding.new_row(event("a"))])
        own_id = connection.exec_driver_sql("SELECT CONNECTION_ID()").scalar_one()
        mysql_server.execute(f"KILL {own_id}")
        connection.execute(mysql._statements.first_due)

    with pytest.raises(BackendUnavailableError):
        mysql._transactions.write(work)
    assert mysql.count()[State.WAITING] == 0
    assert mysql.add([event("a")], if_exists="raise") == [AddOutcome.ADDED]


def test_idle_connections_that_the_server_closed_are_replaced_silently(
    mysql: MySQLBackend, mysql_server: MariaDB | ExternalMySQL
) -> None:
    """After all of its connections were killed, a backend's next calls succeed."""
    mysql.add([event("a")], if_exists="raise")
    for connection_id, database in mysql_server.execute(
        "SELECT id, db FROM information_schema.processlist"
    ):
        if database == mysql._settings.db_name:
            mysql_server.execute(f"KILL {connection_id}")
    assert mysql.count()[State.WAITING] == 1
    assert mysql.cancel(["a"]) == [CancelOutcome.CANCELLED]


def test_server_killed_and_restarted(make_private_mysql: MakeMySQL, private_mysql: MariaDB) -> None:
    """What was acknowledged is there, and the same object goes on working."""
    backend = make_private_mysql()
    backend.open()
    backend.add([event("a")], if_exists="raise")
    private_mysql.kill()
    try:
        with pytest.raises(BackendUnavailableError):
            backend.add([event("b")], if_exists="raise")
        with pytest.raises(BackendUnavailableError):
            backend.now()
    finally:
        private_mysql.start()
    assert [claim.id for claim in claim_all(backend)] == ["a"]


def test_hanging_server(make_private_mysql: MakeMySQL, private_mysql: MariaDB) -> None:
    """A server that accepts but does not answer costs read_timeout_sec, not for ever."""
    backend = make_private_mysql(read_timeout_sec=0.2, connect_timeout_sec=0.2)
    backend.open()
    private_mysql.pause()
    try:
        with pytest.raises(BackendUnavailableError):
            backend.now()
    finally:
        private_mysql.resume()
    assert backend.count()[State.WAITING] == 0


def test_locked_row(make_mysql: MakeMySQL, mysql_server: MariaDB | ExternalMySQL) -> None:
    """A lock that stays costs a bounded time, and nothing is changed; afterwards all is well."""
    backend = make_mysql(lock_wait_timeout_sec=1)
    backend.open()
    backend.add([event("a")], if_exists="raise")
    other = mysql_server.connect(database=backend._settings.db_name, autocommit=False)
    with other, other.cursor() as cursor:
        cursor.execute("SELECT id FROM events WHERE id = 'a' FOR UPDATE")
        with pytest.raises(BackendUnavailableError, match="lock_wait_timeout_sec"):
            backend.cancel(["a"])
        other.rollback()
    assert backend.cancel(["a"]) == [CancelOutcome.CANCELLED]


def test_deadlock_is_resolved_by_repeating(mysql: MySQLBackend) -> None:
    """Of two transactions that lock each other out, the victim is repeated: both succeed."""
    mysql.add([event("a"), event("b")], if_exists="raise")
    both_hold_one = threading.Barrier(2)
    tries = []

    def lock(first: bytes, second: bytes) -> None:
        is_first_try = True

        def work(connection: sa.Connection) -> None:
            nonlocal is_first_try
            tries.append(first)
            mysql._rows.lock(connection, [first])
            if is_first_try:
                is_first_try = False
                both_hold_one.wait(10)
            mysql._rows.lock(connection, [second])

        mysql._transactions.write(work)

    other = threading.Thread(target=lock, args=(b"b", b"a"))
    other.start()
    lock(b"a", b"b")
    other.join()
    assert 3 <= len(tries) <= 2 * TRIES[Fault.CONFLICT]


def test_read_only_server(make_private_mysql: MakeMySQL, private_mysql: MariaDB) -> None:
    """A server that stops taking writes loses its connections, and is used again when it does."""
    backend = make_private_mysql()
    backend.open()
    database = backend._settings.db_name
    private_mysql.execute("CREATE USER futurama_writer@'%'")
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
    private_mysql.execute("DROP USER futurama_writer@'%'")


def test_waiting_for_a_connection_is_bounded(make_mysql: MakeMySQL) -> None:
    """With all connections taken a call gives up after pool_timeout_sec and names the key."""
    backend = make_mysql(max_open_connection=1, pool_timeout_sec=0.05)
    backend.open()

    def work(_connection: sa.Connection) -> None:
        with pytest.raises(BackendUnavailableError, match="max_open_connection"):
            backend.now()

    backend._transactions.write(work)
    assert backend.now() > T0 - seconds(10 * 365 * 86_400)


# -- answers that are lost ------------------------------------------------------------------------


@pytest.fixture
def proxy(mysql_server: MariaDB | ExternalMySQL) -> Iterator[Proxy]:
    """Between the backend and the server."""
    with Proxy(mysql_server.port) as proxy:
        yield proxy


@pytest.fixture
def proxied(make_mysql: MakeMySQL, proxy: Proxy) -> MySQLBackend:
    """An opened backend behind the proxy."""
    backend = make_mysql(port=proxy.port)
    backend.open()
    return backend


def test_lost_before_commit(proxied: MySQLBackend, proxy: Proxy) -> None:
    """A connection that ends before COMMIT was sent has changed nothing, and the error says so."""
    proxy.lose("INSERT", after_it_was_done=True)
    with pytest.raises(BackendUnavailableError):
        proxied.add([event("a")], if_exists="raise")
    assert proxied.count()[State.WAITING] == 0


@pytest.mark.parametrize("is_done", [True, False])
def test_add_whose_commit_is_not_answered(
    proxied: MySQLBackend, proxy: Proxy, *, is_done: bool
) -> None:
    """The outcome is unknown, and the repeat is ADDED whether or not it had been committed."""
    proxy.lose("COMMIT", after_it_was_done=is_done)
    with pytest.raises(OutcomeUnknownError):
        proxied.add(events(3), if_exists="raise")
    assert proxied.count()[State.WAITING] == (3 if is_done else 0)
    assert proxied.add(events(3), if_exists="raise") == [AddOutcome.ADDED] * 3
    assert proxied.count()[State.WAITING] == 3


@pytest.mark.parametrize("is_done", [True, False])
def test_settle_whose_commit_is_not_answered(
    proxied: MySQLBackend, proxy: Proxy, *, is_done: bool
) -> None:
    """The outcome is unknown, and the repeat tells which it was."""
    proxied.add(events(3), if_exists="raise")
    settlements = [Settlement.done(claim) for claim in claim_all(proxied)]
    proxy.lose("COMMIT", after_it_was_done=is_done)
    with pytest.raises(OutcomeUnknownError):
        proxied.settle(settlements, now=T0)
    assert proxied.settle(settlements, now=T0) == [not is_done] * 3


def test_claim_whose_commit_is_not_answered_is_read_back(
    proxied: MySQLBackend, proxy: Proxy
) -> None:
    """A claim that was committed is returned although the answer to COMMIT was lost."""
    proxied.add(events(3), if_exists="raise")
    proxy.lose("COMMIT", after_it_was_done=True)
    claims = claim_all(proxied)
    assert [claim.id for claim in claims] == ["00000", "00001", "00002"]
    assert proxied.settle([Settlement.done(claim) for claim in claims], now=T0) == [True] * 3


def test_claim_whose_commit_did_not_arrive_is_unknown(proxied: MySQLBackend, proxy: Proxy) -> None:
    """A claim that cannot be found afterwards may still be committed: it is reported as unknown."""
    proxied.add(events(3), if_exists="raise")
    proxy.lose("COMMIT", after_it_was_done=False)
    with pytest.raises(OutcomeUnknownError):
        claim_all(proxied)
    assert len(claim_all(proxied)) == 3

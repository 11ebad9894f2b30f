"""Several servers behind one backend: which is used, and what becomes of it when that one fails."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
import sqlalchemy as sa

from futurama.backend import AddOutcome, Finding, Query, Verdict
from futurama.backends.mysql import MySQLSettings
from futurama.backends.postgresql import PostgreSQLSettings
from futurama.backends.sql import hosts as module
from futurama.backends.sql.hosts import Address, Hosts, addresses
from futurama.errors import BackendSetupError, BackendUnavailableError, ConfigError
from tests.backends.conftest import AnyBackend, MakeMySQL, configured, skip_without_mysqldb
from tests.backends.samples import event, wait_until
from tests.servers import MariaDB, PostgreSQL, free_port
from tests.servers.proxy import Happened, Proxy
from tests.servers.wire import MESSAGES

_A, _B, _C = (Address(host, 1) for host in "abc")

# -- the key hosts --------------------------------------------------------------------------------


def _addresses(**keys: Any) -> list[str]:
    return [str(each) for each in addresses(MySQLSettings(**keys))]


def test_hosts_are_read_in_order() -> None:
    """Ports are those given, else the key port; IPv6 addresses stand in brackets."""
    assert _addresses(hosts="db1:3307, db2,[::1]:3308 , [fe80::1], 10.0.0.1:1") == [
        "db1:3307",
        "db2:3306",
        "[::1]:3308",
        "[fe80::1]:3306",
        "10.0.0.1:1",
    ]


def test_without_hosts_there_is_one() -> None:
    """The keys host and port mean what they always did."""
    assert _addresses(host="db", port=1) == ["db:1"]
    assert _addresses(host="::1", port=1) == ["[::1]:1"]


@pytest.mark.parametrize(
    "hosts",
    [" ", "a,", ",a", "a,,b", "a:", "a:0", "a:65536", "a:b", "::1", "[a", "a]:1", "a, a", "a b",
     "a;b", "a, b c", "a/b"],
)  # fmt: skip
def test_what_is_no_list_of_hosts_is_refused(product: str, hosts: str) -> None:
    """The error names the key and shows its value."""
    with pytest.raises(ConfigError, match="'hosts'") as caught:
        configured(product, hosts=hosts)
    assert caught.value.key == "hosts"
    assert repr(hosts) in str(caught.value)


@pytest.mark.parametrize(
    ("hosts", "culprit"), [("a, b c", ", where 'b c' is wrong"), ("a,", ", where nothing stands")]
)
def test_the_wrong_one_of_several_hosts_is_named(product: str, hosts: str, culprit: str) -> None:
    """Where there are several, the error says which of them it is."""
    with pytest.raises(ConfigError, match=culprit):
        configured(product, hosts=hosts)


def test_the_folder_of_a_socket_is_a_host() -> None:
    """PostgreSQL's clients take one for a name, alone or among others; those of MySQL do not."""
    folder = "/var/run/postgresql"
    assert addresses(PostgreSQLSettings(host=folder)) == [Address(folder, 5432)]
    assert addresses(PostgreSQLSettings(hosts=f"{folder}:1, b"))[0] == Address(folder, 1)
    for key in ("host", "hosts"):
        with pytest.raises(ConfigError, match=repr(folder)):
            _addresses(**{key: folder})


def test_hosts_beside_a_host_are_refused(product: str) -> None:
    """Which of the two is meant cannot be known."""
    with pytest.raises(ConfigError, match="which is meant") as caught:
        configured(product, hosts="a,b", host="c")
    assert caught.value.key == "hosts"


def test_all_hosts_are_named(product: str) -> None:
    """Where messages say which server it is, they name every one that it can be."""
    assert "@a:1,b:2/" in repr(configured(product, hosts="a:1,b:2"))


# -- what is known of the hosts -------------------------------------------------------------------


def test_the_first_comes_first_until_it_fails() -> None:
    """One that has failed is tried last."""
    known = Hosts([_A, _B, _C])
    assert known.in_order() == [_A, _B, _C]
    known.fails(_A)
    assert known.in_order() == [_B, _C, _A]


def test_the_present_one_stays_although_a_better_one_is_back() -> None:
    """Connections do not go back and forth."""
    known = Hosts([_A, _B])
    known.fails(_A)
    known.works(_B)
    known.works(_A)
    assert known.is_present(_B)
    assert known.in_order() == [_B, _A]


def test_a_failed_host_comes_back_to_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """After some seconds the order is what it was."""
    known = Hosts([_A, _B, _C])
    known.fails(_A)
    monkeypatch.setattr(module, "_PASSED_OVER_SECONDS", -1)  # as if that time had passed
    assert known.in_order() == [_A, _B, _C]


def test_a_failure_to_connect_costs_no_connection_that_works() -> None:
    """As long as no other host has worked, the present one is still that."""
    known = Hosts([_A, _B])
    known.works(_A)
    known.fails(_A)
    assert known.is_present(_A)
    known.works(_B)
    assert known.is_present(_B)


def test_a_host_that_takes_no_writes_is_left() -> None:
    """Whether or not there is another one."""
    known = Hosts([_A])
    known.works(_A)
    known.retires(_A)
    assert not known.is_present(_A)
    known.works(_A)
    assert known.is_present(_A)


# -- servers --------------------------------------------------------------------------------------

_IS_READ_ONLY = {"mysql": "SELECT @@read_only", "postgresql": "SHOW transaction_read_only"}

_SET_READ_ONLY = {
    "mysql": ["SET GLOBAL read_only = {}"],
    "postgresql": [
        "ALTER SYSTEM SET default_transaction_read_only = {}",
        "SELECT pg_reload_conf()",
    ],
}

_USER, _PASSWORD = "futurama_ordinary", "secret-word"


@pytest.fixture(scope="module")
def other_mysql(mysql_server: object) -> Iterator[MariaDB]:
    """A second server; skipped where the first one is missing, too."""
    with MariaDB() as server:
        yield server


@pytest.fixture(scope="module")
def other_postgresql(postgresql_server: object) -> Iterator[PostgreSQL]:
    """A second server; skipped where the first one is missing, too."""
    with PostgreSQL() as server:
        yield server


@attrs.frozen
class Pair:
    """Two servers with a database of the same name, and a user who may not override anything.

    Attributes:
        product: which member of the family.
        language: whose statements the servers understand.
        first, second: the servers, in the order in which backends prefer them.
        database: the name of the database.
    """

    product: str
    language: str
    first: MariaDB | PostgreSQL
    second: MariaDB | PostgreSQL
    database: str
    _made: list[AnyBackend] = attrs.field(factory=list, init=False)

    def make(self, **keys: Any) -> AnyBackend:
        """A backend on both, not opened."""
        backend = configured(
            self.product,
            **{
                "hosts": f"127.0.0.1:{self.first.port}, 127.0.0.1:{self.second.port}",
                "db_name": self.database,
                "username": _USER,
                "password": _PASSWORD,
                **keys,
            },
        )
        self._made.append(backend)
        return backend

    def opened(self) -> AnyBackend:
        """A backend on both that has used the first, for reading and for writing."""
        backend = self.make()
        backend.open()
        backend.add([event("before")], if_exists="raise")
        backend.now()
        return backend

    def set_read_only(self, value: str) -> None:
        """Have the first take no writes (``ON``), or take them again (``OFF``)."""
        for statement in _SET_READ_ONLY[self.language]:
            self.first.execute(statement.format(value))

    def stored(self, server: MariaDB | PostgreSQL) -> set[str]:
        """The ids of the events on a server."""
        rows = server.execute("SELECT id FROM events", database=self.database)
        return {bytes(event_id).decode() for (event_id,) in rows}

    def set_up(self) -> None:
        """Create what backends need on both, and nothing in it."""
        for server in (self.first, self.second):
            server.execute(f"CREATE DATABASE {server.quoted(self.database)}")
            server.create_user(_USER, _PASSWORD)
            if self.language == "mysql":
                server.execute(f"GRANT ALL ON `{self.database}`.* TO {_USER}@'%'")
            else:
                server.execute(f"ALTER DATABASE {self.database} OWNER TO {_USER}")
            on_this_one = self.make(hosts=f"127.0.0.1:{server.port}")
            on_this_one.open()
            on_this_one.close()

    def tear_down(self) -> None:
        """Remove all that."""
        for backend in self._made:
            backend.close()
        for server in (self.first, self.second):
            server.drop_database(self.database)
            server.drop_user(_USER)


@pytest.fixture
def pair(product: str, server_name: str, request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Two servers of each member, both running."""
    first = request.getfixturevalue(f"private_{server_name}")
    second = request.getfixturevalue(f"other_{server_name}")
    pair = Pair(product, server_name, first, second, "futurama_pair")
    pair.set_up()
    yield pair
    pair.tear_down()


@pytest.fixture
def without_first(pair: Pair) -> Iterator[Pair]:
    """The first has died."""
    pair.first.kill()
    yield pair
    pair.first.start()


@pytest.fixture
def read_only_first(pair: Pair) -> Iterator[Pair]:
    """The first takes no writes, at least not in sessions that begin now."""
    pair.set_read_only("ON")
    wait_until(lambda: pair.first.execute(_IS_READ_ONLY[pair.language])[0][0] in {1, "on"})
    yield pair
    pair.set_read_only("OFF")
    wait_until(lambda: pair.first.execute(_IS_READ_ONLY[pair.language])[0][0] in {0, "off"})


def _add(backend: AnyBackend, event_id: str) -> None:
    """Add one event, as often as it takes."""

    def is_added() -> bool:
        try:
            return backend.add([event(event_id)], if_exists="raise") == [AddOutcome.ADDED]
        except BackendUnavailableError:
            return False

    wait_until(is_added)


def _assert_second_is_used(pair: Pair, backend: AnyBackend) -> None:
    """Writes, reads and the clock."""
    _add(backend, "after")
    assert "after" in pair.stored(pair.second)
    backend.now()
    assert pair.second.sessions(pair.database)
    assert {each.id for each in backend.find(Query()).events} == pair.stored(pair.second)


def test_the_first_is_used(pair: Pair) -> None:
    """As long as it works, nobody connects to the second."""
    pair.opened()
    assert pair.stored(pair.first) == {"before"}
    assert pair.second.sessions(pair.database) == []


def test_first_down_at_the_start(without_first: Pair, caplog: pytest.LogCaptureFixture) -> None:
    """A backend opens on the second, and says so."""
    backend = without_first.make()
    with caplog.at_level(logging.WARNING, "futurama"):
        backend.open()
    assert f"127.0.0.1:{without_first.second.port}" in caplog.text
    _assert_second_is_used(without_first, backend)


def test_first_hangs_at_the_start(pair: Pair) -> None:
    """A server that accepts and says nothing costs ``connect_timeout_sec``, not ``read_timeout_sec``."""
    backend = pair.make(connect_timeout_sec=2, read_timeout_sec=600)
    pair.first.pause()
    try:
        backend.open()
        _assert_second_is_used(pair, backend)
    finally:
        pair.first.resume()


_SET_UP = {
    "mysql": ("SHOW GLOBAL VARIABLES", "SET SESSION TRANSACTION"),
    "postgresql": ("SHOW transaction_read_only", "set_config"),
}
"""The first and the last of what a session begins with."""


@pytest.mark.parametrize("position", [0, 1])
def test_first_goes_silent_after_the_login(pair: Pair, position: int) -> None:
    """That costs ``connect_timeout_sec`` as well, but for the driver that cannot tell the two apart."""
    with Proxy(pair.first.port, MESSAGES[pair.language]) as proxy:
        backend = pair.make(
            hosts=f"127.0.0.1:{proxy.port}, 127.0.0.1:{pair.second.port}",
            connect_timeout_sec=2,
            read_timeout_sec=2 if pair.product == "mysqldb" else 600,
            lock_wait_timeout_sec=1,
        )
        proxy.go_silent_at(_SET_UP[pair.language][position])
        backend.open()
        assert proxy.counts[Happened.SILENCED] == 1
        _assert_second_is_used(pair, backend)


@contextlib.contextmanager
def _server_that_refuses(code: int) -> Iterator[int]:
    """A port where clients of MySQL get this error instead of a greeting."""
    words = b"\xff" + code.to_bytes(2, "little") + b"the server's words"
    packet = len(words).to_bytes(3, "little") + b"\0" + words

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection:
                    connection.sendall(packet)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("driver", ["pymysql", "mysqldb"])
@pytest.mark.parametrize("code", [1040, 1053, 1129, 1135, 1203, 3032])
def test_a_host_that_turns_everybody_away_is_passed_over(
    make_mysql: MakeMySQL, driver: str, code: int
) -> None:
    """Full, ending, or tired of clients that vanished: the next one may be well."""
    if driver == "mysqldb":
        skip_without_mysqldb()
    port = make_mysql()._settings.port
    with _server_that_refuses(code) as refusing:
        backend = make_mysql(driver=driver, hosts=f"127.0.0.1:{refusing}, 127.0.0.1:{port}")
        backend.open()
    assert backend.add([event("a")], if_exists="raise") == [AddOutcome.ADDED]
    dialect: Any = backend._dialect
    assert dialect._hosts.is_present(Address("127.0.0.1", port))


def test_first_killed_under_use(pair: Pair) -> None:
    """The next calls go to the second, from all threads, and stay there when the first is back."""
    backend = pair.opened()
    pair.first.kill()
    try:
        ids = [f"after {number}" for number in range(8)]
        threads = [threading.Thread(target=_add, args=(backend, each)) for each in ids]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert pair.stored(pair.second) == set(ids)
    finally:
        pair.first.start()
    _assert_second_is_used(pair, backend)
    assert pair.first.sessions(pair.database) == []


def test_first_is_used_again_when_the_second_is_lost(pair: Pair) -> None:
    """The order counts again as soon as the present one fails, however lately the first did."""
    backend = pair.opened()
    pair.first.kill()
    try:
        _add(backend, "between")
    finally:
        pair.first.start()
    pair.second.kill()
    try:
        _add(backend, "after")
        assert pair.stored(pair.first) == {"before", "after"}
    finally:
        pair.second.start()


def test_first_read_only_at_the_start(read_only_first: Pair) -> None:
    """A server that only looks well is found out when connecting."""
    backend = read_only_first.make()
    backend.open()
    _assert_second_is_used(read_only_first, backend)


def test_first_read_only_under_use(pair: Pair, request: pytest.FixtureRequest) -> None:
    """Once a write was refused nothing is left on the first, not even the clock."""
    backend = pair.opened()
    request.getfixturevalue("read_only_first")

    def sees_it(connection: sa.Connection) -> bool:
        return connection.exec_driver_sql(_IS_READ_ONLY[pair.language]).scalar_one() in {1, "on"}

    wait_until(lambda: backend._transactions.write(sees_it))
    with pytest.raises(BackendUnavailableError, match="writer") as caught:
        backend.add([event("refused")], if_exists="raise")
    _assert_first_is_blamed(pair, caught.value)
    _assert_second_is_used(pair, backend)
    assert pair.stored(pair.first) == {"before"}
    wait_until(lambda: pair.first.sessions(pair.database) == [])


def test_no_host_works(read_only_first: Pair) -> None:
    """The error names every host with its reason, and no secret."""
    down, read_only = f"127.0.0.1:{free_port()}", f"127.0.0.1:{read_only_first.first.port}"
    with pytest.raises(BackendUnavailableError) as caught:
        read_only_first.make(hosts=f"{down}, {read_only}").open()
    reasons = str(caught.value).partition("(")[2]
    assert f"{down}: " in reasons
    assert "read" in reasons.partition(f"{read_only}: ")[2]
    assert _PASSWORD not in str(caught.value) + repr(caught.value.__cause__)


def test_a_refused_login_is_no_reason_to_go_on(pair: Pair) -> None:
    """Someone has to act: with the second in its place nobody would notice."""
    with pytest.raises(BackendSetupError, match="username and password") as caught:
        pair.make(password="wrong-word").open()
    _assert_first_is_blamed(pair, caught.value)


def _assert_first_is_blamed(pair: Pair, error: Exception) -> None:
    """The error names this host and no other."""
    assert f"@127.0.0.1:{pair.first.port}/" in str(error)
    assert str(pair.second.port) not in str(error)


def test_a_database_that_may_not_be_created_is_no_reason_to_go_on(pair: Pair) -> None:
    """The error says on which host it is missing."""
    with pytest.raises(BackendSetupError) as caught:
        pair.make(db_name="futurama_nowhere").open()
    _assert_first_is_blamed(pair, caught.value)


def test_a_missing_table_is_no_reason_to_go_on(pair: Pair) -> None:
    """The error of a statement says on which host it failed."""
    backend = pair.opened()
    pair.first.execute("DROP TABLE events", database=pair.database)
    with pytest.raises(BackendSetupError, match="futurama migrate") as caught:
        backend.add([event("a")], if_exists="raise")
    _assert_first_is_blamed(pair, caught.value)
    pair.first.execute("DROP TABLE futurama_schema", database=pair.database)
    with pytest.raises(BackendSetupError, match="create_schema") as caught:
        pair.make(create_schema=False).open()
    _assert_first_is_blamed(pair, caught.value)


# -- what `futurama check` says -------------------------------------------------------------------


def _found(pair: Pair, **keys: Any) -> list[Finding]:
    """What is found out about each host, in order."""
    return [each for each in pair.make(**keys).diagnose() if each.name.startswith("host ")]


def test_each_of_several_hosts_is_looked_at(pair: Pair) -> None:
    """The one that is used, and the one that may have to be; a single host is not worth a line."""
    first, second = _found(pair)
    assert first == Finding(f"host 127.0.0.1:{pair.first.port}", "in use")
    assert second == Finding(f"host 127.0.0.1:{pair.second.port}", "works")
    assert _found(pair, hosts=f"127.0.0.1:{pair.first.port}") == []


def test_a_host_that_is_down_is_a_problem(without_first: Pair) -> None:
    """Even though the other one works."""
    first, second = _found(without_first)
    assert (first.verdict, second.value) == (Verdict.PROBLEM, "in use")
    assert "running" in first.advice  # libpq does not always say that nobody listens there
    assert _PASSWORD not in repr(first)


def test_a_host_that_cannot_be_a_name_is_a_problem(pair: Pair) -> None:
    """It is found although nobody would have asked for it yet."""
    first, second = _found(pair, hosts=f"127.0.0.1:{pair.first.port}, a..b:1")
    assert first.value == "in use"
    assert second.verdict is Verdict.PROBLEM


def test_a_replica_is_no_problem(read_only_first: Pair) -> None:
    """That it takes no writes is said, and is as it should be."""
    first, second = _found(read_only_first)
    assert first.verdict is Verdict.OK
    assert first.value.startswith("takes no writes (")
    assert second.value == "in use"

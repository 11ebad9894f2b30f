"""What goes wrong with every database server, and what becomes of it."""

from __future__ import annotations

import contextlib
import gc
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import sqlalchemy as sa

from futurama.backend import AddOutcome, Query, Settlement, State
from futurama.backends import mysql, postgresql
from futurama.backends.sql import mysql_session
from futurama.backends.sql.errors import ERRORS, Fault
from futurama.backends.sql.transactions import TRIES
from futurama.errors import (
    BackendError,
    BackendSetupError,
    BackendUnavailableError,
    ConfigError,
    EventsLockedError,
    OutcomeUnknownError,
)
from futurama.events import CancelOutcome
from tests.backends.conftest import AnyBackend, Site, configured
from tests.backends.samples import T0, claim_all, event, events, seconds
from tests.servers import free_port
from tests.servers.proxy import Fate, Happened, Proxy
from tests.servers.wire import MESSAGES

_PATIENCE_SECONDS = 10.0
"""How long to wait for what should be so already."""


@pytest.fixture
def user(site: Site) -> Iterator[dict[str, str]]:
    """The login of a user without any right."""
    name = "futurama_nobody"
    site.server.create_user(name, "secret-word")
    yield {"username": name, "password": "secret-word"}
    site.server.drop_user(name)


def test_every_fault_has_an_error() -> None:
    """No kind of fault is without a class."""
    assert set(ERRORS) == set(Fault)


# -- configuration --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["", "e`vents", 'e"vents', "a b", "é", "x" * 65, "a;b", "futurama_schema", "futurama_owners"],
)
def test_table_names_follow_a_strict_pattern(product: str, name: str) -> None:
    """A name that could end its quotes never reaches the server."""
    with pytest.raises(ConfigError, match="table_name") as caught:
        configured(product, table_name=name)
    assert caught.value.key == "table_name"
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize(("key", "value"), [("max_data_bytes", 2**30), ("ssl_ca", "/ca.pem")])
def test_values_that_can_never_work_are_refused_at_once(
    product: str, key: str, value: object
) -> None:
    """Longer data than a column holds, and certificates without TLS, are errors of that key."""
    with pytest.raises(ConfigError) as caught:
        configured(product, **{key: value})
    assert caught.value.key == key


def test_constructing_touches_nothing(product: str) -> None:
    """A backend for a server that does not exist can be made, shown and closed."""
    backend = configured(product, host="192.0.2.1", password="secret-word")
    assert "secret-word" not in repr(backend) + repr(backend._settings) + str(vars(backend))
    backend.close()
    with pytest.raises(BackendError, match="open"):
        backend.now()


# -- opening --------------------------------------------------------------------------------------


def test_wrong_password(site: Site, user: dict[str, str]) -> None:
    """The error names user, host and port, and never the password."""
    backend = site.make(username=user["username"], password="wrong-word")
    with pytest.raises(BackendSetupError, match="username and password") as caught:
        backend.open()
    assert f"{user['username']}@127.0.0.1:" in str(caught.value)
    assert "wrong-word" not in str(caught.value) + repr(caught.value.__cause__)


def test_unreachable_server(site: Site) -> None:
    """The error names host and port and the keys to look at."""
    port = free_port()
    with pytest.raises(BackendUnavailableError, match="keys host and port") as caught:
        site.make(port=port).open()
    assert f"127.0.0.1:{port}" in str(caught.value)


@pytest.fixture
def no_garbage_is_collected() -> Iterator[None]:
    """Nothing is ended because the collector happens to run."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_garbage_is_collected")
def test_an_attempt_that_was_given_up_leaves_no_connection(product: str) -> None:
    """A server that hung and goes on finds nobody whose login it would wait for."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        backend = configured(product, port=silent.getsockname()[1], connect_timeout_sec=1)
        with pytest.raises(BackendUnavailableError):
            backend.open()
        with silent.accept()[0] as connection:
            connection.settimeout(_PATIENCE_SECONDS)
            while connection.recv(65_536):
                pass


def test_unknown_database_without_the_right_to_create_it(site: Site, user: dict[str, str]) -> None:
    """It is a matter for an administrator."""
    with pytest.raises(BackendSetupError, match="nowhere"):
        site.make(**user, db_name="nowhere").open()


def test_host_that_can_be_none(site: Site) -> None:
    """A host that is no name at all is a matter of the key, not of the network."""
    with pytest.raises(BackendSetupError, match="key host"):
        site.make(host="a..b").open()


def test_tls_on_a_server_without_it(private_site: Site) -> None:
    """With ssl, a server that offers no TLS is refused instead of being spoken to in the clear."""
    with pytest.raises(BackendSetupError, match="ssl"):
        private_site.make(ssl=True).open()


def test_unreadable_certificates(site: Site) -> None:
    """The error names the key and the file."""
    with pytest.raises(BackendSetupError, match=r"ssl_ca.*nowhere\.pem"):
        site.make(ssl=True, ssl_ca="nowhere.pem").open()


# -- in the middle of work ------------------------------------------------------------------------


def test_connection_killed_in_a_transaction(site: Site, backend: AnyBackend) -> None:
    """Nothing was changed, the error says that a repeat makes sense, and the next call works."""

    def work(connection: sa.Connection) -> None:
        backend._rows.insert(connection, [backend._adding.new_row(event("a"))])
        own_session = connection.exec_driver_sql(site.server.own_session).scalar_one()
        site.server.end_session(own_session)
        connection.execute(backend._statements.first_due)

    with pytest.raises(BackendUnavailableError):
        backend._transactions.write(work)
    assert backend.count()[State.WAITING] == 0
    assert backend.add([event("a")], if_exists="raise") == [AddOutcome.ADDED]


def test_idle_connections_that_the_server_closed_are_replaced_silently(
    site: Site, backend: AnyBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After all of its connections were killed, the next calls of a backend that was idle succeed."""
    monkeypatch.setattr(mysql, "_FRESH_SECONDS", 0)  # as if that time had passed
    backend.add([event("a")], if_exists="raise")
    for session in site.server.sessions(site.database):
        site.server.end_session(session)
    assert backend.count()[State.WAITING] == 1
    assert backend.cancel(["a"]) == [CancelOutcome.CANCELLED]


def test_busy_connections_that_the_server_closed_cost_writers_one_call(
    site: Site, backend: AnyBackend
) -> None:
    """Whatever was just used is not asked again: reads are repeated, a write may fail without a change."""
    backend.add([event("a")], if_exists="raise")
    assert backend.count()[State.WAITING] == 1
    for session in site.server.sessions(site.database):
        site.server.end_session(session)
    assert backend.count()[State.WAITING] == 1
    with contextlib.suppress(BackendUnavailableError):
        backend.cancel(["b"])
    assert backend.cancel(["a"]) == [CancelOutcome.CANCELLED]


def test_server_killed_and_restarted(private_site: Site) -> None:
    """What was acknowledged is there, and the same object goes on working."""
    backend = private_site.make()
    backend.open()
    backend.add([event("a")], if_exists="raise")
    private_site.server.kill()
    try:
        with pytest.raises(BackendUnavailableError):
            backend.add([event("b")], if_exists="raise")
        with pytest.raises(BackendUnavailableError):
            backend.now()
    finally:
        private_site.server.start()
    assert [claim.id for claim in claim_all(backend)] == ["a"]


def test_hanging_server(private_site: Site) -> None:
    """A server that accepts but does not answer costs read_timeout_sec, not for ever."""
    backend = private_site.make(
        read_timeout_sec=1.1, lock_wait_timeout_sec=1, connect_timeout_sec=0.2
    )
    backend.open()
    private_site.server.pause()
    try:
        with pytest.raises(BackendUnavailableError):
            backend.now()
    finally:
        private_site.server.resume()
    assert backend.count()[State.WAITING] == 0


def test_locked_row(site: Site) -> None:
    """A lock that stays costs a bounded time, and nothing is changed; afterwards all is well."""
    backend = site.make(lock_wait_timeout_sec=1)
    backend.open()
    backend.add([event("a")], if_exists="raise")
    other = site.server.connect(site.database, autocommit=False)
    with other, other.cursor() as cursor:
        cursor.execute("SELECT id FROM events WHERE id = 'a' FOR UPDATE")
        with pytest.raises(BackendUnavailableError, match="lock_wait_timeout_sec"):
            backend.cancel(["a"])
        other.rollback()
    assert backend.cancel(["a"]) == [CancelOutcome.CANCELLED]


def test_locked_row_among_others(site: Site) -> None:
    """Whoever asks for many is told which are locked, so that the others can be written at once."""
    backend = site.make(lock_wait_timeout_sec=1)
    backend.open()
    backend.add([event(event_id) for event_id in "abcd"], if_exists="raise")
    claims = {claim.id: claim for claim in claim_all(backend)}
    some = [claims[event_id] for event_id in "acb"]
    now, later = T0 + seconds(2), T0 + seconds(90)
    operations: list[Callable[[], object]] = [
        lambda: backend.renew(some, now=now, lease_until=later),
        lambda: backend.settle([Settlement.done(claim) for claim in some], now=now),
        lambda: backend.settle([Settlement.release(claim) for claim in some], now=now),
        lambda: backend.cancel(["d", "b", "x"]),
        lambda: backend.add([event("x"), event("b")], if_exists="replace"),
    ]
    other = site.server.connect(site.database, autocommit=False)
    with other, other.cursor() as cursor:
        cursor.execute("SELECT id FROM events WHERE id = 'b' FOR UPDATE")
        for operation, position in zip(operations, [2, 2, 2, 1, 1], strict=True):
            with pytest.raises(EventsLockedError, match="lock_wait_timeout_sec") as caught:
                operation()
            assert caught.value.positions == {position}
        other.rollback()
    assert backend.renew(some, now=now, lease_until=later) == [True] * 3
    assert backend.count()[State.CLAIMED] == 4


def test_deadlock_is_resolved_by_repeating(backend: AnyBackend) -> None:
    """Of two transactions that lock each other out, the victim is repeated: both succeed."""
    backend.add([event("a"), event("b")], if_exists="raise")
    both_hold_one = threading.Barrier(2)
    tries = []

    def lock(first: bytes, second: bytes) -> None:
        is_first_try = True

        def work(connection: sa.Connection) -> None:
            nonlocal is_first_try
            tries.append(first)
            backend._rows.lock(connection, [first])
            if is_first_try:
                is_first_try = False
                both_hold_one.wait(10)
            backend._rows.lock(connection, [second])

        backend._transactions.write(work)

    other = threading.Thread(target=lock, args=(b"b", b"a"))
    other.start()
    lock(b"a", b"b")
    other.join()
    assert 3 <= len(tries) <= 2 * TRIES[Fault.CONFLICT]


def test_waiting_for_a_connection_is_bounded(site: Site) -> None:
    """With all connections taken a call gives up after pool_timeout_sec and names the key."""
    backend = site.make(max_open_connection=1, pool_timeout_sec=0.05)
    backend.open()

    def work(_connection: sa.Connection) -> None:
        with pytest.raises(BackendUnavailableError, match="max_open_connection"):
            backend.now()

    backend._transactions.write(work)
    assert backend.now() > T0 - seconds(10 * 365 * 86_400)


# -- answers that are lost ------------------------------------------------------------------------


@pytest.fixture
def proxy(site: Site, server_name: str) -> Iterator[Proxy]:
    """Between the backend and the server."""
    with Proxy(site.server.port, MESSAGES[server_name]) as proxy:
        yield proxy


@pytest.fixture
def proxied(site: Site, proxy: Proxy) -> AnyBackend:
    """An opened backend behind the proxy."""
    backend: AnyBackend = site.make(port=proxy.port)
    backend.open()
    return backend


def test_lost_before_commit(proxied: AnyBackend, proxy: Proxy) -> None:
    """A connection that ends before COMMIT was sent has changed nothing, and the error says so."""
    proxy.lose("INSERT", after_it_was_done=True)
    with pytest.raises(BackendUnavailableError):
        proxied.add([event("a")], if_exists="raise")
    assert proxy.counts[Happened.CUT_AFTER] == 1
    assert proxied.count()[State.WAITING] == 0


@pytest.mark.parametrize("is_done", [True, False])
def test_add_whose_commit_is_not_answered(
    proxied: AnyBackend, proxy: Proxy, *, is_done: bool
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
    proxied: AnyBackend, proxy: Proxy, *, is_done: bool
) -> None:
    """The outcome is unknown, and the repeat tells which it was."""
    proxied.add(events(3), if_exists="raise")
    settlements = [Settlement.done(claim) for claim in claim_all(proxied)]
    proxy.lose("COMMIT", after_it_was_done=is_done)
    with pytest.raises(OutcomeUnknownError):
        proxied.settle(settlements, now=T0)
    assert proxied.settle(settlements, now=T0) == [not is_done] * 3


def test_claim_whose_commit_is_not_answered_is_read_back(proxied: AnyBackend, proxy: Proxy) -> None:
    """A claim that was committed is returned although the answer to COMMIT was lost."""
    proxied.add(events(3), if_exists="raise")
    proxied._owners.number_of("me")
    proxy.lose("COMMIT", after_it_was_done=True)
    claims = claim_all(proxied)
    assert [claim.id for claim in claims] == ["00000", "00001", "00002"]
    assert proxied.settle([Settlement.done(claim) for claim in claims], now=T0) == [True] * 3


def test_claim_is_read_back_although_every_connection_has_ended(
    site: Site, proxied: AnyBackend, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a failover cuts all connections at once, what was committed is found on a new one."""
    proxied.add(events(3), if_exists="raise")
    proxied._owners.number_of("me")
    was_taken = proxied._claiming._was_taken

    def was_taken_after_the_end(parameters: Mapping[str, Any]) -> bool:
        for session in site.server.sessions(site.database):
            site.server.end_session(session)
        return was_taken(parameters)

    monkeypatch.setattr(proxied._claiming, "_was_taken", was_taken_after_the_end)
    proxy.lose("COMMIT", after_it_was_done=True)
    assert len(claim_all(proxied)) == 3


@pytest.mark.parametrize("is_done", [True, False])
def test_registration_whose_commit_is_not_answered(
    proxied: AnyBackend, proxy: Proxy, *, is_done: bool
) -> None:
    """An owner's name is registered again, for which no claim has to be called unknown."""
    proxied.add(events(3), if_exists="raise")
    proxy.lose("COMMIT", after_it_was_done=is_done)
    assert len(claim_all(proxied)) == 3
    assert {event.owner for event in proxied.find(Query()).events} == {"me"}


def test_claim_whose_commit_did_not_arrive_is_unknown(proxied: AnyBackend, proxy: Proxy) -> None:
    """A claim that cannot be found afterwards may still be committed: it is reported as unknown."""
    proxied.add(events(3), if_exists="raise")
    proxied._owners.number_of("me")
    proxy.lose("COMMIT", after_it_was_done=False)
    with pytest.raises(OutcomeUnknownError):
        claim_all(proxied)
    assert len(claim_all(proxied)) == 3


def test_a_transaction_of_a_client_that_has_vanished_is_ended(
    site: Site, proxied: AnyBackend, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose COMMIT was lost without the server being told keeps its locks only for a while."""
    monkeypatch.setattr(mysql_session, "_LEEWAY_SECONDS", 0)
    monkeypatch.setattr(postgresql, "_LEEWAY_SECONDS", 0)
    vanishing = site.make(port=proxy.port, read_timeout_sec=1.1, lock_wait_timeout_sec=1)
    vanishing.open()
    with (
        proxy.breaking_commits({Fate.ABANDONED: 1}),
        pytest.raises(OutcomeUnknownError),
    ):
        vanishing.add(events(3), if_exists="raise")
    assert proxied.add(events(3), if_exists="raise") == [AddOutcome.ADDED] * 3

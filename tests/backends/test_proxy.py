"""The proxy that breaks connections does to them what it says, and nothing else."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.backends.conftest import Site
from tests.servers.proxy import Fate, Happened, Proxy, Side
from tests.servers.wire import MESSAGES, MySQLMessages, PostgreSQLMessages

_PATIENCE_SECONDS = 20


class _Echo:
    """A server that sends back what it gets, in capitals, and keeps it."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.got = b""
        self._awaited = b""
        self.ends = threading.Semaphore(0)
        """One for each connection of which the server was told that it has ended."""
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(ConnectionError):
            while data := connection.recv(65536):
                self.got += data
                if self._awaited in self.got:
                    connection.sendall(data.upper())
        self.ends.release()

    def hold_until(self, text: bytes) -> None:
        """Say nothing before this has come."""
        self._awaited = text

    def has_ended(self) -> bool:
        """Wait until a connection has ended; False if none does."""
        return self.ends.acquire(timeout=_PATIENCE_SECONDS)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def server() -> Iterator[_Echo]:
    """Behind the proxy."""
    server = _Echo()
    yield server
    server.close()


@pytest.fixture
def proxy(server: _Echo) -> Iterator[Proxy]:
    """For packets of MySQL."""
    with Proxy(server.port, MySQLMessages, seed=1) as proxy:
        yield proxy


@pytest.fixture
def connect(proxy: Proxy) -> Iterator[Callable[[], socket.socket]]:
    """Makes connections to the proxy."""
    with contextlib.ExitStack() as all_of_them:

        def connect() -> socket.socket:
            address = ("127.0.0.1", proxy.port)
            connection = socket.create_connection(address, _PATIENCE_SECONDS)
            return all_of_them.enter_context(connection)

        yield connect


def _query(text: bytes) -> bytes:
    payload = b"\x03" + text
    return len(payload).to_bytes(3, "little") + b"\0" + payload


def _ask(connection: socket.socket, message: bytes) -> bytes:
    """Send a message and wait for as much as was sent; less if the connection ends before that."""
    connection.sendall(message)
    return _read(connection, len(message))


def _read(connection: socket.socket, size: int) -> bytes:
    answer = b""
    while len(answer) < size and (data := connection.recv(size - len(answer))):
        answer += data
    return answer


def _is_silent(connection: socket.socket) -> bool:
    """Whether nothing comes for a moment; what came late would be found by the test's later reads."""
    connection.settimeout(0.1)
    try:
        return not connection.recv(1)
    except TimeoutError:
        return True
    finally:
        connection.settimeout(_PATIENCE_SECONDS)


# -- messages -------------------------------------------------------------------------------------

_LONG = _query(b"x" * 70_000)


@pytest.mark.parametrize("size", [1, 3, 4, 5, 7, 1000, 10**6])
def test_packets_are_found_however_they_are_cut(size: int) -> None:
    """Reads may split packets and share them."""
    packets = [_query(b"SELECT 1"), _LONG, _query(b""), _query(b"commit")]
    stream = b"".join(packets)
    messages = MySQLMessages()
    parts = [stream[at : at + size] for at in range(0, len(stream), size)]
    assert [message for part in parts for message in messages.split(part)] == packets


@pytest.mark.parametrize("size", [1, 3, 4, 5, 7, 1000])
def test_messages_of_postgresql_are_found_however_they_are_cut(size: int) -> None:
    """The first ones have no letter."""
    encryption = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")
    start_up = (20).to_bytes(4, "big") + (196608).to_bytes(4, "big") + b"user\0me\0\0\0\0\0"
    query = b"Q" + (11).to_bytes(4, "big") + b"COMMIT\0"
    sent = [encryption, start_up, query, query]
    stream = b"".join(sent)
    messages = PostgreSQLMessages()
    parts = [stream[at : at + size] for at in range(0, len(stream), size)]
    found = [message for part in parts for message in messages.split(part)]
    assert found == sent
    assert [messages.is_commit(message) for message in found] == [False, False, True, True]


@pytest.mark.parametrize(
    ("text", "is_commit"),
    [
        (b"COMMIT", True),
        (b"commit", True),
        (b"\x00\x01COMMIT", True),
        (b"SELECT 'COMMIT'", False),
        (b"COMMIT RELEASE", False),
        (b"", False),
    ],
)
def test_a_commit_is_the_whole_statement(text: bytes, *, is_commit: bool) -> None:
    """With or without attributes, and not where it is only a part."""
    assert MySQLMessages.is_commit(_query(text)) is is_commit


def test_only_a_query_commits() -> None:
    """Another command with the same text does not."""
    assert not MySQLMessages.is_commit(b"\x07\0\0\0\x16COMMIT")


# -- COMMIT ---------------------------------------------------------------------------------------


def test_everything_else_passes(proxy: Proxy, connect: Callable[[], socket.socket]) -> None:
    """Long packets, too, and those that share a read."""
    connection = connect()
    with proxy.breaking_commits({Fate.CUT_BEFORE: 1}):
        for message in (_query(b"a"), _LONG, _query(b"b") + _query(b"c")):
            assert _ask(connection, message) == message.upper()


def test_cut_before(proxy: Proxy, server: _Echo, connect: Callable[[], socket.socket]) -> None:
    """The server gets what was sent before the COMMIT, and then the end."""
    connection = connect()
    with proxy.breaking_commits({Fate.CUT_BEFORE: 1}):
        assert _ask(connection, _query(b"a") + _query(b"COMMIT")) in {b"", _query(b"A")}
        assert connection.recv(1) == b""
        assert server.has_ended()
    assert server.got == _query(b"a")
    assert proxy.counts[Happened.CUT_BEFORE] == 1
    assert _ask(connect(), _query(b"COMMIT")) == _query(b"COMMIT")
    assert proxy.counts[Happened.COMMIT] == 2


def test_cut_after(proxy: Proxy, server: _Echo, connect: Callable[[], socket.socket]) -> None:
    """The server gets the COMMIT and answers, the client gets the end."""
    connection = connect()
    with proxy.breaking_commits({Fate.CUT_AFTER: 1}):
        assert _ask(connection, _query(b"COMMIT")) == b""
        assert server.has_ended()
    assert server.got == _query(b"COMMIT")
    assert proxy.counts[Happened.CUT_AFTER] == 1


def test_what_the_server_wants_before_it_answers_passes(
    proxy: Proxy, server: _Echo, connect: Callable[[], socket.socket]
) -> None:
    """A message that is cut off after it was done may need others behind it, as in PostgreSQL."""
    server.hold_until(b"sync")
    connection = connect()
    proxy.lose("parse", after_it_was_done=True)
    assert _ask(connection, _query(b"parse") + _query(b"bind") + _query(b"sync")) == b""
    assert server.has_ended()
    assert server.got == _query(b"parse") + _query(b"bind") + _query(b"sync")
    assert proxy.counts[Happened.CUT_AFTER] == 1


def test_abandoned(proxy: Proxy, server: _Echo, connect: Callable[[], socket.socket]) -> None:
    """The client gets the end, the server waits until the proxy is gone."""
    connection = connect()
    with proxy.breaking_commits({Fate.ABANDONED: 1}):
        assert _ask(connection, _query(b"a") + _query(b"COMMIT")) in {b"", _query(b"A")}
        assert connection.recv(1) == b""
    assert not server.ends.acquire(timeout=0.1)
    assert server.got == _query(b"a")
    assert proxy.counts[Happened.ABANDONED] == 1


def test_silence_from_a_message_on(
    proxy: Proxy, server: _Echo, connect: Callable[[], socket.socket]
) -> None:
    """Neither side is told an end; other connections work."""
    connection = connect()
    assert _ask(connection, _query(b"a")) == _query(b"A")
    proxy.go_silent_at("b")
    connection.sendall(_query(b"b") + _query(b"c"))
    assert _is_silent(connection)
    assert _ask(connect(), _query(b"b")) == _query(b"B")
    assert server.got == _query(b"a") + _query(b"b")
    assert not server.ends.acquire(timeout=0.1)
    assert proxy.counts[Happened.SILENCED] == 1


def test_shares(proxy: Proxy, connect: Callable[[], socket.socket]) -> None:
    """Each fate meets about as many COMMITs as was asked for."""
    with proxy.breaking_commits({Fate.CUT_BEFORE: 0.3, Fate.CUT_AFTER: 0.2}):
        for _ in range(200):
            _ask(connect(), _query(b"COMMIT"))
    counts = proxy.counts
    assert counts[Happened.COMMIT] == counts[Happened.CONNECTED] == 200
    assert 40 < counts[Happened.CUT_BEFORE] < 80
    assert 20 < counts[Happened.CUT_AFTER] < 60


@pytest.mark.parametrize("fate", [Fate.CUT_BEFORE, Fate.CUT_AFTER])
def test_commits_of_drivers_are_seen(site: Site, server_name: str, fate: Fate) -> None:
    """With every driver, and what was cut before the COMMIT is not there."""
    execute = site.server.execute
    execute("CREATE TABLE numbers (number integer)", database=site.database)
    with Proxy(site.server.port, MESSAGES[server_name]) as proxy:
        dialect: Any = site.make(port=proxy.port)._dialect
        connection = dialect.connect(autocommit=False)
        connection.cursor().execute("INSERT INTO numbers VALUES (1)")
        with (
            proxy.breaking_commits({fate: 1}),
            pytest.raises(dialect.driver_error),
        ):
            connection.commit()
        with contextlib.suppress(dialect.driver_error):
            connection.close()
        assert proxy.counts[Happened.COMMIT] == 1
    rows = execute("SELECT number FROM numbers", database=site.database)
    assert rows == ([(1,)] if fate is Fate.CUT_AFTER else [])


# -- connections ----------------------------------------------------------------------------------


def test_silence_that_ends(
    proxy: Proxy, server: _Echo, connect: Callable[[], socket.socket]
) -> None:
    """Nothing passes, new connections are accepted, and in the end everything arrives."""
    old = connect()
    assert _ask(old, _query(b"a")) == _query(b"A")
    with proxy.silent(drop=False):
        new = connect()
        old.sendall(_query(b"b"))
        new.sendall(_query(b"c"))
        assert _is_silent(old)
        assert _is_silent(new)
        assert server.got == _query(b"a")
    assert _read(old, 6) == _query(b"B")
    assert _read(new, 6) == _query(b"C")
    assert proxy.counts[Happened.HELD_BACK] == 1


def test_silence_that_outlasts_the_client(
    proxy: Proxy, server: _Echo, connect: Callable[[], socket.socket]
) -> None:
    """What a client has sent before it gave up arrives late, and then its end."""
    connection = connect()
    assert _ask(connection, _query(b"a")) == _query(b"A")
    with proxy.silent(drop=False):
        connection.sendall(_query(b"b"))
        connection.close()
        assert server.got == _query(b"a")
    assert server.has_ended()
    assert server.got == _query(b"a") + _query(b"b")


def test_silence_that_ends_with_a_reset(
    proxy: Proxy, server: _Echo, connect: Callable[[], socket.socket]
) -> None:
    """What was held back never arrives."""
    connection = connect()
    assert _ask(connection, _query(b"a")) == _query(b"A")
    with proxy.silent(drop=True):
        connection.sendall(_query(b"b"))
        assert _is_silent(connection)
    with pytest.raises(ConnectionResetError):
        connection.recv(1)
    assert server.has_ended()
    assert server.got == _query(b"a")
    assert proxy.counts[Happened.RESET] == 1
    assert _ask(connect(), _query(b"c")) == _query(b"C")


def test_stalling(proxy: Proxy, connect: Callable[[], socket.socket]) -> None:
    """What is sent on an old connection arrives after what is sent on a new one."""
    old = connect()
    assert _ask(old, _query(b"a")) == _query(b"A")
    with proxy.stalling():
        old.sendall(_query(b"b"))
        assert _ask(connect(), _query(b"c")) == _query(b"C")
        assert _is_silent(old)
    assert _read(old, 6) == _query(b"B")
    assert proxy.counts[Happened.HELD_BACK] == 1


def test_slow(proxy: Proxy, connect: Callable[[], socket.socket]) -> None:
    """Everything arrives, in its order."""
    connection = connect()
    with proxy.slow(0.001):
        for number in range(20):
            message = _query(b"%d" % number)
            assert _ask(connection, message) == message
    assert proxy.counts[Happened.DELAYED] >= 40


def test_reset(proxy: Proxy, server: _Echo, connect: Callable[[], socket.socket]) -> None:
    """Both sides get RST; who comes anew is served."""
    connections = [connect() for _ in range(3)]
    for connection in connections:
        _ask(connection, _query(b"a"))
    assert proxy.reset(0) == 0
    assert proxy.reset() == 3
    for connection in connections:
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
        assert server.has_ended()
    assert proxy.counts[Happened.RESET] == 3
    assert _ask(connect(), _query(b"b")) == _query(b"B")


def test_the_server_side_is_closed(
    proxy: Proxy, server: _Echo, connect: Callable[[], socket.socket]
) -> None:
    """The server is told the end; the client may say what it likes and hears nothing."""
    connection = connect()
    _ask(connection, _query(b"a"))
    assert proxy.half_open(Side.SERVER) == 1
    assert server.has_ended()
    connection.sendall(_query(b"b"))
    assert _is_silent(connection)
    assert server.got == _query(b"a")
    assert proxy.counts[Happened.HALF_OPEN] == proxy.counts[Happened.SWALLOWED] == 1
    assert proxy.half_open(Side.SERVER) == 0


def test_the_client_side_is_closed(
    proxy: Proxy, server: _Echo, connect: Callable[[], socket.socket]
) -> None:
    """The client is told the end, the server nothing."""
    connection = connect()
    _ask(connection, _query(b"a"))
    assert proxy.half_open(Side.CLIENT) == 1
    assert connection.recv(1) == b""
    assert not server.ends.acquire(timeout=0.1)


def test_refusing(proxy: Proxy, connect: Callable[[], socket.socket]) -> None:
    """Nobody gets in; who is inside stays."""
    inside = connect()
    assert _ask(inside, _query(b"a")) == _query(b"A")
    with proxy.refusing():
        with pytest.raises(ConnectionRefusedError):
            connect()
        assert _ask(inside, _query(b"b")) == _query(b"B")
    assert _ask(connect(), _query(b"c")) == _query(b"C")


def test_a_server_that_is_away(server: _Echo, connect: Callable[[], socket.socket]) -> None:
    """The client's connection ends."""
    server.close()
    assert connect().recv(1) == b""


def test_the_end(server: _Echo) -> None:
    """The proxy ends all connections, its port and its thread; half of a connection is one, too."""
    with Proxy(server.port, MySQLMessages) as proxy:
        connections = [
            socket.create_connection(("127.0.0.1", proxy.port), _PATIENCE_SECONDS) for _ in range(3)
        ]
        for connection in connections[:2]:
            _ask(connection, _query(b"a"))
        proxy.half_open(Side.SERVER, 0.5)
        connections[0].sendall(_query(b"b"))
    for connection in connections:
        with contextlib.suppress(ConnectionResetError):
            assert _read(connection, 7) in {b"", _query(b"B")}
        connection.close()
    assert server.has_ended()
    assert server.has_ended()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", proxy.port))
    assert "proxy" not in {thread.name for thread in threading.enumerate()}

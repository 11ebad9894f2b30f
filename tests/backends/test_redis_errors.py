"""What goes wrong with a real Redis server, and what becomes of it."""

from __future__ import annotations

import contextlib
import re
import socketserver
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import resources
from typing import Any

import pytest
from redis import exceptions as exc

from futurama.backend import AddOutcome, Query, Settlement, State
from futurama.backends.redis import RedisBackend, RedisSettings
from futurama.backends.redis.batches import MOST_ITEMS, partly_done
from futurama.backends.redis.errors import ANSWERS, MOVED
from futurama.errors import (
    BackendError,
    BackendRejectedError,
    BackendSetupError,
    BackendUnavailableError,
    ConfigError,
    OutcomeUnknownError,
)
from futurama.events import CancelOutcome
from tests.backends.conftest import MakeRedis
from tests.backends.samples import T0, claim_all, event, events, seconds
from tests.servers import ExternalRedis, Redis, free_port
from tests.servers.proxy import Proxy

# -- answers of the server ------------------------------------------------------------------------


class _Refusing(socketserver.ThreadingTCPServer):
    """A server that lets everyone in and gives scripts one and the same answer."""

    daemon_threads = True
    answer = b""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Refusal)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Refusal(socketserver.StreamRequestHandler):
    server: _Refusing

    def handle(self) -> None:
        while first := self.rfile.readline():
            command = [self._word() for _ in range(int(first[1:]))]
            self.wfile.write(self._answer(command) + b"\r\n")

    def _answer(self, command: Sequence[bytes]) -> bytes:
        if command[0].startswith(b"EVAL"):
            return self.server.answer
        return b"+id=1 addr=1 laddr=1" if command == [b"CLIENT", b"INFO"] else b"+OK"

    def _word(self) -> bytes:
        size = int(self.rfile.readline()[1:])
        return self.rfile.read(size + 2)[:size]


@pytest.fixture(scope="module")
def refusing() -> Iterator[_Refusing]:
    """A server whose answer a test may choose."""
    with _Refusing() as server:
        yield server
        server.shutdown()


_BEFORE_7 = "ERR Error running script (call to f_1): @user_script:9: @user_script: 9:"

_WORDS: Mapping[str, tuple[str, type[BackendError]]] = {
    # As servers word them.
    "ASK": ("ASK 1234 127.0.0.1:7001", BackendUnavailableError),
    "BUSY": ("BUSY Redis is busy running a script.", BackendUnavailableError),
    "CLUSTERDOWN": ("CLUSTERDOWN The cluster is down", BackendUnavailableError),
    "CROSSSLOT": ("CROSSSLOT Keys don't hash to the same slot", BackendSetupError),
    "DENIED": ("DENIED Redis is running in protected mode", BackendSetupError),
    "LOADING": ("LOADING Redis is loading the dataset in memory", BackendUnavailableError),
    "MASTERDOWN": ("MASTERDOWN Link with MASTER is down", BackendUnavailableError),
    "MISCONF": ("MISCONF Errors writing to the AOF file", BackendUnavailableError),
    "MOVED": ("MOVED 1234 127.0.0.1:7001", BackendUnavailableError),
    "NOAUTH": ("NOAUTH Authentication required.", BackendSetupError),
    "NOPERM": ("NOPERM User has no permissions to run the 'zadd' command", BackendSetupError),
    "NOREPLICAS": ("NOREPLICAS Not enough good replicas to write.", BackendUnavailableError),
    "OOM": ("OOM command not allowed when used memory > 'maxmemory'.", BackendUnavailableError),
    "READONLY": ("READONLY You can't write against a read only replica.", BackendUnavailableError),
    "REDIRECT": ("REDIRECT 127.0.0.1:7001", BackendUnavailableError),
    "TRYAGAIN": ("TRYAGAIN Multiple keys request during rehashing", BackendUnavailableError),
    "WRONGPASS": ("WRONGPASS invalid username-password pair", BackendSetupError),
    "WRONGTYPE": ("WRONGTYPE Operation against a key of another kind", BackendSetupError),
    "nested": (f"{_BEFORE_7} -OOM command not allowed when ...", BackendUnavailableError),
    "raised": (f"{_BEFORE_7} user_script:9: attempt to index a nil value", BackendSetupError),
    "right": ("ERR The user executing the script can't run this command", BackendSetupError),
    "killed": (
        "ERR Error running script: killed by user with SCRIPT KILL",
        BackendUnavailableError,
    ),
    "unknown command": ("ERR unknown command 'EVALSHA'", BackendSetupError),
    "too long": ("ERR Protocol error: invalid bulk length", BackendRejectedError),
}


def test_every_answer_in_the_table_has_words() -> None:
    """No code in the table goes untested."""
    assert set(ANSWERS) <= set(_WORDS)
    assert set(ANSWERS) >= MOVED


@pytest.mark.parametrize("name", _WORDS)
def test_every_answer_becomes_one_of_our_errors(refusing: _Refusing, name: str) -> None:
    """It says where, what the server said and what to do, and is the same for reading and writing."""
    words, wanted = _WORDS[name]
    refusing.answer = b"-" + words.encode()
    backend = RedisBackend(RedisSettings(port=refusing.server_address[1], password="secret-word"))
    backend._server.open()
    for call in (backend.count, lambda: backend.cancel(["a"])):
        with pytest.raises(wanted) as caught:
            call()
        assert type(caught.value) is wanted
        assert isinstance(caught.value.__cause__, exc.RedisError)
        assert f"127.0.0.1:{refusing.server_address[1]}/0: " in str(caught.value)
        assert words.split()[-1] in str(caught.value)
        assert "secret-word" not in str(caught.value)
    backend.close()


def test_an_error_that_nobody_knows(refusing: _Refusing) -> None:
    """Whether a change was made is unknown; a look that failed may be repeated."""
    refusing.answer = b"-ERR something new"
    backend = RedisBackend(RedisSettings(port=refusing.server_address[1]))
    backend._server.open()
    with pytest.raises(OutcomeUnknownError, match="something new"):
        backend.cancel(["a"])
    with pytest.raises(BackendUnavailableError, match="something new"):
        backend.count()
    backend.close()


def test_an_answer_that_is_no_redis(refusing: _Refusing) -> None:
    """What speaks another protocol is taken for a connection that failed."""
    refusing.answer = b"HTTP/1.1 400 Bad Request"
    backend = RedisBackend(RedisSettings(port=refusing.server_address[1]))
    backend._server.open()
    with pytest.raises(OutcomeUnknownError):
        backend.cancel(["a"])
    with pytest.raises(BackendUnavailableError):
        backend.count()
    backend.close()


# -- configuration --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "a}b", "{a", "a b", "é", "x" * 65, "a*"])
def test_namespaces_follow_a_strict_pattern(name: str) -> None:
    """A name that could end its hash tag never reaches the server."""
    with pytest.raises(ConfigError, match="namespace") as caught:
        RedisBackend.from_settings(RedisSettings(namespace=name))
    assert caught.value.key == "namespace"
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("ssl_ca", {"ssl_ca": "/ca.pem"}),
        ("ssl_cert", {"ssl_cert": "/cert.pem"}),
        ("ssl_key", {"ssl_key": "/key.pem"}),
        ("ssl", {"ssl": True, "socket_path": "/redis.sock"}),
    ],
)
def test_values_that_can_never_work_are_refused_at_once(key: str, values: dict[str, Any]) -> None:
    """Certificates without TLS, and TLS without a network, are errors of that key."""
    with pytest.raises(ConfigError) as caught:
        RedisBackend(RedisSettings(**values))
    assert caught.value.key == key


def test_constructing_touches_nothing() -> None:
    """A backend for a server that does not exist can be made, shown and closed."""
    backend = RedisBackend(RedisSettings(host="192.0.2.1", password="secret-word"))
    shown = [backend, backend._settings, vars(backend), vars(backend._server)]
    assert "secret-word" not in " ".join(map(repr, shown))
    backend.close()
    with pytest.raises(BackendError, match="open"):
        backend.now()


# -- opening --------------------------------------------------------------------------------------


@pytest.fixture
def user(redis_server: Redis | ExternalRedis) -> Iterator[dict[str, str]]:
    """The login of a user without any right."""
    name = "futurama_nobody"
    redis_server.execute("ACL", "SETUSER", name, "on", ">secret-word")
    yield {"username": name, "password": "secret-word"}
    redis_server.execute("ACL", "DELUSER", name)


def test_wrong_password(make_redis: MakeRedis, user: dict[str, str]) -> None:
    """The error names user, host and port, and never the password."""
    backend = make_redis(username=user["username"], password="wrong-word")
    with pytest.raises(BackendSetupError, match="username and password") as caught:
        backend.open()
    assert f"{user['username']}@127.0.0.1:" in str(caught.value)
    assert "wrong-word" not in str(caught.value) + repr(caught.value.__cause__)


def test_missing_password(make_private_redis: MakeRedis, private_redis: Redis) -> None:
    """A server that wants a password is a matter of set-up; with the password it opens."""
    with private_redis.client() as administrator:
        administrator.config_set("requirepass", "secret-word")
        try:
            with pytest.raises(BackendSetupError, match="username and password"):
                make_private_redis().open()
            make_private_redis(password="secret-word").open()
        finally:
            administrator.config_set("requirepass", "")


def test_the_rights_that_the_error_names_are_enough(
    make_redis: MakeRedis, redis_server: Redis | ExternalRedis, user: dict[str, str]
) -> None:
    """Without them opening says which are needed; with them everything works."""
    backend = make_redis(**user)
    tag = f"{{{backend._settings.namespace}}}"
    with pytest.raises(BackendSetupError, match="lacks a right") as caught:
        backend.open()
    rights = [word.strip(",") for word in str(caught.value).split() if word.startswith("+")]
    redis_server.execute("ACL", "SETUSER", user["username"], f"~{tag}:*", *rights)
    backend.open()
    assert backend.now() > T0 - seconds(10 * 365 * 86_400)
    backend.add(events(2), if_exists="raise")
    claims = claim_all(backend)
    reports = [Settlement.done(claims[0]), Settlement.bury(claims[1], "why")]
    assert backend.settle(reports, now=T0) == [True, True]
    assert backend.purge(before=T0 + seconds(1)) == 1


_COMMANDS = sorted(
    {
        command.lower()
        for file in (resources.files("futurama.backends.redis") / "lua").iterdir()
        for command in re.findall(r"(?:redis\.call|each)\('([A-Z]+)'", file.read_text())
    }
)
"""What the scripts call."""


@pytest.mark.parametrize("command", [*_COMMANDS, "evalsha", "client|kill"])
def test_a_right_that_is_missing_changes_nothing(
    make_redis: MakeRedis,
    redis_server: Redis | ExternalRedis,
    user: dict[str, str],
    command: str,
) -> None:
    """A script never stops in the middle because its user may not do what comes next."""
    backend = make_redis(**user)
    tag = f"{{{backend._settings.namespace}}}"
    redis_server.execute("ACL", "SETUSER", user["username"], f"~{tag}:*", "+@all", f"-{command}")
    with pytest.raises(BackendSetupError, match="right"):
        backend.open()
    keys = redis_server.execute("KEYS", f"{tag}:*")
    assert keys in ([], [f"{tag}:store".encode()])


def test_unreachable_server(make_redis: MakeRedis) -> None:
    """The error names host and port and the keys to look at."""
    port = free_port()
    with pytest.raises(BackendUnavailableError, match="keys host, port") as caught:
        make_redis(port=port).open()
    assert f"127.0.0.1:{port}" in str(caught.value)
    with pytest.raises(BackendUnavailableError, match="keys host, port"):
        make_redis(port=port).diagnose()


def test_host_that_can_be_none(make_redis: MakeRedis) -> None:
    """What no resolver would take is a matter of set-up."""
    with pytest.raises(BackendSetupError, match="key host"):
        make_redis(host="a" * 64 + ".example").open()


def test_unknown_database(make_redis: MakeRedis) -> None:
    """A number that the server does not have is an error of the key db."""
    with pytest.raises(BackendSetupError, match="key db"):
        make_redis(db=12_345).open()


def test_no_connection_left(make_private_redis: MakeRedis, private_redis: Redis) -> None:
    """A server that has as many clients as it may is out of reach for now."""
    with private_redis.client() as administrator:
        administrator.config_set("maxclients", 1)
        try:
            with pytest.raises(BackendUnavailableError, match="max_open_connection"):
                make_private_redis().open()
        finally:
            administrator.config_set("maxclients", 10_000)


def test_unreadable_certificates(make_redis: MakeRedis) -> None:
    """The error names the keys and the file."""
    with pytest.raises(BackendSetupError, match=r"ssl_ca.*nowhere\.pem"):
        make_redis(ssl=True, ssl_ca="nowhere.pem").open()


def test_tls_on_a_server_without_it(make_redis: MakeRedis) -> None:
    """With ssl, a server that offers no TLS is refused instead of being spoken to in the clear."""
    with pytest.raises(BackendError, match="ssl"):
        make_redis(ssl=True, connect_timeout_sec=0.2).open()


# -- in the middle of work ------------------------------------------------------------------------


def test_a_server_that_has_forgotten_its_scripts_gets_them_again(
    make_private_redis: MakeRedis, private_redis: Redis
) -> None:
    """SCRIPT FLUSH, and what does the same, goes unnoticed."""
    backend = make_private_redis()
    backend.open()
    for number in range(3):
        assert backend.add([event(f"{number}")], if_exists="raise") == [AddOutcome.ADDED]
        assert backend.count()[State.WAITING] == number + 1
        private_redis.execute("SCRIPT", "FLUSH")


def test_idle_connections_that_the_server_closed_are_replaced_silently(
    make_private_redis: MakeRedis, private_redis: Redis
) -> None:
    """After all of its connections were killed, a backend's next calls succeed."""
    backend = make_private_redis()
    backend.open()
    backend.add([event("a")], if_exists="raise")
    private_redis.execute("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    assert backend.cancel(["a"]) == [CancelOutcome.CANCELLED]


def test_server_killed_and_restarted(make_private_redis: MakeRedis, private_redis: Redis) -> None:
    """P1: what was acknowledged is there, and the same object goes on working."""
    backend = make_private_redis()
    backend.open()
    many = events(2 * MOST_ITEMS)
    backend.add(many, if_exists="raise")
    backend.cancel(["00000"])
    private_redis.kill()
    try:
        with pytest.raises(BackendUnavailableError):
            backend.add([event("b")], if_exists="raise")
        with pytest.raises(BackendUnavailableError):
            backend.now()
    finally:
        private_redis.start()
    assert [claim.id for claim in claim_all(backend)] == [each.id for each in many[1:]]


def test_hanging_server(make_private_redis: MakeRedis, private_redis: Redis) -> None:
    """A server that accepts but does not answer costs read_timeout_sec, not for ever."""
    backend = make_private_redis(read_timeout_sec=0.2, connect_timeout_sec=0.2)
    backend.open()
    private_redis.pause()
    try:
        with pytest.raises(BackendUnavailableError):
            backend.now()
        with pytest.raises(BackendUnavailableError):  # it cannot even connect again
            backend.cancel(["a"])
    finally:
        private_redis.resume()
    assert backend.count()[State.WAITING] == 0


def test_a_write_that_is_not_answered_in_time_may_have_been_done(
    make_private_redis: MakeRedis, private_redis: Redis
) -> None:
    """The outcome is unknown, the late answer is not taken for another one's, the repeat works."""
    backend = make_private_redis(read_timeout_sec=0.2)
    backend.open()
    private_redis.pause()
    try:
        with pytest.raises(OutcomeUnknownError):
            backend.add([event("a")], if_exists="raise")
    finally:
        private_redis.resume()
    assert backend.add([event("a")], if_exists="raise") == [AddOutcome.ADDED]
    assert backend.count()[State.WAITING] == 1


def _call_until_it_fails(call: Callable[[], object]) -> None:
    while True:
        call()


def test_a_server_that_is_busy_with_a_script(
    make_private_redis: MakeRedis, private_redis: Redis
) -> None:
    """Somebody else's endless script makes the server unavailable, and nothing is changed."""
    backend = make_private_redis()
    backend.open()
    private_redis.execute("CONFIG", "SET", "busy-reply-threshold", "1")

    def run_for_ever() -> None:
        with contextlib.suppress(exc.ResponseError):
            private_redis.execute("EVAL", "while true do end", "0")

    other = threading.Thread(target=run_for_ever)
    other.start()
    try:
        with pytest.raises(BackendUnavailableError, match="busy"):
            _call_until_it_fails(lambda: backend.cancel(["a"]))
    finally:
        private_redis.execute("SCRIPT", "KILL")
        other.join()
        private_redis.execute("CONFIG", "SET", "busy-reply-threshold", "5000")
    assert backend.add([event("a")], if_exists="raise") == [AddOutcome.ADDED]


def test_a_server_that_becomes_a_replica(
    make_private_redis: MakeRedis, private_redis: Redis
) -> None:
    """A server that stops taking writes loses its connections, and is used again when it does."""
    backend = make_private_redis()
    backend.open()
    name = f"futurama:{backend._settings.namespace}"
    private_redis.execute("REPLICAOF", "127.0.0.1", str(free_port()))
    try:
        with pytest.raises(BackendUnavailableError, match="master"):
            backend.add([event("a")], if_exists="raise")
        private_redis.wait_until(lambda: private_redis.clients(name) == 0)
    finally:
        private_redis.execute("REPLICAOF", "NO", "ONE")
    assert backend.add([event("a")], if_exists="raise") == [AddOutcome.ADDED]


@pytest.mark.parametrize("name", ["records", "payloads"])
def test_a_store_that_somebody_else_has_damaged(
    redis: RedisBackend, redis_server: Redis | ExternalRedis, name: str
) -> None:
    """Where keys are missing that belong together, the error says so instead of handing out half."""
    redis.add(events(2), if_exists="raise")
    (claim,) = claim_all(redis, limit=1)
    redis.settle([Settlement.bury(claim, "why")], now=T0)
    redis_server.execute("DEL", f"{{{redis._settings.namespace}}}:{name}")
    for call in (lambda: claim_all(redis), lambda: redis.find(Query())):
        with pytest.raises(BackendSetupError, match="changed or removed"):
            call()


def test_a_purge_of_a_damaged_store_ends(
    redis: RedisBackend, redis_server: Redis | ExternalRedis
) -> None:
    """Dead letters without records are not looked at for ever."""
    redis.add([event("a")], if_exists="raise")
    redis.settle([Settlement.bury(claim, "why") for claim in claim_all(redis)], now=T0)
    redis_server.execute("DEL", f"{{{redis._settings.namespace}}}:records")
    with pytest.raises(BackendSetupError, match="changed or removed"):
        redis.purge(before=T0 + seconds(1))


def test_waiting_for_a_connection_is_bounded(make_redis: MakeRedis) -> None:
    """With all connections taken a call gives up after pool_timeout_sec and names the key."""
    backend = make_redis(max_open_connection=1, pool_timeout_sec=0.05)
    backend.open()
    pool = backend._server._pool
    assert pool is not None
    with (
        pool.connection(),
        pytest.raises(BackendUnavailableError, match="max_open_connection"),
    ):
        backend.now()
    assert backend.now() > T0 - seconds(10 * 365 * 86_400)


def test_closing_does_not_disturb_a_call_under_way(make_redis: MakeRedis) -> None:
    """A connection that is in use when the backend is closed still gets its answer."""
    backend = make_redis()
    backend.open()
    pool = backend._server._pool
    assert pool is not None
    with pool.connection() as connection:
        backend.close()
        connection.send_command("PING")
        assert connection.read_response() == b"PONG"
    with pytest.raises(BackendError, match="not open"):
        backend.now()


# -- answers that are lost ------------------------------------------------------------------------


@pytest.fixture
def proxy(redis_server: Redis | ExternalRedis) -> Iterator[Proxy]:
    """Between the backend and the server."""
    with Proxy(redis_server.port) as proxy:
        yield proxy


@pytest.fixture
def proxied(make_redis: MakeRedis, redis: RedisBackend, proxy: Proxy) -> RedisBackend:
    """An opened backend behind the proxy; the server knows the scripts."""
    redis.add([event("known")], if_exists="raise")
    redis.settle([Settlement.done(claim) for claim in claim_all(redis)], now=T0)
    backend = make_redis(port=proxy.port)
    backend.open()
    return backend


def test_a_look_whose_answer_is_lost(proxied: RedisBackend, proxy: Proxy) -> None:
    """What changes nothing may simply be repeated."""
    proxy.lose("EVALSHA", after_it_was_done=True)
    with pytest.raises(BackendUnavailableError):
        proxied.count()
    assert proxied.count()[State.WAITING] == 0


@pytest.mark.parametrize("is_done", [True, False])
def test_add_that_is_not_answered(proxied: RedisBackend, proxy: Proxy, *, is_done: bool) -> None:
    """The outcome is unknown, and the repeat is ADDED whether or not it had been done."""
    proxy.lose("EVALSHA", after_it_was_done=is_done)
    with pytest.raises(OutcomeUnknownError):
        proxied.add(events(3), if_exists="raise")
    assert proxied.count()[State.WAITING] == (3 if is_done else 0)
    assert proxied.add(events(3), if_exists="raise") == [AddOutcome.ADDED] * 3
    assert proxied.count()[State.WAITING] == 3


@pytest.mark.parametrize("is_done", [True, False])
def test_settle_that_is_not_answered(proxied: RedisBackend, proxy: Proxy, *, is_done: bool) -> None:
    """The outcome is unknown, and the repeat tells which it was."""
    proxied.add(events(3), if_exists="raise")
    settlements = [Settlement.done(claim) for claim in claim_all(proxied)]
    proxy.lose("EVALSHA", after_it_was_done=is_done)
    with pytest.raises(OutcomeUnknownError):
        proxied.settle(settlements, now=T0)
    assert proxied.settle(settlements, now=T0) == [not is_done] * 3


@pytest.mark.parametrize("is_done", [True, False])
def test_claim_that_is_not_answered(proxied: RedisBackend, proxy: Proxy, *, is_done: bool) -> None:
    """The outcome is unknown; what was claimed is handed out again when its lease has ended."""
    proxied.add(events(3), if_exists="raise")
    proxy.lose("EVALSHA", after_it_was_done=is_done)
    with pytest.raises(OutcomeUnknownError):
        claim_all(proxied)
    assert len(claim_all(proxied)) == (0 if is_done else 3)
    assert len(claim_all(proxied, now=T0 + seconds(3600))) == 3


def test_a_claim_whose_second_portion_is_lost_returns_the_first(
    proxied: RedisBackend, proxy: Proxy
) -> None:
    """Claims that are known to be ours are not thrown away for others that may be."""
    many = events(2 * MOST_ITEMS)
    proxied.add(many, if_exists="raise")
    limit = MOST_ITEMS + 77
    proxy.lose("\r\n$2\r\n77\r\n", after_it_was_done=False)
    claims = claim_all(proxied, limit=limit)
    assert [claim.id for claim in claims] == [each.id for each in many[:MOST_ITEMS]]
    assert len(claim_all(proxied, limit=limit)) == MOST_ITEMS


def test_a_batch_of_which_a_part_was_done(proxied: RedisBackend, proxy: Proxy) -> None:
    """Nobody can say that nothing was changed, and the repeat does the rest."""
    many = [*events(MOST_ITEMS), event("the last")]
    proxy.lose("the last", after_it_was_done=False)
    with pytest.raises(OutcomeUnknownError):
        proxied.add(many, if_exists="raise")
    assert proxied.count()[State.WAITING] == MOST_ITEMS
    assert proxied.add(many, if_exists="raise") == [AddOutcome.ADDED] * len(many)


def test_what_a_part_that_was_done_makes_of_an_error() -> None:
    """'Nothing was changed' is not true any more; whoever has to act still has to."""
    unavailable = BackendUnavailableError("here: no memory", backend="redis")
    setup = BackendSetupError("here: no right", backend="redis")
    wanted = "redis: a part of the batch was done, then: here: no memory"
    with pytest.raises(OutcomeUnknownError, match=wanted), partly_done(begun=True):
        raise unavailable
    with pytest.raises(BackendUnavailableError), partly_done(begun=False):
        raise unavailable
    with pytest.raises(BackendSetupError), partly_done(begun=True):
        raise setup

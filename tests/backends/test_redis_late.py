"""What a client of Redis gave up is not done later, whatever arrives."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TypeAlias

import pytest
import redis

from futurama.backend import Move, Query, Settlement
from futurama.backends.redis import RedisBackend, RedisSettings
from futurama.errors import BackendUnavailableError, OutcomeUnknownError
from futurama.events import CancelOutcome
from tests.backends.conftest import MakeRedis
from tests.backends.samples import T0, claim_all, event, seconds
from tests.servers import Redis
from tests.servers.proxy import Happened, Proxy

_PATIENCE_SECONDS = 0.3

_SOON = T0 + seconds(1)
_LATER = T0 + seconds(3600)
_MUCH_LATER = T0 + seconds(7200)

Call: TypeAlias = Callable[[RedisBackend], object]

Story: TypeAlias = Iterator[Call]
"""Prepares a store, yields the call that will be given up and repeated, and then overrides it."""


def _add(backend: RedisBackend) -> Story:
    yield lambda late: late.add([event("a")], if_exists="raise")
    assert backend.cancel(["a"]) == [CancelOutcome.CANCELLED]


def _replace(backend: RedisBackend) -> Story:
    backend.add([event("a")], if_exists="raise")
    yield lambda late: late.add([event("a", payload=b"old")], if_exists="replace")
    backend.add([event("a", payload=b"new")], if_exists="replace")


def _cancel(backend: RedisBackend) -> Story:
    backend.add([event("a")], if_exists="raise")
    yield lambda late: late.cancel(["a"])
    backend.add([event("a")], if_exists="raise")


def _reschedule(backend: RedisBackend) -> Story:
    backend.add([event("a")], if_exists="raise")
    yield lambda late: late.reschedule([Move(id="a", trigger_time=_LATER)])
    backend.reschedule([Move(id="a", trigger_time=_MUCH_LATER)])


def _claim(backend: RedisBackend) -> Story:
    backend.add([event("a")], if_exists="raise")
    yield claim_all
    (claim,) = claim_all(backend, now=_LATER)
    backend.settle([Settlement.retry(claim, T0)], now=_LATER)


def _renew(backend: RedisBackend) -> Story:
    backend.add([event("a")], if_exists="raise")
    claims = claim_all(backend)
    yield lambda late: late.renew(claims, now=_SOON, lease_until=_LATER)
    assert backend.renew(claims, now=_SOON, lease_until=_MUCH_LATER) == [True]


def _requeue(backend: RedisBackend) -> Story:
    backend.add([event("a")], if_exists="raise")
    _bury(backend)
    yield lambda late: late.requeue(["a"], now=T0)
    _bury(backend)


def _purge(backend: RedisBackend) -> Story:
    backend.add([event("a")], if_exists="raise")
    _bury(backend)
    yield lambda late: late.purge(before=_LATER)
    backend.add([event("a")], if_exists="raise")
    _bury(backend)


def _bury(backend: RedisBackend) -> None:
    reports = [Settlement.bury(claim, "why") for claim in claim_all(backend)]
    assert backend.settle(reports, now=_SOON) == [True]


def _insist(call: Callable[[], object]) -> None:
    """Repeat until there is an answer, as a queue does: a busy disk takes its time."""
    while True:
        with contextlib.suppress(OutcomeUnknownError, BackendUnavailableError):
            call()
            return


@pytest.fixture
def proxy(private_redis: Redis) -> Iterator[Proxy]:
    """Between the impatient backend and the server."""
    with Proxy(private_redis.port) as proxy:
        yield proxy


@pytest.fixture
def patient(make_private_redis: MakeRedis, private_redis: Redis) -> RedisBackend:
    """An opened backend without a proxy."""
    backend = make_private_redis()
    backend.open()
    return backend


@pytest.fixture
def impatient(make_private_redis: MakeRedis, patient: RedisBackend, proxy: Proxy) -> RedisBackend:
    """An opened backend on the same store, behind the proxy, that soon gives up."""
    backend = make_private_redis(port=proxy.port, read_timeout_sec=_PATIENCE_SECONDS)
    _insist(backend.open)
    return backend


@pytest.mark.parametrize(
    "story",
    # Reports are not among them: a token that was reported is never valid again.
    [_add, _replace, _cancel, _reschedule, _claim, _renew, _requeue, _purge],
    ids=lambda story: story.__name__.strip("_"),
)
def test_what_arrives_after_its_repeat_changes_nothing(
    private_redis: Redis,
    patient: RedisBackend,
    impatient: RedisBackend,
    proxy: Proxy,
    story: Callable[[RedisBackend], Story],
) -> None:
    """P3, P4, P6: what was told after the repeat stays true."""
    steps = story(patient)
    call = next(steps)
    with proxy.stalling():
        with pytest.raises(OutcomeUnknownError):
            call(impatient)
        _insist(lambda: call(impatient))
        assert next(steps, None) is None
        told = patient.find(Query())
    impatient.close()
    name = f"futurama:{patient._settings.namespace}"
    private_redis.wait_until(
        lambda: private_redis.clients(name) == 1
    )  # the rest was done or dropped
    assert proxy.counts[Happened.HELD_BACK]
    assert patient.find(Query()) == told


def test_nothing_is_sent_before_the_old_connection_is_closed(
    patient: RedisBackend, impatient: RedisBackend, proxy: Proxy
) -> None:
    """While the server cannot be told, calls fail and have changed nothing; then all goes on."""
    patient.add([event("a")], if_exists="raise")
    with proxy.stalling():
        with pytest.raises(OutcomeUnknownError):
            impatient.add([event("b")], if_exists="raise")
        proxy.lose("KILL", after_it_was_done=False)
        while not proxy.counts[Happened.CUT_BEFORE]:
            with pytest.raises(BackendUnavailableError):
                impatient.cancel(["a"])
        assert [stored.id for stored in patient.find(Query()).events] == ["a"]
        _insist(lambda: impatient.cancel(["a"]))
        assert patient.find(Query()).events == []


def test_a_client_that_got_the_same_number_is_left_alone() -> None:
    """After a restart the server counts from 1 again, and meets the number that was given up."""
    with Redis() as server, contextlib.ExitStack() as stack:
        settings = RedisSettings(**server.settings("t"), read_timeout_sec=_PATIENCE_SECONDS)
        backend = RedisBackend(settings)
        stack.callback(backend.close)
        _client_with_number(server, 200).close()
        _insist(backend.open)
        server.pause()
        with pytest.raises(OutcomeUnknownError):
            backend.add([event("a")], if_exists="raise")
        server.kill()
        server.start()
        ((number, _),) = backend._server._abandoned._left
        other = stack.enter_context(_client_with_number(server, int(number)))
        _insist(lambda: backend.add([event("a")], if_exists="raise"))
        assert other.client_id() == int(number)


def _client_with_number(server: Redis, number: int) -> redis.Redis:
    """The client that comes so many connections after the start, which takes fewer."""
    while True:
        client = server.client()
        if client.client_id() == number:
            return client
        assert client.client_id() < number
        client.close()

"""Events on Redis that somebody else has written, or changed."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from futurama.backend import Query, Settlement, State, StoredEvent
from futurama.backends.redis import RedisBackend
from futurama.backends.redis.records import core, digits
from futurama.errors import BackendSetupError, BackendUnavailableError
from futurama.events import CancelOutcome
from tests.backends.samples import T0, claim_all, event, seconds
from tests.servers import ExternalRedis, Redis

_NEVER = b"9" * 18
_RECORD = digits(T0) + b"w0" + b"0" * 10 + core(event("m"))

_FOREIGN: Mapping[str, tuple[bytes, bytes]] = {
    "id": (b"m\xfc", _RECORD),
    "type": (b"m", _RECORD[:-1] + b"\xff"),
    "trigger time": (b"m", _RECORD[:33] + _NEVER + _RECORD[51:]),
    "trigger time that is no number": (b"m", _RECORD[:33] + b"x" * 18 + _RECORD[51:]),
    "created": (b"m", _RECORD[:51] + _NEVER + _RECORD[69:]),
    "state": (b"m", _RECORD.replace(b"w", b"x", 1)),
    "attempt that is no number": (b"m", _RECORD[:20] + b"xxxxxxxxxx" + _RECORD[30:]),
    "attempt": (b"m", _RECORD[:20] + b"-000000001" + _RECORD[30:]),
    "length": (b"m", _RECORD[:30] + b"4e1" + _RECORD[33:]),
    "short": (b"m", _RECORD[:-1]),
    "empty": (b"m", b""),
    "another": (b"m\xfc", b'{"data": "\xff"}'),
}
"""Id and record, neither of which anything here would write."""


@pytest.fixture(params=_FOREIGN)
def foreign(
    request: pytest.FixtureRequest, redis: RedisBackend, redis_server: Redis | ExternalRedis
) -> bytes:
    """The record of an event between `a` and `z` that somebody else has written."""
    event_id, record = _FOREIGN[request.param]
    redis.add([event("a"), event("z")], if_exists="raise")
    _write(redis_server, redis, event_id, record)
    return record


def _write(
    server: Redis | ExternalRedis, backend: RedisBackend, event_id: bytes, record: bytes
) -> None:
    tag = f"{{{backend._settings.namespace}}}"
    server.execute("HSET", f"{tag}:records", event_id, record)
    server.execute("HSET", f"{tag}:payloads", event_id, b"{}")
    server.execute("ZADD", f"{tag}:waiting", 0, digits(T0) + event_id)


def _pages(backend: RedisBackend) -> list[StoredEvent]:
    """All events, found one by one."""
    page = backend.find(Query(limit=1))
    found = [*page.events]
    while page.next is not None:
        page = backend.find(Query(limit=1, after=page.next))
        found += page.events
    return found


@pytest.mark.usefixtures("foreign")
def test_what_cannot_be_read_dies_and_harms_no_neighbour(
    redis: RedisBackend, caplog: pytest.LogCaptureFixture
) -> None:
    """P7: its neighbours are handed out by the same call; it is logged, and kept with a reason."""
    claims = claim_all(redis)
    assert [claim.id for claim in claims] == ["a", "z"]
    assert redis.settle([Settlement.done(claim) for claim in claims], now=T0) == [True, True]
    (dead,) = redis.find(Query()).events
    assert dead.state is State.DEAD
    assert dead.died is not None
    assert abs(dead.died - T0) <= seconds(2)
    assert dead.reason is not None
    assert dead.reason.startswith("somebody else wrote ")
    assert "dead letter" in caplog.text
    assert repr(dead.id) in caplog.text


@pytest.mark.usefixtures("foreign")
def test_one_that_cannot_be_read_does_not_use_up_the_limit_for_ever(redis: RedisBackend) -> None:
    """Asked for one event after the other, everyone gets them all."""
    claims = [claim.id for _ in range(3) for claim in claim_all(redis, limit=1)]
    assert claims == ["a", "z"]


@pytest.mark.usefixtures("foreign")
def test_people_see_what_cannot_be_read(redis: RedisBackend) -> None:
    """Pages of any size show it once and in its place, before it has died and afterwards."""
    for places in ("amz", "azm"):
        found = _pages(redis)
        assert [stored.id[0] for stored in found] == list(places)
        assert redis.find(Query()).events == found
        claim_all(redis)


def test_a_dead_letter_shows_what_was_found(redis: RedisBackend, foreign: bytes) -> None:
    """Nothing that somebody else wrote is thrown away."""
    claim_all(redis)
    (dead,) = redis.find(Query(state=State.DEAD)).events
    assert dead.reason is not None
    is_kept_as_it_was = len(foreign) == len(_RECORD) and foreign[18:20] == b"w0"
    assert is_kept_as_it_was or dead.reason.endswith(foreign.decode(errors="backslashreplace"))


@pytest.mark.usefixtures("foreign")
def test_one_that_was_requeued_as_it_is_harms_nobody(redis: RedisBackend) -> None:
    """It is handed out as an event of no type, or dies once more."""
    claim_all(redis)
    (dead,) = redis.find(Query(state=State.DEAD)).events
    redis.requeue([dead.id], now=T0)
    redis.add([event("b")], if_exists="raise")
    assert {"b"} <= {claim.id for claim in claim_all(redis)} <= {"b", "m"}


def test_calls_that_name_a_record_that_cannot_be_read_say_so(
    redis: RedisBackend, redis_server: Redis | ExternalRedis
) -> None:
    """Until it has died nobody can tell where else it stands, so nothing is changed."""
    redis.add([event("a")], if_exists="raise")
    _write(redis_server, redis, b"m", b"x")
    with pytest.raises(BackendSetupError, match="changed or removed"):
        redis.cancel(["a", "m"])
    claim_all(redis)
    assert redis.cancel(["a", "m"]) == [CancelOutcome.IN_FLIGHT, CancelOutcome.NOT_FOUND]


def test_neighbours_are_handed_out_even_if_it_cannot_die(
    redis: RedisBackend,
    redis_server: Redis | ExternalRedis,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What fails is burying it: that is logged, and tried again when the lease has ended."""
    redis.add([event("a")], if_exists="raise")
    _write(redis_server, redis, *_FOREIGN["type"])
    with monkeypatch.context() as patch:
        write = redis._server.write

        def without_reports(name: str, *arguments: object) -> object:
            if name == "settle":
                raise BackendUnavailableError("not now", backend="redis")
            return write(name, *arguments)

        patch.setattr(redis._server, "write", without_reports)
        assert [claim.id for claim in claim_all(redis)] == ["a"]
    assert "still there: redis: not now" in caplog.text
    assert redis.count()[State.DEAD] == 0
    claim_all(redis, now=T0 + seconds(3600))
    assert redis.count()[State.DEAD] == 1

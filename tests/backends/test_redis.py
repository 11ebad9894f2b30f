"""What only Redis has: its keys, the order of bytes, short scripts, memory that is full, diagnosis."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from futurama import Config, Queue
from futurama.backend import AddOutcome, Claim, Finding, Move, Query, Settlement, State, Verdict
from futurama.backends.redis import RedisBackend, RedisSettings
from futurama.backends.redis.batches import MOST_BYTES, MOST_ITEMS, portions
from futurama.backends.redis.diagnosis import diagnose
from futurama.errors import BackendRejectedError, BackendSetupError, BackendUnavailableError
from futurama.events import CancelOutcome, RescheduleOutcome
from tests.backends.conftest import MakeRedis
from tests.backends.samples import T0, claim_all, event, events, seconds
from tests.servers import ExternalRedis, Redis, free_port

_EVERY_BYTE = bytes(range(256))
_LONG_LIVED = timedelta(hours=1)


def _scripts_run(server: Redis) -> int:
    """How many scripts the server has run since its counters were reset."""
    statistics = server.info("commandstats")
    commands = [
        statistics[name] for name in ("cmdstat_eval", "cmdstat_evalsha") if name in statistics
    ]
    # A script that the server does not know is asked for in vain first.
    return int(sum(command["calls"] - command["failed_calls"] for command in commands))


@contextmanager
def _configured(server: Redis, **parameters: str) -> Iterator[None]:
    """The server with other parameters, for a while."""
    names = {name: name.replace("_", "-") for name in parameters}
    before = {name: server.parameter(names[name]) for name in parameters}
    for name, value in parameters.items():
        server.execute("CONFIG", "SET", names[name], value)
    try:
        yield
    finally:
        for name, value in before.items():
            server.execute("CONFIG", "SET", names[name], value)


# -- what is stored -------------------------------------------------------------------------------


def test_all_keys_have_the_hash_tag_of_the_namespace(
    make_private_redis: MakeRedis, private_redis: Redis
) -> None:
    """Whatever is stored, a cluster keeps the keys of one store in one place, and there are six."""
    backend = make_private_redis()
    before = set(private_redis.execute("KEYS", "*"))
    backend.open()
    backend.add(events(3), if_exists="raise")
    claims = claim_all(backend, limit=2)
    backend.settle([Settlement.bury(claims[0], "why")], now=T0)
    tag = f"{{{backend._settings.namespace}}}:".encode()
    assert set(private_redis.execute("KEYS", "*")) - before == {
        tag + name for name in (b"waiting", b"claimed", b"dead", b"records", b"payloads", b"store")
    }


def test_nothing_is_left_of_events_that_ended(
    make_private_redis: MakeRedis, private_redis: Redis
) -> None:
    """Cancelled, done and purged events leave no key behind but the version of the layout."""
    backend = make_private_redis()
    backend.open()
    backend.add(events(3), if_exists="raise")
    backend.cancel(["00000"])
    done, buried = claim_all(backend)
    backend.settle([Settlement.done(done), Settlement.bury(buried, "why")], now=T0)
    assert backend.purge(before=T0 + seconds(1)) == 1
    namespace = backend._settings.namespace
    assert private_redis.execute("KEYS", f"{{{namespace}}}:*") == [
        f"{{{namespace}}}:store".encode()
    ]


def test_namespaces_that_begin_alike_are_apart(make_redis: MakeRedis) -> None:
    """A namespace that another one begins with sees nothing of it."""
    one = make_redis()
    name = one._settings.namespace
    others = [make_redis(namespace=f"{name}{end}") for end in (":waiting", ".", "1")]
    for backend in (one, *others):
        backend.open()
        backend.add([event("a")], if_exists="raise")
    assert one.cancel(["a"]) == [CancelOutcome.CANCELLED]
    for backend in others:
        assert backend.count()[State.WAITING] == 1
        assert backend.cancel(["a"]) == [CancelOutcome.CANCELLED]


def test_a_cluster_takes_every_script(redis_server: object) -> None:
    """A server in cluster mode, which refuses keys of different slots, is content with all of them."""
    # Unless told so, its other port is 10,000 above the first, which may be too high.
    with Redis("--cluster-enabled yes", f"--cluster-port {free_port()}") as server:
        backend = RedisBackend(RedisSettings(**server.settings("a")))
        with pytest.raises(BackendUnavailableError, match="cluster"):
            backend.open()
        server.execute("CLUSTER ADDSLOTSRANGE", "0", "16383")
        server.wait_until(lambda: server.execute("CLUSTER INFO")["cluster_state"] == "ok")
        assert _finding(backend, "cluster").verdict is Verdict.ADVICE
        backend.open()
        backend.add(events(4), if_exists="raise")
        assert backend.reschedule([Move(id="00000", payload=b"new")]) == [
            RescheduleOutcome.RESCHEDULED
        ]
        claims = claim_all(backend, limit=3)
        assert backend.renew(claims, now=T0, lease_until=T0 + _LONG_LIVED) == [True] * 3
        reports = [Settlement.bury(claim, "why") for claim in claims]
        assert backend.settle(reports, now=T0) == [True] * 3
        assert backend.requeue([claims[0].id], now=T0) == [True]
        assert backend.cancel(["00003"]) == [CancelOutcome.CANCELLED]
        assert len(backend.find(Query(trigger_type="t")).events) == 3
        assert len(backend.find(Query(ids=["00000", "00001"])).events) == 2
        assert backend.purge(before=T0 + seconds(1)) == 2
        assert backend.count()[State.WAITING] == 1
        backend.close()


def test_databases_are_apart(make_private_redis: MakeRedis, private_redis: Redis) -> None:
    """The key db chooses one of the server's numbered databases."""
    first, second = make_private_redis(), make_private_redis(db=3)
    first.open()
    second.open()
    first.add([event("a")], if_exists="raise")
    assert second.count()[State.WAITING] == 0
    private_redis.execute("SWAPDB", "0", "3")
    assert second.count()[State.WAITING] == 1
    private_redis.execute("SWAPDB", "0", "3")


def test_every_byte_survives_every_way_of_writing(redis: RedisBackend) -> None:
    """Payloads come back as they were given to add, reschedule and retry; so do reasons."""
    redis.add([event("a", payload=_EVERY_BYTE), event("b"), event("c")], if_exists="raise")
    assert redis.reschedule([Move(id="b", payload=_EVERY_BYTE)]) == [RescheduleOutcome.RESCHEDULED]
    claims = claim_all(redis)
    reason = "because of ' and \0 and \r\n and \ud800"
    redis.settle(
        [Settlement.retry(claims[2], T0, _EVERY_BYTE), Settlement.bury(claims[1], reason)], now=T0
    )
    found = {stored.id: stored for stored in redis.find(Query()).events}
    assert [found[i].payload for i in "abc"] == [_EVERY_BYTE] * 3
    assert found["b"].reason == reason


def test_claimed_and_waiting_events_are_handed_out_in_the_order_of_their_bytes(
    redis: RedisBackend,
) -> None:
    """Where ended leases and waiting events are due at one instant, their ids decide byte by byte."""
    ids = ["a", "a\0", "a\0b", "aa", "B", "b", "\x7f", "é", "ａ", "\U0001f600", "z" * 128]
    redis.add([event(each) for each in ids[::2]], if_exists="raise")
    due = T0 + seconds(60)
    first = redis.claim(owner="me", now=T0, due_before=T0, lease_until=due, limit=100)
    redis.add([event(each, at=due) for each in ids[1::2]], if_exists="raise")
    in_order = sorted(ids, key=str.encode)
    assert [stored.id for stored in redis.find(Query()).events] == in_order
    again = claim_all(redis, now=due)
    assert [claim.id for claim in again] == in_order
    assert {claim.id for claim in again if claim.lost_before} == {c.id for c in first.claims}


def test_no_event_has_the_empty_type(redis: RedisBackend) -> None:
    """An empty type is looked for like any other, and not found."""
    redis.add([event("a")], if_exists="raise")
    for ids in (None, ["a"]):
        assert redis.find(Query(trigger_type="", ids=ids)).events == []
        assert len(redis.find(Query(trigger_type="t", ids=ids)).events) == 1


def test_a_cursor_of_another_backend_is_refused(redis: RedisBackend) -> None:
    """`after` must be the `next` of a page of this backend."""
    for cursor in ("", "live.1.61", "dead.", "live.0", "live.zz"):
        with pytest.raises(BackendRejectedError, match="next"):
            redis.find(Query(after=cursor))


# -- one script after the other -------------------------------------------------------------------


def test_no_script_gets_more_than_its_portion(
    make_private_redis: MakeRedis, private_redis: Redis
) -> None:
    """A long batch is many scripts, between which the server serves others, and means the same."""
    backend = make_private_redis()
    backend.open()
    many = events(3 * MOST_ITEMS + 1)
    claims: list[Claim] = []

    def claim() -> list[Any]:
        claims.extend(claim_all(backend))
        return claims

    ids = [each.id for each in many]
    calls: list[tuple[Any, Any]] = [
        (lambda: backend.add(many, if_exists="raise"), AddOutcome.ADDED),
        (lambda: backend.add(many, if_exists="keep"), AddOutcome.ADDED),
        (
            lambda: backend.reschedule([Move(id=i, payload=b"new") for i in ids]),
            RescheduleOutcome.RESCHEDULED,
        ),
        (lambda: [claim.payload for claim in claim()], b"new"),
        (lambda: backend.renew(claims, now=T0, lease_until=T0 + _LONG_LIVED), True),
        (lambda: backend.settle([Settlement.bury(each, "") for each in claims], now=T0), True),
        (lambda: backend.requeue(ids, now=T0), True),
        (lambda: backend.cancel(ids), CancelOutcome.CANCELLED),
    ]
    for call, answer in calls:
        private_redis.execute("CONFIG", "RESETSTAT")
        assert list(call()) == [answer] * len(many)
        assert _scripts_run(private_redis) == 4
    assert [claim.id for claim in claims] == ids


def test_no_script_gets_or_gives_more_bytes_than_its_portion(
    make_private_redis: MakeRedis, private_redis: Redis
) -> None:
    """However few the events are, long payloads go to and from the server one after the other."""
    backend = make_private_redis()
    backend.open()
    long = [event(each, payload=bytes(MOST_BYTES)) for each in "abc"]
    for call in (
        lambda: backend.add(long, if_exists="raise"),
        lambda: backend.find(Query(state=State.WAITING)).events,
        lambda: backend.find(Query(ids=["c", "b", "a"])).events,
        lambda: claim_all(backend),
    ):
        private_redis.execute("CONFIG", "RESETSTAT")
        assert len(call()) == 3
        assert _scripts_run(private_redis) == 3


def test_portions_hold_everything_once_and_in_order() -> None:
    """Portions end after so many items or bytes, but never before the first item."""
    small = [(b"%d" % number,) for number in range(MOST_ITEMS)]
    large = [(b"x" * (MOST_BYTES + 1),), (b"y" * MOST_BYTES,)]
    items = [*small, (b"", "text", 7), *large, (b"z",)]
    found = list(portions(items))
    assert [item for portion in found for item in portion] == items
    assert [len(portion) for portion in found] == [MOST_ITEMS, 1, 1, 1, 1]
    assert list(portions([])) == []


def test_a_long_purge_is_many_scripts(make_private_redis: MakeRedis, private_redis: Redis) -> None:
    """All dead letters go, a portion at a time."""
    backend = make_private_redis()
    backend.open()
    backend.add(events(2 * MOST_ITEMS), if_exists="raise")
    claims = claim_all(backend)
    backend.settle([Settlement.bury(claim, "") for claim in claims], now=T0)
    private_redis.execute("CONFIG", "RESETSTAT")
    assert backend.purge(before=T0) == 0
    assert backend.purge(before=T0 + seconds(1)) == 2 * MOST_ITEMS
    assert _scripts_run(private_redis) == 1 + 3


def test_a_claim_with_a_lease_that_has_ended_does_not_meet_itself(redis: RedisBackend) -> None:
    """Each event is handed out once per call, although all of them may be handed out again."""
    redis.add(events(MOST_ITEMS + 1), if_exists="raise")
    batch = redis.claim(
        owner="me", now=T0 + seconds(1), due_before=T0, lease_until=T0, limit=10_000
    )
    ids = [claim.id for claim in batch.claims]
    assert len(ids) == len(set(ids))


def test_claiming_nothing_says_what_is_due_next(redis: RedisBackend) -> None:
    """A limit of 0 or less claims nothing and answers."""
    redis.add([event("a")], if_exists="raise")
    for limit in (0, -1):
        batch = redis.claim(owner="me", now=T0, due_before=T0, lease_until=T0, limit=limit)
        assert (batch.claims, batch.next_due) == ([], T0)


def test_an_idle_claim_costs_one_command(
    make_private_redis: MakeRedis, private_redis: Redis
) -> None:
    """Polling when nothing is due asks the server once, whatever waits for later."""
    backend = make_private_redis()
    backend.open()
    backend.add([event("later", at=T0 + seconds(3600))], if_exists="raise")
    claim_all(backend)
    private_redis.execute("CONFIG", "RESETSTAT")
    for _ in range(10):
        assert claim_all(backend) == []
    assert _scripts_run(private_redis) == 10


# -- a server that has no memory left -------------------------------------------------------------


def test_a_full_server_takes_no_event_and_lets_all_others_go_on(
    make_private_redis: MakeRedis, private_redis: Redis
) -> None:
    """Adding changes nothing and says what to do; claims, reports and cancels drain the store."""
    backend = make_private_redis()
    backend.open()
    backend.add(events(5), if_exists="raise")
    with _configured(private_redis, maxmemory="1"):
        for if_exists in ("raise", "replace"):
            with pytest.raises(BackendUnavailableError, match="maxmemory"):
                backend.add([event("00000", payload=b"new"), event("new")], if_exists=if_exists)
        moves = [Move(id="00004", trigger_time=T0 + _LONG_LIVED, payload=b"moved")]
        assert backend.reschedule(moves) == [RescheduleOutcome.RESCHEDULED]
        claims = claim_all(backend)
        assert [claim.payload for claim in claims] == [b"{}"] * 4
        assert backend.renew(claims, now=T0, lease_until=T0 + _LONG_LIVED) == [True] * 4
        reports = [
            Settlement.done(claims[0]),
            Settlement.retry(claims[1], T0, b"retried"),
            Settlement.bury(claims[2], "why"),
            Settlement.release(claims[3]),
        ]
        assert backend.settle(reports, now=T0) == [True] * 4
        assert backend.requeue([claims[2].id], now=T0) == [True]
        assert backend.cancel(["00003"]) == [CancelOutcome.CANCELLED]
    found = {stored.id: stored.payload for stored in backend.find(Query()).events}
    assert found == {"00001": b"retried", "00002": b"{}", "00004": b"moved"}


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-lfu", "allkeys-random"])
def test_a_server_that_removes_events_to_make_room_is_refused(
    make_private_redis: MakeRedis, private_redis: Redis, policy: str
) -> None:
    """P1: with such a policy events would vanish without a trace; the error names it."""
    with _configured(private_redis, maxmemory_policy=policy):
        with pytest.raises(BackendSetupError, match=policy):
            make_private_redis().open()
        assert _finding(make_private_redis(), "maxmemory-policy").verdict is Verdict.PROBLEM


def test_policies_that_spare_keys_without_expiry_are_fine(
    make_private_redis: MakeRedis, private_redis: Redis
) -> None:
    """Events never expire, so what removes only keys that do is harmless."""
    with _configured(private_redis, maxmemory_policy="volatile-lru"):
        make_private_redis().open()


# -- opening --------------------------------------------------------------------------------------


def test_a_newer_layout_is_refused(
    redis: RedisBackend, make_redis: MakeRedis, redis_server: Redis | ExternalRedis
) -> None:
    """A program that does not know how the events are stored leaves them alone and says so."""
    redis_server.execute("HSET", f"{{{redis._settings.namespace}}}:store", "version", "2")
    with pytest.raises(BackendSetupError, match=r"version 2 .* upgrade futurama"):
        make_redis().open()


@pytest.mark.parametrize("name", ["waiting", "claimed", "dead", "records", "payloads", "store"])
def test_a_key_that_belongs_to_something_else_is_found_when_opening(
    make_redis: MakeRedis, redis_server: Redis | ExternalRedis, name: str
) -> None:
    """No script fails in the middle because of it."""
    backend = make_redis()
    redis_server.execute("SET", f"{{{backend._settings.namespace}}}:{name}", "mine")
    with pytest.raises(BackendSetupError, match="another namespace"):
        backend.open()


def test_many_open_at_once(make_redis: MakeRedis) -> None:
    """Instances that start together on a new namespace do not disturb each other."""
    backends = [make_redis() for _ in range(8)]
    failures = []

    def run(backend: RedisBackend) -> None:
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
    assert backends[0].count()[State.WAITING] == 0


def test_a_unix_socket_does(make_private_redis: MakeRedis, private_redis: Redis) -> None:
    """With socket_path neither host nor port matters."""
    backend = make_private_redis(socket_path=private_redis.socket_path, host="192.0.2.1")
    backend.open()
    assert backend.add([event("a")], if_exists="raise") == [AddOutcome.ADDED]
    assert private_redis.socket_path in repr(backend)


def test_closing_is_idempotent_and_opening_again_works(redis: RedisBackend) -> None:
    """What is stored stays stored."""
    redis.add(events(1), if_exists="raise")
    redis.close()
    redis.close()
    redis.open()
    redis.open()
    assert redis.count()[State.WAITING] == 1


def test_a_queue_finds_the_backend_by_its_name(redis_server: Redis | ExternalRedis) -> None:
    """The word in a configuration is enough."""
    keys = redis_server.settings(redis_server.create_database())
    with Queue(config=Config(backend="redis", **keys)) as queue:
        event_id = queue.create("t", timedelta(hours=1), {"a": 1})
        stored = queue.get(event_id)
        assert stored is not None
        assert stored.data == {"a": 1}
        assert queue.cancel(event_id) is CancelOutcome.CANCELLED
    redis_server.drop_database(keys["namespace"])


# -- connections ----------------------------------------------------------------------------------


def test_the_total_of_connections_is_bounded(
    make_private_redis: MakeRedis, private_redis: Redis
) -> None:
    """P8: threads beyond max_open_connection wait instead of connecting."""
    backend = make_private_redis(max_open_connection=3)
    backend.open()
    threads = [threading.Thread(target=claim_all, args=(backend,)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1 <= private_redis.clients(f"futurama:{backend._settings.namespace}") <= 3
    backend.close()
    assert private_redis.clients(f"futurama:{backend._settings.namespace}") == 0


def _count_in_child(backend: RedisBackend, answers: Any) -> None:
    answers.put(backend.count()[State.WAITING])


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_connections_of_its_own(
    make_private_redis: MakeRedis, private_redis: Redis
) -> None:
    """After a fork both sides go on working, and the child's end does not cut its parent off."""
    backend = make_private_redis()
    backend.open()
    backend.add(events(3), if_exists="raise")
    private_redis.execute("CONFIG", "RESETSTAT")
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    child = context.Process(target=_count_in_child, args=(backend, answers))
    child.start()
    assert answers.get(timeout=30) == 3
    child.join()
    assert child.exitcode == 0
    assert backend.count()[State.WAITING] == 3
    assert len(claim_all(backend)) == 3


# -- diagnosis ------------------------------------------------------------------------------------


def _finding(backend: RedisBackend, name: str) -> Finding:
    return next(finding for finding in backend.diagnose() if finding.name == name)


def test_a_good_server_passes(make_private_redis: MakeRedis, private_redis: Redis) -> None:
    """A master with a limit to its memory that syncs its append-only file is all right."""
    with _configured(private_redis, maxmemory="1gb"):
        findings = make_private_redis().diagnose()
    assert {finding.verdict for finding in findings} == {Verdict.OK}
    assert not any(finding.advice for finding in findings)
    names = [finding.name for finding in findings]
    assert names == [
        "version",
        "role",
        "cluster",
        "append-only file",
        "appendfsync",
        "replicas",
        "maxmemory-policy",
        "memory",
        "clock",
    ]


@pytest.mark.parametrize(
    ("parameters", "name", "verdict"),
    [
        ({"appendonly": "no"}, "append-only file", Verdict.PROBLEM),
        ({"appendfsync": "everysec"}, "appendfsync", Verdict.ADVICE),
        ({"appendfsync": "no"}, "appendfsync", Verdict.ADVICE),
        ({"maxmemory": "0"}, "memory", Verdict.ADVICE),
    ],
)
def test_what_can_be_lost_is_told(
    make_private_redis: MakeRedis,
    private_redis: Redis,
    parameters: dict[str, str],
    name: str,
    verdict: Verdict,
) -> None:
    """P1: a server that may forget what it acknowledged is reported, with what to do."""
    with _configured(private_redis, **parameters):
        finding = _finding(make_private_redis(), name)
    assert finding.verdict is verdict
    assert finding.advice


def test_servers_in_trouble_are_reported(
    make_private_redis: MakeRedis, private_redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old servers, and those whose disk is full, are reported."""
    backend = make_private_redis()
    backend.open()
    ask = backend._server.ask

    def troubled(*command: str) -> Any:
        if command != ("INFO",):
            return ask(*command)
        return (
            bytes(ask("INFO"))
            .replace(b"redis_version:", b"redis_version:5.0.7\r\nformerly:")
            .replace(b"aof_last_write_status:ok", b"aof_last_write_status:err")
        )

    monkeypatch.setattr(backend._server, "ask", troubled)
    assert _finding(backend, "version").verdict is Verdict.ADVICE
    assert _finding(backend, "append-only file").verdict is Verdict.PROBLEM


def test_a_clock_that_is_wrong(redis: RedisBackend) -> None:
    """A server whose clock differs from this machine's gets advice."""
    findings = diagnose(redis._server, lambda: redis.now() - _LONG_LIVED)
    assert findings[-1].name == "clock"
    assert findings[-1].verdict is Verdict.ADVICE


def test_replicas_follow_behind(private_redis: Redis, make_private_redis: MakeRedis) -> None:
    """The master's diagnosis warns of failovers; the replica's says that it takes no writes."""
    with (
        _configured(private_redis, repl_diskless_sync_delay="0"),
        Redis(f"--replicaof {private_redis.host} {private_redis.port}") as replica,
    ):
        replica.wait_until_it_follows()
        assert _finding(make_private_redis(), "replicas").verdict is Verdict.ADVICE
        follower = make_private_redis(port=replica.port)
        assert _finding(follower, "role").verdict is Verdict.PROBLEM
        with pytest.raises(BackendUnavailableError, match="master"):
            follower.open()


def test_the_diagnosis_of_a_server_that_does_not_talk(
    make_private_redis: MakeRedis, private_redis: Redis
) -> None:
    """A user who may not ask is told so, and what would be needed; opening needs no such right."""
    backend = make_private_redis(username="quiet", password="secret-word")
    rights = f"~{{{backend._settings.namespace}}}:* +@all -@dangerous +@connection".split()
    private_redis.execute("ACL", "SETUSER", "quiet", "on", ">secret-word", *rights)
    backend.open()
    findings = {finding.name: finding for finding in backend.diagnose()}
    assert findings["INFO"].verdict is Verdict.ADVICE
    assert set(findings) == {"INFO", "clock"}
    private_redis.execute("ACL", "SETUSER", "quiet", "+info")
    assert _finding(backend, "appendfsync").value == "unknown"
    backend.close()
    private_redis.execute("ACL", "DELUSER", "quiet")


def test_the_clock_is_the_servers(redis: RedisBackend) -> None:
    """now() is what the server says, to the microsecond."""
    before = datetime.now(UTC) - seconds(1)
    assert before < redis.now() < datetime.now(UTC) + seconds(1)
    assert len({redis.now().microsecond for _ in range(3)}) > 1

"""Networks that cut, delay, swallow and forget."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from futurama.conformance.history import UNKNOWN
from tests.faults.scenario import Circumstances, scenario
from tests.faults.stage import LEASE_SECONDS, LONG_LEASE_SECONDS, Outcome, Stage
from tests.servers.proxy import Fate, Happened, Proxy, Side
from tests.servers.wire import MESSAGES

_PLACES = "abc"

_TIMEOUTS: Mapping[str, Mapping[str, Any]] = {
    "mysql": {"connect_timeout_sec": 2.0, "read_timeout_sec": 1.5, "lock_wait_timeout_sec": 1},
    "postgresql": {"connect_timeout_sec": 2.0, "read_timeout_sec": 1.5, "lock_wait_timeout_sec": 1},
    "redis": {"connect_timeout_sec": 2.0, "read_timeout_sec": 1.5},
}
"""So short that a load of some seconds is not spent waiting for one answer."""

_NO_REPEATS = {"operation_timeout_sec": 0.0}
"""For clients, who are told that an outcome is unknown."""


@contextlib.contextmanager
def _one_proxy(
    given: Circumstances,
    *,
    clients: Mapping[str, Any] | None = None,
    has_clients: bool = True,
    **config: Any,
) -> Iterator[tuple[Stage, Proxy]]:
    """Instances and clients reach the server through one proxy.

    Args:
        given: as a scenario gets it.
        clients: configuration keys for clients only.
        has_clients: whether the proxy is for clients, too; else they reach the server directly.
        config: configuration keys for all.
    """
    with (
        given.server() as server,
        Proxy(server.port, MESSAGES[given.backend], seed=given.seed) as proxy,
    ):
        store = {**given.store(server), "port": proxy.port}
        clients = {**(clients or {}), **({} if has_clients else {"port": server.port})}
        config = {**_TIMEOUTS[given.backend], **config}
        with given.stage(store, clients_store=clients, **config) as stage:
            yield stage, proxy


@contextlib.contextmanager
def _proxy_each(given: Circumstances) -> Iterator[tuple[Stage, Mapping[str, Proxy]]]:
    """Each instance reaches the server through a proxy of its own, clients reach it directly."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(given.server())
        messages = MESSAGES[given.backend]
        proxies = {
            place: stack.enter_context(Proxy(server.port, messages, seed=given.seed))
            for place in _PLACES
        }
        store = given.store(server)
        stage = stack.enter_context(given.stage(store, instances=0, **_TIMEOUTS[given.backend]))
        for place, proxy in proxies.items():
            stage.launch(place, port=proxy.port)
        stage.wait_until_ready()
        yield stage, proxies


def _told(
    outcome: Outcome, happened: Mapping[Happened, int], *wanted: Happened, at_least: int = 2
) -> Outcome:
    """The outcome, with what proxies have done; each of it must be so often."""
    for each in wanted:
        is_enough = happened[each] >= at_least
        outcome = outcome.needs(is_enough, f"there were {happened[each]} {each.value}")
    figures = {each.value: happened[each] for each in wanted}
    return attrs.evolve(outcome, figures={**outcome.figures, **figures})


# -- COMMIT ---------------------------------------------------------------------------------------


@scenario(
    fault="connections are cut right before COMMIT",
    how="a proxy ends every 20th connection that sends COMMIT; the server never sees it",
    backends=("mysql", "postgresql"),
)
def cut_before_commit(given: Circumstances) -> Outcome:
    """Nothing was changed, and it is done again."""
    return _cut(given, Fate.CUT_BEFORE)


@scenario(
    fault="connections are cut right after COMMIT",
    how="a proxy lets every 20th COMMIT be executed and ends the connection in place of the answer",
    backends=("mysql", "postgresql"),
)
def cut_after_commit(given: Circumstances) -> Outcome:
    """What was done is recognised when it is asked for again."""
    return _cut(given, Fate.CUT_AFTER)


@scenario(
    fault="connections are cut at COMMIT, the driver is mysqldb",
    how="every 10th COMMIT, half of them executed; clients repeat nothing",
)
def cut_at_commit_mysqldb(given: Circumstances) -> Outcome:
    """What a client calls unknown may have happened or not, and everything else is true."""
    return _cut_and_given_up(given, driver="mysqldb")


@scenario(
    fault="connections are cut at COMMIT, and clients give up at once",
    how="every 10th COMMIT, half of them executed; clients repeat nothing",
    backends=("mysql", "postgresql"),
)
def cut_at_commit(given: Circumstances) -> Outcome:
    """What a client calls unknown may have happened or not, and everything else is true."""
    return _cut_and_given_up(given)


def _cut_and_given_up(given: Circumstances, **config: Any) -> Outcome:
    outcome = _cut(given, Fate.CUT_BEFORE, Fate.CUT_AFTER, clients=_NO_REPEATS, **config)
    creations = outcome.account.creations
    is_any_unknown = any(one.outcome is UNKNOWN for one in creations)
    return outcome.needs(is_any_unknown, "every client got its answer")


def _cut(given: Circumstances, *fates: Fate, **config: Any) -> Outcome:
    """Under load, every 20th connection that sends COMMIT meets each of these fates; nothing is repeated."""
    config = {"consumer_lock_timeout_sec": LONG_LEASE_SECONDS, **config}
    with _one_proxy(given, **config) as (stage, proxy):
        with proxy.breaking_commits(dict.fromkeys(fates, 0.05)), stage.load(given.plan()):
            pass
        return _told(stage.outcome(), proxy.counts, *(Happened[fate.name] for fate in fates))


@scenario(
    fault="the network loses COMMIT, and the server is not told that the client is gone",
    how="two connections that send COMMIT end for the client only; their transactions stay open",
    backends=("mysql", "postgresql"),
)
def abandoned_transactions(given: Circumstances) -> Outcome:
    """The server ends them by itself, before the leases end of what they had locked."""
    with _one_proxy(given, consumer_lock_timeout_sec=LONG_LEASE_SECONDS) as (stage, proxy):
        with stage.load(given.plan()):
            time.sleep(LEASE_SECONDS)
            with proxy.breaking_commits({Fate.ABANDONED: 0.05}):
                stage.wait_for(lambda: proxy.counts[Happened.ABANDONED] >= 2)
        return _told(stage.outcome(), proxy.counts, Happened.ABANDONED)


# -- connections ----------------------------------------------------------------------------------


@scenario(
    fault="the network is silent",
    how="a proxy holds everything back for two leases, then lets it arrive; "
    "later the same, but all connections are reset in the end",
    backends=("mysql", "postgresql", "redis"),
)
def silence(given: Circumstances) -> Outcome:
    """What arrives late does no harm."""
    with _one_proxy(given) as (stage, proxy):
        with stage.load(given.plan(seconds=8 * LEASE_SECONDS)):
            for drop in (False, True):
                time.sleep(LEASE_SECONDS)
                with stage.disturbed(), proxy.silent(drop=drop):
                    time.sleep(2 * LEASE_SECONDS)
        return _told(stage.outcome(), proxy.counts, Happened.HELD_BACK, Happened.RESET)


@scenario(
    fault="what was sent on old connections arrives late",
    how="four times everything on half of the connections is held back for a lease, while new ones "
    "work; then it arrives, though clients and instances have long given up and tried again; when "
    "all is done there is more to do",
    backends=("mysql", "postgresql", "redis"),
)
def late_messages(given: Circumstances) -> Outcome:
    """Nothing comes back that has ended meanwhile, and nothing that follows is repeated.

    What is late arrives when the network works again, so the fault lasts until all is done.
    """
    with _one_proxy(given) as (stage, proxy):
        with stage.disturbed():
            with stage.load(given.plan(seconds=5 * LEASE_SECONDS)):
                for _ in range(4):
                    time.sleep(0.5)
                    with proxy.stalling(0.5):
                        time.sleep(LEASE_SECONDS)
            stage.wait_until_finished()
        with stage.load(given.plan(events=given.events // 4, seconds=1.0, prefix="later")):
            pass
        return _told(stage.outcome(), proxy.counts, Happened.HELD_BACK)


@scenario(
    fault="the network is silent for 30 s",
    how="a proxy holds everything back; the timeouts are the usual ones",
)
def long_silence(given: Circumstances) -> Outcome:
    """Everybody waits, and goes on."""
    usual: dict[str, Any] = {"read_timeout_sec": 30.0, "connect_timeout_sec": 10.0}
    with _one_proxy(given, **usual) as (stage, proxy):
        with stage.load(given.plan(events=given.events // 10)):
            time.sleep(LEASE_SECONDS)
            with stage.disturbed(), proxy.silent(drop=False):
                time.sleep(30)
        return _told(stage.outcome(), proxy.counts, Happened.HELD_BACK)


@scenario(
    fault="one of three instances is cut off",
    how="its connections are silent for two leases and then go on; "
    "later the same with another one, whose connections are reset in the end",
    backends=("mysql", "postgresql"),
)
def cut_off_instances(given: Circumstances) -> Outcome:
    """Others take over what it held; it begins nothing after its lease, and reports nothing."""
    with _proxy_each(given) as (stage, proxies):
        plan = given.plan(events=given.events // 2, seconds=8 * LEASE_SECONDS, call_seconds=0.5)
        with stage.load(plan):
            for place, drop in (("a", False), ("b", True)):
                time.sleep(LEASE_SECONDS)
                name = stage.places[place].name
                with stage.disturbed(name), proxies[place].silent(drop=drop):
                    time.sleep(2 * LEASE_SECONDS)
        outcome = stage.outcome()
        outcome = outcome.needs(outcome.judgement.repeats, "nobody had to take over anything")
        for place, wanted in (
            ("a", [Happened.HELD_BACK]),
            ("b", [Happened.HELD_BACK, Happened.RESET]),
        ):
            # Once is enough: an instance to which the others have left nothing only asks.
            outcome = _told(outcome, proxies[place].counts, *wanted, at_least=1)
        return outcome


@scenario(
    fault="the network is slow and connections are reset",
    how="what instances and the server send takes 0.2 s more; every half second each connection is "
    "reset with a chance of 1 in 20",
)
def slow_and_resetting(given: Circumstances) -> Outcome:
    """Calls are late, nothing else: the lease is long enough for the network."""
    patience: dict[str, Any] = {
        "consumer_lock_timeout_sec": LONG_LEASE_SECONDS,
        "read_timeout_sec": 5.0,
    }
    with _one_proxy(given, has_clients=False, **patience) as (stage, proxy):
        with proxy.slow(0.2), stage.load(given.plan()) as load:
            while load.is_running:
                proxy.reset(0.05)
                time.sleep(0.5)
        return _told(stage.outcome(), proxy.counts, Happened.DELAYED, Happened.RESET)


@scenario(
    fault="connections are half open",
    how="eight times, a second apart, one side of about a third of all connections is closed, in turn "
    "the server's and the client's; the other side is told nothing",
    backends=("mysql", "postgresql"),
)
def half_open_connections(given: Circumstances) -> Outcome:
    """Nobody waits for ever, or for longer than a lease, for an answer that cannot come."""
    with _one_proxy(given, consumer_lock_timeout_sec=LONG_LEASE_SECONDS) as (stage, proxy):
        with stage.load(given.plan()):
            for closed in (Side.SERVER, Side.CLIENT) * 4:
                time.sleep(1)
                proxy.half_open(closed, 0.3)
        return _told(stage.outcome(), proxy.counts, Happened.HALF_OPEN, Happened.SWALLOWED)


@scenario(
    fault="the server cannot be reached",
    how="all connections are reset, and for two leases nobody listens on the server's port",
    backends=("mysql", "postgresql", "redis"),
)
def refused_connections(given: Circumstances) -> Outcome:
    """Everybody connects again by himself."""
    with _one_proxy(given) as (stage, proxy):
        with stage.load(given.plan()):
            time.sleep(LEASE_SECONDS)
            with stage.disturbed(), proxy.refusing():
                proxy.reset()
                time.sleep(2 * LEASE_SECONDS)
        return _told(stage.outcome(), proxy.counts, Happened.RESET)

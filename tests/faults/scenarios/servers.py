"""Database servers that crash, stand still, refuse, fill up and change places."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import attrs
import pymysql

from futurama.times import to_us
from tests.faults.client import Load
from tests.faults.intruders import (
    DEADLOCK,
    DISK_FULL,
    LOCK_WAIT,
    TOO_MANY_CONNECTIONS,
    TOO_MANY_USER_CONNECTIONS,
    ConnectionHog,
    DiskFiller,
    LockStorm,
    altered_table,
    locked_table,
)
from tests.faults.scenario import Circumstances, Server, scenario
from tests.faults.stage import LEASE_SECONDS, LONG_LEASE_SECONDS, Outcome, Stage
from tests.servers import MariaDB

ON_SERVERS = ("mysql", "postgresql", "redis")


@scenario(
    fault="the server crashes",
    how="SIGKILL five times under load, restarted each time on its data",
    backends=ON_SERVERS,
)
def crashing_server(given: Circumstances) -> Outcome:
    """What was acknowledged is on the disk; instances find the server again by themselves."""

    def crash(server: Server) -> None:
        server.kill()
        server.start()

    return _interrupted(given, crash, times=5, every_seconds=0.5)


@scenario(
    fault="the server is restarted in order",
    how="SIGTERM three times under load, and started again",
    backends=ON_SERVERS,
)
def restarted_server(given: Circumstances) -> Outcome:
    """It closes sessions in the middle of what they do."""
    return _interrupted(given, lambda server: server.restart(), times=3, every_seconds=1.0)


@scenario(
    fault="the server stands still",
    how="SIGSTOP of the server for two leases under load, then SIGCONT; read_timeout_sec is 1.5",
    backends=ON_SERVERS,
)
def frozen_server(given: Circumstances) -> Outcome:
    """Nobody waits for ever; what the server does after all when it goes on does no harm."""
    patience: dict[str, Any] = {"read_timeout_sec": 1.5, "connect_timeout_sec": 2.0}
    if given.backend != "redis":  # which knows no locks
        patience["lock_wait_timeout_sec"] = 1
    with (
        given.server() as server,
        given.stage(given.store(server), **patience) as stage,
    ):
        with stage.load(given.plan(seconds=given.seconds + 2 * LEASE_SECONDS)):
            time.sleep(3.0)
            with stage.disturbed():
                server.pause()
                time.sleep(2 * LEASE_SECONDS)
                server.resume()
        outcome = stage.outcome()
    return _with_seen(
        given, outcome, "claiming events fails", "timed out|no answer within|Timeout reading"
    )


@scenario(
    fault="the server is away while much becomes due",
    how="SIGKILL of the server for three leases or more, within which all events become due",
    backends=ON_SERVERS,
)
def backlog(given: Circumstances) -> Outcome:
    """When it is back, everything is called as fast as that goes."""
    with given.server() as server, given.stage(given.store(server)) as stage:
        first_us = to_us(stage.client.queue.now() + timedelta(seconds=10))
        step_us = 1_000_000 // given.events

        def create(number: int) -> None:
            stage.client.create(f"e{number}", "thread", first_us + number * step_us, {})

        with ThreadPoolExecutor(8) as clients:
            list(clients.map(create, range(given.events)))
        with stage.disturbed():
            server.kill()
            left_us = first_us - to_us(stage.client.queue.now())
            stage.needs(left_us > 0, "creating took too long")
            time.sleep(max(3 * LEASE_SECONDS, left_us / 1e6 + 1))
            server.start()
        outcome = stage.outcome()
    return _with_seen(given, outcome, "claiming events fails")


@scenario(
    fault="others lock events and the table",
    how="three clients lock random rows and index ranges for up to two lock_wait_timeout_sec and "
    "roll back; then LOCK TABLES, then an ALTER TABLE that waits for a reader",
)
def lock_storm(given: Circumstances) -> Outcome:
    """Deadlocks (1213) and lock timeouts (1205) hit both sides; nobody takes that for an answer.

    The lease is longer than any lock is held, so nothing is repeated.
    """
    lock_wait_seconds = 1
    patience = {
        "consumer_lock_timeout_sec": LONG_LEASE_SECONDS,
        "lock_wait_timeout_sec": lock_wait_seconds,
    }
    with MariaDB() as server, given.stage(store := given.store(server), **patience) as stage:
        database = store["db_name"]
        with stage.load(given.plan(seconds=given.seconds + 6)):
            with LockStorm(
                server, database, hold_seconds=2 * lock_wait_seconds, seed=given.seed
            ) as storm:
                time.sleep(given.seconds)
            for held in (locked_table, altered_table):
                with held(server, database):
                    time.sleep(1.5 * lock_wait_seconds)
        hits = {
            "deadlocks": server.metric("lock_deadlocks") - storm.errors[DEADLOCK],
            "row lock timeouts": server.metric("lock_timeouts") - storm.errors[LOCK_WAIT],
        }
        outcome = stage.outcome()
    for what, number in hits.items():
        outcome = outcome.needs(number, f"no {what} hit instances or clients")
    outcome = attrs.evolve(outcome, figures={**outcome.figures, **hits})
    return _with_seen(given, outcome, r"\(1205 ")


@scenario(
    fault="the server has no connection left",
    how="24 connections for three instances that want 10 each; for two leases somebody takes the "
    "rest, and what closing every other session leaves: as the same user, then as another",
)
def few_connections(given: Circumstances) -> Outcome:
    """They go on with what they have (1040, 1203), and get back what they want."""
    with MariaDB("--max-connections=24", "--max-user-connections=20") as server:
        store = given.store(server)
        for username in ("futurama", "other"):
            server.grant_all(username, store["db_name"])
        with given.stage({**store, "username": "futurama"}) as stage:
            with stage.load(given.plan(seconds=given.seconds + 2 * LEASE_SECONDS)) as load:
                time.sleep(2.0)
                for username, error in (
                    ("futurama", TOO_MANY_USER_CONNECTIONS),
                    ("other", TOO_MANY_CONNECTIONS),
                ):
                    with stage.disturbed():
                        _starve(stage, server, store["db_name"], username, error)
                    _wait_until_claimed(stage, load)
            outcome = stage.outcome()
    return _with_seen(given, outcome, r"\(1203 ", r"\(1040 ")


def _starve(stage: Stage, server: MariaDB, database: str, username: str, error: int) -> None:
    """Let somebody take what is left, and what is left when every other session was closed, and so on."""
    with (
        contextlib.closing(server.connect()) as administration,
        administration.cursor() as cursor,
        ConnectionHog(server, username) as hog,
    ):
        until = time.monotonic() + 2 * LEASE_SECONDS
        while time.monotonic() < until:
            is_starved = stage.wait_for(lambda: hog.errors[error] > 0)
            stage.needs(is_starved, f"there was always a connection left for {username}")
            cursor.execute(
                "SELECT id FROM information_schema.processlist WHERE db = %s", (database,)
            )
            sessions = list(cursor.fetchall())
            for session in stage.chance.sample(sessions, len(sessions) // 2):
                with contextlib.suppress(pymysql.err.OperationalError):  # it has just ended
                    cursor.execute("KILL %s", session)
            time.sleep(0.3)


@scenario(
    fault="the disk is full",
    how="a tablespace of 32 MB that cannot grow; another transaction fills it under load (1114), "
    "stays for two leases, and is rolled back",
)
def full_disk(given: Circumstances) -> Outcome:
    """Creations wait until there is room, or fail; what fits goes on."""
    options = ("--innodb-data-file-path=ibdata1:12M;ibdata2:20M", "--innodb-file-per-table=0")
    with MariaDB(*options) as server:
        store = given.store(server)
        with given.stage(store, operation_timeout_sec=LEASE_SECONDS) as stage:
            with stage.load(given.plan(seconds=given.seconds + 2 * LEASE_SECONDS)):
                time.sleep(2.0)
                with stage.disturbed(), DiskFiller(server, store["db_name"]) as filler:
                    until = time.monotonic() + 2 * LEASE_SECONDS
                    while time.monotonic() < until:
                        stage.needs(filler.fill() == DISK_FULL, "the disk was never full")
                        time.sleep(0.2)
            outcome = stage.outcome()
        refused = server.log.count("The table 'events' is full")
    outcome = outcome.needs(refused, "there was always room for events")
    return attrs.evolve(outcome, figures={**outcome.figures, "refused statements": refused})


@scenario(
    fault="another server becomes the writer",
    how="the first of two servers is set read-only under load, the second has caught up and takes writes",
)
def switchover(given: Circumstances) -> Outcome:
    """Instances and clients leave the first server (1290), which still answers, for the second."""
    with _replicated(given) as (first, second, store), given.stage(store) as stage:
        with stage.load(given.plan(seconds=given.seconds + LEASE_SECONDS)) as load:
            time.sleep(2.0)
            with stage.disturbed():
                first.execute("SET GLOBAL read_only = 1")
                _wait_until_received(stage, first, second)
                second.promote()
            _wait_until_claimed(stage, load)
        outcome = stage.outcome()
        violations = _not_left(first, second, store["db_name"])
        outcome = attrs.evolve(outcome, bugs=[*outcome.bugs, *violations])
    return _with_seen(given, outcome, r"\(1290 ")


@scenario(
    fault="the writer is gone, its replica takes over",
    how="SIGKILL of the first of two servers under load; half a second later the second takes writes",
)
def failover(given: Circumstances) -> Outcome:
    """What was acknowledged is there, because replication was semi-synchronous (AFTER_SYNC).

    A server that replicates asynchronously acknowledges what its replica may not have got yet: that
    would be lost, and what had ended in these moments would be called again.
    """
    with _replicated(given) as (first, second, store), given.stage(store) as stage:
        with stage.load(given.plan(seconds=given.seconds + LEASE_SECONDS)) as load:
            time.sleep(2.0)
            unsafe = first.status("Rpl_semi_sync_master_no_tx")
            stage.needs(unsafe == 0, "the server did not always wait for its replica")
            with stage.disturbed():
                first.kill()
                time.sleep(0.5)
                second.promote()
            _wait_until_claimed(stage, load)
        outcome = stage.outcome()
    return _with_seen(given, outcome, "claiming events fails")


@contextlib.contextmanager
def _replicated(given: Circumstances) -> Iterator[tuple[MariaDB, MariaDB, dict[str, Any]]]:
    """A server, its read-only replica, and the store of a user who may not write there."""
    options = ("--log-bin=log", "--log-slave-updates", "--gtid-strict-mode", "--sync-binlog=1")
    with (
        MariaDB(*options, "--server-id=1") as first,
        MariaDB(*options, "--server-id=2", "--read-only") as second,
    ):
        second.follow(first)
        database = first.create_database("faults")
        first.grant_all("futurama", database)
        yield (
            first,
            second,
            {
                "backend": "mysql",
                "hosts": ", ".join(f"{each.host}:{each.port}" for each in (first, second)),
                "username": "futurama",
                "db_name": database,
            },
        )


def _wait_until_received(stage: Stage, first: MariaDB, second: MariaDB) -> None:
    ((written,),) = first.execute("SELECT @@GLOBAL.gtid_binlog_pos")
    has_all = stage.wait_for(lambda: second.received() == written)
    stage.needs(has_all, "the replica was still behind when it took over")


def _not_left(first: MariaDB, second: MariaDB, database: str) -> list[str]:
    """What is wrong: nobody may still use the server that takes no writes."""
    violations = ["somebody still uses the first server"] if first.sessions(database) else []
    return (
        violations if second.sessions(database) else [*violations, "nobody uses the second server"]
    )


def _interrupted(
    given: Circumstances,
    interrupt: Callable[[Server], None],
    *,
    times: int,
    every_seconds: float,
) -> Outcome:
    """Do this to the server so often under load, each time so long after events are handed out again."""
    with given.server() as server, given.stage(given.store(server)) as stage:
        with stage.load(given.plan(seconds=2 * given.seconds)) as load:
            for _ in range(times):
                time.sleep(every_seconds)
                with stage.disturbed():
                    interrupt(server)
                _wait_until_claimed(stage, load)
        outcome = stage.outcome()
    return _with_seen(given, outcome, "claiming events fails")


def _wait_until_claimed(stage: Stage, load: Load) -> None:
    """Wait until the backend hands out events again: what was claimed before is called without it."""
    before = _claimed(stage)
    if not stage.wait_for(lambda: _claimed(stage) > before or not load.is_running):
        stage.noticed.append("nothing was claimed any more after the fault")


def _claimed(stage: Stage) -> int:
    return sum(instance.stats()["claimed"] for instance in stage.instances)


def _with_seen(given: Circumstances, outcome: Outcome, *patterns: str) -> Outcome:
    """The outcome with how often instances logged each of these: else the fault did not reach them."""
    lines = [
        line
        for log in given.folder.glob("*.log")
        for line in log.read_text(errors="replace").splitlines()
    ]
    seen = {pattern: sum(bool(re.search(pattern, line)) for line in lines) for pattern in patterns}
    for pattern, number in seen.items():
        outcome = outcome.needs(number, f"no instance logged {pattern!r}")
    return attrs.evolve(outcome, figures={**outcome.figures, **seen})

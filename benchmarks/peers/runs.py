"""A peer's backlog and its lateness, measured and verified as ours are."""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from typing import IO, Any, TypeAlias
from urllib.parse import quote

import attrs

from benchmarks.drivers import DRIVERS
from benchmarks.figures import Figure, VerificationError, quantile
from benchmarks.measuring import plural
from benchmarks.peers.environment import ROOT, python
from benchmarks.peers.worker import SLOT_BYTES, Spec, dues
from benchmarks.stores import Store

__all__ = ["APSCHEDULER", "PGQUEUER", "Peer", "backlog", "lateness"]

_LIMIT_SECONDS = 60.0
"""A peer that is not done so long after the first event was due is stopped."""

_PATIENCE_SECONDS = 240.0
"""A process that is still there is ended."""

_STARTING_SECONDS = 10.0
"""Enough for all processes to start and to connect."""

_Process: TypeAlias = subprocess.Popen[str]


@attrs.frozen
class Peer:
    """Another library.

    Attributes:
        name: for people.
        module: in this folder, runs it.
        scheme: of the URL that leads to the database.
        table: in which its jobs wait.
        stored_per_second: how fast it stores jobs at least, while nothing else happens.
        most_events: so many are stored in bearable time.
    """

    name: str
    module: str
    scheme: str
    table: str
    stored_per_second: int
    most_events: int


APSCHEDULER = Peer(
    name="APScheduler",
    module="with_apscheduler",
    scheme="mysql+pymysql",
    table="apscheduler_jobs",
    stored_per_second=250,
    most_events=10_000,
)
"""For a store on MySQL."""

PGQUEUER = Peer(
    name="PgQueuer",
    module="with_pgqueuer",
    scheme="postgresql",
    table="pgqueuer",
    stored_per_second=5_000,
    most_events=100_000,
)
"""For a store on PostgreSQL."""


@attrs.frozen
class _Work:
    """What a peer did until all events were called, or until its time was up.

    Attributes:
        start: when it was told to begin, in seconds since 1970.
        end: when its last worker had reported all and stopped, or the time was up.
        late: of each call, how many seconds after its time it started.
        missing: the numbers of the events that were not called.
    """

    start: float
    end: float
    late: Sequence[float]
    missing: Collection[int]


def backlog(store: Store, peer: Peer, *, events: int, processes: int = 1) -> list[Figure]:
    """Run events that are all due; where that takes more than a minute, those run within it count."""
    spec = _spec(store, peer, events=events, begin=time.time(), interval=0.0)
    _fill(store, peer, spec)
    store.rest()
    work = _work(store, peer, spec, processes=processes)
    name = f"{peer.name}: run, {plural(processes, 'process', 'processes')}"
    return [Figure(name, len(work.late) / (work.end - work.start), "events/s")]


def lateness(
    store: Store, peer: Peer, *, rate: int, seconds: float, processes: int = 1
) -> list[Figure]:
    """How late calls start when ``rate`` events a second are due, all created beforehand.

    There are no more than ``peer.most_events``. What was not called within a minute is as late as if
    it had been called then.
    """
    events = min(int(rate * seconds), peer.most_events)
    store.rest()
    begin = time.time() + _STARTING_SECONDS + events / peer.stored_per_second
    spec = _spec(store, peer, events=events, begin=begin, interval=1 / rate)
    _fill(store, peer, spec)
    work = _work(store, peer, spec, processes=processes)
    if work.start > begin:
        raise VerificationError(f"the events were stored {work.start - begin:.1f} s too late")
    if min(work.late) < 0:
        raise VerificationError(f"called {-min(work.late)} s early")
    late = [*work.late, *(work.end - dues(spec)[number] for number in work.missing)]
    late_us = [int(1e6 * value) for value in late]
    what = f"{peer.name}: lateness at {rate:,}/s"
    if processes > 1:
        what += f", {processes} processes"
    return [
        Figure(f"{what}, p50", quantile(late_us, 0.5) / 1000, "ms"),
        Figure(f"{what}, p99", quantile(late_us, 0.99) / 1000, "ms"),
        Figure(f"{what}, max", quantile(late_us, 1.0) / 1000, "ms"),
        Figure(f"{what}, called", 100 * len(work.late) / events, "%"),
    ]


def _spec(store: Store, peer: Peer, **keys: Any) -> dict[str, Any]:
    config = store.config
    user = f"{quote(config['username'])}:{quote(config['password'])}"
    place = f"{config['host']}:{config['port']}/{config['db_name']}"
    return {"url": f"{peer.scheme}://{user}@{place}", "limit": _LIMIT_SECONDS, **keys}


def _fill(store: Store, peer: Peer, spec: Spec) -> None:
    with _quick_commits(store), _process(peer, "fill", spec) as process:
        process.communicate()
        if process.returncode:
            raise VerificationError(f"{peer.name}: could not store the events, see stderr")


def _work(store: Store, peer: Peer, spec: Spec, *, processes: int) -> _Work:
    with contextlib.ExitStack() as stack:
        counts = stack.enter_context(tempfile.NamedTemporaryFile())
        counts.write(bytes(SLOT_BYTES * processes))
        counts.flush()
        workers = [
            stack.enter_context(
                _process(peer, "work", {**spec, "counts": counts.name, "index": index})
            )
            for index in range(processes)
        ]
        for worker in workers:
            _hear(peer, worker, "ready")
        start = time.time()
        for worker in workers:
            _say(worker, "go")
        for worker in workers:
            _hear(peer, worker, "done")
        end = time.time()
        calls = [call for worker in workers for call in json.load(_pipe(worker.stdout))]
    numbers = {number for number, _, _ in calls}
    if len(numbers) < len(calls):
        raise VerificationError(f"{len(numbers)} of {spec['events']} events, {len(calls)} calls")
    if len(calls) == spec["events"]:
        _verify_empty(store, peer)
    else:
        end = max(start, spec["begin"]) + _LIMIT_SECONDS
    late = {number: late for number, at, late in calls if at <= end}
    missing = set(range(spec["events"])) - set(late)
    return _Work(start, end, list(late.values()), missing)


@contextlib.contextmanager
def _quick_commits(store: Store) -> Iterator[None]:
    """A server that does not flush the log for each commit: storing the jobs is not what is measured."""
    if store.server is None or store.name != "mysql":
        yield
        return
    variable = "innodb_flush_log_at_trx_commit"
    ((usual,),) = store.server.execute(f"SELECT @@{variable}")
    store.server.execute(f"SET GLOBAL {variable} = 0")
    try:
        yield
    finally:
        store.server.execute(f"SET GLOBAL {variable} = {usual}")


def _verify_empty(store: Store, peer: Peer) -> None:
    with contextlib.closing(DRIVERS[store.name](store.config).connect()) as connection:
        cursor = connection.cursor()
        cursor.execute(f"SELECT COUNT(*) FROM {peer.table}")
        ((left,),) = cursor.fetchall()
    if left:
        raise VerificationError(f"{peer.name}: all events were called, but {left} jobs are left")


@contextlib.contextmanager
def _process(peer: Peer, role: str, spec: Spec) -> Iterator[_Process]:
    """A process in the peers' environment, which has ended when the context has."""
    process = subprocess.Popen(
        [python(), "-m", f"benchmarks.peers.{peer.module}", role, json.dumps(spec)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    timer = threading.Timer(_PATIENCE_SECONDS, process.kill)
    timer.start()
    try:
        with process:
            try:
                yield process
            finally:
                process.kill()
                timer.cancel()
    except (BrokenPipeError, json.JSONDecodeError) as exc:
        raise VerificationError(f"{peer.name}: a process failed, see stderr") from exc


def _hear(peer: Peer, worker: _Process, word: str) -> None:
    if _pipe(worker.stdout).readline() != f"{word}\n":
        raise VerificationError(f"{peer.name}: a process ended before it was {word}, see stderr")


def _say(worker: _Process, word: str) -> None:
    stdin = _pipe(worker.stdin)
    stdin.write(f"{word}\n")
    stdin.flush()


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe

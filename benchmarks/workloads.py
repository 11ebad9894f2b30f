"""What is measured. Every function takes a store, verifies what happened, and returns figures."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import resource
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from typing import Any

import attrs

from benchmarks.stores import Store
from futurama import Event, Queue
from futurama.backend import State

DATA = {"url": "http://127.0.0.1:8000/hook", "json": {"player": 4711, "building": 7}}
"""About what a small real event carries."""

DEADLINE_SECONDS = 120.0


class VerificationError(AssertionError):
    """A benchmark did not do what it claims to measure."""


@attrs.frozen
class Figure:
    """One measured number.

    Attributes:
        name: what was measured.
        value: the number.
        unit: of the number.
        goal: what it should reach; empty if there is no goal.
    """

    name: str
    value: float
    unit: str
    goal: str = ""


def create(store: Store, *, threads: int, events: int = 4_000) -> list[Figure]:
    """``create`` called once per event by so many threads."""
    with Queue(config=store.configured()) as queue:

        def produce() -> None:
            for _ in range(events // threads):
                queue.create("bench", timedelta(hours=1), DATA)

        seconds = _timed(lambda: _in_threads(threads, produce))
        _verify_count(queue, State.WAITING, events // threads * threads)
    goal = ">= 8,000" if (store.name, threads) == ("mysql", 16) else ""
    return [Figure(f"create, {threads} threads", events / seconds, "events/s", goal)]


def create_many(store: Store, *, events: int = 20_000) -> list[Figure]:
    """``create_many``, and on MySQL the same rows inserted by plain PyMySQL in the same run."""
    with Queue(config=store.configured()) as queue:
        drafts = [("bench", timedelta(hours=1), DATA)] * events
        rate = events / _timed(lambda: queue.create_many(drafts))
        _verify_count(queue, State.WAITING, events)
    figures = [Figure("create_many", rate, "events/s")]
    if store.server is not None:
        bare = events / _bare_insert_seconds(store, events)
        figures.append(Figure("create_many / bare PyMySQL insert", rate / bare, "", ">= 0.9"))
    return figures


def run_backlog(store: Store, *, processes: int, events: int = 30_000) -> list[Figure]:
    """Claim, call and report events that are all due: claim + call + settle."""
    with Queue(config=store.configured()) as queue:
        queue.create_many([("bench", timedelta(), DATA)] * events)
        if processes == 1:
            seconds = _run_here(store, queue if store.name == "memory" else None, events)
        else:
            seconds = _run_in_processes(store, processes, events)
        if store.name != "memory":
            _verify_count(queue, State.WAITING, 0)
            _verify_count(queue, State.CLAIMED, 0)
    goal = {("mysql", 1): ">= 18,000", ("mysql", 2): ">= 30,000", ("memory", 1): ">= 60,000"}
    return [
        Figure(
            f"run a backlog, {processes} process{'es' if processes > 1 else ''}",
            events / seconds,
            "events/s",
            goal.get((store.name, processes), ""),
        )
    ]


def lateness(store: Store, *, rate: int, seconds: float = 8.0) -> list[Figure]:
    """How late calls start when ``rate`` events a second are due, all created beforehand."""
    events = int(rate * seconds)
    late_us: list[int] = []
    called: Counter[str] = Counter()
    finished = threading.Event()
    queue: Queue

    def trigger(event: Event) -> None:
        late_us.append((queue.now() - event.trigger_time) // timedelta(microseconds=1))
        called[event.id] += 1
        if len(late_us) == events:
            finished.set()

    queue = Queue({"bench": trigger}, config=store.configured())
    begin = queue.now() + timedelta(seconds=2 + events / 8_000)
    ids = queue.create_many(
        ("bench", begin + timedelta(seconds=n / rate), DATA) for n in range(events)
    )
    with queue:
        finished.wait(DEADLINE_SECONDS)
        queue.stop()
    if called != Counter(ids):
        raise VerificationError(f"{len(called)} of {events} events called, {len(late_us)} calls")
    if min(late_us) < 0:
        raise VerificationError(f"called {-min(late_us)} us early")
    p50, p99, worst = (_quantile(late_us, q) / 1000 for q in (0.5, 0.99, 1.0))
    goals = {1_000: ("<= 0.2", "<= 1"), 5_000: ("<= 0.3", "<= 4"), 10_000: ("", "<= 10")}
    p50_goal, p99_goal = goals.get(rate, ("", "")) if store.name == "mysql" else ("", "")
    return [
        Figure(f"lateness at {rate}/s, p50", p50, "ms", p50_goal),
        Figure(f"lateness at {rate}/s, p99", p99, "ms", p99_goal),
        Figure(f"lateness at {rate}/s, max", worst, "ms"),
    ]


def idle(store: Store, *, seconds: float = 5.0) -> list[Figure]:
    """What an instance costs that has nothing to do."""
    with Queue({"bench": print}, config=store.configured()) as queue:
        queue.create("bench", timedelta(hours=1))
        time.sleep(1)  # the start is over
        cpu, questions = _cpu_seconds(), _questions(store)
        time.sleep(seconds)
        cpu, asked = _cpu_seconds() - cpu, _questions(store) - questions
    figures = [Figure("idle instance, one core", 100 * cpu / seconds, "%", "<= 1")]
    if store.server is not None:
        # One of them is ours: it asks for the number.
        figures.append(Figure("idle instance, queries", (asked - 1) / seconds, "per s", "<= 15"))
    return figures


def _run_here(store: Store, shared: Queue | None, events: int) -> float:
    called: Counter[str] = Counter()
    finished = threading.Event()

    def trigger(event: Event) -> None:
        called[event.id] += 1
        if len(called) == events:
            finished.set()

    backend = None if shared is None else shared.backend
    queue = Queue({"bench": trigger}, store.configured(), backend=backend)
    start = time.perf_counter()
    queue.start()
    finished.wait(DEADLINE_SECONDS)
    queue.stop()
    seconds = time.perf_counter() - start
    if len(called) != events or called.total() != events:
        raise VerificationError(f"{len(called)} of {events} events, {called.total()} calls")
    return seconds


def _run_in_processes(store: Store, processes: int, events: int) -> float:
    """The children say when they are ready and begin together; reports travel through pipes."""
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe() for _ in range(processes)]
    children = [
        context.Process(target=_child, args=(dict(store.config), theirs), daemon=True)
        for _, theirs in pipes
    ]
    for child in children:
        child.start()
    ours = [pipe for pipe, _ in pipes]
    for pipe in ours:
        pipe.recv()
    start = time.perf_counter()
    for pipe in ours:
        pipe.send("go")
    _wait_until_empty(store, events)
    seconds = time.perf_counter() - start
    for pipe in ours:
        pipe.send("stop")
    called = sum((Counter(pipe.recv()) for pipe in ours), Counter())
    for child in children:
        child.join(10)
    if len(called) != events or called.total() != events:
        raise VerificationError(f"{len(called)} of {events} events, {called.total()} calls")
    return seconds


def _child(config: Mapping[str, Any], pipe: Connection) -> None:
    called: Counter[str] = Counter()

    def trigger(event: Event) -> None:
        called[event.id] += 1

    queue = Queue({"bench": trigger}, Store("", config).configured())
    _ = queue.backend
    pipe.send("ready")
    pipe.recv()
    queue.start()
    pipe.recv()
    queue.stop()
    pipe.send(dict(called))


def _wait_until_empty(store: Store, events: int) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    with Queue(config=store.configured()) as queue:
        while sum(queue.backend.count().values()):
            if time.monotonic() > deadline:
                raise VerificationError(f"not all of {events} events in {DEADLINE_SECONDS:g} s")
            time.sleep(0.02)


def _bare_insert_seconds(store: Store, events: int) -> float:
    """The table's own columns, the same values, one commit per 1,000 rows, nothing else."""
    config = store.config
    assert store.server is not None
    connection = store.server.connect(database=config["db_name"])
    payload = json.dumps(DATA).encode()
    now = datetime.now(UTC).replace(tzinfo=None) + timedelta(hours=1)
    with connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE bare LIKE events")
        names = [row[0] for row in _columns(cursor)]
        values = {
            "trigger_type": b"bench", "trigger_time": now, "due": now, "attempt": 0, "lost": 0,
            "token": None, "owner": None, "created": time.time_ns() // 1000, "data": payload,
            "died": None, "reason": None,
        }  # fmt: skip
        sql = f"INSERT INTO bare ({', '.join(names)}) VALUES ({', '.join(['%s'] * len(names))})"

        def insert() -> None:
            for start in range(0, events, 1000):
                rows = [
                    [values.get(name, b"%d" % (start + n)) for name in names] for n in range(1000)
                ]
                cursor.executemany(sql, rows)
                connection.commit()

        return _timed(insert)


def _columns(cursor: Any) -> list[tuple[str, ...]]:
    cursor.execute("SHOW COLUMNS FROM bare")
    return list(cursor.fetchall())


def _verify_count(queue: Queue, state: State, expected: int) -> None:
    found = queue.backend.count()[state]
    if found != expected:
        raise VerificationError(f"{found} events are {state.value}, expected {expected}")


def _in_threads(count: int, work: Callable[[], None]) -> None:
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _quantile(values: list[int], q: float) -> int:
    return sorted(values)[max(0, math.ceil(q * len(values)) - 1)]


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _questions(store: Store) -> int:
    if store.server is None:
        return 0
    return int(store.server.execute("SHOW GLOBAL STATUS LIKE 'Questions'")[0][1])


def median_of(runs: list[list[Figure]]) -> list[tuple[Figure, float, float]]:
    """(the median as a figure, least, greatest) of the same figures measured several times."""
    result = []
    for same in zip(*runs, strict=True):
        values = [figure.value for figure in same]
        median = attrs.evolve(same[0], value=statistics.median(values))
        result.append((median, min(values), max(values)))
    return result


def machine() -> str:
    """What the figures were measured on."""
    return f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before"

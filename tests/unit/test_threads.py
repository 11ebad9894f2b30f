"""The whole queue with real threads and the real clock; each test takes a fraction of a second."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from futurama import CancelOutcome, Event, Queue, runtime, scheduler
from futurama.backend import Query, State
from futurama.backends.memory import MemoryBackend
from tests.unit.support import (
    MILLISECOND,
    PATIENCE_SECONDS,
    Background,
    FaultyBackend,
    meanwhile,
    memory_config,
    wait_until,
)


class Calls:
    """A trigger that counts its calls, and on which tests wait."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.ids: Counter[str] = Counter()
        self.early: list[float] = []

    def __call__(self, event: Event) -> None:
        late = (datetime.now(UTC) - event.trigger_time).total_seconds()
        with self.changed:
            self.ids[event.id] += 1
            if late < 0:
                self.early.append(late)
            self.changed.notify_all()

    def wait_for(self, count: int) -> None:
        """Wait until so many events were called."""
        wait_until(self.changed, lambda: len(self.ids) >= count)


@pytest.fixture
def backend() -> FaultyBackend:
    """Shared by all instances of a test."""
    return FaultyBackend(MemoryBackend())


@pytest.fixture(autouse=True)
def _no_threads_are_left() -> Iterator[None]:
    """Every thread that a queue has started ends when it is stopped."""
    yield
    deadline = time.monotonic() + PATIENCE_SECONDS
    for thread in threading.enumerate():
        if thread.name.startswith("futurama-"):
            thread.join(deadline - time.monotonic())
            assert not thread.is_alive(), thread.name


def test_every_event_once_with_two_instances(backend: FaultyBackend) -> None:
    """P2, P3, P5: two instances and many creating threads: each event is called once, none early."""
    calls = Calls()
    a = Queue({"t": calls}, memory_config(consumer_select_limit=7), backend=backend)
    b = Queue({"t": calls}, memory_config(consumer_select_limit=5), backend=backend)

    def create(queue: Queue) -> list[str]:
        return [queue.create("t", n % 50 * MILLISECOND) for n in range(100)]

    with a, b:
        threads = [Background(partial(create, queue)) for queue in (a, b) * 4]
        ids = [event_id for thread in threads for event_id in thread.result()]
        calls.wait_for(800)
    assert calls.ids == Counter(ids)
    assert calls.early == []
    assert sum(backend.count().values()) == 0


def test_an_instance_that_is_stuck_leaves_work_to_others(backend: FaultyBackend) -> None:
    """P8: of a thousand overdue events it takes no more than its first claims, whose calls do not end."""
    gate, calls = threading.Event(), Calls()
    with Queue(config=memory_config(), backend=backend) as producer:
        producer.create_many([("t", producer.now() - timedelta(seconds=1))] * 1_000)

    def hang(_: Event) -> None:
        assert gate.wait(PATIENCE_SECONDS)

    with Queue({"t": hang}, memory_config(), backend=backend):
        with Queue({"t": calls}, memory_config(), backend=backend):
            calls.wait_for(500)
        gate.set()


def test_who_wants_what_is_locked_holds_up_nobody(backend: FaultyBackend) -> None:
    """P8: while one caller waits until somebody lets go of an event, others are served."""
    with Queue(config=memory_config(), backend=backend) as queue:
        for event_id in ("locked", "free"):
            queue.create("t", timedelta(hours=1), id=event_id)
        backend.locked_ids = {"locked"}
        is_repeated = threading.Event()
        backend.plan("cancel", lambda proceed: proceed(), meanwhile(is_repeated.set))
        waiting = Background(lambda: queue.cancel("locked"))
        assert is_repeated.wait(PATIENCE_SECONDS)
        assert queue.cancel("free") is CancelOutcome.CANCELLED
        assert waiting.is_alive()
        backend.heal()
        assert waiting.result() is CancelOutcome.CANCELLED


def test_cancelling_close_to_the_time(backend: FaultyBackend) -> None:
    """P6: events cancelled from two threads within milliseconds of their time: no call starts after
    CANCELLED, and each event is either called or cancelled."""
    started: dict[str, int] = {}
    cancelled: dict[str, int] = {}

    def trigger(event: Event) -> None:
        started[event.id] = time.monotonic_ns()

    queue = Queue({"t": trigger}, memory_config(), backend=backend)
    with queue:
        first = queue.now() + 100 * MILLISECOND
        instants = [first + n * MILLISECOND / 4 for n in range(400)]
        ids = queue.create_many([("t", instant, None) for instant in instants])
        times = dict(zip(ids, instants, strict=True))

        def cancel(ids: list[str]) -> None:
            for event_id in ids:
                wait = (times[event_id] - queue.now()).total_seconds() - 0.0005
                threading.Event().wait(max(0.0, wait))
                if queue.cancel(event_id) is CancelOutcome.CANCELLED:
                    cancelled[event_id] = time.monotonic_ns()

        threads = [Background(partial(cancel, list(times)[part::2])) for part in range(2)]
        for thread in threads:
            thread.result()
    assert not cancelled.keys() & started.keys()
    assert cancelled.keys() | started.keys() == times.keys()


def test_coroutines_and_functions_are_bounded(backend: FaultyBackend) -> None:
    """P8: no more threads and coroutines call triggers at once than the configuration says."""
    running: Counter[str] = Counter()
    most: Counter[str] = Counter()
    done = threading.Condition()
    ended = 0
    full = threading.Barrier(3)

    def enter(kind: str) -> None:
        with done:
            running[kind] += 1
            most[kind] = max(most[kind], running[kind])

    def leave(kind: str) -> None:
        nonlocal ended
        with done:
            running[kind] -= 1
            ended += 1
            done.notify_all()

    def function(_: Event) -> None:
        enter("function")
        full.wait(PATIENCE_SECONDS)
        leave("function")

    async def coroutine(_: Event) -> None:
        enter("coroutine")
        await asyncio.sleep(0.001)
        leave("coroutine")

    config = memory_config(max_worker_threads=3, max_coroutines=5)
    with Queue({"f": function, "c": coroutine}, config, backend=backend) as queue:
        queue.create_many([("f", timedelta(0))] * 12 + [("c", timedelta(0))] * 60)
        wait_until(done, lambda: ended == 72)
    assert most == {"function": 3, "coroutine": 5}


class Hanging:
    """A trigger that hangs until the test lets it go, as function or coroutine."""

    def __init__(self) -> None:
        self.started = threading.Event()
        self.gate = threading.Event()

    def function(self, _: Event) -> None:
        self.started.set()
        self.gate.wait(PATIENCE_SECONDS)

    async def coroutine(self, _: Event) -> None:
        self.started.set()
        await asyncio.Event().wait()

    async def stubborn(self, _: Event) -> None:
        """Goes on, however often it is cancelled."""
        self.started.set()
        while not self.gate.is_set():
            with suppress(asyncio.CancelledError):
                await asyncio.to_thread(self.gate.wait, PATIENCE_SECONDS)

    async def blocking(self, _: Event) -> None:
        """Keeps the whole event loop."""
        self.function(_)


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    """Let go at the end."""
    made = Hanging()
    yield made
    made.gate.set()


@pytest.mark.parametrize("kind", ["function", "coroutine"])
def test_stop_does_not_wait_for_a_hanging_trigger(
    backend: FaultyBackend, hanging: Hanging, kind: str
) -> None:
    """P9: stop returns False in time; what hangs is called again, by anyone, after its lease."""
    queue = Queue({"t": getattr(hanging, kind)}, memory_config(), backend=backend)
    queue.start()
    event_id = queue.create("t", timedelta(0))
    assert hanging.started.wait(PATIENCE_SECONDS)
    before = time.monotonic()
    assert Background(lambda: queue.stop(timeout=0.05)).result() is False
    assert time.monotonic() - before < 3
    hanging.gate.set()
    assert event_id


@pytest.mark.parametrize("kind", ["stubborn", "blocking"])
def test_stop_does_not_wait_for_what_cannot_be_cancelled(
    backend: FaultyBackend, hanging: Hanging, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """P9: a coroutine that ignores its cancellation is granted nothing beyond the timeout."""
    monkeypatch.setattr(runtime, "_CLOSING_SECONDS", 100 * PATIENCE_SECONDS)
    queue = Queue({"t": getattr(hanging, kind)}, memory_config(), backend=backend)
    queue.start()
    queue.create("t", timedelta(0))
    assert hanging.started.wait(PATIENCE_SECONDS)
    assert Background(lambda: queue.stop(timeout=0.05)).result() is False


def test_a_hanging_function_takes_no_grace_from_coroutines(
    backend: FaultyBackend, hanging: Hanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P8: coroutines that are cancelled can clean up, whatever functions do meanwhile."""
    monkeypatch.setattr(scheduler, "_GRACE_SHARE", 0.99)
    waiting, tidied = threading.Event(), threading.Event()

    async def tidy(_: Event) -> None:
        waiting.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)
            tidied.set()

    queue = Queue(
        {"function": hanging.function, "coroutine": tidy}, memory_config(), backend=backend
    )
    queue.start()
    queue.create_many([("function", timedelta(0)), ("coroutine", timedelta(0))])
    assert hanging.started.wait(PATIENCE_SECONDS)
    assert waiting.wait(PATIENCE_SECONDS)
    assert Background(lambda: queue.stop(timeout=1)).result() is False
    assert tidied.is_set()


def test_stop_waits_for_running_calls(backend: FaultyBackend, hanging: Hanging) -> None:
    """P5: a call that ends in time is reported: the event is gone and not called again."""
    queue = Queue({"t": hanging.function}, memory_config(), backend=backend)
    queue.start()
    queue.create("t", timedelta(0))
    assert hanging.started.wait(PATIENCE_SECONDS)
    stopping = Background(lambda: queue.stop(timeout=PATIENCE_SECONDS))
    assert not _ends_within(stopping, 0.05)
    hanging.gate.set()
    assert stopping.result() is True
    assert sum(backend.count().values()) == 0


def test_stop_waits_for_what_is_being_given_back(backend: FaultyBackend) -> None:
    """P1, P5: a claim that another thread gives back just now costs the event neither an attempt nor a lease."""
    is_writing, gate = threading.Event(), threading.Event()

    def hesitate(proceed: Any) -> Any:
        is_writing.set()
        assert gate.wait(PATIENCE_SECONDS)
        return proceed()

    config = memory_config(consumer_time_window_sec=10)
    queue = Queue({"t": lambda _: None}, config, backend=backend)
    queue.start()
    event_id = queue.create("t", timedelta(seconds=8))
    scheduler = queue._scheduler
    assert scheduler is not None
    while not scheduler.snapshot()["held"]:
        time.sleep(0.001)
    backend.plan("settle", hesitate)
    moving = Background(lambda: queue.reschedule(event_id, timedelta(hours=1)))
    assert is_writing.wait(PATIENCE_SECONDS)
    stopping = Background(lambda: queue.stop(timeout=PATIENCE_SECONDS))
    assert not _ends_within(stopping, 0.05)
    gate.set()
    assert stopping.result() is True
    moving.join(PATIENCE_SECONDS)
    [stored] = backend.find(Query()).events
    assert (stored.state, stored.attempt) == (State.WAITING, 0)


def _ends_within(thread: threading.Thread, seconds: float) -> bool:
    thread.join(seconds)
    return not thread.is_alive()


def test_stop_releases_what_waits_for_a_thread(backend: FaultyBackend, hanging: Hanging) -> None:
    """P1: events that are due but found no free thread are given back, not forgotten."""
    queue = Queue({"t": hanging.function}, memory_config(max_worker_threads=1), backend=backend)
    queue.start()
    ids = queue.create_many([("t", timedelta(0))] * 5)
    assert hanging.started.wait(PATIENCE_SECONDS)
    assert Background(lambda: queue.stop(timeout=0.2)).result() is False
    counts = backend.count()
    assert counts[State.WAITING] + counts[State.CLAIMED] == len(ids)
    assert counts[State.WAITING] >= 4
    hanging.gate.set()


def test_a_hanging_backend_does_not_block_stop(backend: FaultyBackend) -> None:
    """P8: a backend that does not answer at all keeps stop no longer than allowed."""
    gate, asked = threading.Event(), threading.Event()

    def hang(proceed: Any) -> Any:
        asked.set()
        gate.wait(PATIENCE_SECONDS)
        return proceed()

    queue = Queue({"t": lambda _: None}, memory_config(), backend=backend)
    queue.start()
    backend.plan("claim", *[hang] * 100)
    assert asked.wait(PATIENCE_SECONDS)
    before = time.monotonic()
    Background(lambda: queue.stop(timeout=0.05)).result()
    assert time.monotonic() - before < 3
    gate.set()


def test_a_trigger_may_stop_its_queue(backend: FaultyBackend) -> None:
    """P9: an event that shuts its own instance down does not deadlock."""
    stopped = threading.Event()

    def trigger(_: Event) -> None:
        queue.stop(timeout=0.05)
        stopped.set()

    queue = Queue({"t": trigger}, memory_config(), backend=backend)
    queue.start()
    queue.create("t", timedelta(0))
    assert stopped.wait(PATIENCE_SECONDS)


def test_a_hanging_call_keeps_its_lease(backend: FaultyBackend, hanging: Hanging) -> None:
    """P3: a call that lasts longer than its lease is renewed: no other instance calls the event."""
    config = memory_config(consumer_lock_timeout_sec=0.5, consumer_time_window_sec=0.1)
    others = Calls()
    holder = Queue({"t": hanging.function}, config, backend=backend)
    other = Queue({"t": others}, config, backend=backend)
    holder.start()
    holder.create("t", timedelta(0))
    assert hanging.started.wait(PATIENCE_SECONDS)
    with other:
        deadline = time.monotonic() + 1.2
        while time.monotonic() < deadline:
            threading.Event().wait(0.05)
        assert not others.ids
        hanging.gate.set()
        assert holder.stop() is True
    assert backend.counts["renew"] >= 3
    assert not others.ids

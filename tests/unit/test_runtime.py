"""Real threads and the event loop: bounded, woken in time, and stopped in time."""

from __future__ import annotations

import asyncio
import logging
import math
import queue
import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from futurama.runtime import Coroutines, ThreadRuntime, Workers
from tests.unit.support import PATIENCE_SECONDS, Background, wait_until


@pytest.fixture
def runtime() -> ThreadRuntime:
    """Real time."""
    return ThreadRuntime()


def test_the_timer_does_not_depend_on_the_wall_clock(
    runtime: ThreadRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P2: a local clock that jumps does not move the timer."""
    before = runtime.monotonic_us()
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert 0 <= runtime.monotonic_us() - before < 5_000_000
    assert runtime.wall_us() == 0


# -- loops -----------------------------------------------------------------------------------------


class Steps:
    """A step that counts itself and can be held up.

    Attributes:
        count: how many have begun.
        delay: what they return.
    """

    def __init__(self, delay: float = math.inf) -> None:
        self.delay = delay
        self.count = 0
        self.changed = threading.Condition()
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self) -> float:
        with self.changed:
            self.count += 1
            self.changed.notify_all()
        assert self.gate.wait(PATIENCE_SECONDS)
        return self.delay

    def wait_for(self, count: int) -> None:
        """Wait until so many have begun."""
        wait_until(self.changed, lambda: self.count >= count)


def test_a_loop_runs_at_once_and_when_woken(runtime: ThreadRuntime) -> None:
    """A step runs when the loop is started and whenever it is woken, and not otherwise."""
    steps = Steps()
    loop = runtime.make_loop("test", steps)
    loop.start()
    steps.wait_for(1)
    loop.wake()
    steps.wait_for(2)
    loop.stop(PATIENCE_SECONDS)
    assert steps.count == 2


def test_waking_a_running_step_runs_it_once_more(runtime: ThreadRuntime) -> None:
    """News that arrives while a step runs is not missed: the step runs again, once."""
    steps = Steps()
    steps.gate.clear()
    loop = runtime.make_loop("test", steps)
    loop.start()
    steps.wait_for(1)
    for _ in range(5):
        loop.wake()
    steps.gate.set()
    steps.wait_for(2)
    loop.stop(PATIENCE_SECONDS)
    assert steps.count == 2


def test_a_loop_runs_again_after_the_delay(runtime: ThreadRuntime) -> None:
    """A step says when it wants to run again."""
    steps = Steps(delay=0.001)
    loop = runtime.make_loop("test", steps)
    loop.start()
    steps.wait_for(5)
    loop.stop(PATIENCE_SECONDS)


def test_a_bug_in_a_step_does_not_end_the_loop(
    runtime: ThreadRuntime, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P9: a step that raises is logged and run again."""
    monkeypatch.setattr("futurama.runtime._PAUSE_AFTER_A_BUG_SECONDS", 0.0)
    steps = Steps()

    def step() -> float:
        if steps() and steps.count == 1:
            raise KeyError("bug")
        return math.inf

    loop = runtime.make_loop("test", step)
    loop.start()
    steps.wait_for(2)
    loop.stop(PATIENCE_SECONDS)
    assert "test failed; this is a bug" in caplog.text


def test_stopping_does_not_wait_for_ever(runtime: ThreadRuntime) -> None:
    """P8: a step that hangs is waited for as long as allowed, and no other one follows."""
    steps = Steps()
    steps.gate.clear()
    loop = runtime.make_loop("test", steps)
    loop.start()
    steps.wait_for(1)
    Background(lambda: loop.stop(0.01)).result()
    steps.gate.set()
    loop.stop(PATIENCE_SECONDS)
    loop.wake()
    assert steps.count == 1


def test_hammered_loop_misses_nothing(runtime: ThreadRuntime) -> None:
    """Whatever is left before a wake-up is seen by a step that begins after it."""
    news: queue.SimpleQueue[int] = queue.SimpleQueue()
    seen: list[int] = []
    changed = threading.Condition()

    def step() -> float:
        with changed:
            while not news.empty():
                seen.append(news.get())
            changed.notify_all()
        return math.inf

    loop = runtime.make_loop("test", step)
    loop.start()

    def hammer() -> None:
        for n in range(2000):
            news.put(n)
            loop.wake()

    for thread in [Background(hammer) for _ in range(4)]:
        thread.result()
    wait_until(changed, lambda: len(seen) == 8000)
    loop.stop(PATIENCE_SECONDS)


# -- workers ---------------------------------------------------------------------------------------


class Source:
    """Work from a queue; None ends one worker."""

    def __init__(self) -> None:
        self.queue: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def next(self) -> Any:
        return self.queue.get()

    def next_now(self) -> Any:
        raise NotImplementedError

    def seconds_to_next(self) -> float:
        raise NotImplementedError


def test_workers_are_bounded_and_survive(
    runtime: ThreadRuntime, caplog: pytest.LogCaptureFixture
) -> None:
    """P8, P9: so many pieces of work at once as there are workers, whatever some of them raise."""
    source = Source()
    changed, running, most, done = threading.Condition(), 0, 0, 0
    full = threading.Barrier(3)
    bugs = {"bug": KeyError("bug"), "exit": SystemExit()}

    def perform(work: str) -> bool:
        nonlocal running, most, done
        with changed:
            running += 1
            most = max(most, running)
        if work == "together":
            full.wait(PATIENCE_SECONDS)
        with changed:
            running -= 1
            done += 1
            changed.notify_all()
        if work in bugs:
            raise bugs[work]
        return False

    workers = runtime.make_workers("test", 3, source, perform)
    workers.start()
    for work in ["bug", "exit"] * 3 + ["together"] * 9:
        source.queue.put(work)
    wait_until(changed, lambda: done == 15)
    for _ in range(3):
        source.queue.put(None)
    assert workers.join(PATIENCE_SECONDS)
    assert most == 3
    assert caplog.text.count("failed; this is a bug") == 6


def test_joining_does_not_wait_for_ever(runtime: ThreadRuntime) -> None:
    """P8: work that hangs is waited for as long as allowed."""
    source, gate = Source(), threading.Event()

    def hang(_: str) -> bool:
        gate.wait(PATIENCE_SECONDS)
        return False

    workers = runtime.make_workers("test", 2, source, hang)
    workers.start()
    source.queue.put("hang")
    source.queue.put(None)
    assert Background(lambda: workers.join(0.01)).result() is False
    gate.set()
    source.queue.put(None)
    assert workers.join(PATIENCE_SECONDS)


class Sticky:
    """Work that is stuck until the test lets it go, or that tells how many do it at once."""

    def __init__(self, together: int) -> None:
        self.source = Source()
        self.changed = threading.Condition()
        self.threads: list[threading.Thread] = []
        self.gates: list[threading.Event] = []
        self.together = threading.Barrier(together + 1)

    def perform(self, work: str) -> bool:
        """Whether the worker was stuck."""
        if work == "stuck":
            gate = threading.Event()
            with self.changed:
                self.gates.append(gate)
                self.threads.append(threading.current_thread())
                self.changed.notify_all()
            gate.wait(PATIENCE_SECONDS)
            return True
        self.together.wait(PATIENCE_SECONDS)
        return False

    def stick(self) -> None:
        """Let one worker be stuck."""
        count = len(self.threads) + 1
        self.source.queue.put("stuck")
        wait_until(self.changed, lambda: len(self.threads) == count)

    def let_go(self, number: int) -> None:
        """Let the worker go on that was stuck as the ``number``-th, counted from 0."""
        self.gates[number].set()

    def let_end(self, number: int) -> None:
        """Let it go on, and see that it ends, because another has its place."""
        self.let_go(number)
        self.threads[number].join(PATIENCE_SECONDS)
        assert not self.threads[number].is_alive()

    def work(self) -> None:
        """Have as many pieces of work done at once as there should be workers."""
        for _ in range(self.together.parties - 1):
            self.source.queue.put("work")
        self.together.wait(PATIENCE_SECONDS)

    def end(self, workers: Workers, count: int) -> None:
        """Let so many workers end, which must be all there are."""
        for _ in range(count):
            self.source.queue.put(None)
        assert workers.join(PATIENCE_SECONDS)


def test_a_stuck_worker_is_replaced(runtime: ThreadRuntime) -> None:
    """P8, P9: another takes its place, and when it is back it ends: the pool keeps its size."""
    sticky = Sticky(together=2)
    workers = runtime.make_workers("test", 2, sticky.source, sticky.perform)
    workers.start()
    for number in range(5):
        sticky.stick()
        assert workers.replace()
        sticky.work()
        sticky.let_end(number)
        sticky.work()
    sticky.end(workers, 2)


def test_joining_does_not_wait_for_stuck_workers(runtime: ThreadRuntime) -> None:
    """P9: their work counts for nothing any more."""
    sticky = Sticky(together=1)
    workers = runtime.make_workers("test", 1, sticky.source, sticky.perform)
    workers.start()
    sticky.stick()
    assert workers.replace()
    sticky.end(workers, 1)
    sticky.let_go(0)
    sticky.end(workers, 1)


def test_a_stuck_worker_may_be_back_before_it_is_replaced(runtime: ThreadRuntime) -> None:
    """P8: the pool keeps its size also if the news that a worker is stuck comes late."""
    sticky = Sticky(together=2)
    workers = runtime.make_workers("test", 2, sticky.source, sticky.perform)
    workers.start()
    sticky.stick()
    sticky.let_end(0)
    assert workers.replace()
    sticky.work()
    sticky.end(workers, 2)


def test_no_more_are_replaced_than_there_should_be(runtime: ThreadRuntime) -> None:
    """P8: if also those that took the places are stuck nothing is started; who is back goes on."""
    sticky = Sticky(together=1)
    workers = runtime.make_workers("test", 1, sticky.source, sticky.perform)
    workers.start()
    sticky.stick()
    assert workers.replace()
    sticky.stick()
    assert not workers.replace()
    sticky.let_go(0)
    sticky.work()
    sticky.let_end(1)
    sticky.end(workers, 1)


def test_a_system_without_threads_left(
    runtime: ThreadRuntime, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """P9: if no thread can be started, the one that was stuck goes on when it is back."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    sticky = Sticky(together=1)
    workers = runtime.make_workers("test", 1, sticky.source, sticky.perform)
    workers.start()
    sticky.stick()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        assert not workers.replace()
    assert "test: no thread can take the place" in caplog.text
    sticky.let_go(0)
    sticky.work()
    sticky.end(workers, 1)


# -- coroutines ------------------------------------------------------------------------------------


async def nothing() -> None:
    """The last coroutine."""


@pytest.fixture
def coroutines(runtime: ThreadRuntime) -> Iterator[Coroutines]:
    """Three at a time."""
    made = runtime.make_coroutines("test-coroutines", 3)
    made.start()
    yield made
    made.close(nothing)


def test_coroutines_are_bounded(coroutines: Coroutines) -> None:
    """P8: no more coroutines run at once than allowed, and all are run, first come, first served."""
    started: list[int] = []
    running = most = 0
    changed = threading.Condition()
    gate = asyncio.Event()

    async def run(number: int) -> None:
        nonlocal running, most
        running += 1
        with changed:
            started.append(number)
            most = max(most, running)
            changed.notify_all()
        if number < 3:
            await gate.wait()
        await asyncio.sleep(0)
        running -= 1

    for number in range(50):
        coroutines.submit(partial(run, number))
    wait_until(changed, lambda: len(started) == 3)
    coroutines._loop.call_soon_threadsafe(gate.set)  # type: ignore[attr-defined]  # no place is free
    assert coroutines.join(PATIENCE_SECONDS, grace=0)
    assert started == list(range(50))
    assert most == 3


def test_coroutines_from_many_threads(coroutines: Coroutines) -> None:
    """Nothing that threads submit is missed, however they collide with the end of others."""
    ended: list[int] = []

    async def run(number: int) -> None:
        if number % 3:
            await asyncio.sleep(0)
        ended.append(number)

    def hammer(base: int) -> None:
        for n in range(500):
            coroutines.submit(partial(run, base + n))

    for thread in [Background(partial(hammer, base)) for base in (0, 1000, 2000)]:
        thread.result()
    assert coroutines.join(PATIENCE_SECONDS, grace=0)
    assert sorted(ended) == [*range(500), *range(1000, 1500), *range(2000, 2500)]


def test_joining_cancels_what_hangs(coroutines: Coroutines) -> None:
    """P8: coroutines that do not end in time are cancelled, and those in the queue never start."""
    cancelled: list[bool] = []
    started = threading.Event()

    async def hang() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    for _ in range(4):
        coroutines.submit(hang)
    assert started.wait(PATIENCE_SECONDS)
    assert coroutines.join(0.02, grace=0.01) is False
    assert cancelled == [True] * 3


def test_a_blocked_event_loop_does_not_block_stopping(
    runtime: ThreadRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P9: a coroutine that blocks the whole loop (``time.sleep`` instead of ``asyncio.sleep``)
    cannot keep ``join`` and ``close`` from returning."""
    monkeypatch.setattr("futurama.runtime._CLOSING_SECONDS", 0.05)
    coroutines: Any = runtime.make_coroutines("test-blocked", 3)
    coroutines.start()
    blocked, gate = threading.Event(), threading.Event()

    async def block() -> None:
        blocked.set()
        gate.wait(PATIENCE_SECONDS)

    coroutines.submit(block)
    assert blocked.wait(PATIENCE_SECONDS)
    try:
        assert Background(lambda: coroutines.join(0.02, grace=0.01)).result() is False
        Background(lambda: coroutines.close(nothing)).result()
    finally:
        gate.set()
        coroutines._thread.join(PATIENCE_SECONDS)


def test_closing_runs_the_last_coroutine(runtime: ThreadRuntime) -> None:
    """What must be given back is given back on the loop itself."""
    coroutines = runtime.make_coroutines("test-last", 1)
    coroutines.start()
    names: list[str] = []

    async def last() -> None:
        names.append(threading.current_thread().name)

    coroutines.close(last)
    assert names == ["test-last"]


def test_a_failing_coroutine_is_logged(
    coroutines: Coroutines, caplog: pytest.LogCaptureFixture
) -> None:
    """P9: a bug in one coroutine is logged and touches no other."""
    caplog.set_level(logging.ERROR)
    ended: list[bool] = []

    async def fail() -> None:
        raise KeyError("bug")

    async def work() -> None:
        ended.append(True)

    for _ in range(5):
        coroutines.submit(fail)
    coroutines.submit(work)
    assert coroutines.join(PATIENCE_SECONDS, grace=0)
    assert ended == [True]
    assert caplog.text.count("a coroutine failed") == 5

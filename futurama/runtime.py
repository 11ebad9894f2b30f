"""Where time comes from and how work is run: threads and timers here, one virtual clock in tests.

The scheduler is written as *steps*: functions that do one round of work without waiting and return
how long to wait before the next one. A runtime runs them. :class:`ThreadRuntime` gives each its
thread; :class:`futurama.testing.VirtualTime` runs them one after another and makes time jump.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import itertools
import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from futurama.timer_slack import wake_on_time

__all__ = [
    "CoroutineFunction",
    "Coroutines",
    "Loop",
    "NeverTwice",
    "Runtime",
    "Step",
    "ThreadRuntime",
    "WorkSource",
    "Workers",
]

_log = logging.getLogger("futurama.runtime")

CoroutineFunction: TypeAlias = Callable[[], Coroutine[Any, Any, None]]

Step: TypeAlias = Callable[[], float]
"""One round of work; returns the seconds until the next one, ``math.inf`` for "when woken"."""

Work = TypeVar("Work")
Work_co = TypeVar("Work_co", covariant=True)

_PAUSE_AFTER_A_BUG_SECONDS = 1.0

_CLOSING_SECONDS = 1.0
"""How long whatever is closed may take to close."""

_LATENESS_SECONDS = 0.2
"""By how much a busy event loop may be late; one that is later is blocked."""


class Loop(Protocol):
    """A step that is run again and again."""

    def start(self) -> None:
        """Run the step now, and then as often as it says."""

    def wake(self) -> None:
        """Run the step now, or once more if it is just running."""

    def stop(self, timeout: float) -> bool:
        """Run no other step; whether the running one ended within ``timeout`` seconds."""


class WorkSource(Protocol[Work_co]):
    """Where workers get their work."""

    def next(self) -> Work_co | None:
        """The next piece of work, waiting for it; None when there will be no more."""

    def next_now(self) -> Work_co | None:
        """The next piece of work, or None if nothing is to be done now."""

    def seconds_to_next(self) -> float:
        """When :meth:`next_now` will have something."""


class Workers(Protocol):
    """Whoever does the work of a :class:`WorkSource`."""

    def start(self) -> None:
        """Begin."""

    def wake(self) -> None:
        """There may be work earlier than expected."""

    def replace(self) -> bool:
        """A worker is stuck: put another in its place, unless as many as there should be are stuck.

        Returns:
            Whether another has taken its place.
        """

    def join(self, timeout: float) -> bool:
        """Wait for the work under way, ``timeout`` seconds at most; whether all has ended.

        All but the work of workers that are stuck, see :meth:`replace`.
        """


class Coroutines(Protocol):
    """Runs coroutines for threads."""

    def start(self) -> None:
        """Begin."""

    @property
    def backlog(self) -> int:
        """How many wait for a place."""

    def submit(self, run: CoroutineFunction) -> None:
        """Run ``run()`` as soon as a place is free."""

    def join(self, timeout: float, *, grace: float) -> bool:
        """Wait until all have ended, ``timeout`` seconds at most.

        Those that have not are cancelled ``grace`` seconds before, in which they can clean up.

        Returns:
            Whether all ended by themselves.
        """

    def close(self, last: CoroutineFunction) -> None:
        """Run ``last()`` and give everything back."""


class Runtime(Protocol):
    """The world outside of the scheduler."""

    def monotonic_us(self) -> int:
        """A timer in microseconds that never jumps; its origin means nothing."""

    def wall_us(self) -> int:
        """The local clock, microseconds since 1970; nothing may depend on its being right."""

    def never_twice_us(self, instant_us: int) -> int:
        """``instant_us``, or the next microsecond after it that was not returned before."""

    def sleep(self, seconds: float) -> None:
        """Wait."""

    def lets_through(self, error: BaseException) -> bool:
        """Whether what a trigger has raised is for whoever drives this runtime, not for its event."""

    def make_loop(self, name: str, step: Step) -> Loop:
        """Something that runs ``step`` once it is started."""

    def make_workers(
        self, name: str, count: int, source: WorkSource[Work], perform: Callable[[Work], bool]
    ) -> Workers:
        """Something that calls ``perform`` with all work of ``source``, ``count`` at a time.

        ``perform`` returns whether its worker was stuck: then, and only then, :meth:`Workers.replace`
        is called once, before or after.
        """

    def make_coroutines(self, name: str, max_running: int) -> Coroutines:
        """Something that runs coroutines, ``max_running`` at a time."""


class NeverTwice:
    """Turns instants into instants that are all different; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last_us = -sys.maxsize

    def __call__(self, instant_us: int) -> int:
        """See :meth:`Runtime.never_twice_us`."""
        with self._lock:
            self._last_us = max(instant_us, self._last_us + 1)
            return self._last_us


class ThreadRuntime:
    """Real time, real threads. All threads are daemons: a trigger that hangs cannot keep a process."""

    # Unlike CLOCK_MONOTONIC, CLOCK_BOOTTIME goes on while the machine sleeps, as leases do.
    _CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

    def __init__(self) -> None:
        self._never_twice = NeverTwice()

    def monotonic_us(self) -> int:
        """Microseconds since the machine was booted."""
        return time.clock_gettime_ns(self._CLOCK) // 1000

    def wall_us(self) -> int:
        """This machine's clock."""
        return time.time_ns() // 1000

    def never_twice_us(self, instant_us: int) -> int:
        """``instant_us``, or a little more."""
        return self._never_twice(instant_us)

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)

    def lets_through(self, error: BaseException) -> bool:
        """Never: a trigger may raise anything, and the instance goes on."""
        return False

    def make_loop(self, name: str, step: Step) -> Loop:
        """Run ``step`` in a thread of its own."""
        return _ThreadLoop(name, step)

    def make_workers(
        self, name: str, count: int, source: WorkSource[Work], perform: Callable[[Work], bool]
    ) -> Workers:
        """``count`` threads, and at most as many again in place of those that are stuck."""
        return _ThreadWorkers(name, count, source, perform)

    def make_coroutines(self, name: str, max_running: int) -> Coroutines:
        """One event loop in a thread of its own."""
        return _LoopThread(name, max_running)


class _ThreadLoop:
    def __init__(self, name: str, step: Step) -> None:
        self._step = step
        self._changed = threading.Condition()
        self._woken = False
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        # Without the lock: if it is set, the step that will see our news has not begun.
        if not self._woken:
            with self._changed:
                self._woken = True
                self._changed.notify()

    def stop(self, timeout: float) -> bool:
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopping:
            try:
                delay = self._step()
            except Exception:
                _log.exception("%s failed; this is a bug, going on", self._thread.name)
                delay = _PAUSE_AFTER_A_BUG_SECONDS
            with self._changed:
                if not self._woken and not self._stopping:
                    self._changed.wait(min(delay, threading.TIMEOUT_MAX))
                self._woken = False


class _ThreadWorkers(Generic[Work]):
    def __init__(
        self, name: str, count: int, source: WorkSource[Work], perform: Callable[[Work], bool]
    ) -> None:
        self._name = name
        self._numbers = itertools.count()
        self._count = count
        self._source = source
        self._perform = perform
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._threads: set[threading.Thread] = set()
        self._stuck = 0

    def start(self) -> None:
        with self._lock:
            for _ in range(self._count):
                self._start_thread()

    def wake(self) -> None:
        """Nothing to do: threads that wait in ``source.next()`` are woken by the source."""

    def replace(self) -> bool:
        with self._lock:
            self._stuck += 1
            self._changed.notify_all()
            if len(self._threads) == 2 * self._count:
                return False
            try:
                self._start_thread()
            except RuntimeError:  # the system allows no more threads
                _log.exception("%s: no thread can take the place of one that is stuck", self._name)
                return False
            return True

    def join(self, timeout: float) -> bool:
        with self._changed:
            own = threading.current_thread() in self._threads  # a trigger may stop its own queue
            self._changed.wait_for(lambda: self._busy() <= own, timeout)
            return not self._busy()

    def _busy(self) -> int:
        return len(self._threads) - max(0, self._stuck)

    def _start_thread(self) -> None:
        name = f"{self._name}-{next(self._numbers)}"
        thread = threading.Thread(target=self._run, name=name, daemon=True)
        thread.start()
        self._threads.add(thread)

    def _run(self) -> None:
        wake_on_time()
        self._work()
        with self._changed:
            self._threads.discard(threading.current_thread())
            self._changed.notify_all()

    def _work(self) -> None:
        while (work := self._source.next()) is not None:
            try:
                was_stuck = self._perform(work)
            except BaseException:
                _log.exception(
                    "%s failed; this is a bug, going on", threading.current_thread().name
                )
            else:
                if was_stuck and not self._takes_back():
                    return

    def _takes_back(self) -> bool:
        """Whether the calling thread, which was stuck, is needed again; else it has to end."""
        with self._lock:
            self._stuck -= 1
            is_needed = len(self._threads) - self._stuck <= self._count
            if not is_needed:
                self._threads.remove(threading.current_thread())
            return is_needed


class _LoopThread:
    """An event loop in a thread; a bounded number of coroutines, first come, first served."""

    def __init__(self, name: str, max_running: int) -> None:
        self._max_running = max_running
        self._waiting: deque[CoroutineFunction] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_pumping = False
        self._is_blocked = False
        self._lock = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def backlog(self) -> int:
        return len(self._waiting)

    def submit(self, run: CoroutineFunction) -> None:
        with self._lock:
            self._waiting.append(run)
            # Waking the loop is a system call; one wake-up serves all that gathers until it runs.
            wake, self._is_pumping = not self._is_pumping, True
        if wake:
            self._loop.call_soon_threadsafe(self._pump)

    def join(self, timeout: float, *, grace: float) -> bool:
        finishing = asyncio.run_coroutine_threadsafe(
            self._finish(self._loop.time() + timeout, grace=grace), self._loop
        )
        try:
            return finishing.result(timeout + _LATENESS_SECONDS)
        except concurrent.futures.TimeoutError:
            self._is_blocked = True  # by a coroutine that does not await anything
            return False

    def close(self, last: CoroutineFunction) -> None:
        ending = asyncio.run_coroutine_threadsafe(
            asyncio.wait_for(last(), _CLOSING_SECONDS), self._loop
        )
        ending.add_done_callback(lambda _: self._loop.call_soon_threadsafe(self._loop.stop))
        if self._is_blocked:
            return
        concurrent.futures.wait([ending], _CLOSING_SECONDS)
        # Those that ignore that they are cancelled keep the thread, as long as they like.
        if not self._tasks and self._thread is not threading.current_thread():
            self._thread.join(_CLOSING_SECONDS)

    def _run(self) -> None:
        try:
            self._loop.run_forever()
            left = asyncio.all_tasks(self._loop)
            for task in left:
                task.cancel()
            if left:
                self._loop.run_until_complete(asyncio.wait(left))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        finally:
            self._loop.close()

    def _pump(self) -> None:
        while len(self._tasks) < self._max_running:
            with self._lock:
                self._is_pumping = bool(self._waiting)
                if not self._waiting:
                    return
                run = self._waiting.popleft()
            task = self._loop.create_task(run())
            self._tasks.add(task)
            task.add_done_callback(self._ended)
        # Full: whoever ends calls this again.
        with self._lock:
            self._is_pumping = True

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("a coroutine failed; this is a bug, going on", exc_info=task.exception())
        self._pump()

    async def _finish(self, deadline: float, *, grace: float) -> bool:
        await self._wait_until(deadline - grace)
        has_ended = not self._tasks and not self._waiting
        self._waiting.clear()
        for task in self._tasks:
            task.cancel()
        await self._wait_until(deadline)
        return has_ended

    async def _wait_until(self, deadline: float) -> None:
        """Wait until all have ended, or for the deadline."""
        while self._tasks or self._waiting:
            if self._tasks:
                await asyncio.wait(
                    set(self._tasks),
                    timeout=max(0.0, deadline - self._loop.time()),
                    return_when=asyncio.FIRST_COMPLETED,
                )
            await asyncio.sleep(0)  # lets _ended run
            if self._loop.time() >= deadline:
                return

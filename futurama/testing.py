"""For testing applications: time that stands still until told to move, and no threads.

::

    from futurama.testing import VirtualQueue

    def test_building_is_finished():
        finished = []
        with VirtualQueue({"finish": finished.append}) as queue:
            queue.create("finish", timedelta(hours=3), {"building": 7})
            queue.advance(timedelta(hours=2, minutes=59))
            assert not finished
            queue.advance(timedelta(minutes=1))
            assert finished[0].data == {"building": 7}
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from futurama.backend import EventBackend
from futurama.backoff import RetryPolicy
from futurama.config import Config
from futurama.queue import Queue
from futurama.registry import backend_class
from futurama.runtime import (
    CoroutineFunction,
    Coroutines,
    Loop,
    NeverTwice,
    Runtime,
    Step,
    Workers,
    WorkSource,
)
from futurama.times import from_us, to_us, to_utc
from futurama.triggers import Trigger

__all__ = ["VirtualQueue", "VirtualTime"]

Work = TypeVar("Work")

_MAX_STEPS_WITHOUT_PROGRESS = 100_000


class VirtualTime(Runtime):
    """A clock that moves only in :meth:`advance`, and everything that happens meanwhile.

    Several queues may share one: then they are several instances of one application. Steps and
    triggers run one after another in the thread that calls :meth:`advance`, each at its very time;
    equal times run in the order in which the queues were started. An ``AssertionError`` in a trigger
    is raised by :meth:`advance`; other exceptions mean a retry, as in production. A call takes no virtual time:
    coroutines run to their end without a break, what triggers sleep they sleep in real time, and
    ``trigger_timeout_sec`` gives nothing up.

    Args:
        start: the first instant, aware; by default 2030-01-01 00:00 UTC.

    Attributes:
        queues: the queues that live in this time.
    """

    def __init__(self, start: datetime = datetime(2030, 1, 1, tzinfo=UTC)) -> None:
        self._now_us = to_us(to_utc(start, field="start"))
        self._loops: list[_VirtualLoop] = []
        self._never_twice = NeverTwice()
        self.queues: list[VirtualQueue] = []

    def now(self) -> datetime:
        """The virtual instant, aware UTC; give it to backends that want a clock."""
        return from_us(self._now_us)

    def advance(self, by: timedelta) -> None:
        """Let ``by`` pass, and all that is due happen."""
        if not isinstance(by, timedelta):
            raise TypeError(f"time advances by a timedelta, got {by!r}; see also advance_to()")
        self.advance_to(self.now() + by)

    def advance_to(self, instant: datetime) -> None:
        """Let time pass until ``instant``, and all that is due happen."""
        target_us = to_us(to_utc(instant, field="instant"))
        if target_us < self._now_us:
            raise ValueError(f"time cannot go back from {self.now()} to {instant}")
        steps = 0
        while (loop := min(self._loops, key=_next_us, default=None)) is not None:
            if loop.next_us > target_us:
                break
            steps = steps + 1 if loop.next_us <= self._now_us else 0
            if steps > _MAX_STEPS_WITHOUT_PROGRESS:
                raise RuntimeError(
                    f"time stands still at {self.now()}: {loop.name} always has more to do; does a "
                    "trigger create or retry an event that is due at once?"
                )
            self._now_us = max(self._now_us, int(loop.next_us))
            loop.run()
        self._now_us = max(self._now_us, target_us)  # something may have slept beyond it

    def monotonic_us(self) -> int:
        """See :class:`~futurama.runtime.Runtime`."""
        return self._now_us

    def wall_us(self) -> int:
        """See :class:`~futurama.runtime.Runtime`."""
        return self._now_us

    def never_twice_us(self, instant_us: int) -> int:
        """See :class:`~futurama.runtime.Runtime`; shared by all queues of this time."""
        return self._never_twice(instant_us)

    def sleep(self, seconds: float) -> None:
        """Time passes, but nothing else happens: the one thread there is sleeps."""
        self._now_us += int(seconds * 1e6)

    def lets_through(self, error: BaseException) -> bool:
        """A failed assertion, Ctrl-C and what test runners raise end ``advance``, not the attempt."""
        of_triggers = (Exception, SystemExit, asyncio.CancelledError)
        cls = type(error)  # which may differ from what it says itself
        return issubclass(cls, AssertionError) or not issubclass(cls, of_triggers)

    def make_loop(self, name: str, step: Step) -> Loop:
        """See :class:`~futurama.runtime.Runtime`."""
        return _VirtualLoop(name, step, self.monotonic_us, self._loops)

    def make_workers(
        self, name: str, count: int, source: WorkSource[Work], perform: Callable[[Work], bool]
    ) -> Workers:
        """See :class:`~futurama.runtime.Runtime`; there is one worker, whatever ``count``."""

        def work() -> float:
            while (piece := source.next_now()) is not None:
                perform(piece)
            return source.seconds_to_next()

        return _VirtualWorkers(self.make_loop(name, work))

    def make_coroutines(self, name: str, max_running: int) -> Coroutines:
        """See :class:`~futurama.runtime.Runtime`; one coroutine at a time."""
        return _VirtualCoroutines()


class _VirtualLoop:
    def __init__(
        self,
        name: str,
        step: Step,
        monotonic_us: Callable[[], int],
        running: list[_VirtualLoop],
    ) -> None:
        self.name = name
        self.next_us: float = math.inf
        self._step = step
        self._monotonic_us = monotonic_us
        self._running = running

    def start(self) -> None:
        self._running.append(self)
        self.wake()

    def wake(self) -> None:
        self.next_us = self._monotonic_us()

    def stop(self, timeout: float) -> bool:
        self._running.remove(self)
        return True

    def run(self) -> None:
        self.next_us = math.inf
        delay = self._step()
        # Rounded up, so that what is due then is due; sooner if the step has woken itself.
        self.next_us = min(self.next_us, self._monotonic_us() + _ceil_us(delay))


class _VirtualWorkers:
    def __init__(self, loop: Loop) -> None:
        self._loop = loop

    def start(self) -> None:
        self._loop.start()

    def wake(self) -> None:
        self._loop.wake()

    def replace(self) -> bool:
        return True  # the one thread does all work, also while a trigger lets time pass

    def join(self, timeout: float) -> bool:
        self._loop.stop(timeout)
        return True


class _VirtualCoroutines:
    backlog = 0

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Nothing to do: each coroutine is run where it is submitted."""

    def submit(self, run: CoroutineFunction) -> None:
        self._loop = self._loop or asyncio.new_event_loop()
        self._loop.run_until_complete(run())

    def join(self, timeout: float, *, grace: float) -> bool:
        return True

    def close(self, last: CoroutineFunction) -> None:
        self.submit(last)
        assert self._loop is not None
        self._loop.close()


class VirtualQueue(Queue):
    """A :class:`~futurama.queue.Queue` in virtual time, in the memory of the test.

    Args:
        triggers: as for ``Queue``.
        config: as for ``Queue``, its keys with their defaults for the memory backend. Events that
            something else than a queue of this time stores are seen within a minute, or within
            ``consumer_sleep_msec`` if that is longer.
        time: shared with other queues; by default one of its own.
        backend: shared with other queues; by default an empty one in memory.
        retries: as for ``Queue``.
    """

    # All queues of one time tell each other what they store, so looking often finds nothing more.
    _poll_at_least_seconds = 60.0

    def __init__(
        self,
        triggers: Mapping[str, Trigger] | None = None,
        config: Config | None = None,
        *,
        time: VirtualTime | None = None,
        backend: EventBackend | None = None,
        retries: Mapping[str, RetryPolicy] | None = None,
    ) -> None:
        self.time = time or VirtualTime()
        super().__init__(
            triggers,
            config or Config(backend="memory"),
            backend=backend or _memory_backend(now=self.time.now),
            retries=retries,
            runtime=self.time,
        )
        self.time.queues.append(self)

    def _look_by(self, due: datetime) -> None:
        """Virtual instances poll rarely, so each is told what any of them has stored."""
        for queue in self.time.queues:
            super(VirtualQueue, queue)._look_by(due)

    def advance(self, by: timedelta) -> None:
        """Let ``by`` pass, and call what becomes due, each event at its very time."""
        self.time.advance(by)

    def advance_to(self, instant: datetime) -> None:
        """Let time pass until ``instant``, and call what becomes due."""
        self.time.advance_to(instant)


def _memory_backend(now: Callable[[], datetime]) -> Any:
    cls: Any = backend_class("memory")
    return cls(now=now)


def _next_us(loop: _VirtualLoop) -> float:
    return loop.next_us


def _ceil_us(seconds: float) -> float:
    # 0.000253 s * 1e6 is a little more than 253.
    return seconds if math.isinf(seconds) else math.ceil(round(seconds * 1e6, 3))

"""One time for several machines: while one waits, all the others go on.

Every step that waits (for its backend, or inside of a call) keeps a thread for its stack, but only one
thread runs at any moment, and the seed decides which: whoever waits hands over to whoever is next.
Within a machine other steps go on meanwhile. What they wait for there has to let time pass, too: a real
lock that one step holds while it waits would stop everything, so it is replaced by a :class:`Lock`.
"""

from __future__ import annotations

import heapq
import itertools
import math
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from random import Random
from typing import Any, Generic, TypeAlias, TypeVar

from futurama.batching import _Ticket
from futurama.runtime import CoroutineFunction, Coroutines, Step, Workers, WorkSource
from futurama.testing import VirtualTime
from futurama.times import from_us, to_us
from tests.unit.support import START

__all__ = ["Died", "Lock", "Machine", "Ticket", "World"]

Work = TypeVar("Work")

_START_US = to_us(START)

_MAX_STEPS = 20_000
"""A run takes a thousand or two; this ends one in which somebody always has more to do."""

_PATIENCE_SECONDS = 60.0
"""A run takes milliseconds; this only ends one that hangs."""


class Died(BaseException):
    """The machine that was doing something is gone; what it was doing never ends."""


class _Sleeper:
    """A thread that waits until it is woken, once."""

    def __init__(self) -> None:
        self._woken = threading.Lock()
        self._woken.acquire()

    def sleep(self) -> None:
        self._woken.acquire()

    def wake(self) -> None:
        self._woken.release()


_Deed: TypeAlias = "Callable[[], object] | _Sleeper"
"""What is to be done: something, or to let a thread go on."""


class World:
    """The true time, and whoever has something to do in it.

    Args:
        chance: decides who comes first when several have something to do at once.

    Attributes:
        now_us: the true time, in microseconds since 1970; the backend's clock shows it.
        machines: everything that has a clock of its own.
    """

    def __init__(self, chance: Random) -> None:
        self.now_us = _START_US
        self.machines: list[Machine] = []
        self._chance = chance
        self._agenda: list[tuple[int, int, _Deed]] = []
        self._numbers = itertools.count()
        self._stamp = 0
        self._steps = 0
        self._target_us = self.now_us
        self._parked: dict[_Sleeper, None] = {}
        self._idle: list[_Sleeper] = []
        self._threads: list[threading.Thread] = []
        self._owner = threading.Semaphore(0)
        self._error: BaseException | None = None
        self._is_closed = False

    @property
    def elapsed_us(self) -> int:
        """How much time has passed since the start."""
        return self.now_us - _START_US

    def stamp(self) -> int:
        """Nanoseconds since the start, never the same twice: what came first has the smaller one."""
        self._stamp = max(self._stamp + 1, self.elapsed_us * 1000)
        return self._stamp

    def after(self, us: int, do: _Deed) -> None:
        """Do something when so much time has passed."""
        heapq.heappush(self._agenda, (self.now_us + us, next(self._numbers), do))

    def run(self, us: int) -> None:
        """Let time pass, and all that is due happen; what still waits then goes on in the next run."""
        self._target_us = self.now_us + us
        self._let_another_drive()
        self._await_the_others()

    def wait(self, us: int) -> None:
        """What is happening waits; other things happen meanwhile."""
        sleeper = _Sleeper()
        self.after(us, sleeper)
        self._let_another_drive()
        sleeper.sleep()

    def park(self, sleeper: _Sleeper) -> None:
        """What is happening waits until somebody wakes it."""
        self._parked[sleeper] = None
        self._let_another_drive()
        sleeper.sleep()

    def wake(self, sleeper: _Sleeper) -> None:
        """Let it go on if it is parked."""
        if sleeper in self._parked:
            del self._parked[sleeper]
            self.after(0, sleeper)

    def close(self) -> None:
        """End what still waits: it dies."""
        self._is_closed = True
        for machine in self.machines:
            machine.is_alive = False
        sleepers = [do for _, _, do in self._agenda if isinstance(do, _Sleeper)]
        sleepers += self._parked
        for sleeper in sleepers:
            sleeper.wake()
            self._await_the_others()
        for idle in self._idle:
            idle.wake()
        for thread in self._threads:
            thread.join(_PATIENCE_SECONDS)

    def _await_the_others(self) -> None:
        if not self._owner.acquire(timeout=_PATIENCE_SECONDS):
            raise AssertionError("a step of the simulation waits for a lock, or never ends")
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _let_another_drive(self) -> None:
        if self._idle:
            self._idle.pop().wake()
            return
        thread = threading.Thread(target=self._drive_when_woken, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _drive_when_woken(self) -> None:
        own = _Sleeper()
        while not self._is_closed:
            next_one = self._drive()
            self._idle.append(own)  # first, for from the next line on another thread runs
            if next_one is None:
                self._owner.release()
            else:
                next_one.wake()
            own.sleep()

    def _drive(self) -> _Sleeper | None:
        """Do what is due, until somebody who waited has to go on; None if all has been done."""
        while not self._is_closed:
            at_us, ready = self._next()
            if at_us > self._target_us:
                break
            self._steps += 1
            self.now_us = max(self.now_us, int(at_us))
            do = self._chance.choice(ready).run_next if ready else heapq.heappop(self._agenda)[2]
            if isinstance(do, _Sleeper):
                return do
            try:
                self._check_progress()
                do()
            except Died:
                pass
            except BaseException as error:  # raised again in the thread that called `run`
                self._error = error
                return None
        self.now_us = max(self.now_us, self._target_us)
        return None

    def _check_progress(self) -> None:
        if self._steps > _MAX_STEPS:
            raise AssertionError(f"there is always more to do at {from_us(self.now_us)}")

    def _next(self) -> tuple[float, list[Machine]]:
        """When something is due next, and on which machines; on none if it stands on the agenda."""
        first_us = self._agenda[0][0] if self._agenda else math.inf
        ready: list[Machine] = []
        for machine in self.machines:
            at_us = max(machine.next_us(), self.now_us)
            if at_us < first_us:
                first_us, ready = at_us, []
            if at_us == first_us:
                ready.append(machine)
        if self._agenda and self._agenda[0][0] == first_us and self._chance.random() < 0.5:
            return first_us, []
        return first_us, ready


class Machine(VirtualTime):
    """Where one instance lives: its clocks, its loops, and whether they run at all.

    Args:
        world: where time comes from.
        name: of the instance.
        drift_ppm: by how much its timer is too fast.

    Attributes:
        is_alive: whether anything happens here.
        wall_us_off: by how much its clock is wrong.
    """

    def __init__(self, world: World, name: str, *, drift_ppm: int = 0) -> None:
        super().__init__(from_us(world.now_us))
        self.name = name
        self.is_alive = True
        self.wall_us_off = 0
        self._world = world
        self._drift_ppm = drift_ppm
        self._stands_until_us = 0
        self._under_way: list[Any] = []
        self._waiting: list[_Sleeper] = []
        world.machines.append(self)

    # -- faults ---------------------------------------------------------------------------------

    def die(self) -> None:
        """Nothing happens here any more, from this very moment."""
        self.is_alive = False
        if self in self._world.machines:
            self._world.machines.remove(self)
        self.notice()

    def stand_still(self, us: int) -> None:
        """Do nothing for a while."""
        self._stands_until_us = max(self._stands_until_us, self._world.now_us + us)

    @property
    def stands_still(self) -> bool:
        """Whether nothing happens here just now."""
        return self._stands_until_us > self._world.now_us

    @property
    def is_idle(self) -> bool:
        """Whether no step is under way, nor held up."""
        return not self._under_way and not self.stands_still

    # -- time -----------------------------------------------------------------------------------

    def wait(self, us: int) -> None:
        """What runs here waits; it goes on later if the machine stands still by then, or never."""
        self.check_alive()
        if us:
            self._world.wait(us)
        while self.is_alive and self.stands_still:
            self._world.wait(self._stands_until_us - self._world.now_us)
        self.check_alive()

    def wait_for(self, is_so: Callable[[], bool], seconds: float = math.inf) -> bool:
        """What runs here waits for something of which others :meth:`notice` us; whether it has come."""
        deadline_us = self._world.now_us + seconds * 1e6
        self.wait(0)
        while not is_so():
            left_us = deadline_us - self._world.now_us
            if left_us <= 0:
                return False
            sleeper = _Sleeper()
            self._waiting.append(sleeper)
            if not math.isinf(left_us):
                self._world.after(math.ceil(left_us), partial(self._world.wake, sleeper))
            self._world.park(sleeper)
            self.wait(0)
        return True

    def later(self, do: Callable[[], object]) -> None:
        """Do something here as soon as what runs now waits or has ended."""
        self._world.after(0, do)

    def notice(self) -> None:
        """Let whoever waits for something here look again."""
        waiting, self._waiting = self._waiting, []
        for sleeper in waiting:
            self._world.wake(sleeper)

    @contextmanager
    def asks(self) -> Iterator[None]:
        """The thread is that of a client of this machine meanwhile."""
        before = getattr(_client, "machine", None)
        _client.machine = self
        try:
            yield
        finally:
            _client.machine = before

    def check_alive(self) -> None:
        """The dead do nothing."""
        if not self.is_alive:
            raise Died

    def monotonic_us(self) -> int:
        """A timer that drifts."""
        elapsed_us = self._world.elapsed_us
        return elapsed_us + elapsed_us * self._drift_ppm // 1_000_000

    def wall_us(self) -> int:
        """A clock that may be set to anything."""
        return self._world.now_us + self.wall_us_off

    def sleep(self, seconds: float) -> None:
        """Whoever sleeps lets the others go on."""
        self.wait(int(seconds * 1e6))

    # -- loops ----------------------------------------------------------------------------------

    def make_loop(self, name: str, step: Step) -> _Loop:
        """A loop whose step may be under way when it is stopped."""
        return _Loop(self, super().make_loop(name, step))

    def runs(self, loop: object) -> bool:
        """Whether a step of this loop is under way."""
        return loop in self._under_way

    def next_us(self) -> float:
        """When something is to be done here next, in true time."""
        loop = self._next_loop()
        return math.inf if loop is None else max(self._true_us(loop.next_us), self._stands_until_us)

    def run_next(self) -> None:
        """Do it."""
        loop = self._next_loop()
        assert loop is not None
        self._under_way.append(loop)
        try:
            loop.run()
        finally:
            self._under_way.remove(loop)
            self.notice()

    def _next_loop(self) -> Any:
        """The loop that runs next, of those that may."""
        first = None
        first_us = math.inf
        for loop in self._loops:
            if loop.next_us < first_us and loop not in self._under_way:
                first, first_us = loop, loop.next_us
        return first

    def _true_us(self, local_us: float) -> float:
        if not self._drift_ppm or math.isinf(local_us):
            return _START_US + local_us
        elapsed_us = int(local_us) * 1_000_000 // (1_000_000 + self._drift_ppm)
        while elapsed_us + elapsed_us * self._drift_ppm // 1_000_000 < local_us:
            elapsed_us += 1
        return _START_US + elapsed_us

    def make_workers(
        self, name: str, count: int, source: WorkSource[Work], perform: Callable[[Work], bool]
    ) -> Workers:
        """``count`` workers, each of which may be inside of a call."""
        return _Workers(self, name, count, source, perform)

    def make_coroutines(self, name: str, max_running: int) -> Coroutines:
        """Runs coroutines that never suspend: they wait as everything else does here, and end when they like."""
        return _Coroutines(self, name)


class Lock:
    """A lock whose waiters let time pass.

    Args:
        machine: on which it is.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._is_held = False

    def __enter__(self) -> None:
        self._machine.wait_for(lambda: not self._is_held)
        self._is_held = True

    def __exit__(self, *exc_info: object) -> None:
        self._is_held = False
        self._machine.notice()


_client = threading.local()
"""On which machine the client is whose thread this is."""


class Ticket(_Ticket[Any, Any]):
    """Of a client who lets time pass while another writes its item."""

    __slots__ = ("_machine", "_was_woken")

    def __init__(self, item: object) -> None:
        super().__init__(item)
        self._machine: Machine = _client.machine
        self._was_woken = False

    def wait(self) -> None:
        """Until it is woken."""
        self._machine.wait_for(lambda: self._was_woken)

    def wake(self) -> None:
        """Its item is done, or it has to write now."""
        self._was_woken = True
        self._machine.notice()


class _Loop:
    def __init__(self, machine: Machine, loop: Any) -> None:
        self._machine = machine
        self._loop = loop
        self._is_stopped = False

    @property
    def is_running(self) -> bool:
        return self._machine.runs(self._loop)

    def start(self) -> None:
        self._loop.start()

    def wake(self) -> None:
        self._loop.wake()

    def stop(self, timeout: float) -> bool:
        if not self._is_stopped:
            self._is_stopped = True
            self._loop.stop(timeout)
        return self._machine.wait_for(lambda: not self.is_running, timeout)


class _Workers(Generic[Work]):
    def __init__(
        self,
        machine: Machine,
        name: str,
        count: int,
        source: WorkSource[Work],
        perform: Callable[[Work], bool],
    ) -> None:
        self._machine = machine
        self._name = name
        self._count = count
        self._source = source
        self._perform = perform
        self._loops: list[_Loop] = []
        self._stuck = 0
        self._is_closed = False

    def start(self) -> None:
        for _ in range(self._count):
            self._start_loop()

    def wake(self) -> None:
        for loop in self._loops:
            loop.wake()

    def replace(self) -> bool:
        self._stuck += 1
        has_room = len(self._loops) < 2 * self._count
        if has_room:
            self._start_loop()
        return has_room

    def join(self, timeout: float) -> bool:
        self._is_closed = True
        return self._machine.wait_for(
            lambda: sum(loop.is_running for loop in self._loops) <= max(0, self._stuck), timeout
        )

    def _start_loop(self) -> None:
        def work() -> float:
            while not self._is_closed and (piece := self._source.next_now()) is not None:
                if self._perform(piece) and not self._takes_back(loop):
                    return math.inf
            return math.inf if self._is_closed else self._source.seconds_to_next()

        loop = self._machine.make_loop(self._name, work)
        self._loops.append(loop)
        loop.start()

    def _takes_back(self, loop: _Loop) -> bool:
        """Whether a worker that was stuck is needed again; else it ends."""
        self._stuck -= 1
        is_needed = len(self._loops) - self._stuck <= self._count
        if not is_needed:
            self._loops.remove(loop)
            loop.stop(0)
        return is_needed


class _Coroutines:
    def __init__(self, machine: Machine, name: str) -> None:
        self._machine = machine
        self._waiting: deque[CoroutineFunction] = deque()
        self._loop = machine.make_loop(name, self._run_next)

    @property
    def backlog(self) -> int:
        return len(self._waiting)

    def start(self) -> None:
        self._loop.start()

    def submit(self, run: CoroutineFunction) -> None:
        self._waiting.append(run)
        self._loop.wake()

    def join(self, timeout: float, *, grace: float) -> bool:
        have_ended = self._machine.wait_for(self._is_idle, timeout - grace)
        self._waiting.clear()
        self._machine.wait_for(self._is_idle, grace)
        return have_ended

    def close(self, last: CoroutineFunction) -> None:
        self._loop.stop(0)
        _run(last())

    def _is_idle(self) -> bool:
        return not self._waiting and not self._loop.is_running

    def _run_next(self) -> float:
        if self._waiting:
            _run(self._waiting.popleft()())
        return 0 if self._waiting else math.inf


def _run(coroutine: Coroutine[Any, Any, None]) -> None:
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise AssertionError("a coroutine of the simulation must not suspend")

"""Random schedules on two instances and a backend whose answers get lost, in virtual time.

The suite for backends looks at single operations; this looks at what applications are told, above
all at the ways in which an instance ends a claim of its own before calling it.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta

import pytest

from futurama import BackendError, CancelOutcome, Event
from futurama.backend import State
from futurama.testing import VirtualQueue
from tests.unit.support import Fault, World, fails, fails_after, unavailable, unknown

IDS = ["a", "b", "c"]
FAULTS: list[Callable[[], Fault]] = [
    lambda: fails(unavailable()),
    lambda: fails(unknown()),
    lambda: fails_after(unknown()),
]
OPERATIONS = ["add", "cancel", "settle", "reschedule", "claim", "renew"]


class Schedule:
    """One random run. Every event carries a number of its own as data."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.world = World()
        self.numbers: dict[str, int] = {}
        self.due: set[int] = set()  # acknowledged, and neither cancelled nor replaced
        self.cancelled: set[int] = set()
        self.called: set[int] = set()
        self.queues = [self.instance(), self.instance()]
        self.replaced: dict[VirtualQueue, set[int]] = {queue: set() for queue in self.queues}

    def instance(self) -> VirtualQueue:
        """One more instance, with a look-ahead that is long enough to get in the way."""

        def trigger(event: Event) -> None:
            assert event.trigger_time <= self.world.time.now(), "early"
            assert event.data not in self.cancelled, "called after CANCELLED"
            assert event.data not in self.replaced[queue], "called after it was replaced here"
            self.called.add(event.data)

        queue = self.world.queue(
            {"note": trigger},
            consumer_lock_timeout_sec=6,
            consumer_time_window_sec=2,
            operation_timeout_sec=1,
        )
        return queue

    def step(self) -> None:
        """Do one thing; now and then the backend fails, for a moment or for long."""
        if self.random.random() < 0.4:
            fault = self.random.choice(FAULTS)
            times = self.random.choice([1, 1, 2, 30])
            operation = self.random.choice(OPERATIONS)
            self.world.backend.plan(operation, *(fault() for _ in range(times)))
        action = self.random.choice([self.create, self.create, self.cancel, self.move, self.wait])
        action(self.random.choice(self.queues), self.random.choice(IDS))

    def when(self) -> timedelta:
        """Mostly within the look-ahead."""
        return timedelta(milliseconds=self.random.choice([0, 300, 1500, 2500, 9000]))

    def create(self, queue: VirtualQueue, event_id: str) -> None:
        """Store an event, over another one if there is one."""
        number = self.random.getrandbits(48)
        former = self.numbers.get(event_id)
        self.numbers[event_id] = number
        self.due -= {former}
        try:
            queue.create("note", self.when(), number, id=event_id, if_exists="replace")
        except BackendError:
            return
        self.due.add(number)
        if former is not None:
            self.replaced[queue].add(former)

    def cancel(self, queue: VirtualQueue, event_id: str) -> None:
        """Cancel whatever has this id."""
        number = self.numbers.get(event_id)
        self.due -= {number}
        try:
            outcome = queue.cancel(event_id)
        except BackendError:
            return
        if outcome is CancelOutcome.CANCELLED and number is not None:
            self.cancelled.add(number)

    def move(self, queue: VirtualQueue, event_id: str) -> None:
        """Give it another time."""
        try:
            queue.reschedule(event_id, self.when())
        except BackendError:
            return

    def wait(self, queue: VirtualQueue, event_id: str) -> None:
        """Let time pass."""
        self.world.time.advance(timedelta(milliseconds=self.random.choice([10, 400, 3000])))

    def finish(self) -> None:
        """The backend works again, and everything must come to its end."""
        self.world.backend.heal()
        self.world.time.advance(timedelta(minutes=10))
        assert self.due <= self.called, "lost"
        assert self.world.memory.count()[State.WAITING] == 0
        assert self.world.memory.count()[State.CLAIMED] == 0
        assert [queue.stats()["held"] for queue in self.queues] == [0, 0]


@pytest.mark.parametrize("seed", range(150))
def test_any_schedule(seed: int) -> None:
    """P1, P2, P6: nothing acknowledged is lost, early, or called after CANCELLED or its replacement."""
    schedule = Schedule(seed)
    try:
        for _ in range(60):
            schedule.step()
        schedule.finish()
    finally:
        schedule.world.close()

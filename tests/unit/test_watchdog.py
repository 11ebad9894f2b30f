"""Calls that do not return: given up in virtual time, then with real threads and coroutines."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from futurama import CancelOutcome, Event, Queue, RescheduleOutcome
from futurama.backend import State
from futurama.backends.memory import MemoryBackend
from futurama.held import Phase
from futurama.testing import VirtualQueue
from tests.unit.support import (
    PATIENCE_SECONDS,
    SECOND,
    START,
    Background,
    Told,
    World,
    fails,
    meanwhile,
    memory_config,
    unavailable,
    wait_until,
)

LONG = timedelta(hours=1)

# -- in virtual time, which passes while a trigger lets it -----------------------------------------


def hanging(
    world: World, do: Callable[[], object] = str, *, seconds: float = 100
) -> Callable[[Event], None]:
    """A trigger whose first attempt takes so long; meanwhile, after 10 s, it does something."""

    def hang(event: Event) -> None:
        if event.attempt == 1:
            world.advance(seconds=10)
            do()
            world.advance(seconds=seconds - 10)
        else:
            world.note(event)

    return hang


def queue_that_hangs(world: World, trigger: Callable[[Event], None], **config: Any) -> VirtualQueue:
    """An instance with one event, due at once."""
    queue = world.queue(
        {"hang": trigger}, **{"trigger_timeout_sec": 5, "retry_base_msec": 20_000, **config}
    )
    queue.create("hang", timedelta(), id="slow")
    return queue


def test_a_call_that_does_not_return_is_repeated(world: World, told: Told) -> None:
    """P9: it is given up after the timeout, called again by the backoff, and told of with its stack."""
    queue = queue_that_hangs(world, hanging(world), retry_base_msec=1000)
    queue.advance(LONG)
    [(when, event)] = world.calls
    assert event.attempt == 2
    assert 6 * SECOND <= when - START <= 7 * SECOND
    stats = queue.stats()
    assert (stats["timed_out"], stats["retried"], stats["succeeded"], stats["held"]) == (1, 1, 1, 0)
    [given_up] = [message for message in told.messages if message.startswith("ERROR")]
    assert "event slow (hang), attempt 1: the call did not return within 5 s" in given_up
    assert ", in hang" in given_up
    assert told.count("WARNING event slow (hang), attempt 1 returned after 100.000 s, when") == 1


def test_the_last_attempt_is_buried(world: World) -> None:
    """P7: a call that does not return uses up its attempt; after the last one the event is kept."""
    queue = queue_that_hangs(world, hanging(world), max_retry=0)
    queue.advance(LONG)
    stored = world.stored("slow")
    assert stored is not None
    assert (stored.state, stored.died) == (State.DEAD, START + 5 * SECOND)
    assert stored.reason is not None
    assert "attempt 1 did not end" in stored.reason
    assert (queue.stats()["timed_out"], queue.stats()["buried"]) == (1, 1)
    assert world.calls == []


def test_a_burial_remembers_that_the_call_may_go_on(world: World) -> None:
    """P6: nor is it true of an event that was requeued after it had been buried."""
    answers: list[object] = []
    other = world.queue({})

    def ask() -> None:
        answers.append(other.requeue("slow"))
        answers.append(other.reschedule("slow", LONG))
        answers.append(other.cancel("slow"))

    queue = queue_that_hangs(world, hanging(world, ask), max_retry=0)
    queue.advance(LONG)
    assert answers == [True, RescheduleOutcome.IN_FLIGHT, CancelOutcome.IN_FLIGHT]
    assert world.calls == []


def test_nobody_says_that_an_abandoned_call_is_not_in_flight(world: World) -> None:
    """P6: it goes on for all we know, so neither CANCELLED nor RESCHEDULED is true ever again."""
    answers: list[object] = []
    other = world.queue({})

    def ask() -> None:
        answers.append(other.reschedule("slow", LONG))
        answers.append(queue.cancel("slow"))

    queue = queue_that_hangs(world, hanging(world, ask))
    queue.advance(LONG)
    assert answers == [RescheduleOutcome.IN_FLIGHT, CancelOutcome.IN_FLIGHT]
    assert world.calls == []


def test_a_repeated_attempt_remembers_that_the_first_may_go_on(world: World) -> None:
    """P6: also the claim of the next attempt is one whose event cannot be cancelled for sure."""
    answers: list[object] = []

    def trigger(event: Event) -> None:
        if event.attempt == 2:
            raise ValueError("oops")
        hanging(world, seconds=50)(event)
        answers.append(queue.cancel("slow"))

    queue = queue_that_hangs(world, trigger, retry_cap_sec=40)
    queue.advance(LONG)
    assert answers == [CancelOutcome.IN_FLIGHT]


def test_a_renewal_under_way_does_not_delay_the_repetition(world: World) -> None:
    """P9: a call is given up while its lease is being renewed; the next attempt comes by the backoff."""

    def give_up() -> None:
        assert queue._scheduler is not None
        world.time.sleep(1)
        queue._scheduler._watchdog.step()

    world.backend.plan("renew", meanwhile(give_up))
    queue = queue_that_hangs(
        world, hanging(world), trigger_timeout_sec=11, retry_base_msec=300_000, retry_cap_sec=600
    )
    queue.advance(LONG)
    [(when, _)] = world.calls
    assert 300 * SECOND <= when - START <= 620 * SECOND


def test_the_lease_of_an_abandoned_call_is_not_renewed(world: World) -> None:
    """P1: if the instance dies while the event waits for its next attempt, another one makes it."""
    queue = queue_that_hangs(world, hanging(world, lambda: world.kill(queue)))
    world.queue({"hang": world.note})
    queue.advance(LONG)
    [(when, event)] = world.calls
    assert event.attempt == 2
    assert 25 * SECOND <= when - START <= 45 * SECOND + 60 * SECOND


@pytest.mark.parametrize(("is_brief", "counter"), [(True, "retried"), (False, "lost")])
def test_an_outage_delays_the_repetition(world: World, counter: str, *, is_brief: bool) -> None:
    """P9: while the backend is away the lease goes on, and at its end the event is called anyway."""
    phases: list[Phase] = []

    def look() -> None:
        phases.append(queue._scheduler._held._by_id["slow"].phase)  # type: ignore[union-attr]  # started
        if is_brief:
            world.backend.heal()

    queue = queue_that_hangs(world, hanging(world, look))
    world.backend.broken = {"renew"}
    world.backend.outage = unavailable
    queue.advance(LONG)
    assert [event.attempt for _, event in world.calls] == [2]
    assert (queue.stats()[counter], queue.stats()["held"]) == (1, 0)
    assert phases == [Phase.ABANDONED], "so its lease is not renewed"


def test_a_call_whose_claim_was_lost(world: World) -> None:
    """P4: an event that was cancelled during its call is not called again when that is given up."""
    other = world.queue({})
    queue = queue_that_hangs(world, hanging(world))
    world.backend.plan("renew", meanwhile(lambda: other.cancel("slow")))
    queue.advance(LONG)
    assert world.calls == []
    stats = queue.stats()
    assert (stats["timed_out"], stats["lost"], stats["retried"], stats["held"]) == (1, 1, 0, 0)


def test_without_a_timeout_it_is_told_of_once(world: World, told: Told) -> None:
    """P9: a call that takes longer than a lease keeps it, and the log says where it is and what helps."""
    queue = queue_that_hangs(world, hanging(world, seconds=400), trigger_timeout_sec=0)
    queue.advance(LONG)
    assert world.calls == []
    assert (queue.stats()["timed_out"], queue.stats()["succeeded"]) == (0, 1)
    [warning] = told.messages
    assert (
        "WARNING event slow (hang), attempt 1 has not returned for longer than a lease" in warning
    )
    assert "'trigger_timeout_sec'" in warning
    assert ", in hang" in warning
    assert not queue._scheduler._watchdog._look_again_us  # type: ignore[union-attr]  # started


def test_calls_in_time_are_left_alone(world: World, told: Told) -> None:
    """A call that takes a little less than the timeout is not touched."""
    queue = queue_that_hangs(world, hanging(world, seconds=99), trigger_timeout_sec=100)
    queue.advance(LONG)
    assert (queue.stats()["timed_out"], queue.stats()["succeeded"]) == (0, 1)
    assert told.messages == []


@pytest.mark.parametrize("error", [AssertionError("of a test"), KeyboardInterrupt("of a test")])
def test_what_ends_the_test_ends_its_call(world: World, error: BaseException) -> None:
    """What is raised by ``advance`` is not taken for a call that does not return."""

    def trigger(_: Event) -> None:
        raise error

    queue = queue_that_hangs(world, trigger)
    with pytest.raises(type(error), match="of a test"):
        queue.advance(SECOND)
    queue.advance(20 * SECOND)
    assert queue.stats()["timed_out"] == 0


def test_a_bug_of_ours_ends_its_call(world: World) -> None:
    """P9: a call whose coroutine cannot be submitted is not looked after for ever."""

    class Promise:
        def __await__(self) -> Iterator[None]:
            yield

    promise: Any = lambda _: Promise()  # noqa: E731 -- a trigger, whatever its type
    queue = world.queue({"promise": promise}, trigger_timeout_sec=5)
    scheduler: Any = queue._scheduler
    scheduler._caller._coroutines = None
    queue.create("promise", timedelta(), id="a")
    queue.advance(SECOND)
    assert queue.stats()["called"] == 1
    assert not scheduler._running.all()


# -- with threads ----------------------------------------------------------------------------------

FIRST = 0.05
"""The timeout of these tests, in seconds; how quick the machine is does not matter."""


class Stuck:
    """Triggers whose calls hang until the test ends, and one that works."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.changed = threading.Condition()
        self.threads: list[threading.Thread] = []
        self.noted: list[str] = []

    def hang(self, _: Event) -> None:
        """A function that blocks its thread."""
        with self.changed:
            self.threads.append(threading.current_thread())
            self.changed.notify_all()
        self.gate.wait(PATIENCE_SECONDS)

    async def wait(self, _: Event) -> None:
        """A coroutine that can be cancelled."""
        await asyncio.Event().wait()

    def promise(self, event: Event) -> Awaitable[None]:
        """A function that returns the coroutine of another one."""
        return self.wait(event)

    async def refuse(self, _: Event) -> None:
        """A coroutine that does not end when it is cancelled."""
        while not self.gate.is_set():
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                continue

    async def block(self, _: Event) -> None:
        """A coroutine that blocks the event loop."""
        self.gate.wait(PATIENCE_SECONDS)

    def note(self, event: Event) -> None:
        """A function that works."""
        with self.changed:
            self.noted.append(event.id)
            self.changed.notify_all()

    async def note_async(self, event: Event) -> None:
        """A coroutine that works."""
        self.note(event)

    def wait_for(self, event_id: str) -> None:
        """Wait until this event was noted."""
        wait_until(self.changed, lambda: event_id in self.noted)


@pytest.fixture
def stuck() -> Iterator[Stuck]:
    """Let go at the end."""
    made = Stuck()
    yield made
    made.gate.set()
    for thread in made.threads:
        thread.join(PATIENCE_SECONDS)


@pytest.fixture
def start(stuck: Stuck, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Queue]]:
    """Starts instances that are stopped at the end; what hangs is let go before."""
    monkeypatch.setattr("futurama.watchdog._GRACE_US", PATIENCE_SECONDS * 1e6)
    queues: list[Queue] = []

    def start(backend: MemoryBackend | None = None, **config: Any) -> Queue:
        names = ("hang", "wait", "promise", "refuse", "block", "note", "note_async")
        queue = Queue(
            {name: getattr(stuck, name) for name in names},
            memory_config(**{"trigger_timeout_sec": FIRST, "max_retry": 0, **config}),
            backend=backend or MemoryBackend(),
        )
        queue.start()
        queues.append(queue)
        return queue

    yield start
    stuck.gate.set()
    for queue in queues:
        Background(queue.stop).result()


def test_another_thread_takes_the_place(
    stuck: Stuck, start: Callable[..., Queue], told: Told
) -> None:
    """P9: the pool keeps its size: a thread that hangs is replaced, and ends when it comes back."""
    queue = start(max_worker_threads=1)
    queue.create("hang", timedelta())
    stuck.wait_for(queue.create("note", timedelta()))
    told.wait_for("did not return within 0.05 s")
    assert told.count("self.gate.wait") == 1
    [hanging_thread] = stuck.threads
    stuck.gate.set()
    hanging_thread.join(PATIENCE_SECONDS)
    assert not hanging_thread.is_alive()
    told.wait_for("when it had been given up")
    stuck.wait_for(queue.create("note", timedelta()))


def test_a_call_that_returns_while_it_is_looked_at(
    stuck: Stuck, start: Callable[..., Queue], monkeypatch: pytest.MonkeyPatch
) -> None:
    """P5: until it is given up its own result counts, and its thread is not replaced."""
    looked = threading.Event()
    queue = start(max_worker_threads=1)

    def returns_meanwhile(_: object) -> str:
        queue._scheduler._watchdog._limit_us = sys.maxsize  # type: ignore[union-attr]  # started
        stuck.gate.set()
        stuck.wait_for("next")  # which the same thread calls
        looked.set()
        return ""

    monkeypatch.setattr("futurama.watchdog.stack_of", returns_meanwhile)
    queue.create("hang", timedelta())
    queue.create("note", timedelta(), id="next")
    assert looked.wait(PATIENCE_SECONDS)
    assert Background(queue.stop).result() is True
    assert (queue.stats()["timed_out"], queue.stats()["succeeded"]) == (0, 2)


def test_threads_that_hang_are_bounded(
    stuck: Stuck, start: Callable[..., Queue], told: Told
) -> None:
    """P8: as many threads as there should be are replaced; beyond that others get the work."""
    backend = MemoryBackend()
    lease = {"consumer_lock_timeout_sec": 0.5, "consumer_time_window_sec": 0.1}
    queue = start(backend, max_worker_threads=1, **lease)
    queue.create_many([("hang", timedelta())] * 2)
    told.wait_for("no other thread takes its place")
    assert len(stuck.threads) == 2
    left = queue.create("note", timedelta())
    start(backend, **lease)
    stuck.wait_for(left)
    stuck.gate.set()
    told.wait_for("when it had been given up", count=2)
    assert queue.stats()["timed_out"] == 2


@pytest.mark.parametrize("kind", ["wait", "promise"])
def test_coroutines_are_cancelled(
    stuck: Stuck, start: Callable[..., Queue], told: Told, kind: str
) -> None:
    """P9: a coroutine that takes too long is cancelled, which is a failed call, and makes room."""
    queue = start(max_coroutines=1, max_retry=1, retry_base_msec=1)
    event_id = queue.create(kind, timedelta())
    told.wait_for("no further attempt")
    assert told.count("the call did not return within 0.05 s, so it is cancelled") == 2
    assert told.count(", in wait") == 2
    assert told.count("CancelledError: the call did not return within 0.05 s") == 2
    assert queue.stats()["timed_out"] == 2
    stuck.wait_for(queue.create("note_async", timedelta()))
    assert event_id not in stuck.noted


def test_a_coroutine_that_refuses_to_end(
    stuck: Stuck, start: Callable[..., Queue], told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P8, P9: it keeps its place, its event is buried, and what waits for the place is given up."""
    monkeypatch.setattr("futurama.watchdog._GRACE_US", 10_000)
    queue = start(max_coroutines=1)
    queue.create("refuse", timedelta())
    told.wait_for("goes on although it was cancelled")
    queue.create("promise", timedelta())
    told.wait_for("nowhere: it waits for a place among the coroutines")
    stuck.gate.set()
    told.wait_for("when it had been given up", count=2)
    assert queue.stats()["timed_out"] == 2
    stuck.wait_for(queue.create("note_async", timedelta()))


def test_a_coroutine_that_blocks_the_event_loop(
    stuck: Stuck, start: Callable[..., Queue], told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P9: it cannot be cancelled; its event is not held for ever, and the log shows the very line."""
    monkeypatch.setattr("futurama.watchdog._GRACE_US", 10_000)
    queue = start()
    queue.create("block", timedelta())
    told.wait_for("goes on although it was cancelled")
    assert told.count("self.gate.wait") == 1
    assert queue.stats()["timed_out"] == 1
    stuck.gate.set()
    told.wait_for("when it had been given up")


def test_stopping_does_not_wait_for_abandoned_calls(
    stuck: Stuck, start: Callable[..., Queue], told: Told
) -> None:
    """P9: once their leases have ended nothing depends on them any more."""
    queue = start()
    queue.create("hang", timedelta())
    told.wait_for("so it is given up")
    stopping = Background(lambda: queue.stop(timeout=100 * PATIENCE_SECONDS))
    assert stopping.result() is True
    assert not stuck.gate.is_set()


@pytest.mark.parametrize("error", [unavailable(), RuntimeError("a bug of the backend")])
def test_a_claim_is_given_back_when_the_backend_fails_first(
    stuck: Stuck, start: Callable[..., Queue], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """P9: the next attempt is made although the first try to end the lease failed, in any way."""
    monkeypatch.setattr("futurama.runtime._PAUSE_AFTER_A_BUG_SECONDS", 0.0)
    queue = start(max_retry=1, retry_base_msec=1)
    real = queue.backend.renew
    failing = [fails(error)]

    def renew(*args: Any, **kwargs: Any) -> Any:
        return failing.pop()(lambda: None) if failing else real(*args, **kwargs)

    queue.backend.renew = renew  # type: ignore[method-assign]  # as a backend that fails once
    queue.create("hang", timedelta())
    wait_until(stuck.changed, lambda: len(stuck.threads) == 2)
    assert not failing

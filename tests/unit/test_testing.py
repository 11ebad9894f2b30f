"""Virtual time: hours of schedule in milliseconds, and everything at its very time."""

from __future__ import annotations

import gc
import threading
from datetime import timedelta

import pytest

from futurama import Event, TryAgain
from futurama.testing import VirtualQueue, VirtualTime
from tests.unit.support import MICROSECOND, SECOND, START, World, memory_config


def test_the_example_of_the_documentation() -> None:
    """What the module's docstring shows works."""
    finished: list[Event] = []
    with VirtualQueue({"finish": finished.append}) as queue:
        queue.create("finish", timedelta(hours=3), {"building": 7})
        queue.advance(timedelta(hours=2, minutes=59))
        assert not finished
        queue.advance(timedelta(minutes=1))
        assert finished[0].data == {"building": 7}


def test_time_stands_still_until_told() -> None:
    """Nothing moves but by ``advance``, which moves exactly as far as told."""
    time = VirtualTime(START)
    time.advance(90 * SECOND)
    assert time.now() == START + 90 * SECOND
    time.advance_to(START + 100 * SECOND)
    assert time.now() == START + 100 * SECOND
    with pytest.raises(ValueError, match="time cannot go back"):
        time.advance_to(START)


def test_time_never_goes_back(world: World) -> None:
    """What sleeps beyond the end of an ``advance`` has slept: the timer does not jump back."""
    queue = world.queue({"sleep": lambda _: world.time.sleep(60)})
    queue.create("sleep", SECOND)
    queue.advance(2 * SECOND)
    assert world.time.now() == START + 61 * SECOND


@pytest.mark.parametrize("us", [1, 253, 999_999, 3_600_000_001])
def test_to_the_microsecond(world: World, us: int) -> None:
    """A call sees the very microsecond of its event, and not before it is asked for."""
    queue = world.queue()
    queue.create("note", us * MICROSECOND)
    queue.advance((us - 1) * MICROSECOND)
    assert world.calls == []
    queue.advance(MICROSECOND)
    assert [when for when, _ in world.calls] == [START + us * MICROSECOND]


def test_an_endless_loop_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trigger that always creates an event due at once is reported instead of hanging the test."""
    monkeypatch.setattr("futurama.testing._MAX_STEPS_WITHOUT_PROGRESS", 1000)
    queue: VirtualQueue

    def again(_: Event) -> None:
        queue.create("again", timedelta(0))

    queue = VirtualQueue({"again": again})
    queue.start()
    queue.create("again", timedelta(0))
    with pytest.raises(RuntimeError, match="time stands still"):
        queue.advance(SECOND)


def test_coroutines_run_to_their_end() -> None:
    """A coroutine function is a trigger in virtual time, too."""
    seen: list[int] = []

    async def trigger(event: Event) -> None:
        seen.append(event.attempt)
        if event.attempt == 1:
            raise TryAgain("busy")

    with VirtualQueue({"t": trigger}, memory_config()) as queue:
        queue.create("t", SECOND)
        queue.advance(10 * SECOND)
    assert seen == [1, 2]


def test_queues_are_separate_unless_shared() -> None:
    """Two virtual queues have their own time and backend unless they are given the same."""
    a, b = VirtualQueue(), VirtualQueue()
    a.create("note", SECOND, id="a")
    a.advance(SECOND)
    assert b.get("a") is None
    assert b.now() != a.now()


def test_time_advances_by_timedeltas() -> None:
    """A number would leave open of what."""
    with pytest.raises(TypeError, match="by a timedelta, got 5"):
        VirtualTime().advance(5)  # type: ignore[arg-type]  # the point


def test_an_unstopped_queue_leaks_nothing() -> None:
    """A test that does not stop its queue gets no warning about unclosed loops or threads."""
    threads = threading.active_count()
    queue = VirtualQueue({"t": lambda _: None})
    queue.start()
    del queue
    gc.collect()
    assert threading.active_count() == threads


@pytest.mark.parametrize("error", [AssertionError("wrong"), KeyboardInterrupt()])
def test_what_a_test_must_see_is_raised(error: BaseException) -> None:
    """A failed assertion in a trigger, and Ctrl-C, end `advance` instead of being retried."""

    def trigger(_: Event) -> None:
        raise error

    async def coroutine(_: Event) -> None:
        raise error

    for each in (trigger, coroutine):
        with VirtualQueue({"check": each}) as queue:
            queue.create("check", timedelta(seconds=1))
            with pytest.raises(type(error)):
                queue.advance(timedelta(seconds=1))

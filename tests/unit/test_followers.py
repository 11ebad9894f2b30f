"""Threads that take turns: who leads, who is expected back, and who takes over."""

from __future__ import annotations

import math
import threading

import pytest

from futurama.followers import LeaderFollowers, UsualDuration
from tests.unit.support import Background

ABSENCE_US = 2_000


class Timer:
    """A timer that a test moves."""

    def __init__(self) -> None:
        self.us = 5_000

    def __call__(self) -> int:
        return self.us


@pytest.fixture
def timer() -> Timer:
    """Stands still."""
    return Timer()


@pytest.fixture
def threads(timer: Timer) -> LeaderFollowers:
    """Nobody waits yet."""
    return LeaderFollowers(threading.Lock(), timer)


def expects_somebody(threads: LeaderFollowers) -> bool:
    """A function, since a type checker takes what it has seen of a property for settled."""
    return threads.is_expected


def usually(us: int) -> UsualDuration:
    """Work that has always taken as long."""
    usual = UsualDuration()
    for _ in range(1_000):
        usual.record(us)
    return usual


def leave_elsewhere(threads: LeaderFollowers) -> None:
    """Another thread takes a brief piece of work."""
    Background(lambda: threads.leave(is_brief=True, is_more=False)).result()


@pytest.mark.parametrize(
    ("slow_us", "every", "least", "most"),
    [
        pytest.param(20, 1, 1.0, 1.0, id="always brief"),
        pytest.param(10_000_000, 1_000, 0.9, 1.0, id="one in a thousand hangs"),
        pytest.param(5_000, 10, 0.0, 0.1, id="every tenth is slow"),
        pytest.param(5_000, 5, 0.0, 0.0, id="every fifth is slow"),
        pytest.param(1_000, 1, 0.0, 0.0, id="always a millisecond"),
    ],
)
def test_what_is_worth_waiting_for(slow_us: int, every: int, least: float, most: float) -> None:
    """Where many calls are slow, waiting for the next one would cost more than it saves."""
    usual = usually(slow_us)
    waited_for = 0
    for number in range(10_000):
        usual.record(20 if number % every else slow_us)
        waited_for += usual.is_brief
    assert least <= waited_for / 10_000 <= most


def test_nothing_is_brief_before_it_has_shown_that() -> None:
    """The first calls of a type that waits for a remote host keep nobody."""
    assert not UsualDuration().is_brief


def test_who_does_something_brief_is_expected_back(threads: LeaderFollowers, timer: Timer) -> None:
    """What is due is left for a thread that will be back in a moment, but not for long."""
    assert not expects_somebody(threads)
    threads.leave(is_brief=True, is_more=False)
    timer.us += ABSENCE_US - 1
    assert expects_somebody(threads)
    timer.us += 1
    assert not expects_somebody(threads)


def test_who_may_be_long_is_not_waited_for(threads: LeaderFollowers) -> None:
    """After work that may take long any other thread may go on at once."""
    threads.leave(is_brief=False, is_more=False)
    assert not expects_somebody(threads)


def test_who_comes_back_goes_on(threads: LeaderFollowers) -> None:
    """The thread that was expected may take the next piece."""
    threads.leave(is_brief=True, is_more=False)
    threads.come_back()
    assert not expects_somebody(threads)


def test_who_comes_back_too_late_was_replaced(threads: LeaderFollowers, timer: Timer) -> None:
    """Else each delay would add one thread to those that compete for brief work."""
    threads.leave(is_brief=True, is_more=False)
    timer.us += ABSENCE_US
    leave_elsewhere(threads)
    threads.come_back()
    assert expects_somebody(threads), "the other one"


def test_the_deputy_takes_over(timer: Timer) -> None:
    """P9: a thread that waits goes on when the one that was expected does not come back."""
    lock = threading.Lock()
    threads = LeaderFollowers(lock, timer)
    threads.leave(is_brief=True, is_more=False)
    has_waited = threading.Event()

    def stand_by() -> None:
        with lock:
            while threads.is_expected:
                threads.wait(0)
                has_waited.set()

    deputy = Background(stand_by)
    assert has_waited.wait(10)
    assert deputy.is_alive()
    timer.us += ABSENCE_US
    deputy.result()


def test_all_are_woken_at_the_end(timer: Timer) -> None:
    """Leader, deputy and followers wait for ever if there is nothing to do, but not longer."""
    lock = threading.Lock()
    threads = LeaderFollowers(lock, timer)
    waiting = [Background(lambda: _wait_once(lock, threads)) for _ in range(4)]
    while any(thread.is_alive() for thread in waiting):
        with lock:
            threads.wake_all()
    for thread in waiting:
        thread.result()


def _wait_once(lock: threading.Lock, threads: LeaderFollowers) -> None:
    with lock:
        threads.wait(math.inf)

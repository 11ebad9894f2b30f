"""Which of many waiting threads watches for the next piece of work, and which may sleep on."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

__all__ = ["LeaderFollowers", "UsualDuration"]

_LONGEST_US = 2_000
"""How long who does a usually brief piece of work is waited for; then another thread takes over."""

_BRIEF_US = 100
"""Waiting this long, on average, costs no more than waking another thread and switching to it: some 30 us
of processor time for either thread, and what that does to the caches."""

_WEIGHT = 1 / 64
"""Of each piece in the average: four long ones among so many are already too much."""


class UsualDuration:
    """How long pieces of work of one kind usually take.

    It is the price of waiting for the thread that does one instead of waking another, so a long one
    counts for no more than others would wait for its end. Threads that record at the same time may
    lose a value, which does no harm.
    """

    __slots__ = ("_us",)

    def __init__(self) -> None:
        self._us: float = _LONGEST_US

    @property
    def is_brief(self) -> bool:
        """Whether it is better to wait for that thread than to wake another."""
        return self._us < _BRIEF_US

    def record(self, us: int) -> None:
        """A piece took so many microseconds; what its thread did besides does not count.

        Else threads that keep each other from the interpreter would seem to do long work, and more of
        them would be woken.
        """
        self._us += (min(us, _LONGEST_US) - self._us) * _WEIGHT


class LeaderFollowers:
    """Threads that take turns, the pattern "Leader/Followers" (D. Schmidt and others, 2000).

    The *leader* waits for the time of the next piece of work; the *followers* sleep. Who takes a
    piece that is due leaves the lead and does the work itself: between the timer and the work there
    is no queue to pass. If that may take long, a follower is woken to lead. If such work is usually
    brief, nobody is: the thread is expected back, and what is due is left for it. One waiting
    thread, the *deputy*, looks whether it is back in time, and else goes on in its place.

    All methods are called with the lock held; waiting gives it away meanwhile.

    Args:
        lock: guards the work as well.
        timer_us: a timer in microseconds.
    """

    def __init__(self, lock: threading.Lock, timer_us: Callable[[], int]) -> None:
        self._timer_us = timer_us
        self._leader = threading.Condition(lock)
        self._deputy = threading.Condition(lock)
        self._followers = threading.Condition(lock)
        self._is_led = False
        self._is_deputised = False
        self._leads_until_us = math.inf
        self._deputises_until_us = math.inf
        self._expected = 0  # a thread
        self._back_by_us = 0

    def come_back(self) -> None:
        """The calling thread is free.

        If it was away for too long, another has taken its place, and it is one more that waits.
        """
        if self._expected == threading.get_ident():
            self._back_by_us = 0

    @property
    def is_expected(self) -> bool:
        """Whether the next piece is for a thread that should be back in a moment."""
        return not self._is_led and self._timer_us() < self._back_by_us

    def wait(self, seconds: float) -> None:
        """Wait until it may be the calling thread's turn.

        Args:
            seconds: when the next piece of work is due.
        """
        if self.is_expected:
            if self._is_deputised:
                self._followers.wait()
            else:
                self._deputise(self._back_by_us)
        elif not self._is_led:
            self._lead(self._timer_us() + seconds * 1e6)
        elif not self._is_deputised:
            self._deputise(self._timer_us() + seconds * 1e6 + _LONGEST_US)
        else:
            self._followers.wait()

    def leave(self, *, is_brief: bool, is_more: bool) -> None:
        """The calling thread has taken a piece of work.

        Args:
            is_brief: see :class:`UsualDuration`.
            is_more: other work waits, due or not.
        """
        if self._is_led:
            return  # there is a thread that waits for the next piece
        if is_brief:
            self._expected = threading.get_ident()
            self._back_by_us = self._timer_us() + _LONGEST_US
        if is_more:
            self._appoint()

    def look_by(self, seconds: float) -> None:
        """There is work that is due in so many seconds."""
        if not self._is_led:
            self._appoint()
        elif self._timer_us() + seconds * 1e6 < self._leads_until_us:
            self._leader.notify()

    def wake_all(self) -> None:
        """Let every call of :meth:`wait` return."""
        self._leader.notify_all()
        self._deputy.notify_all()
        self._followers.notify_all()

    def _appoint(self) -> None:
        """Nobody leads: see to it that somebody will, now or soon after the absence."""
        if not self._is_deputised:
            self._followers.notify()
        elif not self.is_expected or self._deputises_until_us > self._back_by_us:
            self._deputy.notify()

    def _lead(self, until_us: float) -> None:
        self._is_led, self._leads_until_us = True, until_us
        self._leader.wait(self._seconds_until(until_us))
        self._is_led = False

    def _deputise(self, until_us: float) -> None:
        self._is_deputised, self._deputises_until_us = True, until_us
        self._deputy.wait(self._seconds_until(until_us))
        self._is_deputised = False

    def _seconds_until(self, until_us: float) -> float:
        return min(max(0.0, until_us - self._timer_us()) / 1e6, threading.TIMEOUT_MAX)

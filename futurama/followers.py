"""Which of many waiting threads watches for the next piece of work, and which may sleep on."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

__all__ = ["LeaderFollowers"]

_ABSENCE_US = 2_000
"""How long who does a brief piece of work may be away. Waking another thread costs some 30 us of
processor time, more than a brief call; and what is due meanwhile is not late by more than this."""


class LeaderFollowers:
    """Threads that take turns, the pattern "Leader/Followers" (D. Schmidt and others, 2000).

    The *leader* waits for the time of the next piece of work; the *followers* sleep. Who takes a
    piece that is due leaves the lead and does the work itself: between the timer and the work there
    is no queue to pass. If that may take long, a follower is woken to lead. If it is usually brief,
    nobody is: one waiting thread, the *deputy*, leads only if the other is not back in time.

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
        self._absent = 0
        self._back_by_us = 0

    def come_back(self) -> None:
        """The calling thread is free.

        If it was away for too long, another has taken its place, and it is one more that waits.
        """
        if self._absent == threading.get_ident():
            self._back_by_us = 0

    @property
    def is_expected(self) -> bool:
        """Whether the next piece is for a thread that will be back in a moment."""
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
            self._deputise(self._timer_us() + seconds * 1e6 + _ABSENCE_US)
        else:
            self._followers.wait()

    def leave(self, *, is_brief: bool, is_more: bool) -> None:
        """The calling thread has taken a piece of work.

        Args:
            is_brief: it will probably be back at once.
            is_more: other work waits, due or not.
        """
        if self._is_led:
            return
        if is_brief:
            self._absent = threading.get_ident()
            self._back_by_us = self._timer_us() + _ABSENCE_US
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
        elif not self.is_expected or self._deputises_until_us > self._back_by_us + _ABSENCE_US:
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
